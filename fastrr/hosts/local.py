"""The controller itself as a host: the same scripts, run by a local ``sh``."""

from __future__ import annotations

import contextlib
import os
import subprocess
import threading
from collections.abc import Callable, Sequence

from fastrr.errors import CommandFailed, ConnectionFailed, ConnectionLost
from fastrr.hosts.answers import Errors, bound_to, output
from fastrr.hosts.base import Completed, Feed, FileSender, took_too_long
from fastrr.hosts.process import Drain, feed, kill, killed_after, pipes, start
from fastrr.hosts.shell import SHELL_COMMAND, Script


class LocalHost:
    """Runs scripts in a subprocess of their own session, so that Ctrl-C is not theirs."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.proof = ""
        self._process: subprocess.Popen[bytes] | None = None
        self._interrupted = False
        self._lock = threading.Lock()

    @property
    def identity(self) -> str:
        return self.name

    def connect(self) -> None:
        """Nothing is far away here."""
        if not os.path.exists("/bin/sh"):
            raise ConnectionFailed("there is no /bin/sh on this machine")

    def run(
        self,
        script: Script,
        on_line: Callable[[bytes], None] | None = None,
        limit_s: float | None = None,
        answer_bytes: int | None = None,
    ) -> Completed:
        data = script.data
        limit_bytes = bound_to(data) if answer_bytes is None else answer_bytes
        process = self._start(SHELL_COMMAND)
        with process, killed_after(process, limit_s) as late:
            try:
                stdout, stderr = _talk(process, data, on_line, limit_bytes)
            except BaseException:
                kill(process)  # else leaving `with` would wait for its end
                raise
        if late.is_set() and limit_s is not None:
            raise took_too_long(limit_s)
        return self._completed(process, stdout, stderr)

    def stream(
        self,
        command: str,
        write: Callable[[Feed], None],
        *,
        bulk: bool = False,
        limit_s: float | None = None,
        answer_bytes: int | None = None,
    ) -> Completed:
        del bulk  # a pipe is as fast as it gets
        process = self._start(command)
        return self._completed(process, *feed(process, write, limit_s, answer_bytes))

    def run_here(self, command: Sequence[str], hear: Callable[[bytes], None]) -> Completed:
        del command, hear
        raise CommandFailed("no remote shell leads to localhost")

    def open_sender(self) -> FileSender:
        raise CommandFailed("components of localhost can't have files: they are here already")

    def end_transfer(self) -> None:
        """A pipe is never stuck."""

    def interrupt(self) -> None:
        with self._lock:
            self._interrupted = True
            if process := self._process:
                kill(process)

    def close(self) -> None:
        self.interrupt()

    def _start(self, command: str) -> subprocess.Popen[bytes]:
        with self._lock:
            if self._interrupted:
                raise ConnectionLost("interrupted")
            self._process = start(["/bin/sh", "-c", command])
            return self._process

    def _completed(
        self, process: subprocess.Popen[bytes], stdout: bytes, stderr: bytes
    ) -> Completed:
        self._process = None
        if self._interrupted:
            raise ConnectionLost("interrupted")
        return Completed(process.returncode, stdout, stderr)


def _talk(
    process: subprocess.Popen[bytes],
    data: bytes,
    on_line: Callable[[bytes], None] | None,
    limit_bytes: int,
) -> tuple[bytes, bytes]:
    """Send the script and read both outputs to their end."""
    stdin, stdout, stderr = pipes(process)
    errors = Drain(process, stderr, Errors(limit_bytes))
    answer = output(on_line, limit_bytes)
    # sh reads all of the script before it runs any: writing it first can't deadlock.
    with contextlib.suppress(BrokenPipeError), stdin:
        stdin.write(data)
    while piece := os.read(stdout.fileno(), _PIECE_BYTES):
        answer.add(piece)
    return answer.end(), errors.result()


_PIECE_BYTES = 1 << 16
