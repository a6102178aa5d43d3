"""Worker processes, and the one place that knows that there are processes.

A host belongs to one worker for the whole run, so its connection lives there. Workers are forked
all at once, before the parent has any thread: `concurrent.futures.ProcessPoolExecutor` starts a
thread with its first process, and one executor a worker would fork the others beside it.
The parent talks to each over a pipe, and reads replies and events in one loop in its main thread.
"""

from __future__ import annotations

import contextlib
import gc
import math
import multiprocessing
import multiprocessing.connection
import os
import signal
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from types import FrameType
from typing import Any, NamedTuple

from fastrr.errors import Interrupted, TimeLimitPassed
from fastrr.events import Event
from fastrr.model import Failure

CANCEL_PATIENCE_S = 10.0
"""How long workers may take to clean up after a cancel before they are ended."""
TIME_LIMIT_PATIENCE_S = 1.0
"""The same after a time limit, for everything together: it is to be kept."""

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

WAITING_EVERY_S = 10.0
"""How often whoever calls is told which hosts have not answered yet."""


class Reply(NamedTuple):
    """What a request to one host came to."""

    host: str
    value: Any
    """What the request returns, or a `Failure`."""
    call: int = 0
    """Which `Batch` it answers."""


class Batch(NamedTuple):
    """Requests for some hosts of a worker, of one call."""

    call: int
    requests: Mapping[str, Any]


class Cancel:
    """Asks a worker to give up what its hosts are doing, and to clean up after it."""


class Stop:
    """Asks a worker to close its connections and end."""


WorkerMain = Callable[[Connection, Sequence[str]], None]
"""What runs in a worker: serves requests for the hosts named until the pipe says `Stop`."""


@dataclass(slots=True)
class _Worker:
    process: BaseProcess
    pipe: Connection
    hosts: tuple[str, ...]


@dataclass(slots=True)
class _Call:
    """Requests under way: to which hosts, and what has come back."""

    number: int
    hosts: frozenset[str]
    on_event: Callable[[Event], None]
    on_reply: Callable[[Reply], None]
    results: dict[str, Any] = field(default_factory=dict)

    @property
    def wanting(self) -> bool:
        return len(self.results) < len(self.hosts)

    def read(self, worker: _Worker) -> None:
        try:
            message = worker.pipe.recv()
        except (EOFError, OSError):  # OSError: it died in the middle of a message
            self.lost(worker)
            return
        if isinstance(message, Reply):
            self._take(message)
        else:
            self.on_event(message)

    def lost(self, worker: _Worker) -> None:
        """Answer for the hosts of a worker that is gone."""
        worker.pipe.close()
        worker.process.join(1.0)
        code = worker.process.exitcode
        message = f"its worker process ended unexpectedly (exit code {code})"
        for host in worker.hosts:
            if host in self.hosts and host not in self.results:
                self._take(Reply(host, Failure(host, (message,)), self.number))

    def _take(self, reply: Reply) -> None:
        if reply.call != self.number:
            return  # a late answer to a call that was cancelled
        self.results[reply.host] = reply.value
        self.on_reply(reply)


class WorkerPool:
    """Forks ``jobs`` workers, shares the hosts out among them, and runs requests on hosts."""

    def __init__(self, hosts: Sequence[str], jobs: int, main: WorkerMain) -> None:
        self._workers: list[_Worker] = []
        self._calls = 0
        self._interrupts = _Interrupts()
        self._finish_by = math.inf
        """When all is to be over, once a time limit has passed."""
        count = max(1, min(jobs, len(hosts)))
        gc.freeze()  # what there is by now stays: workers need not look through it, nor copy it
        # A worker must not meet a signal before it has its handlers.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
        try:
            for number in range(count):
                self._fork(tuple(hosts[number::count]), main)
        except BaseException:
            self._kill()
            raise
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)

    def _fork(self, hosts: tuple[str, ...], main: WorkerMain) -> None:
        context = multiprocessing.get_context("fork")
        here, there = context.Pipe()
        ours = (here, *(worker.pipe for worker in self._workers))
        process = context.Process(
            target=_enter_worker, args=(main, there, hosts, ours), daemon=True
        )
        process.start()
        there.close()
        self._workers.append(_Worker(process, here, hosts))

    def __enter__(self) -> WorkerPool:  # noqa: PYI034 (typing.Self came with 3.11)
        self._interrupts.install()
        return self

    def __exit__(self, *exception: object) -> None:
        try:
            self._stop()
        finally:
            self._interrupts.remove()

    def call(
        self,
        requests: Mapping[str, object],
        on_event: Callable[[Event], None],
        on_reply: Callable[[Reply], None] = lambda _reply: None,
        deadline: float | None = None,
        *,
        heed_interrupts: bool = True,
        on_waiting: Callable[[Sequence[str]], None] = lambda _hosts: None,
    ) -> dict[str, Any]:
        """Run each host's request, all at once; return each host's value or `Failure`.

        ``heed_interrupts=False`` is for cleaning up after one. ``on_waiting`` hears now and then
        which hosts have not answered.

        :raises Interrupted: after SIGINT, SIGTERM or SIGHUP; the hosts have cleaned up by then.
        :raises TimeLimitPassed: when ``deadline`` (`time.monotonic`) passes first; likewise.
        """
        if deadline is not None or self._finish_by < math.inf:
            deadline = min(math.inf if deadline is None else deadline, self._finish_by)
        self._calls += 1
        call = _Call(self._calls, frozenset(requests), on_event, on_reply)
        for worker in self._workers:
            if batch := {host: requests[host] for host in worker.hosts if host in requests}:
                try:
                    worker.pipe.send(Batch(call.number, batch))
                except OSError:
                    call.lost(worker)
        try:
            self._pump(call, deadline, heed_interrupts=heed_interrupts, on_waiting=on_waiting)
        except (Interrupted, TimeLimitPassed) as error:
            if isinstance(error, TimeLimitPassed):
                self._must_finish()
            self._cancel(call)
            raise
        return call.results

    def raise_if_stopped(self, deadline: float | None = None) -> None:
        """Raise what `call` would raise now, for whoever waits for something else.

        :raises Interrupted: when a signal has arrived since the pool was entered.
        :raises TimeLimitPassed: when ``deadline`` has passed.
        """
        if self._interrupts.read_end.poll():
            raise Interrupted("interrupted")
        if deadline is not None and time.monotonic() >= deadline:
            self._must_finish()
            raise TimeLimitPassed("the time limit passed")

    def _must_finish(self) -> None:
        """Have everything end soon: hosts that do not react must not hold up the end of a run."""
        self._finish_by = min(self._finish_by, time.monotonic() + TIME_LIMIT_PATIENCE_S)

    def _patience_ends(self) -> float:
        return min(time.monotonic() + CANCEL_PATIENCE_S, self._finish_by)

    def _pump(
        self,
        call: _Call,
        deadline: float | None,
        *,
        heed_interrupts: bool,
        on_waiting: Callable[[Sequence[str]], None] = lambda _hosts: None,
    ) -> None:
        """Read what the workers send until every host of ``call`` has replied."""
        tell_at = time.monotonic() + WAITING_EVERY_S
        while call.wanting:
            ends: dict[Any, _Worker | None] = {
                worker.pipe: worker for worker in self._workers if not worker.pipe.closed
            }
            if not ends:
                return
            if heed_interrupts:
                ends[self._interrupts.read_end] = None
            until = tell_at if deadline is None else min(tell_at, deadline)
            timeout = max(0.0, until - time.monotonic())
            ready = multiprocessing.connection.wait(list(ends), timeout)
            if deadline is not None and time.monotonic() >= deadline:
                raise TimeLimitPassed("the time limit passed")
            if time.monotonic() >= tell_at:
                on_waiting(sorted(call.hosts - call.results.keys()))
                tell_at += WAITING_EVERY_S
            for end in ready:
                if (worker := ends[end]) is None:
                    raise Interrupted("interrupted")
                call.read(worker)

    def _cancel(self, call: _Call) -> None:
        for worker in self._workers:
            with contextlib.suppress(OSError):
                worker.pipe.send(Cancel())
        with contextlib.suppress(TimeLimitPassed):
            self._pump(call, self._patience_ends(), heed_interrupts=False)

    def _stop(self) -> None:
        try:
            for worker in self._workers:
                with contextlib.suppress(OSError):
                    worker.pipe.send(Stop())
            deadline = self._patience_ends()
            for worker in self._workers:
                worker.process.join(max(0.0, deadline - time.monotonic()))
        finally:
            self._kill()

    def _kill(self) -> None:
        """End what workers there still are, at once."""
        for worker in self._workers:
            worker.process.kill()
            worker.process.join()
            worker.process.close()
            worker.pipe.close()
        self._workers.clear()


def _enter_worker(
    main: WorkerMain, pipe: Connection, hosts: Sequence[str], ours: Sequence[Connection]
) -> None:
    # The parent's ends of all pipes so far were inherited; a worker that kept them would not
    # notice the parent's death.
    for end in ours:
        end.close()
    # A handler, not SIG_IGN: ignored signals stay ignored in the programs a worker starts.
    for number in _SIGNALS:
        signal.signal(number, lambda *_: None)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
    main(pipe, hosts)


class _Interrupts:
    """Turns signals that ask for an end into what the loop can wait for; the third is for real."""

    def __init__(self) -> None:
        self.read_end, self._write_end = multiprocessing.Pipe(duplex=False)
        self._count = 0
        self._before: dict[int, Any] = {}

    def install(self) -> None:
        for number in _SIGNALS:
            self._before[number] = signal.signal(number, self._on_signal)

    def remove(self) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self.read_end.close()
        self._write_end.close()

    def _on_signal(self, _number: int, _frame: FrameType | None) -> None:
        self._count += 1
        if self._count > 2:
            raise KeyboardInterrupt
        os.write(self._write_end.fileno(), b"\0")
