"""Waiting for components, seeing which have ended, and what they said last. Pure."""

from __future__ import annotations

import re
from collections import defaultdict, deque
from collections.abc import Sequence
from typing import NamedTuple

from fastrr.components.state import LOOK, Launch
from fastrr.hosts.library import library
from fastrr.hosts.shell import Script, quote, script
from fastrr.text import printable_lines

WATCH_TICK_S = 0.2

_ENDINGS = LOOK + library(__file__, "endings.sh")

_LAST_LINES = 5
_LAST_BYTES = 4096
"""As much of a log is looked at: a program may print any amount without a newline."""


class Ended(NamedTuple):
    """How a component ended."""

    component: str
    exit_status: int | None
    """None: it vanished without a trace (its launcher was killed too, or the host restarted)."""
    last_lines: tuple[str, ...] = ()
    """What its window showed last, unless it ended well."""


def watch_script(launches: Sequence[Launch]) -> Script:
    """Return the script that tells of each of ``launches`` as soon as it has ended."""
    lines = [_ENDINGS, *_settings()]
    lines.extend(f"d{n}={quote(launch.state)}\n" for n, launch in enumerate(launches))
    lines.append(f"pending={quote(' '.join(map(str, range(len(launches)))))}\n")
    return script("".join((*lines, "watch\n")))


def status_script(launches: Sequence[Launch]) -> Script:
    """Return the script that tells, once, of those of ``launches`` that have ended."""
    lines = [_ENDINGS, *_settings()]
    lines.extend(f"ending {n} {quote(launch.state)}\n" for n, launch in enumerate(launches))
    return script("".join((*lines, "true\n")))


def _settings() -> tuple[str, ...]:
    """Return assignments of what the shell functions want."""
    return (
        f"tick_s={WATCH_TICK_S} ticks_a_second={round(1 / WATCH_TICK_S)}\n",
        f"last_bytes={_LAST_BYTES} ticks=0\n",
    )


_NUMBER = re.compile(rb"\d{1,9}")
_STATUS = re.compile(rb"-?\d{1,9}")
_KEPT_LINES = _LAST_LINES + 4
"""Screen's own remarks are among the lines, and left out afterwards."""


class Parser:
    """Understands what `watch_script` and `status_script` of the same ``launches`` print."""

    def __init__(self, launches: Sequence[Launch]) -> None:
        self._launches = launches
        self._said: dict[int, deque[bytes]] = defaultdict(lambda: deque(maxlen=_KEPT_LINES))

    def hear(self, line: bytes) -> Ended | None:
        """Take one line; return who has ended, if it tells that."""
        match line.split(b" ", 2):
            case [b"said", number, text] if self._is_one(number):
                self._said[int(number)].append(text[-_LAST_BYTES:])
            case [b"ended", number, status] if self._is_one(number) and _STATUS.fullmatch(status):
                return self._ended(int(number), int(status))
            case [b"vanished", number] | [b"failed", number, _] if self._is_one(number):
                return self._ended(int(number), None)
        return None

    def _is_one(self, number: bytes) -> bool:
        """Whether it is the number of a component that is watched."""
        return _NUMBER.fullmatch(number) is not None and int(number) < len(self._launches)

    def _ended(self, number: int, status: int | None) -> Ended:
        said = readable_log(b"\n".join(self._said.pop(number, ())), _LAST_LINES)
        return Ended(self._launches[number].component.name, status, tuple(said))


_TERMINAL_CODES = re.compile(
    r"\x1b(\[[0-?]*[ -/]*[@-~]|[\]PX^_k][^\x07\x1b]*(\x07|\x1b\\)|[ -/]*[0-~])"
    r"|[\x00-\x08\x0b\x0c\x0e-\x1a\x7f]"
)
_SCREEN_REMARK = re.compile(r"^=== Command .* ===$")


def readable_log(data: bytes, lines: int) -> list[str]:
    """Return the last lines of a log as plain text: no terminal codes, none of screen's remarks.

    What is left of codes that are not whole, or were put together by leaving out others, is shown.
    """
    text = _TERMINAL_CODES.sub("", data.decode("utf-8", "replace").replace("\r\n", "\n"))
    kept = (line.rstrip().rpartition("\r")[2] for line in text.split("\n"))
    shown = [line for line in kept if line and not _SCREEN_REMARK.match(line)][-lines:]
    return [printable_lines(line) for line in shown]
