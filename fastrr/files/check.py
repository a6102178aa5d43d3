"""The check step on one host: connect, look, and decide what to copy."""

from __future__ import annotations

import logging
import time
from collections import defaultdict
from collections.abc import Mapping
from typing import Any, NamedTuple

from fastrr.errors import CommandFailed
from fastrr.events import Span
from fastrr.files import compare
from fastrr.files.algorithms import algorithm, supported_algorithms
from fastrr.files.compare import Decision, Draft
from fastrr.files.look import Seen, look, look_at_each
from fastrr.files.method import unusable
from fastrr.files.settings import FileSettings
from fastrr.files.transports import programs_here
from fastrr.hosts.context import Context
from fastrr.hosts.facts import Aspect, HostFacts, missing_tools
from fastrr.model import Algorithm

logger = logging.getLogger(__name__)


class Checked(NamedTuple):
    """A host that can take part in the run."""

    account: tuple[str, ...]
    also: tuple[Any, ...] = ()
    """The answers to what else was asked."""
    unsettled: tuple[str, ...] = ()
    """Sources whose SHA-1 decides whether they are copied."""
    contents: str = ""
    """Of all files of the plan, where they are known to be as they were: see `compare.contents`.
    Then all sources are unsettled, if theirs are not the same."""
    problems: tuple[str, ...] = ()
    """What stops the copies that are needed in any case."""


class Findings(NamedTuple):
    """What the check found out, for the steps after it."""

    seen: Seen
    draft: Draft
    """Where the host was looked at briefly, of all but its files."""
    base_dirs: tuple[str, ...]
    """The temporary base_dirs to be made, in order of `HostPlan.fresh`."""
    also: tuple[Aspect[Any], ...] = ()
    """What else was asked."""


class Check(NamedTuple):
    """Connect and look."""

    always_copy: bool = False
    also: tuple[Aspect[Any], ...] = ()
    """What else is asked in the same round trip; answers are kept, see `Context.kept`."""
    settings: FileSettings = FileSettings()

    @property
    def only_waits(self) -> bool:
        return True

    def handle(self, context: Context) -> Checked:
        """See `Request`; a host that lacks what the run needs is an error, too."""
        with context.timed("connect"):
            context.host.connect()
        with context.timed("check"):
            seen = look(context, self.settings, self.also, self.always_copy)
        context.facts = seen.answer.facts
        if hashing_s := seen.answer.found.hashing_s:
            now = time.monotonic()
            context.emit(Span(context.host.name, "hash", now - hashing_s, now, "as part of check"))
        _require_tools(context, self.settings.transport)
        for aspect, answer in zip(self.also, seen.answer.also, strict=True):
            aspect.require(context.plan, context.facts, answer)
            context.keep(answer)
        base_dirs = compare.base_dirs(
            context.plan, context.facts, self.settings.temporary_prefix, context.new_name()
        )
        named = zip(context.plan.fresh, base_dirs, strict=True)
        context.base_dirs = {fresh.component: path for fresh, path in named}
        plan = context.plan._replace(files=()) if seen.listing else context.plan
        drafted = compare.draft(
            plan, seen.answer, context.sources, base_dirs, always_copy=self.always_copy
        ).with_problems(seen.objections)
        context.keep(Findings(seen, drafted, base_dirs, self.also))
        return Checked(
            context.facts.account,
            seen.answer.also,
            tuple({copy.source for copy, _ in drafted.unsettled}),
            seen.listing.contents if seen.listing else "",
            drafted.decision.problems,
        )


class Decided(NamedTuple):
    """What is to be done; the host's worker keeps the particulars."""

    unchanged: int = 0
    wanted: Mapping[Algorithm, tuple[str, ...]] = {}
    """The sources of all copies, by the algorithm that verifies them."""
    to_do: bool = False
    """There is something to be made or copied."""
    problems: tuple[str, ...] = ()


class Decide(NamedTuple):
    """Say what to copy, after a `Check`."""

    digests: Mapping[str, str]
    """SHA-1 of the unsettled sources."""
    all_unchanged: bool = False
    """The contents are the same: no digests are needed."""
    settings: FileSettings = FileSettings()

    @property
    def only_waits(self) -> bool:
        return False

    def handle(self, context: Context) -> Decided:
        """See `Request`; a host that was looked at briefly may have to be looked at once more."""
        findings = self._complete(context)
        decision = self._decision(context, findings)
        context.keep(findings)
        context.keep(decision)
        able = supported_algorithms(findings.seen.answer.hashers)
        wanted: dict[Algorithm, list[str]] = defaultdict(list)
        for copy in decision.copies:
            wanted[algorithm(copy, able)].append(copy.source)
        if logger.isEnabledFor(logging.DEBUG):
            for copy in decision.copies:
                context.log(logging.DEBUG, f"copy {copy.destination}: {copy.reason.value}")
        return Decided(
            decision.unchanged,
            {by: tuple(sources) for by, sources in wanted.items()},
            not decision.nothing_to_do,
            decision.problems,
        )

    def _complete(self, context: Context) -> Findings:
        """Return the findings, of which there are more if the host was looked at briefly."""
        findings = context.kept(Findings)
        assert findings is not None
        if self.all_unchanged or findings.seen.listing is None:
            return findings
        with context.timed("check", "again, each file"):
            seen = look_at_each(context, self.settings, findings.also)
        drafted = compare.draft(
            context.plan, seen.answer, context.sources, findings.base_dirs
        ).with_problems(seen.objections)
        context.facts = seen.answer.facts
        return findings._replace(seen=seen, draft=drafted)

    def _decision(self, context: Context, findings: Findings) -> Decision:
        if self.all_unchanged:
            return findings.draft.decision._replace(unchanged=len(context.plan.files))
        return compare.settle(context.plan, findings.seen.answer, findings.draft, self.digests)


def _require_tools(context: Context, transport: str) -> None:
    facts: HostFacts = context.facts
    if missing := missing_tools(facts):
        raise CommandFailed(f"the host has no {', '.join(missing)}: install what is missing")
    if "openssl" not in facts.tools and "sha1sum" not in facts.tools and context.plan.files:
        raise CommandFailed("the host has neither openssl nor sha1sum: install openssl")
    if context.plan.files and (why := unusable(transport, programs_here(), facts.tools)):
        raise CommandFailed(f"--transport {transport}: {why}; --transport auto does without")
