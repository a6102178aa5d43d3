"""What a failure, an interrupt or a time limit means to a run that asks many hosts.

A step is one request to every host, all at once; its outcomes are collected and judged together.
What a failure means is the same everywhere: the hosts that failed take no further part, and
without ``keep_going`` neither does anybody else.
"""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from fastrr.errors import Interrupted, TimeLimitPassed
from fastrr.events import Event, StepBegan
from fastrr.hosts.context import Request
from fastrr.model import Failure
from fastrr.run.pool import Reply, WorkerPool
from fastrr.run.report import HostReport, RunReport

logger = logging.getLogger("fastrr")

MESSAGES_SHOWN = 100
"""Of one host's failures in one step: there may be one for each of its files."""


class GiveUp(Exception):
    """There were failures, and nobody asked to keep going."""


class Fleet:
    """The hosts of a run, and who of them still takes part."""

    def __init__(
        self,
        hosts: Sequence[str],
        pool: WorkerPool,
        on_event: Callable[[Event], None],
        *,
        keep_going: bool = False,
        time_limit_s: float | None = None,
    ) -> None:
        """``on_event`` gets what workers tell."""
        self._pool = pool
        self._on_event = on_event
        self._keep_going = keep_going
        self._began = time.monotonic()
        self._deadline = None if time_limit_s is None else self._began + time_limit_s
        self._step = ""
        self.active = list(hosts)
        """Those that still take part, in the order of the config."""
        self.report = RunReport({host: HostReport(host) for host in hosts})

    def begin(self, step: str, total: int, unit: str) -> StepBegan:
        """Return the event that says that a step begins, of which everything is a part now."""
        self._step = step
        return StepBegan(step, total, unit)

    def ask(
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
                self._on_event,
                replied,
                self._deadline,
                on_waiting=self._tell_who_is_waited_for,
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
            self.record_failures(failures + wrong_values)
            raise
        self.record_failures(failures)
        self.record_failures(wrong_values, drops=drops)
        if (failures or wrong_values) and not self._keep_going:
            raise GiveUp
        failed = {failure.host for failure in failures + wrong_values}
        return {host: results[host] for host in requests if host not in failed}

    def record_failures(self, failures: Sequence[Failure], *, drops: bool = True) -> None:
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
            if drops and failure.host in self.active:
                self.active.remove(failure.host)

    def stop_if_wrong(self, failures: Sequence[Failure]) -> None:
        """Record failures that only show when all hosts have answered.

        :raises GiveUp: where there are some, unless the run keeps going.
        """
        self.record_failures(failures)
        if failures and not self._keep_going:
            raise GiveUp

    def clean_up(self, requests: Mapping[str, Request[None]], patience_s: float) -> None:
        """Ask hosts for what is to be done whatever has happened; failures do not matter."""
        with contextlib.suppress(TimeLimitPassed):
            self._pool.call(
                requests,
                self._on_event,
                heed_interrupts=False,
                deadline=time.monotonic() + patience_s,
            )

    def raise_if_stopped(self) -> None:
        """For whoever waits for something else.

        :raises Interrupted: after an interrupt.
        :raises TimeLimitPassed: after the time limit.
        """
        self._pool.raise_if_stopped(self._deadline)

    def stopped(self, error: Interrupted | TimeLimitPassed) -> None:
        """Record that the run was stopped, and say what it was waiting for."""
        self.report.stopped_by = error
        waiting = [row.host for row in self.report.hosts.values() if row.unfinished]
        where = f" in the {self._step} step, before {_some(waiting)} had answered"
        logger.error("%s%s", error, where if waiting else "")

    def _tell_who_is_waited_for(self, hosts: Sequence[str]) -> None:
        seconds = time.monotonic() - self._began
        if self._step != "watch":
            logger.info("%s: still waiting for %s (%.0f s)", self._step, _some(hosts), seconds)


def _some(hosts: Sequence[str], shown: int = 5) -> str:
    more = f" and {len(hosts) - shown} more" if len(hosts) > shown else ""
    return ", ".join(hosts[:shown]) + more
