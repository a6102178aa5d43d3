"""Workers with real hosts: they answer whatever happens, and soon when they are told to stop."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from testbed import Bed, TestHost

from fastrr.components.screen import AskSessions
from fastrr.components.start import EndSessions, StartStage
from fastrr.components.watch import Glance, Watch
from fastrr.errors import TimeLimitPassed
from fastrr.events import Event
from fastrr.files.check import Check, Decide
from fastrr.files.copy import CopyFiles, Discard
from fastrr.hosts.context import Context
from fastrr.model import ComponentPlan, Deployment, Failure, HostPlan, SshSettings
from fastrr.run.pool import Reply, WorkerPool
from fastrr.run.worker import worker_main

LONG_S = 15.0
"""More than anything takes here; what takes longer hangs."""

PREPARED = (Check(also=(AskSessions(),)), Decide({}), CopyFiles({}))


def ignore(_event: Event) -> None:
    """For tests where events do not matter."""


class Workers:
    """Workers of a deployment with one component a host."""

    def __init__(self, bed: Bed, hosts: list[str], script: str, jobs: int) -> None:
        plans = [
            HostPlan(
                name,
                components=(
                    ComponentPlan("c", name, "/bin/sh", ("-c", script), "/tmp", 0.0, wait=True),
                ),
            )
            for name in hosts
        ]
        ssh = SshSettings(config_file=str(bed.ssh_config))
        main = worker_main(Deployment(tuple(plans)), ssh, 20.0)
        self.pool = WorkerPool(hosts, jobs, main)
        self.hosts = hosts

    def ask(self, request: object, *hosts: str) -> dict[str, Any]:
        """Ask hosts, or all, for what must go well."""
        requests = dict.fromkeys(hosts or self.hosts, request)
        answers = self.pool.call(requests, ignore, deadline=time.monotonic() + LONG_S)
        assert not [answer for answer in answers.values() if isinstance(answer, Failure)], answers
        return answers

    def stopped(self, request: object, after_s: float) -> dict[str, Any]:
        """Ask for what does not end by itself, and stop it; return what was answered then."""
        answers: dict[str, Any] = {}

        def replied(reply: Reply) -> None:
            answers[reply.host] = reply.value

        with pytest.raises(TimeLimitPassed):
            self.pool.call(
                dict.fromkeys(self.hosts, request), ignore, replied, time.monotonic() + after_s
            )
        return answers


Start = Callable[..., Workers]


@pytest.fixture
def start(bed: Bed) -> Iterator[Start]:
    """Return what starts workers, which are ended with the test."""
    started: list[WorkerPool] = []

    def start(hosts: list[str], script: str = "sleep 300", jobs: int = 9) -> Workers:
        workers = Workers(bed, hosts, script, jobs)
        started.append(workers.pool.__enter__())
        return workers

    yield start
    for pool in started:
        pool.__exit__(None, None, None)


@pytest.fixture
def own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a home of localhost's, whose programs come first."""
    (tmp_path / "bin").mkdir()
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:{os.environ['PATH']}")
    return tmp_path


@pytest.fixture
def silent_host() -> Iterator[str]:
    """An address where somebody takes connections, and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"127.0.0.1:{server.getsockname()[1]}"


def test_watching_is_given_up_at_once(start: Start, hosts: list[TestHost]) -> None:
    workers = start([host.name for host in hosts])
    for request in PREPARED:
        workers.ask(request)
    workers.ask(StartStage(0.0))
    answers = workers.stopped(Watch(), 0.5)
    assert sorted(answers) == [host.name for host in hosts], "not in time: killed"
    for answer in answers.values():
        assert isinstance(answer, Failure)
        assert answer.interrupted, answer
    for host in hosts:
        assert host.run(f"kill -0 {host.state('c', 'pid').strip()}").status == 0


def test_connecting_is_given_up_at_once(start: Start, silent_host: str) -> None:
    (answer,) = start([silent_host]).stopped(PREPARED[0], 0.3).values()
    assert isinstance(answer, Failure)
    assert answer.interrupted, answer


@pytest.mark.parametrize("step", ["check", "start"])
def test_a_host_where_programs_hang_is_given_up_at_once(
    start: Start, own_home: Path, step: str
) -> None:
    workers = start(["localhost"])
    if step == "start":
        for request in PREPARED:
            workers.ask(request)
    for name in ("awk", "cat", "id", "ls", "mkdir", "mv", "rm", "screen", "sed", "uname"):
        hanging = own_home / "bin" / name
        hanging.write_text("#!/bin/sh\nexec sleep 300\n")
        hanging.chmod(0o755)
    answer = workers.stopped(StartStage(0.0) if step == "start" else PREPARED[0], 1.0)
    assert isinstance(answer["localhost"], Failure), "not in time: killed"
    assert answer["localhost"].interrupted, answer


def test_hosts_of_one_worker_do_not_wait_for_each_other(
    start: Start, hosts: list[TestHost]
) -> None:
    """The first one's component ends when the second one's has been started."""
    first, second = hosts
    workers = start([first.name, second.name], "until [ -e ~/go ]; do sleep 0.05; done", jobs=1)
    for request in PREPARED:
        workers.ask(request)
    workers.ask(StartStage(0.0), first.name)
    answered: list[str] = []

    def replied(reply: Reply) -> None:
        answered.append(reply.host)
        first.sh("touch go")

    requests = {first.name: Watch(), second.name: StartStage(0.0)}
    workers.pool.call(requests, ignore, replied, time.monotonic() + LONG_S)
    assert answered == [second.name, first.name]
    second.sh("touch go")


@pytest.mark.parametrize("answer", ["error", "no value"])
def test_an_answer_comes_whatever_happens(
    start: Start, monkeypatch: pytest.MonkeyPatch, own_home: Path, answer: str
) -> None:
    def handle(_request: Discard, _context: Context) -> object:
        if answer == "error":
            raise KeyError("nobody expected this")
        return lambda: "what can't be sent"

    monkeypatch.setattr(Discard, "handle", handle)
    workers = start(["localhost"])
    answers = workers.pool.call({"localhost": Discard()}, ignore, deadline=time.monotonic() + 10)
    told = answers["localhost"]
    assert isinstance(told, Failure)
    assert told.messages[0].startswith("unexpected ")
    assert "please report it" in told.messages[0]
    assert "Traceback" in (told.detail or "")
    assert not told.interrupted


def test_a_whole_run_by_requests(start: Start, hosts: list[TestHost]) -> None:
    workers = start([host.name for host in hosts], "exit 0")
    for request in (*PREPARED, StartStage(0.0), Watch(), Glance()):
        workers.ask(request)
    again = start([host.name for host in hosts])
    checked = again.ask(PREPARED[0])
    assert all(len(one.also[0].called("runner")) == 1 for one in checked.values())
    again.ask(EndSessions())
    assert [host.sessions() for host in hosts] == [[], []]
