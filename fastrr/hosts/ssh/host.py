"""A host reached by SSH."""

from __future__ import annotations

import contextlib
import logging
import math
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import IO

import paramiko

from fastrr.errors import CommandFailed, ConnectionFailed, ConnectionLost
from fastrr.hosts.answers import (
    LEAST_BYTES,
    AnsweredTooMuch,
    Errors,
    Output,
    bound,
    bound_to,
    output,
)
from fastrr.hosts.base import Completed, Feed, FileSender, took_too_long
from fastrr.hosts.machine import ANOTHER, SAYS_ANOTHER
from fastrr.hosts.process import feed, hear_out, kill
from fastrr.hosts.shell import SHELL_COMMAND, Script
from fastrr.hosts.ssh import openssh, pacing, patience
from fastrr.hosts.ssh.connection import Connection, connect
from fastrr.hosts.ssh.sftp import SftpSender
from fastrr.model import SshSettings

_CHUNK_BYTES = 1 << 15
_FEED_BYTES = 1 << 18

_SAID_MEANWHILE_BYTES = 1 << 24
"""How much a command may print before it has read all of its input; the connection sees to it that
a host keeps to it."""
_PACKET_HEADER_BYTES = 64
"""What paramiko leaves free in each."""
_SSH_FAILED = 255
"""Exit status of the OpenSSH client for failures of its own (ssh(1))."""

_ANOTHER = "a second connection led to another machine behind the same name"

logger = logging.getLogger(__name__)


class SshHost:
    """Scripts and files over one paramiko connection, kept from check to watch."""

    def __init__(self, name: str, settings: SshSettings, connect_timeout_s: float) -> None:
        self.name = name
        self.proof = ""
        self._settings = settings
        self._connect_timeout_s = connect_timeout_s
        self._attempt: _Attempt | None = None
        self._connection: Connection | None = None
        self._bulk: subprocess.Popen[bytes] | None = None
        self._round_trip_s = math.inf
        """The shortest that there was."""
        self._interrupted = threading.Event()

    @property
    def identity(self) -> str:
        connection = self._alive()
        key = connection.host_key
        return f"{connection.target.user} {key.get_name()} {key.get_base64()}"

    def connect(self) -> None:
        if self._interrupted.is_set():
            raise ConnectionFailed("interrupted")
        self.close()  # what was lost, or led elsewhere
        # In a thread of its own: what blocks there can't be interrupted, only left behind.
        attempt = _Attempt(lambda: connect(self.name, self._settings, self._connect_timeout_s))
        self._attempt = attempt
        if self._interrupted.is_set():  # just now, when there was no attempt to abandon
            attempt.abandon()
        self._connection = attempt.result()

    def run(
        self,
        script: Script,
        on_line: Callable[[bytes], None] | None = None,
        limit_s: float | None = None,
        answer_bytes: int | None = None,
    ) -> Completed:
        data = script.data
        limit_bytes = bound_to(data) if answer_bytes is None else answer_bytes
        return self._execute(
            SHELL_COMMAND, lambda feed: feed.write(data), limit_bytes, on_line, limit_s
        )

    def stream(
        self,
        command: str,
        write: Callable[[Feed], None],
        *,
        bulk: bool = False,
        limit_s: float | None = None,
        answer_bytes: int | None = None,
    ) -> Completed:
        limit_bytes = bound() if answer_bytes is None else answer_bytes
        if bulk and (ssh := openssh.client()) is not None:
            try:
                proven = _by_sh(f"{self.proof}{command}")
                completed = self._stream_by(ssh, proven, write, limit_s, limit_bytes)
            except openssh.Unprepared as error:
                logger.debug("%s: %s", self.name, error)
            else:
                if completed.status == ANOTHER and SAYS_ANOTHER.encode() in completed.stderr:
                    logger.warning("%s: %s; the first one leads to it", self.name, _ANOTHER)
                    return self._execute(_by_sh(command), write, limit_bytes, limit_s=limit_s)
                if 0 <= completed.status < _SSH_FAILED:  # below: it was killed
                    return completed
                logger.debug("%s: no bulk connection: %s", self.name, completed.last_words())
        return self._execute(_by_sh(command), write, limit_bytes, limit_s=limit_s)

    def run_here(self, command: Sequence[str], hear: Callable[[bytes], None]) -> Completed:
        if (ssh := openssh.client()) is None:
            raise CommandFailed("there is no ssh on this machine")
        with (
            openssh.leading(ssh, self._bulk_settings(), command, self.proof) as process,
            self._interruptible(process),
            self._closed_if_too_much(),
        ):
            stderr = hear_out(process, hear)
        if SAYS_ANOTHER.encode() in stderr:
            raise CommandFailed(_ANOTHER)
        return self._completed(process, b"", stderr)

    def _stream_by(
        self,
        ssh: str,
        command: str,
        write: Callable[[Feed], None],
        limit_s: float | None,
        limit_bytes: int = LEAST_BYTES,
    ) -> Completed:
        with (
            openssh.connecting(ssh, self._bulk_settings(), command) as process,
            self._interruptible(process),
            self._closed_if_too_much(),
        ):
            stdout, stderr = feed(process, write, limit_s, limit_bytes)
        return self._completed(process, stdout, stderr)

    def _bulk_settings(self) -> openssh.Bulk:
        connection = self._alive()
        key = connection.host_key
        return openssh.Bulk(
            self.name,
            self._settings.config_file,
            connection.target,
            f"{key.get_name()} {key.get_base64()}",
            connection.credential,
            self._settings.password,
        )

    @contextlib.contextmanager
    def _interruptible(self, process: subprocess.Popen[bytes]) -> Iterator[None]:
        """Have a process that leads to the host ended by `interrupt` for the time inside.

        Not after it: its number may be another process's by then.
        """
        self._bulk = process
        try:
            if self._interrupted.is_set():  # just now, when there was no process to end
                kill(process)
            yield
        finally:
            self._bulk = None

    def _completed(
        self, process: subprocess.Popen[bytes], stdout: bytes, stderr: bytes
    ) -> Completed:
        if self._interrupted.is_set():
            raise self._lost(None)
        return Completed(process.returncode, stdout, stderr)

    @contextlib.contextmanager
    def _closed_if_too_much(self) -> Iterator[None]:
        """Leave a host that answers without end: closing the channel alone would not stop it."""
        try:
            yield
        except AnsweredTooMuch:
            self.close()
            raise

    def _execute(
        self,
        command: str,
        write: Callable[[Feed], None],
        limit_bytes: int,
        on_line: Callable[[bytes], None] | None = None,
        limit_s: float | None = None,
    ) -> Completed:
        connection = self._alive()
        try:
            asked = time.monotonic()
            channel = connection.transport.open_session(
                window_size=_SAID_MEANWHILE_BYTES, timeout=patience.GIVE_UP_AFTER_S
            )
            self._round_trip_s = min(self._round_trip_s, time.monotonic() - asked)
            with self._closed_if_too_much(), contextlib.closing(channel):
                channel.settimeout(patience.GIVE_UP_AFTER_S)
                with patience.or_else(connection.close):
                    channel.exec_command(command)
                try:
                    write(_ChannelFeed(channel, self._allowance(connection)))
                    channel.shutdown_write()
                except _CommandEnded:
                    pass  # a command that ends early closes the channel: its own words say why
                answer, errors = output(on_line, limit_bytes), Errors(limit_bytes)
                status = _Reader(connection, channel, limit_s).read_to_end(answer, errors)
                return Completed(status, answer.end(), errors.end())
        except (paramiko.SSHException, EOFError, OSError) as error:
            raise self._lost(error) from error

    def _allowance(self, connection: Connection) -> int:
        """How many bytes may be under way to a command."""
        return pacing.allowance(self._round_trip_s, connection.way.round_trip_s())

    def open_sender(self) -> FileSender:
        connection = self._alive()
        try:
            return SftpSender(connection)
        except (paramiko.SSHException, EOFError, OSError) as error:
            frozen = isinstance(error, TimeoutError) or "Timeout" in str(error)
            if frozen or not connection.transport.is_active():
                raise self._lost(error) from error
            raise CommandFailed(
                f"no SFTP: {error or 'the host closed the channel'}: "
                "is a Subsystem sftp set in its sshd_config?"
            ) from error

    def end_transfer(self) -> None:
        if process := self._bulk:
            kill(process)

    def interrupt(self) -> None:
        self._interrupted.set()
        if attempt := self._attempt:
            attempt.abandon()
        self.end_transfer()
        self.close()

    def close(self) -> None:
        if connection := self._connection:
            connection.close()

    def _alive(self) -> Connection:
        if self._connection is None or not self._connection.transport.is_active():
            raise self._lost(None)
        return self._connection

    def _lost(self, error: BaseException | None) -> ConnectionLost:
        if self._interrupted.is_set():
            return ConnectionLost("interrupted")
        self.close()  # nobody shall wait for a frozen host a second time
        return ConnectionLost(f"the connection was lost{f': {error}' if str(error or '') else ''}")


def _by_sh(command: str) -> str:
    """Return what has any login shell run ``command`` by ``sh``."""
    return f"exec sh -c '{command}'"


class _Attempt:
    """Connects in a thread; whoever waits for the result can be told not to."""

    def __init__(self, connect: Callable[[], Connection]) -> None:
        self._connect = connect
        self._lock = threading.Lock()
        self._decided = threading.Event()
        self._connection: Connection | None = None
        self._error: BaseException | None = None
        self._abandoned = False
        threading.Thread(target=self._run, daemon=True).start()

    def result(self) -> Connection:
        """Wait for the connection.

        :raises ConnectionFailed: when it failed, or was abandoned.
        """
        self._decided.wait()
        with self._lock:
            if self._error is not None:
                raise self._error
            assert self._connection is not None
            return self._connection

    def abandon(self) -> None:
        """Make `result` fail at once, if there is none yet."""
        with self._lock:
            if not self._decided.is_set():
                self._abandoned = True
                self._error = ConnectionFailed("interrupted")
                self._decided.set()

    def _run(self) -> None:
        connection: Connection | None = None
        error: BaseException | None = None
        try:
            connection = self._connect()
        except BaseException as caught:  # noqa: BLE001 (it is raised in the other thread)
            error = caught
        with self._lock:
            if not self._abandoned:
                self._connection, self._error = connection, error
                self._decided.set()
                return
        if connection is not None:
            connection.close()


class _CommandEnded(Exception):
    """The command on the host does not read any more."""


class _ChannelFeed:
    """Standard input of a command over a paramiko channel. See `fastrr.hosts.base.Feed`."""

    def __init__(self, channel: paramiko.Channel, allowance: int) -> None:
        """``allowance``: how many bytes may be on their way, or waiting for the command."""
        self._channel = channel
        # What the host allows; it grows again by what the command has taken.
        channel.out_window_size = min(channel.out_window_size, allowance)
        self._packet_bytes = channel.out_max_packet_size - _PACKET_HEADER_BYTES

    def write(self, data: bytes) -> None:
        try:
            # Packet by packet: sendall would copy what is left each time.
            for start in range(0, len(data), self._packet_bytes):
                self._channel.sendall(data[start : start + self._packet_bytes])
        except TimeoutError:
            raise
        except OSError as error:
            raise _CommandEnded from error

    def send_file(self, file: IO[bytes], count: int, sent: Callable[[int], None]) -> int:
        left = count
        while left and (piece := file.read(min(left, _FEED_BYTES))):
            self.write(piece)
            left -= len(piece)
            sent(len(piece))
        return count - left


class _Reader:
    """Reads both outputs of a channel to their end; neither may fill its window unread."""

    def __init__(
        self,
        connection: Connection,
        channel: paramiko.Channel,
        limit_s: float | None,
    ) -> None:
        self._limit_s = limit_s
        self._began = time.monotonic()
        self._connection = connection
        self._channel = channel
        self._data_or_end = threading.Event()
        channel.in_buffer.set_event(self._data_or_end)
        channel.in_stderr_buffer.set_event(self._data_or_end)

    def read_to_end(self, answer: Output, errors: Output) -> int:
        """Read both outputs; return the exit status."""
        channel = self._channel
        while True:
            ended = channel.eof_received or channel.closed
            while channel.recv_ready():
                answer.add(channel.recv(_CHUNK_BYTES))
            while channel.recv_stderr_ready():
                errors.add(channel.recv_stderr(_CHUNK_BYTES))
            if ended:
                break
            # Emptying one buffer clears the event for both: look again before waiting.
            if not channel.recv_ready():
                self._wait(self._data_or_end)
        while not channel.exit_status_ready():
            self._wait(channel.status_event)
        if not self._connection.transport.is_active() and channel.exit_status == -1:
            raise EOFError("the host closed it")
        return channel.exit_status

    def _wait(self, event: threading.Event) -> None:
        """Wait for ``event``; ask a silent host for a sign of life, give a dead one up.

        :raises CommandFailed: when the command's time is over.
        """
        pause_s = patience.SIGN_OF_LIFE_AFTER_S
        if self._limit_s is not None:
            pause_s = min(pause_s, self._began + self._limit_s - time.monotonic())
        in_time = event.wait(max(0.0, pause_s))
        # Even so the time may be over: of a host that goes on to send a byte now and then.
        if self._limit_s is not None and time.monotonic() >= self._began + self._limit_s:
            raise took_too_long(self._limit_s)
        if in_time:
            return
        if not self._connection.transport.is_active():
            raise EOFError("the host closed it")
        if self._connection.silent_s() > patience.GIVE_UP_AFTER_S:
            raise TimeoutError(f"not a word from the host for {patience.GIVE_UP_AFTER_S:g} s")
        self._connection.ask_for_a_sign()
