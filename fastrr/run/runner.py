"""The coordinator: takes a deployment through check, copy, start and watch.

A step is one request to every host, all at once; its outcomes are collected and judged together.
What a failure means is the same everywhere: the hosts that failed take no further part, and
without ``keep_going`` neither does anybody else. `RunReport` says what happened to each host.
"""

from __future__ import annotations

import contextlib
import itertools
import logging
import signal
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

from fastrr.components.launch import NotStarted, Started
from fastrr.components.screen import AskSessions, Sessions
from fastrr.components.settings import SessionSettings
from fastrr.components.start import EndSessions, StartStage
from fastrr.components.watch import Glance, Watch
from fastrr.errors import FastrrError, Interrupted, TimeLimitPassed
from fastrr.events import Advanced, ComponentEnded, Event, StepBegan, StepEnded
from fastrr.exitcodes import ExitCode
from fastrr.files import compare
from fastrr.files.check import Check, Checked, Decide, Decided
from fastrr.files.copy import CopyFiles, CopyReport, Discard
from fastrr.files.ledger import Ledger, LocalLedger
from fastrr.files.settings import FileSettings
from fastrr.files.sources import LocalFiles
from fastrr.hosts.context import Request
from fastrr.model import Algorithm, Deployment, Failure, SshSettings
from fastrr.run.pool import Reply, WorkerPool
from fastrr.run.worker import worker_main

logger = logging.getLogger("fastrr")

DISCARD_PATIENCE_S = 5.0

MESSAGES_SHOWN = 100
"""Of one host's failures in one step: there may be one for each of its files."""

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


@dataclass(slots=True)
class HostReport:
    """What a run came to on one host; a row of the final table."""

    host: str
    copied: int = 0
    unchanged: int = 0
    bytes: int = 0
    started: int = 0
    seconds: float = 0.0
    failures: list[str] = field(default_factory=list)
    unfinished: str | None = None
    """The step that it had not come to the end of when the run was stopped."""


@dataclass(slots=True)
class RunReport:
    """What a run came to."""

    hosts: dict[str, HostReport]
    ended_badly: bool = False
    """A waited component exited non-zero or was killed."""
    stopped_by: FastrrError | None = None
    """An interrupt or a time limit."""

    @property
    def exit_code(self) -> ExitCode:
        if self.stopped_by is not None:
            return self.stopped_by.exit_code
        if any(host.failures for host in self.hosts.values()):
            return ExitCode.HOST_FAILED
        return ExitCode.COMPONENT_FAILED if self.ended_badly else ExitCode.OK


Wanted = Mapping[str, Mapping[Algorithm, Sequence[str]]]
"""By host: the sources of its copies, by the algorithm that verifies them."""


class _GiveUp(Exception):
    """There were failures, and nobody asked to keep going."""


class Runner:
    """One run of one deployment. Use `run`."""

    def __init__(
        self,
        deployment: Deployment,
        options: RunOptions,
        files: LocalFiles,
        pool: WorkerPool,
        tell: Callable[[Event], None],
    ) -> None:
        self._deployment = deployment
        self._options = options
        self._files = files
        self._pool = pool
        self._tell = tell
        self._began = time.monotonic()
        limit = options.time_limit_s
        self._deadline = None if limit is None else self._began + limit
        self.report = RunReport({plan.host: HostReport(plan.host) for plan in deployment.hosts})
        self._taking_part = [plan.host for plan in deployment.hosts]
        self._sources = {
            plan.host: [target.source for target in plan.files] for plan in deployment.hosts
        }
        self._started_anything = False
        self._step = "check"

    def run(self) -> RunReport:
        """Go through the steps. Failures, interrupts and limits end up in the report."""
        try:
            checked = self._check()
            wanted = self._decide(checked)
            if not self._options.copy_only:
                self._end_sessions(checked)
            self._copy(wanted)
            if self._options.copy_only:
                return self.report
            for start_index in self._deployment.start_indexes:
                self._start_stage(start_index)
            self._watch()
        except _GiveUp:
            logger.info("nothing more is done after these failures (--keep-going would go on)")
        except (Interrupted, TimeLimitPassed) as error:
            self.report.stopped_by = error
            logger.error("%s%s", error, self._what_was_waited_for())
        finally:
            if not (self._started_anything or self._options.copy_only):
                self._discard()
            self._tell_spans()
        return self.report

    def _what_was_waited_for(self) -> str:
        waiting = [row.host for row in self.report.hosts.values() if row.unfinished]
        return f" in the {self._step} step, before {_some(waiting)} had answered" if waiting else ""

    # steps

    def _check(self) -> dict[str, Checked]:
        self._begin("check", len(self._taking_part), "hosts")
        options = self._options
        also = () if options.copy_only else (AskSessions(),)
        request = Check(options.always_copy, also, options.files)
        if not self._options.always_copy:
            self._files.foresee()

        def looked(host: str, checked: Checked) -> tuple[str, ...]:
            self._tell(Advanced(1))
            self._files.want(Algorithm.SHA1, self._unsettled(host, checked))
            return checked.problems

        checked: dict[str, Checked] = self._ask_all(
            dict.fromkeys(self._taking_part, request), looked
        )
        self._refuse_doubles(checked)
        return {host: checked[host] for host in self._taking_part}

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
        self._note(doubles)
        if doubles and not self._options.keep_going:
            raise _GiveUp

    def _decide(self, checked: Mapping[str, Checked]) -> Wanted:
        """Have each host decide; return what those that have something to do need."""
        unsettled = (self._unsettled(host, checked[host]) for host in self._taking_part)
        sources = dict.fromkeys(itertools.chain.from_iterable(unsettled))
        sha1 = self._files.collect(Algorithm.SHA1, sources, self._raise_if_stopped)

        wanted: dict[str, Mapping[Algorithm, Sequence[str]]] = {}

        def hear(host: str, decided: Decided) -> tuple[str, ...]:
            self.report.hosts[host].unchanged = decided.unchanged
            wanted[host] = {by: self._same_strings(paths) for by, paths in decided.wanted.items()}
            return decided.problems

        settings = self._options.files
        requests = {
            host: Decide({}, all_unchanged=True, settings=settings)
            if checked[host].contents
            and checked[host].contents == compare.contents(sha1[s] for s in self._sources[host])
            else Decide(sha1, settings=settings)
            for host in self._taking_part
        }
        decided: dict[str, Decided] = self._ask_all(requests, hear)
        self._tell(StepEnded())
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
        busy = [host for host in self._taking_part if _earlier(checked[host], session.name)]
        self._ask_all({host: EndSessions(session) for host in busy})

    def _copy(self, wanted: Wanted) -> None:
        """Have each host make and get what it needs; one set of digests serves them all."""
        wanted = {host: wanted[host] for host in self._taking_part if host in wanted}
        digests = self._digests(wanted.values())
        sizes = self._deployment.sources
        total = sum(
            sum({digests[by][source]: sizes[source].size for source in sources}.values())
            for by_algorithm in wanted.values()
            for by, sources in by_algorithm.items()
        )
        self._begin("copy", total, "B")
        requests = {
            host: CopyFiles(
                {by: _only(digests[by], sources) for by, sources in contents.items()},
                self._options.files,
            )
            for host, contents in wanted.items()
        }
        self._ask_all(requests, self._copied)
        self._tell(StepEnded())

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
            by: self._files.collect(by, needed, self._raise_if_stopped)
            for by, needed in paths.items()
        }

    def _copied(self, host: str, report: CopyReport) -> tuple[str, ...]:
        row = self.report.hosts[host]
        row.copied, row.bytes = report.copied, report.bytes
        return report.failures

    def _start_stage(self, start_index: float) -> None:
        counts = {
            plan.host: sum(c.start_index == start_index for c in plan.components)
            for plan in self._deployment.hosts
            if plan.host in self._taking_part
        }
        hosts = [host for host, count in counts.items() if count]
        self._begin(f"start {start_index:g}", sum(counts.values()), "components")
        self._started_anything = True
        # A component that can't be started does not keep its host from the others.
        request = StartStage(start_index, self._options.session)
        self._ask_all(dict.fromkeys(hosts, request), self._started, drops=False)
        self._tell(StepEnded())

    def _started(self, host: str, answers: tuple[Started | NotStarted, ...]) -> tuple[str, ...]:
        started = [one for one in answers if isinstance(one, Started)]
        self.report.hosts[host].started += len(started)
        self._tell(Advanced(len(started)))
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
        plans = [plan for plan in self._deployment.hosts if plan.host in self._taking_part]
        waited = {plan.host: sum(c.wait for c in plan.components) for plan in plans}
        if any(waited.values()):
            self._begin("watch", sum(waited.values()), "components")
            self._ask_all({host: Watch(session) for host, count in waited.items() if count})
            self._tell(StepEnded())
        others = [plan.host for plan in plans if waited[plan.host] < len(plan.components)]
        still = [host for host in others if host in self._taking_part]
        self._ask_all({host: Glance(session) for host in still})

    def _discard(self) -> None:
        with contextlib.suppress(TimeLimitPassed):
            self._pool.call(
                {plan.host: Discard() for plan in self._deployment.hosts if plan.fresh},
                self._hear,
                heed_interrupts=False,
                deadline=time.monotonic() + DISCARD_PATIENCE_S,
            )

    # events and outcomes

    def _begin(self, step: str, total: int, unit: str) -> None:
        self._step = step
        self._tell(StepBegan(step, total, unit))

    def _raise_if_stopped(self) -> None:
        self._pool.raise_if_stopped(self._deadline)

    def _hear(self, event: Event) -> None:
        """Take part in what workers tell, and pass it on."""
        if isinstance(event, ComponentEnded):
            self._judge(event)
        self._tell(event)

    def _tell_spans(self) -> None:
        for span in self._files.spans():
            self._tell(span)

    def _judge(self, ended: ComponentEnded) -> None:
        if ended.exit_status == 0:
            if ended.waited:
                logger.info("%s: component %r ended well", ended.host, ended.component)
        elif ended.waited:
            self.report.ended_badly = True
            logger.error("%s: %s", ended.host, _ending(ended))
        else:
            logger.warning("%s: %s", ended.host, _ending(ended))

    def _say_who_is_waited_for(self, hosts: Sequence[str]) -> None:
        seconds = time.monotonic() - self._began
        if self._step != "watch":
            logger.info("%s: still waiting for %s (%.0f s)", self._step, _some(hosts), seconds)

    def _ask_all(
        self,
        requests: Mapping[str, Request[Any]],
        on_value: Callable[[str, Any], tuple[str, ...]] = lambda _host, _value: (),
        *,
        drops: bool = True,
    ) -> dict[str, Any]:
        """Run a request on each host; return the values of those where it went well.

        ``on_value`` hears each value as it arrives, and returns what is wrong with it. A failure
        ends the run unless it keeps going; its host drops out then (for one of its value: if it
        ``drops``). What was heard until the run was stopped counts, too.
        """
        failures: list[Failure] = []
        wrong_values: list[Failure] = []
        unanswered = set(requests)
        gave_up: set[str] = set()

        def replied(reply: Reply) -> None:
            self.report.hosts[reply.host].seconds = time.monotonic() - self._began
            if isinstance(reply.value, Failure):
                if reply.value.interrupted:
                    gave_up.add(reply.host)
                    return
                failures.append(reply.value)
            elif wrong := on_value(reply.host, reply.value):
                wrong_values.append(Failure(reply.host, wrong))
            unanswered.discard(reply.host)

        if not requests:
            return {}
        try:
            results = self._pool.call(
                requests,
                self._hear,
                replied,
                self._deadline,
                on_waiting=self._say_who_is_waited_for,
            )
        except (Interrupted, TimeLimitPassed):
            for host in unanswered:
                self.report.hosts[host].unfinished = self._step
            for host in sorted(unanswered - gave_up) if self._step == "copy" else ():
                logger.warning(
                    "%s: it did not answer any more: what was copied so far may be left there, in "
                    "directories .fastrr-* beside the destinations or their parents",
                    host,
                )
            self._note(failures + wrong_values)
            raise
        self._note(failures)
        self._note(wrong_values, drops=drops)
        if (failures or wrong_values) and not self._options.keep_going:
            raise _GiveUp
        failed = {failure.host for failure in failures + wrong_values}
        return {host: results[host] for host in requests if host not in failed}

    def _note(self, failures: Sequence[Failure], *, drops: bool = True) -> None:
        """Tell failures and put them on record; their hosts take no further part if it drops."""
        for failure in failures:
            for number, message in enumerate(failure.messages):
                level = logging.ERROR if number < MESSAGES_SHOWN else logging.DEBUG
                logger.log(level, "%s: %s", failure.host, message)
            if (more := len(failure.messages) - MESSAGES_SHOWN) > 0:
                logger.error("%s: and %d more like these (-l DEBUG shows all)", failure.host, more)
            if failure.detail:
                logger.debug("%s: %s", failure.host, failure.detail)
            self.report.hosts[failure.host].failures.extend(failure.messages)
            if drops and failure.host in self._taking_part:
                self._taking_part.remove(failure.host)


def _earlier(checked: Checked, session: str) -> tuple[str, ...]:
    return tuple(
        name
        for answer in checked.also
        if isinstance(answer, Sessions)
        for name in answer.called(session)
    )


def _some(hosts: Sequence[str], shown: int = 5) -> str:
    more = f" and {len(hosts) - shown} more" if len(hosts) > shown else ""
    return ", ".join(hosts[:shown]) + more


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


def run(
    deployment: Deployment,
    ssh: SshSettings,
    options: RunOptions,
    tell: Callable[[Event], None],
) -> RunReport:
    """Deploy and start everything, telling events as they happen; return what came of it.

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
            return Runner(deployment, options, files, pool, tell).run()
