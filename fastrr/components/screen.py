"""What fastrr says to GNU screen, and what screen answers. Pure.

Sessions are addressed as ``pid.name``: ``-S NAME`` would match by prefix, and ``-X quit`` to
``rr_1`` end ``rr_10``.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

from fastrr.components.state import LOOK
from fastrr.hosts.shell import Script, quote, script, to_text

_SESSION_LINE = re.compile(r"^\t(\d+\.[^\t\n]*)\t", re.MULTILINE)
_NO_SESSIONS = re.compile(r"^No Sockets found in |^There (is|are) .*screens? ", re.MULTILINE)


def parse_sessions(listing: str) -> tuple[tuple[str, ...], str | None]:
    """Parse ``screen -ls``: all ``pid.name``, and what is wrong with the socket directory if so."""
    sessions = tuple(_SESSION_LINE.findall(listing))
    if sessions or _NO_SESSIONS.search(listing):
        return sessions, None
    return (), " ".join(listing.split()) or "screen -ls printed nothing"


def screen_word(text: str) -> str:
    """Return ``text`` as one word of a screen command file.

    Inside double quotes screen still expands ``$VAR``, ``^X`` and backslashes (screen(1),
    "STRING ESCAPES" and source of 4.09); control characters are written in octal.
    """
    escaped = re.sub(r'[\\"$^]', lambda match: "\\" + match[0], text)
    return '"' + re.sub(r"[\0-\x1f\x7f]", lambda m: f"\\{ord(m[0]):03o}", escaped) + '"'


def stop_script(sessions: Sequence[str], directory: str) -> Script:
    """Return the script that ends exactly these sessions (``pid.name``).

    It waits until each is gone, and for a while until the programs are that ran in it: they get
    a SIGHUP. ``directory`` is where the state of their components is kept.
    """
    lines = [LOOK, _STOP]
    lines.extend(f"end_session {quote(name)}\n" for name in sessions)
    lines.extend(f"await_programs {quote(name)} {quote(directory)}\n" for name in sessions)
    return script("".join(lines))


_STOP = r"""
ticks=0
patience() {
    [ "$ticks" -lt 500 ] && pause 0.02 50
}
end_session() {
    if ! running "${1%%.*}"; then
        screen -wipe "$1" >/dev/null 2>&1
        return 0
    fi
    if ! said=$(screen -S "$1" -X quit 2>&1); then
        # Nobody answers: a dead session, whose process id is another's by now.
        screen -wipe "$1" >/dev/null 2>&1
        case $(LC_ALL=C screen -ls 2>&1) in
        *"	$1	"*) ;;
        *) return 0 ;;
        esac
    fi
    while running "${1%%.*}"; do
        if ! patience; then
            printf 'alive %s %s\n' "$1" "$said" | tr '\n' ' '
            echo
            return 0
        fi
    done
}
await_programs() {
    for directory in "$2"/*; do
        [ -s "$directory/session" ] || continue
        read -r session <"$directory/session"
        [ "$session" = "$1" ] || continue
        while alive "$directory"; do
            if ! patience; then
                read -r process <"$directory/pid"
                printf 'program %s %s\n' "$process" "${directory##*/}"
                break
            fi
        done
    done
}
"""


class StopAnswer(NamedTuple):
    """What did not end with its session."""

    sessions: tuple[str, ...] = ()
    """Sessions that are still there, each with what screen said."""
    programs: tuple[tuple[str, int], ...] = ()
    """Components (as their directories are named) and pids of programs that run on."""


def parse_stopped(body: bytes) -> StopAnswer:
    """Parse what a `stop_script` printed."""
    sessions: list[str] = []
    programs: list[tuple[str, int]] = []
    for line in to_text(body).split("\n"):
        match line.split(" ", 2):
            case ["alive", *rest]:
                sessions.append(" ".join(rest).strip())
            case ["program", process, name]:
                programs.append((name, int(process)))
    return StopAnswer(tuple(sessions), tuple(programs))
