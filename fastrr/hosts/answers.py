"""What a command prints, within bounds: a host may answer without end.

The bound follows from what was asked. Whatever a script asks about stands in it: a file takes a
line with its path there, and some 150 bytes and its path in the answer.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Protocol

from fastrr.errors import CommandFailed

LEAST_BYTES = 1 << 20
"""However little was asked: what login files print, lists of sessions, where links lead to."""
BYTES_A_BYTE_ASKED = 3
BYTES_A_LINE_ASKED = 200
LEAST_LINES = 1 << 14
"""As `LEAST_BYTES`: short lines take many times their size while they are understood."""
LINES_A_BYTE_ASKED = 0.5
UNKEPT_BYTES = 4 << 20
"""How much may come at once of what is not kept."""
BYTES_A_SECOND = 1 << 16
"""How much more may come, as time goes by, of what is heard line by line and not kept."""
LONGEST_LINE_BYTES = 1 << 16
"""Of what is heard line by line."""
TAIL_BYTES = 1 << 16
"""What is kept of the end where not all is."""
ERRORS_READ_BYTES = 1 << 24
"""How much of standard error is read at all; no more of it is kept than of an answer."""


class AnsweredTooMuch(CommandFailed):
    """There is no end of what the host answers, or it is none to what was asked."""


def bound(asked_bytes: int = 0, asked_lines: int = 0) -> int:
    """Return how many bytes the answer may have to so many bytes, in so many lines, that ask."""
    return LEAST_BYTES + BYTES_A_BYTE_ASKED * asked_bytes + BYTES_A_LINE_ASKED * asked_lines


def bound_to(asked: bytes) -> int:
    """Return how many bytes the answer may have to a script."""
    return bound(len(asked), asked.count(b"\n"))


def line_bound(asked_bytes: int) -> int:
    """Return how many lines the answer may have."""
    return LEAST_LINES + int(LINES_A_BYTE_ASKED * asked_bytes)


def _too_much(count: int, what: str = "answered") -> AnsweredTooMuch:
    return AnsweredTooMuch(
        f"it {what} more than {count / 1e6:.1f} MB, which is far more than it was asked for: "
        "given up; does a login file or a program there print without end?"
    )


class Output(Protocol):
    """Takes one of a command's outputs, piece by piece."""

    def add(self, piece: bytes) -> None:
        """Take the next piece.

        :raises AnsweredTooMuch: when there is more than there should be.
        """

    def end(self) -> bytes:
        """Return what is kept of it, when that was all."""


class Answer:
    """Standard output that is kept, all of it."""

    def __init__(self, limit_bytes: int) -> None:
        self._limit_bytes = limit_bytes
        self._kept = bytearray()

    def add(self, piece: bytes) -> None:
        if len(self._kept) + len(piece) > self._limit_bytes:
            raise _too_much(self._limit_bytes)
        self._kept += piece

    def end(self) -> bytes:
        return bytes(self._kept)


class Lines:
    """Standard output that is heard line by line, for any time; its end is kept."""

    def __init__(self, on_line: Callable[[bytes], None], limit_bytes: int) -> None:
        self._on_line = on_line
        self._pace = Pace(limit_bytes)
        self._rest = bytearray()
        self._tail = b""

    def add(self, piece: bytes) -> None:
        self._pace.add(len(piece))
        self._tail = (self._tail + piece)[-TAIL_BYTES:]
        whole, newline, rest = piece.rpartition(b"\n")
        if newline:
            lines = bytes(self._rest + whole).split(b"\n")
            self._rest.clear()
            for line in lines:
                self._check(len(line))
                self._on_line(line)
        self._rest += rest
        self._check(len(self._rest))

    def end(self) -> bytes:
        if self._rest:
            self._on_line(bytes(self._rest))
        return self._tail

    @staticmethod
    def _check(count: int) -> None:
        if count > LONGEST_LINE_BYTES:
            raise _too_much(LONGEST_LINE_BYTES, "printed a line of")


class Pace:
    """Counts what is not kept: so much at once, and some more as time goes by."""

    def __init__(self, limit_bytes: int) -> None:
        self._limit_bytes = limit_bytes
        self._count = 0
        self._began = time.monotonic()

    def add(self, count: int) -> None:
        """Count so many bytes more.

        :raises AnsweredTooMuch: when there are more than there should be.
        """
        self._count += count
        seconds = time.monotonic() - self._began
        if self._count > self._limit_bytes + BYTES_A_SECOND * seconds:
            raise _too_much(self._count)


class Errors:
    """Standard error: of much, the beginning and the end are kept."""

    def __init__(self, limit_bytes: int) -> None:
        self._limit_bytes = limit_bytes
        self._read_bytes = 0
        self._head = bytearray()
        self._tail = b""

    def add(self, piece: bytes) -> None:
        self._read_bytes += len(piece)
        if self._read_bytes > max(self._limit_bytes, ERRORS_READ_BYTES):
            raise _too_much(self._read_bytes, "complained of")
        room = self._limit_bytes - len(self._head)
        self._head += piece[:room]
        if len(piece) > room:
            self._tail = (self._tail + piece[room:])[-TAIL_BYTES:]

    def end(self) -> bytes:
        return bytes(self._head) + self._tail


def output(on_line: Callable[[bytes], None] | None, limit_bytes: int) -> Output:
    """Return what takes a command's standard output, for whoever hears its lines or for nobody."""
    return Answer(limit_bytes) if on_line is None else Lines(on_line, limit_bytes)
