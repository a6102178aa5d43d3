"""Feeding and hearing out a local process: sh here, or the OpenSSH client that leads to a host."""

from __future__ import annotations

import contextlib
import fcntl
import os
import select
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from typing import IO, Any

from fastrr.hosts.answers import UNKEPT_BYTES, Answer, AnsweredTooMuch, Errors, Output, Pace, bound
from fastrr.hosts.base import Feed, took_too_long

PIPE_BYTES = 1 << 20
"""Size of the pipe to a process: fewer switches between two busy processes (fcntl(2), F_SETPIPE_SZ;
an ordinary user may have 1 MiB unless pipe-max-size says less)."""

_SENDFILE_BYTES = 1 << 20

HEAR_EVERY_S = 0.2
_HEARD_BYTES = 1 << 16


class PipeFeed:
    """Standard input of a process. See `fastrr.hosts.base.Feed`."""

    def __init__(self, pipe: IO[bytes]) -> None:
        self._descriptor = pipe.fileno()
        if hasattr(fcntl, "F_SETPIPE_SZ"):
            with contextlib.suppress(OSError):
                fcntl.fcntl(self._descriptor, fcntl.F_SETPIPE_SZ, PIPE_BYTES)

    def write(self, data: bytes) -> None:
        view = memoryview(data)
        while view:
            view = view[os.write(self._descriptor, view) :]

    def send_file(self, file: IO[bytes], count: int, sent: Callable[[int], None]) -> int:
        """No byte of the file passes through Python (sendfile(2))."""
        left = count
        while left:
            moved = os.sendfile(self._descriptor, file.fileno(), None, min(left, _SENDFILE_BYTES))
            if not moved:
                break
            left -= moved
            sent(moved)
        return count - left


def start(command: list[str], environment: dict[str, str] | None = None) -> subprocess.Popen[bytes]:
    """Start a process in a session of its own, so that Ctrl-C is not its own."""
    return subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
        env=environment,
    )


def pipes(process: subprocess.Popen[bytes]) -> tuple[IO[bytes], IO[bytes], IO[bytes]]:
    """Return the standard streams of a process that was begun by `start`."""
    assert process.stdin is not None
    assert process.stdout is not None
    assert process.stderr is not None
    return process.stdin, process.stdout, process.stderr


class Drain:
    """Reads a pipe of a process to its end, in a thread; ends the process if that is too much."""

    def __init__(self, process: subprocess.Popen[bytes], pipe: IO[bytes], output: Output) -> None:
        self._process, self._output = process, output
        # A descriptor of its own: the pipe may be closed, and its number used again, meanwhile.
        self._descriptor = os.dup(pipe.fileno())
        self._failure: AnsweredTooMuch | None = None
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        try:
            while piece := os.read(self._descriptor, _HEARD_BYTES):
                self._output.add(piece)
        except AnsweredTooMuch as failure:
            self._failure = failure
            kill(self._process)
        finally:
            os.close(self._descriptor)

    def wait(self, until: float | None = None) -> bool:
        """Wait for the end, but not longer than ``until`` (`time.monotonic`); return if it came."""
        self._thread.join(None if until is None else max(0.0, until - time.monotonic()))
        return not self._thread.is_alive()

    def raise_if_too_much(self) -> None:
        """Raise what ended the process, if it was this.

        :raises AnsweredTooMuch: when it was.
        """
        if self._failure is not None:
            raise self._failure

    def result(self) -> bytes:
        """Wait for the end; return what is kept.

        :raises AnsweredTooMuch: when it was too much.
        """
        self.wait()
        self.raise_if_too_much()
        return self._output.end()


def feed(
    process: subprocess.Popen[bytes],
    write: Callable[[Feed], None],
    limit_s: float | None = None,
    answer_bytes: int | None = None,
) -> tuple[bytes, bytes]:
    """Let ``write`` write the standard input while both outputs are read; return these.

    The process may end before it has read all; its status says what that means. What ``write``
    raises ends the process.

    :raises CommandFailed: when the process has not ended ``limit_s`` after all was written.
    :raises AnsweredTooMuch: when it prints more than ``answer_bytes``.
    """
    stdin, stdout, stderr = pipes(process)
    limit_bytes = bound() if answer_bytes is None else answer_bytes
    drains = [
        Drain(process, stdout, Answer(limit_bytes)),
        Drain(process, stderr, Errors(limit_bytes)),
    ]
    with process:
        try:
            with contextlib.suppress(BrokenPipeError), stdin:
                write(PipeFeed(stdin))
            until = None if limit_s is None else time.monotonic() + limit_s
            for drain in drains:
                if not drain.wait(until):
                    raise took_too_long(limit_s or 0)
            answer, errors = (drain.result() for drain in drains)
        except BaseException:
            kill(process)  # else leaving `with` would wait for its end
            raise
    return answer, errors


def hear_out(process: subprocess.Popen[bytes], hear: Callable[[bytes], None]) -> bytes:
    """Let ``hear`` have the standard output as it comes, and nothing now and then; return stderr.

    The process gets no input. What ``hear`` raises ends it.

    :raises AnsweredTooMuch: when it prints without end.
    """
    stdin, stdout, stderr = pipes(process)
    errors = Drain(process, stderr, Errors(bound()))
    pace = Pace(UNKEPT_BYTES)
    with process:
        try:
            stdin.close()
            while True:
                ready, _, _ = select.select([stdout], [], [], HEAR_EVERY_S)
                piece = os.read(stdout.fileno(), _HEARD_BYTES) if ready else b""
                pace.add(len(piece))
                hear(piece)
                if ready and not piece:
                    break
            return errors.result()
        except BaseException:
            kill(process)
            raise


@contextlib.contextmanager
def killed_after(
    process: subprocess.Popen[bytes], limit_s: float | None
) -> Iterator[threading.Event]:
    """Kill ``process`` if what is done inside takes longer; the event tells that it was so."""
    late = threading.Event()

    def give_up() -> None:
        late.set()
        kill(process)

    if limit_s is None:
        yield late
        return
    timer = threading.Timer(limit_s, give_up)
    timer.daemon = True
    timer.start()
    try:
        yield late
    finally:
        timer.cancel()
        timer.join()


def kill(process: subprocess.Popen[Any]) -> None:
    """End a process and what it has started: any of them keeps its outputs open."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
