"""What fastrr says to GNU screen, and what screen answers. Pure.

Sessions are addressed as ``pid.name``: ``-S NAME`` would match by prefix, and ``-X quit`` to
``rr_1`` end ``rr_10``.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

from fastrr.components.state import LOOK
from fastrr.errors import CommandFailed
from fastrr.hosts.facts import HostFacts, Sections, parse_directory
from fastrr.hosts.library import library
from fastrr.hosts.shell import Script, quote, script, to_text
from fastrr.model import HostPlan

_SESSION_LINE = re.compile(r"^\t(\d+\.[^\t\n]*)\t", re.MULTILINE)
_NO_SESSIONS = re.compile(r"^No Sockets found in |^There (is|are) .*screens? ", re.MULTILINE)


def parse_sessions(listing: str) -> tuple[tuple[str, ...], str | None]:
    """Parse ``screen -ls``: all ``pid.name``, and what is wrong with the socket directory if so."""
    sessions = tuple(_SESSION_LINE.findall(listing))
    if sessions or _NO_SESSIONS.search(listing):
        return sessions, None
    return (), " ".join(listing.split()) or "screen -ls printed nothing"


class Sessions(NamedTuple):
    """What a host says of the sessions there, and of those to come."""

    names: tuple[str, ...] = ()
    """All ``pid.name`` of the account's screen sessions, dead ones included."""
    trouble: str | None = None
    """What screen says when it can't use its socket directory."""
    socket_directory: str = ""
    """Where screen keeps the account's sockets; empty if that is not known."""
    state_trouble: str | None = None
    """Why the state directory can't be made or written to."""
    kills_user_processes: bool = False
    """systemd-logind ends what a user left running at logout (logind.conf(5))."""

    def called(self, session: str) -> tuple[str, ...]:
        """Return those of this name."""
        return tuple(name for name in self.names if name.partition(".")[2] == session)


class AskSessions(NamedTuple):
    """What the check is to find out for the start step."""

    @property
    def text(self) -> str:
        return f"{_SCREEN}sessions\n"

    def parse(self, sections: Sections, facts: HostFacts) -> Sessions:
        names, trouble = parse_sessions("\n".join(sections["sessions"]))
        sockets = sections["sockets"][0]
        return Sessions(
            names,
            trouble if "screen" in facts.tools else None,
            sockets if sockets.startswith("/") else "",
            parse_directory(facts.state_directory, sections["state"][0]).why(),
            list(sections["logind"][:1]) == ["KillUserProcesses=yes"],
        )

    def require(self, plan: HostPlan, facts: HostFacts, answer: Sessions) -> None:
        """See `Aspect`: screen that works, and a place for the components' state."""
        if not plan.components:
            return
        if "screen" not in facts.tools:
            raise CommandFailed(
                "the host has no screen in the PATH of `ssh HOST`: install it "
                "(apt-get install screen, dnf install screen)"
            )
        if answer.trouble:
            raise CommandFailed(
                f"screen can't use its socket directory there; it says: {answer.trouble}; "
                "give the directory it names the mode it asks for, or set SCREENDIR to a "
                "directory of this account with mode 700 (in ~/.ssh/environment or with sshd's "
                "SetEnv)"
            )
        if answer.state_trouble:
            raise CommandFailed(
                f"the state of components is kept below {facts.state_directory}, which can't be "
                f"made: {answer.state_trouble}; set XDG_STATE_HOME there to a directory that can "
                "be written to"
            )

    def writes(self, plan: HostPlan, facts: HostFacts, answer: Sessions) -> tuple[str, ...]:
        """See `Aspect`."""
        return (facts.state_directory, answer.socket_directory) if plan.components else ()


_SCREEN = library(__file__, "screen.sh")
_STOP = LOOK + library(__file__, "stop.sh")


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
    lines = [_STOP, "ticks=0\n"]
    lines.extend(f"end_session {quote(name)}\n" for name in sessions)
    lines.extend(f"await_programs {quote(name)} {quote(directory)}\n" for name in sessions)
    return script("".join(lines))


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
