"""The check step on one host: connect, look, and decide what can be decided without digests."""

from __future__ import annotations

import logging
import time
from collections import defaultdict
from posixpath import join
from typing import NamedTuple

from fastrr.components import state
from fastrr.errors import CommandFailed
from fastrr.events import Span
from fastrr.files import compare, probe, staging
from fastrr.files.compare import Decision, Draft
from fastrr.files.look import Seen, look, look_at_each
from fastrr.files.probe import HostFacts
from fastrr.files.transports import programs_here, unusable
from fastrr.hosts.context import Context
from fastrr.model import Algorithm, RunSettings
from fastrr.run.requests import Checked, Decide, Decided

logger = logging.getLogger(__name__)


class Findings(NamedTuple):
    """What the check found out, for the steps after it."""

    facts: HostFacts
    seen: Seen
    draft: Draft
    """Where the host was looked at briefly, of all but its files."""
    base_dirs: tuple[str, ...]
    """The temporary base_dirs to be made, in order of `HostPlan.fresh`."""
    sessions: tuple[str, ...]
    """``pid.name`` of the sessions of the run's name that are there already."""

    def checked(self, settings: RunSettings) -> Checked:
        """Return what the coordinator needs to know of it."""
        return Checked(
            self.facts.account,
            self.sessions if settings.kill_first and not settings.copy_only else (),
            tuple({copy.source for copy, _ in self.draft.unsettled}),
            self.seen.listing.contents if self.seen.listing else "",
            self.draft.decision.problems,
        )

    def session_directory(self, settings: RunSettings) -> str:
        """Where the state of the session's components is kept."""
        return join(self.facts.state_directory, state.directory_name(settings.session))


def check(context: Context, always_copy: bool) -> Findings:
    """Connect to the host and look at it.

    :raises HostError: when it can't be reached, or lacks what the run needs.
    """
    with context.timed("connect"):
        context.host.connect()
    with context.timed("check"):
        seen = look(context, always_copy)
    facts, settings = seen.facts, context.settings
    if facts.hashing_s:
        now = time.monotonic()
        context.emit(
            Span(context.host.name, "hash", now - facts.hashing_s, now, "as part of check")
        )
    _require_tools(context, facts)
    base_dirs = compare.base_dirs(context.plan, facts, settings.session, context.new_name())
    plan = context.plan._replace(files=()) if seen.listing else context.plan
    draft = compare.draft(
        plan, facts, seen.files, context.sources, base_dirs, always_copy=always_copy
    ).with_problems(seen.objections)
    sessions = tuple(s for s in facts.sessions if s.partition(".")[2] == settings.session)
    return Findings(facts, seen, draft, base_dirs, sessions)


def decide(context: Context, findings: Findings, request: Decide) -> tuple[Findings, Decision]:
    """Say what to copy, now that the digests of the sources are known.

    Also return the findings, of which there are more if the host had been looked at briefly.

    :raises HostError: when the host has to be looked at once more, and that can't be done.
    """
    if request.all_unchanged:
        return findings, findings.draft.decision._replace(unchanged=len(context.plan.files))
    if findings.seen.listing is not None:
        with context.timed("check", "again, each file"):
            seen = look_at_each(context)
        draft = compare.draft(
            context.plan, seen.facts, seen.files, context.sources, findings.base_dirs
        ).with_problems(seen.objections)
        findings = findings._replace(facts=seen.facts, seen=seen, draft=draft)
    return findings, compare.settle(context.plan, findings.facts, findings.draft, request.digests)


def decided(context: Context, findings: Findings, decision: Decision) -> Decided:
    """Return what the coordinator needs to know of a decision."""
    able = staging.abilities(findings.facts)
    wanted: dict[Algorithm, list[str]] = defaultdict(list)
    for copy in decision.copies:
        wanted[staging.algorithm(copy, able)].append(copy.source)
    if logger.isEnabledFor(logging.DEBUG):
        for copy in decision.copies:
            context.log(logging.DEBUG, f"copy {copy.destination}: {copy.reason.value}")
    return Decided(
        decision.unchanged,
        {by: tuple(sources) for by, sources in wanted.items()},
        not decision.nothing_to_do,
        decision.problems,
    )


def _require_tools(context: Context, facts: HostFacts) -> None:
    if missing := probe.missing_tools(facts):
        raise CommandFailed(f"the host has no {', '.join(missing)}: install what is missing")
    if "openssl" not in facts.tools and "sha1sum" not in facts.tools and context.plan.files:
        raise CommandFailed("the host has neither openssl nor sha1sum: install openssl")
    transport = context.settings.transport
    if context.plan.files and (why := unusable(transport, programs_here(), facts.tools)):
        raise CommandFailed(f"--transport {transport}: {why}; --transport auto does without")
    if not context.plan.components or context.settings.copy_only:
        return
    if "screen" not in facts.tools:
        raise CommandFailed(
            "the host has no screen in the PATH of `ssh HOST`: install it "
            "(apt-get install screen, dnf install screen)"
        )
    if facts.screen_trouble:
        raise CommandFailed(
            f"screen can't use its socket directory there; it says: {facts.screen_trouble}; "
            "give the directory it names the mode it asks for, or set SCREENDIR to a "
            "directory of this account with mode 700 (in ~/.ssh/environment or with sshd's "
            "SetEnv)"
        )
    if facts.state_trouble:
        raise CommandFailed(
            f"the state of components is kept below {facts.state_directory}, which can't be made: "
            f"{facts.state_trouble}; set XDG_STATE_HOME there to a directory that can be written to"
        )
