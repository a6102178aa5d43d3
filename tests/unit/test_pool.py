"""The worker pool, with real forks: replies, events, deaths, interrupts, limits, no leftovers."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import time
from collections.abc import Iterator, Sequence
from multiprocessing.connection import Connection
from pathlib import Path

import pytest

from fastrr.errors import Interrupted, TimeLimitPassed
from fastrr.events import Event, Logged, Sent
from fastrr.model import Failure
from fastrr.run import pool as pool_module
from fastrr.run.pool import Batch, Cancel, Reply, Stop, WorkerPool

HOSTS = ("a", "b", "c", "d")
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
WAITS_S = 15
"""A worker that hears nothing for so long ends: no test waits for ever."""


def serve(pipe: Connection, hosts: Sequence[str]) -> None:
    """A worker whose requests are words that say what to do."""
    waiting: list[tuple[str, int]] = []
    while pipe.poll(WAITS_S):
        try:
            message = pipe.recv()
        except EOFError:
            return
        if isinstance(message, Stop):
            return
        if isinstance(message, Cancel):
            for host, call in waiting:
                pipe.send(Reply(host, f"{host} cleaned up", call))
            waiting.clear()
            continue
        assert isinstance(message, Batch)
        requests = message.requests.items()
        waiting += [(host, message.call) for host, request in requests if request == "wait"]
        for host, request in requests:
            obey(pipe, hosts, host, request, message.call)


def obey(pipe: Connection, hosts: Sequence[str], host: str, request: str, call: int) -> None:
    """Do what the word says; unknown ones are echoed."""
    match request:
        case "wait" | "hang":
            pipe.send(Logged(20, f"{host} will {request}"))
            time.sleep(60 if request == "hang" else 0)
        case "die" | "die half-way":
            if request == "die half-way":
                # The length of a message, as multiprocessing writes it, and too little of it.
                os.write(pipe.fileno(), b"\0\0\1\0half")
            os.kill(os.getpid(), signal.SIGKILL)
        case "chat":
            while not pipe.poll():
                pipe.send(Sent(host, 1))
        case "count":
            for number in range(100):
                pipe.send(Sent(host, number))
            pipe.send(Reply(host, "counted", call))
        case "pid":
            pipe.send(Reply(host, os.getpid(), call))
        case "hosts":
            pipe.send(Reply(host, tuple(hosts), call))
        case _:
            pipe.send(Reply(host, request, call))


def children_of_this_process() -> set[str]:
    """All children, of whatever thread, zombies included; test hosts may be among them."""
    tasks = Path("/proc/self/task").iterdir()
    return {pid for task in tasks for pid in (task / "children").read_text().split()}


@pytest.fixture(autouse=True)
def unheeded_signals() -> Iterator[None]:
    """A signal that the pool leaves alone is to fail a test, not to end all of them."""

    def fail(number: int, _frame: object) -> None:
        pytest.fail(f"nobody heeded signal {number}")

    before = {number: signal.signal(number, fail) for number in SIGNALS}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture(autouse=True)
def nothing_left(unheeded_signals: None) -> Iterator[None]:
    """No child, no descriptor and no signal handler outlives a test."""
    children = children_of_this_process()
    descriptors = set(os.listdir("/proc/self/fd"))
    handlers = [signal.getsignal(number) for number in SIGNALS]
    yield
    assert multiprocessing.active_children() == []
    assert children_of_this_process() <= children
    assert set(os.listdir("/proc/self/fd")) == descriptors
    assert [signal.getsignal(number) for number in SIGNALS] == handlers
    assert signal.pthread_sigmask(signal.SIG_BLOCK, ()) == set()


def ignore(_event: Event) -> None:
    """For tests where events do not matter."""


def test_every_host_gets_its_own_request_and_answer() -> None:
    with WorkerPool(HOSTS, 2, serve) as pool:
        requests = {host: f"hello {host}" for host in HOSTS}
        assert pool.call(requests, ignore) == requests
        assert pool.call({"b": 1}, ignore) == {"b": 1}
        assert pool.call({}, ignore) == {}


def test_hosts_are_shared_out_and_stay_with_their_worker() -> None:
    with WorkerPool(HOSTS, 2, serve) as pool:
        assert pool.call(dict.fromkeys(HOSTS, "hosts"), ignore) == {
            "a": ("a", "c"),
            "b": ("b", "d"),
            "c": ("a", "c"),
            "d": ("b", "d"),
        }
        pids = pool.call(dict.fromkeys(HOSTS, "pid"), ignore)
        assert pids == pool.call(dict.fromkeys(HOSTS, "pid"), ignore)


@pytest.mark.parametrize(("jobs", "workers"), [(1, 1), (3, 3), (9, 4)])
def test_there_are_as_many_workers_as_jobs_but_no_more_than_hosts(jobs: int, workers: int) -> None:
    with WorkerPool(HOSTS, jobs, serve) as pool:
        pids = pool.call(dict.fromkeys(HOSTS, "pid"), ignore)
    assert len(set(pids.values())) == workers
    assert os.getpid() not in pids.values()


def test_a_pool_without_hosts_is_no_error() -> None:
    with WorkerPool((), 4, serve) as pool:
        assert pool.call({}, ignore) == {}


def test_events_come_in_order_and_replies_are_heard_as_they_come() -> None:
    events: list[Event] = []
    replies: list[Reply] = []
    with WorkerPool(HOSTS, 4, serve) as pool:
        pool.call(dict.fromkeys(HOSTS, "count"), events.append, replies.append)
    for host in HOSTS:
        assert [e.bytes for e in events if isinstance(e, Sent) and e.host == host] == [*range(100)]
    assert sorted(reply.host for reply in replies) == list(HOSTS)


# A worker that dies


@pytest.mark.parametrize("way", ["die", "die half-way"])
def test_a_killed_worker_is_reported_for_its_own_hosts_only(way: str) -> None:
    replies: list[Reply] = []
    requests = {"a": way, "b": "fine", "c": "never asked", "d": "fine"}
    with WorkerPool(HOSTS, 2, serve) as pool:
        results = pool.call(requests, ignore, replies.append)
        lost = ("its worker process ended unexpectedly (exit code -9)",)
        assert results == {
            "a": Failure("a", lost),
            "b": "fine",
            "c": Failure("c", lost),
            "d": "fine",
        }
        assert {reply.host: reply.value for reply in replies} == results

        again = pool.call(dict.fromkeys(HOSTS, "again"), ignore)
        assert again["b"] == again["d"] == "again"
        assert isinstance(again["a"], Failure)
        assert isinstance(again["c"], Failure)


def test_a_worker_that_died_between_calls_is_noticed() -> None:
    with WorkerPool(HOSTS, 4, serve) as pool:
        pid = pool.call({"a": "pid"}, ignore)["a"]
        os.kill(pid, signal.SIGKILL)
        results = pool.call(dict.fromkeys(HOSTS, "hello"), ignore)
    assert isinstance(results.pop("a"), Failure)
    assert set(results.values()) == {"hello"}


def test_the_last_worker_s_death_ends_the_call() -> None:
    with WorkerPool(("a",), 1, serve) as pool:
        assert isinstance(pool.call({"a": "die"}, ignore)["a"], Failure)
        assert isinstance(pool.call({"a": "hello"}, ignore)["a"], Failure)


# Interrupts and limits


class Killer:
    """Sends us a signal when the last of some hosts has begun with what it was asked for."""

    def __init__(self, number: int, hosts: Sequence[str]) -> None:
        self._number, self._missing = number, len(hosts)

    def __call__(self, _event: Event) -> None:
        self._missing -= 1
        if self._missing == 0:
            os.kill(os.getpid(), self._number)


@pytest.mark.parametrize("number", SIGNALS)
def test_an_interrupt_cancels_and_waits_for_the_cleaning_up(number: int) -> None:
    replies: dict[str, object] = {}

    def replied(reply: Reply) -> None:
        replies[reply.host] = reply.value

    with WorkerPool(HOSTS, 2, serve) as pool:
        pool.raise_if_stopped()
        with pytest.raises(Interrupted):
            pool.call(dict.fromkeys(HOSTS, "wait"), Killer(number, HOSTS), replied)
        assert replies == {host: f"{host} cleaned up" for host in HOSTS}
        with pytest.raises(Interrupted):
            pool.raise_if_stopped()
        with pytest.raises(Interrupted):
            pool.call({"a": "wait"}, ignore)
        assert pool.call({"a": "tidy"}, ignore, heed_interrupts=False) == {"a": "tidy"}


def test_the_third_interrupt_is_for_real() -> None:
    with WorkerPool(("a",), 1, serve) as pool:
        with pytest.raises(Interrupted):
            pool.call({"a": "wait"}, Killer(signal.SIGINT, "a"))
        try:
            tidied = pool.call({"a": "count"}, Killer(signal.SIGINT, "a"), heed_interrupts=False)
        except KeyboardInterrupt:
            pytest.fail("the second has cut the cleaning up short")
        assert tidied == {"a": "counted"}
        with pytest.raises(KeyboardInterrupt):
            pool.call({"a": "count"}, Killer(signal.SIGINT, "a"), heed_interrupts=False)


@pytest.mark.parametrize("number", SIGNALS)
def test_workers_leave_signals_to_the_parent(number: int) -> None:
    with WorkerPool(("a",), 1, serve) as pool:
        pid = pool.call({"a": "pid"}, ignore)["a"]
        os.kill(pid, number)
        assert pool.call({"a": "still here"}, ignore) == {"a": "still here"}


def test_the_deadline_cancels_too() -> None:
    replies: list[Reply] = []
    with WorkerPool(HOSTS, 2, serve) as pool:
        requests = {"a": "wait", "b": "done"}
        with pytest.raises(TimeLimitPassed):
            pool.call(requests, ignore, replies.append, deadline=time.monotonic() + 0.2)
        assert {r.host: r.value for r in replies} == {"a": "a cleaned up", "b": "done"}
        assert pool.call({"a": "next"}, ignore) == {"a": "next"}


def test_a_deadline_that_has_passed_is_seen_without_a_call() -> None:
    with WorkerPool(("a",), 1, serve) as pool:
        pool.raise_if_stopped(time.monotonic() + 60)
        with pytest.raises(TimeLimitPassed):
            pool.raise_if_stopped(time.monotonic())


def test_now_and_then_it_is_said_who_has_not_answered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool_module, "WAITING_EVERY_S", 0.1)
    told: list[Sequence[str]] = []
    with WorkerPool(HOSTS, 2, serve) as pool:
        requests = dict.fromkeys(HOSTS, "wait") | {"b": "answered"}
        with pytest.raises(TimeLimitPassed):
            pool.call(requests, ignore, deadline=time.monotonic() + 0.35, on_waiting=told.append)
    assert 2 <= len(told) <= 3
    assert all(list(hosts) == ["a", "c", "d"] for hosts in told)


def test_the_deadline_holds_however_much_there_is_to_hear(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(pool_module, "CANCEL_PATIENCE_S", 0.2)
    began = time.monotonic()
    with WorkerPool(("a",), 1, serve) as pool:
        with pytest.raises(TimeLimitPassed):
            pool.call({"a": "chat"}, ignore, deadline=began + 0.2)
        assert time.monotonic() - began < 3.0


def test_a_worker_that_heeds_no_cancel_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool_module, "CANCEL_PATIENCE_S", 0.2)
    began = time.monotonic()
    with WorkerPool(("a", "b"), 2, serve) as pool:
        with pytest.raises(Interrupted):
            pool.call({"a": "hang"}, Killer(signal.SIGINT, "a"))
        assert pool.call({"b": "fine"}, ignore, heed_interrupts=False) == {"b": "fine"}
    assert time.monotonic() - began < 3.0


def test_late_answers_to_a_cancelled_call_answer_no_later_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(pool_module, "CANCEL_PATIENCE_S", 0.0)
    with WorkerPool(("a", "b"), 1, serve) as pool:
        with pytest.raises(TimeLimitPassed):
            pool.call({"a": "wait"}, ignore, deadline=time.monotonic() + 0.1)
        monkeypatch.undo()
        assert pool.call({"b": "mine"}, ignore) == {"b": "mine"}


@pytest.mark.parametrize("after", ["nothing", "cleaning up"])
def test_a_time_limit_holds_whatever_workers_do(after: str) -> None:
    """Cancelling, cleaning up and ending have little time, and have it together."""
    began = time.monotonic()
    with WorkerPool(("a", "b"), 2, serve) as pool:
        with pytest.raises(TimeLimitPassed):
            pool.call({"a": "hang", "b": "done"}, ignore, deadline=began + 0.1)
        if after == "cleaning up":
            with pytest.raises(TimeLimitPassed):
                pool.call({"b": "hang"}, ignore, deadline=began + 60, heed_interrupts=False)
    assert time.monotonic() - began < 0.1 + 2.0


# The end


def _hold_a_pool(pids: Connection) -> None:
    with WorkerPool(HOSTS, 4, serve) as pool:
        pids.send(pool.call(dict.fromkeys(HOSTS, "pid"), ignore))
        time.sleep(60)


def test_workers_do_not_outlive_a_killed_parent() -> None:
    # Parent and workers hold the writing end of this pipe: its end is theirs.
    reading, writing = os.pipe()
    context = multiprocessing.get_context("fork")
    here, there = context.Pipe()
    parent = context.Process(target=_hold_a_pool, args=(there,))
    parent.start()
    os.close(writing)
    there.close()
    assert len(set(here.recv().values())) == 4
    parent.kill()
    parent.join()
    parent.close()
    here.close()
    with contextlib.ExitStack() as stack:
        stack.callback(os.close, reading)
        os.set_blocking(reading, False)
        deadline = time.monotonic() + 5
        while True:
            try:
                assert os.read(reading, 1) == b""
                break
            except BlockingIOError:
                assert time.monotonic() < deadline, "workers are still there"
                time.sleep(0.01)
