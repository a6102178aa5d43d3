"""What fastrr needs of a machine, whatever way it is reached."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import IO, NamedTuple, Protocol, TypeVar

from fastrr.errors import CommandFailed
from fastrr.hosts.answers import line_bound
from fastrr.hosts.shell import Script
from fastrr.text import shortened

T = TypeVar("T")


class Completed(NamedTuple):
    """How a script ended: exit status of ``sh`` and all that it wrote."""

    status: int
    """Negative where a signal ended ``sh``."""
    stdout: bytes
    stderr: bytes

    def last_words(self, lines: int = 3) -> str:
        """The end of what the command said, in one line, for an error message."""
        said = self.stderr.strip() or self.stdout.strip()
        text = said[-_LAST_WORDS_BYTES:].decode("utf-8", "replace")
        kept = [line.strip() for line in text.splitlines() if line.strip()][-lines:]
        return " | ".join(shortened(line, _LAST_WORDS_CHARS) for line in kept) or "it said nothing"


_LAST_WORDS_BYTES = 1 << 14
_LAST_WORDS_CHARS = 400
"""Of a line."""


class FileSender(Protocol):
    """Writes files on a host."""

    def send(self, files: Sequence[tuple[str, str]], sent: Callable[[int], None]) -> dict[int, str]:
        """Make each file, ``(local source, destination)``, readable by nobody else.

        Returns what failed, by number, and why. What is appended to a source meanwhile is left
        out. ``sent`` hears the size of each piece handed to the connection, and may raise to stop
        everything.

        :raises ConnectionLost: when the connection ends.
        """

    def close(self) -> None:
        """Free the connection's side channel; called once."""


class Feed(Protocol):
    """Standard input of a command on a host."""

    def write(self, data: bytes) -> None:
        """Write all of ``data``.

        :raises OSError: when the command or the connection has ended.
        """

    def send_file(self, file: IO[bytes], count: int, sent: Callable[[int], None]) -> int:
        """Write up to ``count`` bytes from where ``file`` (a real one) stands; return how many.

        They are fewer where the file ends before. ``sent`` hears of each piece, and may raise.
        """


class Host(Protocol):
    """A machine scripts can be run on. Used by one thread at a time."""

    @property
    def name(self) -> str:
        """As the config writes it."""

    @property
    def identity(self) -> str:
        """What tells, once connected, this account of this machine from others, for ever."""

    proof: str
    """Shell commands that begin whatever a further connection to the host is for; they end it
    where it does not lead to the same machine. See `fastrr.hosts.machine.proof`."""

    def connect(self) -> None:
        """Reach the host; nothing else works before.

        :raises ConnectionFailed: with the reason and what to do.
        """

    def run(
        self,
        script: Script,
        on_line: Callable[[bytes], None] | None = None,
        limit_s: float | None = None,
        answer_bytes: int | None = None,
    ) -> Completed:
        """Run ``script`` with ``sh`` and wait for its end, but no longer than ``limit_s``.

        ``on_line`` hears each line of standard output, without its newline, as it arrives, and
        only the end of all is returned then; if it raises, the run is given up. ``answer_bytes``:
        how much it may print; unless told, that follows from the script's length
        (`fastrr.hosts.answers`). Of standard error that is longer, beginning and end are returned.

        :raises ConnectionLost: when the host stops answering, or was interrupted or closed.
        :raises CommandFailed: when ``limit_s`` has passed.
        :raises AnsweredTooMuch: when it prints more; a connection is closed then.
        """

    def stream(
        self,
        command: str,
        write: Callable[[Feed], None],
        *,
        bulk: bool = False,
        limit_s: float | None = None,
        answer_bytes: int | None = None,
    ) -> Completed:
        """Run ``command`` by ``sh``, with what ``write`` writes as its standard input, to its end.

        That must not be longer than ``limit_s`` after all has been written.

        ``command`` is one line without single quotes and exclamation marks: the account's login
        shell, csh or fish perhaps, passes it on. ``bulk``: there is much to write, so that it pays
        to set up what carries it faster. What ``write`` raises ends the command and comes back.

        ``answer_bytes``: as for `run`; unless told, little.

        :raises ConnectionLost: as `run`.
        :raises CommandFailed: when ``limit_s`` has passed.
        :raises AnsweredTooMuch: as `run`.
        """

    def run_here(self, command: Sequence[str], hear: Callable[[bytes], None]) -> Completed:
        """Run a program of this machine that reaches the host by a remote shell of its own.

        The environment variable RSYNC_RSH (rsync(1)) has the shell's command; whatever host name
        it is given, it reaches this host. ``hear`` gets what the program prints, as it comes, and
        nothing now and then; what it raises ends the program and comes back.

        :raises CommandFailed: where there is no remote shell.
        :raises ConnectionLost: as `run`.
        :raises AnsweredTooMuch: when it prints without end.
        """

    def open_sender(self) -> FileSender:
        """Return a way to write files there, where the host has one.

        :raises CommandFailed: when it has none.
        """

    def end_transfer(self) -> None:
        """End the faster way by which a `stream` is under way in another thread, stuck or not.

        ``write`` is then called once more, for the connection that was there before.
        """

    def interrupt(self) -> None:
        """Make whatever `run` is under way in another thread end soon, with ConnectionLost.

        So do all that come after it; a `connect` under way ends with ConnectionFailed.
        """

    def close(self) -> None:
        """Free everything; may be called at any time, and twice."""


ANSWER_WITHIN_S = 120.0
"""How long a script that reads no files may take: long enough for a slow machine."""

SLOWEST_READ_BYTES_S = 5e6
"""A disk slower than this is taken for one that hangs."""


class Unanswered(CommandFailed):
    """A script has not come to its end, or it is not known that it has."""


def took_too_long(limit_s: float) -> Unanswered:
    """The error for a script that did not end in its time."""
    return Unanswered(
        f"it did not come to an end within {limit_s:.0f} s: does a file system hang there "
        "(NFS, a full or broken disk)?"
    )


def ask(
    host: Host, script: Script, what: str, limit_s: float = ANSWER_WITHIN_S
) -> tuple[bytes, Completed]:
    """Run ``script`` and return what its body printed, freed of the noise around it.

    ``what`` names the action for the error message.

    :raises Unanswered: when there is no complete answer in time.
    :raises CommandFailed: when its status is not 0.
    """
    try:
        completed = host.run(script, limit_s=limit_s)
    except CommandFailed as error:
        raise type(error)(f"{what}: {error}") from error
    completed = completed._replace(stderr=script.errors_of(completed.stderr))
    return answer_of(completed, script, what), completed


_FIRST_SIGNAL = 128
"""From here an exit status of a shell tells that a signal has ended what it ran (POSIX, XCU 2.8.2).
"""

_understanding = threading.Lock()


def understood(parse: Callable[[], T]) -> T:
    """Return what ``parse`` makes of a host's answer.

    One at a time: it is Python that does it, so that two would not be quicker, and needs many times
    the answer's size.

    :raises CommandFailed: when it can't be read.
    """
    try:
        with _understanding:
            return parse()
    except (ValueError, IndexError, KeyError) as error:
        raise CommandFailed(f"the host's answer can't be read: {error}") from error


def answer_of(
    completed: Completed, script: Script, what: str, asked_bytes: int | None = None
) -> bytes:
    """Return what the body of a script that was run printed.

    ``asked_bytes``: its length, with that of tables which it has beside it.

    :raises Unanswered: where the answer is not complete, or a signal has ended the script.
    :raises CommandFailed: where its status is not 0, and where there are far more lines than were
        asked for.
    """
    answer = script.body_of(completed.stdout)
    if answer is None:
        raise Unanswered(
            f"{what}: the host gave no complete answer (exit status {completed.status}): "
            f"{completed.last_words()}: can this account run `ssh HOST sh`?"
        )
    body, status = answer
    if (lines := body.count(b"\n")) > line_bound(asked_bytes or len(script.text)):
        raise CommandFailed(
            f"{what}: the host answered {lines:,} lines, which is far more than it was asked for"
        )
    if status != 0:
        seen = Completed(status, body, completed.stderr)
        kind = CommandFailed if status < _FIRST_SIGNAL else Unanswered
        raise kind(f"{what} failed (exit status {status}): {seen.last_words()}")
    return body
