"""Files over SFTP (draft-ietf-secsh-filexfer-02), without waiting for one answer before the next.

paramiko's own ``put`` waits three to six round trips for every file. Here the requests of many
files are under way together: what a file takes is its bytes, not its round trips.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import IO, Any

import paramiko
from paramiko.sftp import (
    CMD_CLOSE,
    CMD_HANDLE,
    CMD_OPEN,
    CMD_WRITE,
    SFTP_FLAG_CREATE,
    SFTP_FLAG_EXCL,
    SFTP_FLAG_WRITE,
    SFTPError,
    int64,
)

from fastrr.errors import ConnectionLost
from fastrr.hosts.shell import to_bytes
from fastrr.hosts.ssh import patience
from fastrr.hosts.ssh.connection import Connection

AT_ONCE = 256
"""Files under way: a server has as many open, and may have 1024 (getrlimit(2), RLIMIT_NOFILE)."""

_PIECE_BYTES = 1 << 15
"""What every server takes as one write (draft-ietf-secsh-filexfer-02, 3)."""


LONGEST_ANSWER_BYTES = 1 << 18
"""OpenSSH's own limit (sftp-common.h)."""
_LONGEST_HANDLE_BYTES = 256
"""draft-ietf-secsh-filexfer-02, 3."""


@dataclass(slots=True)
class _Upload:
    """A file under way."""

    number: int
    source: str
    handle: bytes = b""
    failure: str | None = None


class SftpSender:
    """Writes files through one SFTP channel. See `fastrr.hosts.base.FileSender`."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._channel = connection.transport.open_session(timeout=patience.GIVE_UP_AFTER_S)
        self._channel.settimeout(patience.GIVE_UP_AFTER_S)
        with patience.or_else(connection.close):
            self._channel.invoke_subsystem("sftp")
        self._sftp: Any = _SftpClient(self._channel)

    def send(self, files: Sequence[tuple[str, str]], sent: Callable[[int], None]) -> dict[int, str]:
        try:
            return _Sending(self._sftp, self._channel, files, sent).to_the_end()
        except (EOFError, OSError, SFTPError, paramiko.SSHException) as error:
            self._connection.close()  # nobody shall wait for a frozen host a second time
            said = str(error) or "the host does not answer"
            raise ConnectionLost(f"the connection was lost: {said}") from error

    def close(self) -> None:
        self._sftp.close()


class _SftpClient(paramiko.SFTPClient):
    """Takes no answer that is longer than any to what is asked here."""

    def _read_all(self, n: int) -> bytes:
        if n > LONGEST_ANSWER_BYTES:
            raise SFTPError(f"it answers with {n} bytes")
        return super()._read_all(n)  # type: ignore[misc,no-any-return]


class _Sending:
    """Some files on their way through one channel.

    Errors of local files are the files'; any other OSError is the connection's.
    """

    def __init__(
        self,
        sftp: Any,
        channel: paramiko.Channel,
        files: Sequence[tuple[str, str]],
        sent: Callable[[int], None],
    ) -> None:
        self._sftp = sftp
        self._channel = channel
        self._sent = sent
        self._to_open = deque(enumerate(files))
        self._opened: deque[_Upload] = deque()
        self._under_way = 0
        self._unanswered = 0
        self._hearers: set[_Hearer] = set()
        self._failures: dict[int, str] = {}

    def to_the_end(self) -> dict[int, str]:
        while self._to_open or self._under_way:
            while self._to_open and self._under_way < AT_ONCE:
                self._open(*self._to_open.popleft())
            if self._opened:
                self._fill(self._opened.popleft())
            elif self._under_way:
                self._sent(0)  # whether it is still wanted
                self._read_answer()
        return self._failures

    def _read_answer(self) -> None:
        """Read one answer; there are no more of them than requests."""
        self._unanswered -= 1
        if self._unanswered < 0:
            raise SFTPError("it answers what was not asked")
        self._sftp._read_response()  # noqa: SLF001 (see `_request`)

    def _open(self, number: int, file: tuple[str, str]) -> None:
        """Ask for a new file of mode 0600: nobody else shall open it, not for a moment."""
        source, destination = file
        try:
            with open(source, "rb"):
                pass  # else the host would get an empty file
        except OSError as error:
            self._failures[number] = error.strerror or str(error)
            return
        upload = _Upload(number, source)
        attributes = paramiko.SFTPAttributes()
        attributes.st_mode = 0o600
        flags = SFTP_FLAG_WRITE | SFTP_FLAG_CREATE | SFTP_FLAG_EXCL
        self._under_way += 1
        self._request(
            CMD_OPEN,
            (to_bytes(destination), flags, attributes),
            lambda kind, answer: self._was_opened(upload, kind, answer),
        )

    def _was_opened(self, upload: _Upload, kind: int, answer: paramiko.Message) -> None:
        if kind == CMD_HANDLE:
            upload.handle = answer.get_binary()
            if len(upload.handle) > _LONGEST_HANDLE_BYTES:
                raise SFTPError(f"it answers with a handle of {len(upload.handle)} bytes")
            self._opened.append(upload)
        else:
            self._heed(upload, answer)
            self._ended(upload)

    def _fill(self, upload: _Upload) -> None:
        """Send the content, as far as the file had it when this began, and close."""
        try:
            file = open(upload.source, "rb", buffering=0)  # noqa: SIM115 (errors inside are others)
        except OSError as error:
            upload.failure = error.strerror or str(error)
        else:
            with file:
                self._write(upload, file)
        self._request(
            CMD_CLOSE, (upload.handle,), lambda _kind, answer: self._was_closed(upload, answer)
        )

    def _write(self, upload: _Upload, file: IO[bytes]) -> None:
        offset, size = 0, os.fstat(file.fileno()).st_size
        while upload.failure is None:
            try:
                piece = file.read(min(size - offset, _PIECE_BYTES))
            except OSError as error:
                upload.failure = error.strerror or str(error)
                break
            if not piece:
                break
            self._request(
                CMD_WRITE,
                (upload.handle, int64(offset), piece),
                lambda _kind, answer: self._heed(upload, answer),
            )
            offset += len(piece)
            self._sent(len(piece))
            while self._channel.recv_ready():
                self._read_answer()

    def _was_closed(self, upload: _Upload, answer: paramiko.Message) -> None:
        self._heed(upload, answer)
        self._ended(upload)

    def _ended(self, upload: _Upload) -> None:
        self._under_way -= 1
        if upload.failure is not None:
            self._failures[upload.number] = upload.failure

    def _heed(self, upload: _Upload, answer: paramiko.Message) -> None:
        """Take note of a status that tells of a failure; the first one is the reason."""
        try:
            self._sftp._convert_status(answer)  # noqa: SLF001
        except (OSError, EOFError) as error:
            why = getattr(error, "strerror", None) or str(error)
            upload.failure = upload.failure or why

    def _request(
        self, kind: int, words: tuple[Any, ...], hear: Callable[[int, paramiko.Message], None]
    ) -> None:
        """Send a request, and have ``hear`` get its answer.

        paramiko's public methods wait for each answer; those that do not are its own business,
        and the same since 2003.
        """
        self._unanswered += 1
        hearer = _Hearer(hear, self._hearers)
        self._sftp._async_request(hearer, kind, *words)  # noqa: SLF001


class _Hearer:
    """What paramiko gives an answer to. It keeps weak references only, so we keep it."""

    def __init__(
        self, hear: Callable[[int, paramiko.Message], None], waiting: set[_Hearer]
    ) -> None:
        self._hear = hear
        self._waiting = waiting
        waiting.add(self)

    def _async_response(self, kind: int, answer: paramiko.Message, _number: int) -> None:
        self._waiting.remove(self)
        self._hear(kind, answer)
