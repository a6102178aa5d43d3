"""What a run does, in order: check, copy, start, watch."""

from __future__ import annotations

import contextlib
import itertools
import logging
import signal
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

from fastrr.components.launch import NotStarted, Started
from fastrr.components.screen import AskSessions, Sessions
from fastrr.components.settings import SessionSettings
from fastrr.components.start import EndSessions, StartStage
from fastrr.components.watch import Glance, Watch
from fastrr.errors import Interrupted, TimeLimitPassed
from fastrr.events import Advanced, ComponentEnded, Event, StepEnded
from fastrr.files import compare
from fastrr.files.check import Check, Checked, Decide, Decided
from fastrr.files.copy import CopyFiles, CopyReport, Discard
from fastrr.files.ledger import Ledger, LocalLedger
from fastrr.files.settings import FileSettings
from fastrr.files.sources import LocalFiles
from fastrr.model import Algorithm, Deployment, Failure, SshSettings
from fastrr.run.fleet import Fleet, GiveUp
from fastrr.run.pool import WorkerPool
from fastrr.run.report import RunReport
from fastrr.run.worker import worker_main

logger = logging.getLogger("fastrr")

DISCARD_PATIENCE_S = 5.0

HANDSHAKES_AT_ONCE = 8
"""With one first hop; see `SshSettings.handshakes_at_once`."""


class RunOptions(NamedTuple):
    """How the coordinator conducts a run."""

    jobs: int
    files: FileSettings = FileSettings()
    session: SessionSettings = SessionSettings()
    connect_timeout_s: float = 20.0
    always_copy: bool = False
    copy_only: bool = False
    """Stop after the copy step; sessions are left alone."""
    keep_going: bool = False
    time_limit_s: float | None = None


Wanted = Mapping[str, Mapping[Algorithm, Sequence[str]]]
"""By host: the sources of its copies, by the algorithm that verifies them."""


class Deploy:
    """One run of one deployment. Use `deploy`."""

    def __init__(
        self,
        deployment: Deployment,
        options: RunOptions,
        files: LocalFiles,
        pool: WorkerPool,
        emit: Callable[[Event], None],
    ) -> None:
        self._deployment = deployment
        self._options = options
        self._files = files
        self._emit = emit
        self._fleet = Fleet(
            [plan.host for plan in deployment.hosts],
            pool,
            self._on_event,
            keep_going=options.keep_going,
            time_limit_s=options.time_limit_s,
        )
        self._sources = {
            plan.host: [target.source for target in plan.files] for plan in deployment.hosts
        }
        self._started_anything = False

    def run(self) -> RunReport:
        """Go through the steps. Failures, interrupts and limits end up in the report."""
        try:
            self._steps()
        except GiveUp:
            logger.info("nothing more is done after these failures (--keep-going would go on)")
        except (Interrupted, TimeLimitPassed) as error:
            self._fleet.stopped(error)
        finally:
            if not (self._started_anything or self._options.copy_only):
                self._discard()
            for span in self._files.spans():
                self._emit(span)
        return self._fleet.report

    def _steps(self) -> None:
        checked = self._check()
        wanted = self._decide(checked)
        if not self._options.copy_only:
            self._end_sessions(checked)
        self._copy(wanted)
        if self._options.copy_only:
            return
        for start_index in self._deployment.start_indexes:
            self._start_stage(start_index)
        self._watch()

    def _check(self) -> dict[str, Checked]:
        self._emit(self._fleet.begin("check", len(self._fleet.active), "hosts"))
        options = self._options
        also = () if options.copy_only else (AskSessions(),)
        request = Check(options.always_copy, also, options.files)
        if not self._options.always_copy:
            self._files.foresee()

        def looked(host: str, checked: Checked) -> tuple[str, ...]:
            self._emit(Advanced(1))
            self._files.want(Algorithm.SHA1, self._unsettled(host, checked))
            return checked.problems

        checked: dict[str, Checked] = self._fleet.ask(
            dict.fromkeys(self._fleet.active, request), looked
        )
        self._refuse_doubles(checked)
        return {host: checked[host] for host in self._fleet.active}

    def _refuse_doubles(self, checked: Mapping[str, Checked]) -> None:
        """Two names of one account would be two sessions of one name, and write the same files."""
        accounts: dict[tuple[str, ...], list[str]] = defaultdict(list)
        for host, facts in checked.items():
            accounts[facts.account].append(host)
        message = "it is the same account of the same machine as {!r}: use one name for the two"
        doubles = [
            Failure(host, (message.format(hosts[0]),))
            for hosts in accounts.values()
            for host in hosts[1:]
        ]
        self._fleet.stop_if_wrong(doubles)

    def _decide(self, checked: Mapping[str, Checked]) -> Wanted:
        """Have each host decide; return what those that have something to do need."""
        unsettled = (self._unsettled(host, checked[host]) for host in self._fleet.active)
        sources = dict.fromkeys(itertools.chain.from_iterable(unsettled))
        sha1 = self._files.collect(Algorithm.SHA1, sources, self._fleet.raise_if_stopped)

        wanted: dict[str, Mapping[Algorithm, Sequence[str]]] = {}

        def hear(host: str, decided: Decided) -> tuple[str, ...]:
            self._fleet.report.hosts[host].unchanged = decided.unchanged
            wanted[host] = {by: self._same_strings(paths) for by, paths in decided.wanted.items()}
            return decided.problems

        settings = self._options.files
        requests = {
            host: Decide({}, all_unchanged=True, settings=settings)
            if checked[host].contents
            and checked[host].contents == compare.contents(sha1[s] for s in self._sources[host])
            else Decide(sha1, settings=settings)
            for host in self._fleet.active
        }
        decided: dict[str, Decided] = self._fleet.ask(requests, hear)
        self._emit(StepEnded())
        return {host: wanted[host] for host in decided if decided[host].to_do}

    def _same_strings(self, sources: Iterable[str]) -> tuple[str, ...]:
        """Return the sources' paths as the deployment has them, not 64 copies of 10,000 paths."""
        return tuple(self._deployment.sources[source].path for source in sources)

    def _unsettled(self, host: str, checked: Checked) -> Sequence[str]:
        """The sources whose SHA-1 decides whether they are copied to a host."""
        return self._sources[host] if checked.contents else checked.unsettled

    def _end_sessions(self, checked: Mapping[str, Checked]) -> None:
        session = self._options.session
        if not session.kill_first:
            return
        busy = [host for host in self._fleet.active if _earlier(checked[host], session.name)]
        self._fleet.ask({host: EndSessions(session) for host in busy})

    def _copy(self, wanted: Wanted) -> None:
        """Have each host make and get what it needs; one set of digests serves them all."""
        wanted = {host: wanted[host] for host in self._fleet.active if host in wanted}
        digests = self._digests(wanted.values())
        sizes = self._deployment.sources
        total = sum(
            sum({digests[by][source]: sizes[source].size for source in sources}.values())
            for by_algorithm in wanted.values()
            for by, sources in by_algorithm.items()
        )
        self._emit(self._fleet.begin("copy", total, "B"))
        requests = {
            host: CopyFiles(
                {by: _only(digests[by], sources) for by, sources in contents.items()},
                self._options.files,
            )
            for host, contents in wanted.items()
        }
        self._fleet.ask(requests, self._copied)
        self._emit(StepEnded())

    def _digests(
        self, wanted: Iterable[Mapping[Algorithm, Sequence[str]]]
    ) -> dict[Algorithm, dict[str, str]]:
        """Return the digests of all these sources; all are being computed at the same time."""
        paths: dict[Algorithm, dict[str, None]] = defaultdict(dict)
        for by_algorithm in wanted:
            for by, sources in by_algorithm.items():
                paths[by].update(dict.fromkeys(sources))
        for by, needed in paths.items():
            self._files.want(by, needed)
        return {
            by: self._files.collect(by, needed, self._fleet.raise_if_stopped)
            for by, needed in paths.items()
        }

    def _copied(self, host: str, report: CopyReport) -> tuple[str, ...]:
        row = self._fleet.report.hosts[host]
        row.copied, row.bytes = report.copied, report.bytes
        return report.failures

    def _start_stage(self, start_index: float) -> None:
        counts = {
            plan.host: sum(c.start_index == start_index for c in plan.components)
            for plan in self._deployment.hosts
            if plan.host in self._fleet.active
        }
        hosts = [host for host, count in counts.items() if count]
        self._emit(self._fleet.begin(f"start {start_index:g}", sum(counts.values()), "components"))
        self._started_anything = True
        # A component that can't be started does not keep its host from the others.
        request = StartStage(start_index, self._options.session)
        self._fleet.ask(dict.fromkeys(hosts, request), self._started, drops=False)
        self._emit(StepEnded())

    def _started(self, host: str, answers: tuple[Started | NotStarted, ...]) -> tuple[str, ...]:
        started = [one for one in answers if isinstance(one, Started)]
        self._fleet.report.hosts[host].started += len(started)
        self._emit(Advanced(len(started)))
        return tuple(
            f"component {one.component!r}: {one.reason}"
            for one in answers
            if isinstance(one, NotStarted)
        )

    def _watch(self) -> None:
        """Wait for those that are waited for, then see how the others are doing.

        How each component ended is told by events, as it ends.
        """
        session = self._options.session
        plans = [plan for plan in self._deployment.hosts if plan.host in self._fleet.active]
        waited = {plan.host: sum(c.wait for c in plan.components) for plan in plans}
        if any(waited.values()):
            self._emit(self._fleet.begin("watch", sum(waited.values()), "components"))
            self._fleet.ask({host: Watch(session) for host, count in waited.items() if count})
            self._emit(StepEnded())
        others = [plan.host for plan in plans if waited[plan.host] < len(plan.components)]
        still = [host for host in others if host in self._fleet.active]
        self._fleet.ask({host: Glance(session) for host in still})

    def _discard(self) -> None:
        requests = {plan.host: Discard() for plan in self._deployment.hosts if plan.fresh}
        self._fleet.clean_up(requests, DISCARD_PATIENCE_S)

    def _on_event(self, event: Event) -> None:
        """Take part in what workers tell, and pass it on."""
        if isinstance(event, ComponentEnded):
            self._record_exit(event)
        self._emit(event)

    def _record_exit(self, ended: ComponentEnded) -> None:
        if ended.exit_status == 0:
            if ended.waited:
                logger.info("%s: component %r ended well", ended.host, ended.component)
        elif ended.waited:
            self._fleet.report.ended_badly = True
            logger.error("%s: %s", ended.host, _ending(ended))
        else:
            logger.warning("%s: %s", ended.host, _ending(ended))


def _earlier(checked: Checked, session: str) -> tuple[str, ...]:
    return tuple(
        name
        for answer in checked.also
        if isinstance(answer, Sessions)
        for name in answer.called(session)
    )


def _ending(ended: ComponentEnded) -> str:
    status = ended.exit_status
    if status is None:
        how = "vanished: it was killed together with its launcher, or the host restarted"
    else:
        how = f"ended with status {status}{_signal(status)}"
    said = "".join(f"\n    {line}" for line in ended.last_lines)
    return f"component {ended.component!r} {how}; its log is {ended.host}:{ended.log_file}{said}"


def _only(digests: Mapping[str, str], sources: Sequence[str]) -> Mapping[str, str]:
    """Return the digests of these sources: no host is told more than it needs."""
    if len(sources) == len(digests):
        return digests
    return {source: digests[source] for source in sources}


def _signal(status: int) -> str:
    """A shell gives 128 + N for a program that signal N has ended; a program may do so itself."""
    try:
        name = signal.Signals(status - 128).name
    except ValueError:
        return ""
    return f" (killed by {name})"


def deploy(
    deployment: Deployment,
    ssh: SshSettings,
    options: RunOptions,
    emit: Callable[[Event], None],
) -> RunReport:
    """Deploy and start everything, emitting events as they happen; return what came of it.

    :raises UsageError: when local files vanished since the deployment was made.
    """
    hosts = [plan.host for plan in deployment.hosts]
    settings = options.files
    ledger = LocalLedger(Ledger(settings.ledger), ignore=settings.rehash)
    ssh = replace(ssh, handshakes_at_once=max(1, HANDSHAKES_AT_ONCE // max(1, options.jobs)))
    main = worker_main(deployment, ssh, options.connect_timeout_s)
    with WorkerPool(hosts, options.jobs, main) as pool:
        files = LocalFiles(deployment.sources, settings.gmac_key, ledger)
        with contextlib.closing(files):
            return Deploy(deployment, options, files, pool, emit).run()
