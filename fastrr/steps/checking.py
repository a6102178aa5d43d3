"""The check step on one host: connect, look, and decide what can be decided without digests."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from posixpath import dirname, join

from fastrr import delta, install, probe, state
from fastrr.delta import Draft
from fastrr.errors import CommandFailed
from fastrr.events import Span
from fastrr.hosts.base import ANSWER_WITHIN_S, SLOWEST_READ_BYTES_S, ask
from fastrr.ledger import TRUSTED_FILE_SYSTEMS, Ledger, RemoteEntry, at_rest
from fastrr.model import HostPlan, RunSettings
from fastrr.probe import HostFacts
from fastrr.requests import Checked
from fastrr.steps.context import Context
from fastrr.transports import programs_here, unusable


@dataclass(frozen=True, slots=True)
class Findings:
    """What the check found out, for the steps after it."""

    facts: HostFacts
    draft: Draft
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
            install.abilities(self.facts),
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
        answer = _look(context, always_copy)
    facts, settings = answer.facts, context.settings
    if facts.hashing_s:
        now = time.monotonic()
        context.emit(
            Span(context.host.name, "hash", now - facts.hashing_s, now, "as part of check")
        )
    _require_tools(context, facts)
    base_dirs = delta.base_dirs(context.plan, facts, settings.session, context.run_id)
    draft = delta.draft(
        context.plan, facts, answer.files, context.sources, base_dirs, always_copy=always_copy
    )
    sessions = tuple(s for s in facts.sessions if s.partition(".")[2] == settings.session)
    return Findings(facts, draft, base_dirs, sessions)


def _look(context: Context, always_copy: bool) -> probe.Answer:
    """Look at the host; of files that the ledger knows, remember what it knows."""
    ledger = Ledger(context.settings.ledger)
    known: dict[str, RemoteEntry] = {}
    if context.plan.files and not (always_copy or context.settings.rehash):
        known = ledger.remote(context.host.identity)
    answer = _probe(context, always_copy, known)
    if any(entry.machine != answer.facts.machine for entry in known.values()):
        known = {}
        ledger.forget_remote(context.host.identity)  # also what this plan does not mention
        answer = _probe(context, always_copy, known)
    ledger.store_remote(context.host.identity, _worth_keeping(context.plan, answer))
    return remembered(context.plan, answer, known)


def _probe(context: Context, always_copy: bool, known: Mapping[str, RemoteEntry]) -> probe.Answer:
    signatures = {path: entry.signature for path, entry in known.items()}
    script = probe.probe_script(context.plan, context.sources, not always_copy, signatures)
    to_hash = sum(context.sources[target.source].size for target in context.plan.files)
    limit_s = ANSWER_WITHIN_S + to_hash / SLOWEST_READ_BYTES_S
    body, _ = ask(context.host, script, "looking at the host", limit_s)
    try:
        return probe.parse_answer(context.plan, body)
    except probe.UnreadableAnswer as error:
        raise CommandFailed(f"the host's answer can't be read: {error}") from error


def _worth_keeping(plan: HostPlan, answer: probe.Answer) -> dict[str, RemoteEntry]:
    """The digests that were computed there just now, as far as the ledger's rules allow."""
    facts = answer.facts
    return {
        target.destination: RemoteEntry(there.signature, there.digest, facts.machine)
        for target, there in zip(plan.files, answer.files, strict=True)
        if there.digest
        and there.signature
        and there.link_to is None
        and at_rest(there.signature, facts.clock_ns)
        and facts.file_system_of(dirname(target.destination)) in TRUSTED_FILE_SYSTEMS
    }


def remembered(
    plan: HostPlan, answer: probe.Answer, known: Mapping[str, RemoteEntry]
) -> probe.Answer:
    """Fill in the digests that were not computed because the ledger has them."""
    if not known:
        return answer
    files = [
        replace(there, digest=entry.sha1)
        if there.digest is None
        and there.link_to is None
        and (entry := known.get(target.destination))
        and entry.signature == there.signature
        else there
        for target, there in zip(plan.files, answer.files, strict=True)
    ]
    return probe.Answer(answer.facts, tuple(files))


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
