"""The coordinator over workers that answer by a script: who is asked what, and what comes of it.

The workers are real processes of a real `WorkerPool`; made up is only what hosts would answer.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

from fastrr.components.launch import Started
from fastrr.components.screen import Sessions
from fastrr.components.start import StartStage
from fastrr.events import Event
from fastrr.files.check import Check, Checked, Decide, Decided
from fastrr.files.copy import CopyFiles, CopyReport
from fastrr.files.ledger import Ledger, LocalLedger
from fastrr.files.sources import LocalFiles
from fastrr.hosts.context import Request
from fastrr.model import (
    ComponentPlan,
    Deployment,
    Failure,
    FileTarget,
    FreshBase,
    HostPlan,
    SourceFile,
)
from fastrr.run.deploy import Deploy, RunOptions
from fastrr.run.pool import Batch, Cancel, Reply, Stop, WorkerPool
from fastrr.run.report import RunReport

SILENT = "silent"
"""It answers nothing before it is cancelled."""
STUCK = "stuck"
"""It answers nothing, whatever it is told."""
DIES = "dies"
"""Its worker is killed."""

WAITS_S = 15
"""A worker that hears nothing for so long ends: no test waits for ever."""


class After(NamedTuple):
    """It answers as usual, but later."""

    seconds: float


class Telling(NamedTuple):
    """It answers as usual, when it has told these events."""

    events: tuple[Event, ...]


Script = Mapping[str, object]
"""By ``HOST REQUEST``: the answer, where it is not the usual one that all is well."""


class Asked(NamedTuple):
    """A worker has been asked something."""

    what: str
    """``HOST REQUEST``"""
    request: Request[object]


class Answers(NamedTuple):
    """A worker is about to answer."""

    what: str


def component(host: str, name: str, start_index: float = 1, *, wait: bool = False) -> ComponentPlan:
    return ComponentPlan(name, host, "/bin/true", (), "/tmp", start_index, wait)


def deployment(*components: ComponentPlan, sources: Sequence[Path] = ()) -> Deployment:
    """Return one whose hosts get all sources each, and have a temporary base_dir."""
    hosts: dict[str, list[ComponentPlan]] = {}
    for one in components:
        hosts.setdefault(one.host, []).append(one)
    return Deployment(
        tuple(
            HostPlan(
                host,
                tuple(FileTarget(str(path), f"/srv/{path.name}") for path in sources),
                fresh=(FreshBase(theirs[0].name),),
                components=tuple(theirs),
            )
            for host, theirs in hosts.items()
        ),
        {str(path): SourceFile.at(str(path), path.stat()) for path in sources},
    )


PLANS = deployment(
    *(component(host, f"{host}1", 1, wait=host == "a") for host in "abc"),
    *(component(host, f"{host}2", 2) for host in "ab"),
)
"""Three hosts, two stages; one component is waited for."""

ALL = {
    "Check": "abc",
    "Decide": "abc",
    "EndSessions": "abc",
    "CopyFiles": "abc",
    "StartStage 1": "abc",
    "StartStage 2": "ab",
    "Watch": "a",
    "Glance": "abc",
}
"""Which hosts are asked what in a run where all goes well."""


def until(last: str, **others: str) -> dict[str, str]:
    """The steps of a run that goes well as far as ``last``, then asks others."""
    names = list(ALL)
    return {name: ALL[name] for name in names[: names.index(last) + 1]} | others


@dataclass
class Run:
    """What was asked of hosts, what was told, and what came of it."""

    report: RunReport = field(default_factory=lambda: RunReport({}))
    events: list[Any] = field(default_factory=list)
    """In the order in which the coordinator heard of them, `Asked` and `Answers` among them."""

    @property
    def steps(self) -> dict[str, str]:
        """By request, in the order in which they were made: the hosts, whose names are letters."""
        steps: dict[str, str] = {}
        for host, request in (what.split(" ", 1) for what in self.requests):
            steps[request] = "".join(sorted(steps.get(request, "") + host))
        return steps

    @property
    def requests(self) -> dict[str, Any]:
        """By ``HOST REQUEST``."""
        return {event.what: event.request for event in self.events if isinstance(event, Asked)}


def failed(run: Run) -> dict[str, list[str]]:
    """What the table says of the hosts that failed."""
    return {row.host: row.failures for row in run.report.hosts.values() if row.failures}


def conduct(
    deployment: Deployment,
    script: Script,
    *,
    when: Mapping[str, Callable[[], None]] = MappingProxyType({}),
    **options: Any,
) -> Run:
    """Have a `Deploy` go through a run; ``when`` a host is asked something, do something."""
    run = Run()

    def tell(event: Any) -> None:
        run.events.append(event)
        if isinstance(event, Asked) and event.what in when:
            when[event.what]()

    hosts = [plan.host for plan in deployment.hosts]
    settings = RunOptions(**{"jobs": len(hosts), **options})
    with WorkerPool(hosts, settings.jobs, _worker(deployment, script)) as pool:
        files = LocalFiles(deployment.sources, bytes(16), LocalLedger(Ledger(None)))
        with contextlib.closing(files):
            try:
                run.report = Deploy(deployment, settings, files, pool, tell).run()
            except KeyboardInterrupt as final:  # it is to fail one test, not to end all
                raise AssertionError("an interrupt was final") from final
    return run


def _worker(deployment: Deployment, script: Script) -> Callable[[Connection, Sequence[str]], None]:
    plans = {plan.host: plan for plan in deployment.hosts}

    def main(pipe: Connection, _hosts: Sequence[str]) -> None:
        silent: list[Reply] = []
        while pipe.poll(WAITS_S) and not isinstance(message := pipe.recv(), Stop):
            if isinstance(message, Cancel):
                for reply in silent:
                    pipe.send(reply)
                silent.clear()
                continue
            assert isinstance(message, Batch)
            for host, request in message.requests.items():
                what = f"{host} {_name(request)}"
                pipe.send(Asked(what, request))
                answer = _answer(pipe, script.get(what, After(0.0)), plans[host], request)
                reply = Reply(host, answer, message.call)
                if script.get(what) == SILENT:
                    silent.append(reply)
                else:
                    pipe.send(Answers(what))
                    pipe.send(reply)

    return main


def _answer(pipe: Connection, scripted: object, plan: HostPlan, request: Request[object]) -> object:
    match scripted:
        case "silent":
            return Failure(plan.host, ("interrupted",), interrupted=True)
        case "stuck":
            time.sleep(WAITS_S)
        case "dies":
            os.kill(os.getpid(), signal.SIGKILL)
        case After(seconds):
            time.sleep(seconds)
        case Telling(events):
            for event in events:
                pipe.send(event)
        case _:
            return scripted
    return _usual(plan, request)


def _name(request: Request[object]) -> str:
    stage = f" {request.start_index:g}" if isinstance(request, StartStage) else ""
    return f"{type(request).__name__}{stage}"


def _usual(plan: HostPlan, request: Request[object]) -> object:
    match request:
        case Check():
            return Checked((plan.host,), (Sessions(("1.runner",)),))
        case Decide():
            return Decided(to_do=True)
        case CopyFiles():
            return CopyReport(0, 0)
        case StartStage():
            return tuple(
                Started(one.name)
                for one in plan.components
                if one.start_index == request.start_index
            )
    return None
