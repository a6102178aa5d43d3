"""What is asked of a host, whatever it is for: which machine, account, directories, tools. Pure.

What else there is to know is asked in the same round trip: a script is a list of *parts*, each
with its own parser (`Part`), after the facts.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol, TypeVar

from fastrr.hosts.library import library
from fastrr.hosts.machine import SEE, Machine
from fastrr.hosts.shell import Script, is_plain, join, script, to_bytes, to_text
from fastrr.model import HostPlan
from fastrr.text import shortened

TOOLS = ("screen", "openssl", "sha1sum", "tar", "rsync", "xxhsum", "perl", "systemd-run")
REQUIRED_TOOLS = ("awk", "df", "mktemp", "mv", "sed", "stat", "tr", "xargs")

Sections = Mapping[str, Sequence[str]]
"""The lines of an answer by the title of their section, which a line ``== TITLE`` began."""

T_co = TypeVar("T_co", covariant=True)


class HostFacts(NamedTuple):
    """Which machine and account it is, and what they have."""

    home: str
    node: str
    uid: str
    state_directory: str
    """Directory below which each session keeps the state of its components."""
    boot: str = ""
    start: str = ""
    """When process 1 began; see `Machine`."""
    machine: str = ""
    """Its machine-id (machine-id(5))."""
    screen_directory: str = ""
    tools: Mapping[str, str] = {}
    """Path of each tool of `TOOLS` and `REQUIRED_TOOLS` that is there."""
    temporary_directory: str = ""

    @property
    def which(self) -> Machine:
        """What tells this machine when there is a further connection."""
        return Machine(self.boot, self.node, self.uid, self.start)

    @property
    def account(self) -> tuple[str, ...]:
        """Tells apart machine and account: two hosts with the same are one."""
        return (self.boot, self.node, self.uid, self.home, self.screen_directory)


class DirectoryFacts(NamedTuple):
    """Where a wanted directory will be made, or why it can't be.

    ``ancestor`` is the directory itself where it exists, else its nearest parent that does.
    ``trouble`` is None, ``"file"`` (the ancestor is no directory) or ``"denied"`` (not ours to
    write to).
    """

    ancestor: str
    trouble: str | None = None

    def why(self) -> str | None:
        """Say what is wrong with the ancestor."""
        return None if self.trouble is None else f"{self.ancestor} {TROUBLES[self.trouble]}"


TROUBLES = {"file": "is no directory", "denied": "may not be written to"}


class Part(Protocol[T_co]):
    """Something that is asked of a host, and what its answer means."""

    @property
    def text(self) -> str:
        """The shell commands that ask, after those of the facts; they print sections."""

    def parse(self, sections: Sections, facts: HostFacts) -> T_co:
        """Return what was answered.

        :raises ValueError: when it can't be read; so do KeyError and IndexError tell.
        """


class Aspect(Part[T_co], Protocol[T_co]):
    """What else the check is to find out, for what comes after the files."""

    def require(self, plan: HostPlan, facts: HostFacts, answer: Any) -> None:
        """See that the host has what is needed.

        :raises CommandFailed: with what is missing, and what to do.
        """

    def writes(self, plan: HostPlan, facts: HostFacts, answer: Any) -> Iterable[str]:
        """Return the directories that will be written to."""


class UnreadableAnswer(ValueError):
    """The host's answer does not have the form the script gives it."""


def look_script(parts: Iterable[Part[object]] = ()) -> Script:
    """Return the script that asks for the facts, then for all ``parts``."""
    tools = join((*TOOLS, *REQUIRED_TOOLS))
    lines = (SEE, "\n", _FACTS, f"facts {tools}\n", *(part.text for part in parts), "true\n")
    return script("".join(lines))


_FACTS = library(__file__, "facts.sh")


def parse_looked(parts: Sequence[Part[object]], body: bytes) -> tuple[HostFacts, tuple[Any, ...]]:
    """Return the facts, and the answer to each of ``parts``, of what their `look_script` printed.

    :raises UnreadableAnswer: when it is cut short or was mixed with other output.
    """
    try:
        sections = split(body)
        facts = _facts(sections)
        return facts, tuple(part.parse(sections, facts) for part in parts)
    except (KeyError, ValueError, IndexError) as error:
        raise UnreadableAnswer(f"{type(error).__name__}: {error}") from error


def split(body: bytes) -> dict[str, list[str]]:
    """Return an answer's `Sections`."""
    sections: dict[str, list[str]] = {"": []}
    current = sections[""]
    # Line by line: one odd character, and all would take four bytes for each.
    for data in io.BytesIO(body.removesuffix(b"\n")):
        line = to_text(data.removesuffix(b"\n"))
        if line.startswith("== "):
            current = sections.setdefault(line[3:], [])
        else:
            current.append(line)
    return sections


def _facts(sections: Sections) -> HostFacts:
    values: dict[str, str] = {}
    tools: dict[str, str] = {}
    for line in sections[""]:
        key, _, value = line.partition(" ")
        if key == "tool":
            tool, _, path = value.partition(" ")
            if path and tool in _ALL_TOOLS:
                tools[tool] = path
        elif key in _KEYS:
            values[key] = value
    for name in ("home", "state", "tmp"):
        if not values[name].startswith("/"):
            raise ValueError(f"{name} is {values[name]!r}, no absolute path")
    if re.fullmatch("[0-9]{1,10}", values["uid"]) is None:
        raise ValueError(f"the user id is {shortened(values['uid'], _UID_CHARS)!r}")
    return HostFacts(
        home=values["home"],
        node=values["node"],
        uid=values["uid"],
        state_directory=values["state"],
        boot=values.get("boot", ""),
        start=values.get("start", ""),
        machine=values.get("machine", ""),
        screen_directory=values["screendir"],
        tools=tools,
        temporary_directory=values["tmp"],
    )


_KEYS = frozenset(("home", "node", "uid", "state", "tmp", "screendir", "boot", "start", "machine"))
_ALL_TOOLS = frozenset((*TOOLS, *REQUIRED_TOOLS))
_UID_CHARS = 200


def parse_directory(path: str, line: str) -> DirectoryFacts:
    """Return what the shell function ``look`` printed of a directory.

    :raises ValueError: when that can't be read.
    """
    state, length = line.split(" ")
    if state != "good" and state not in TROUBLES:
        raise ValueError(f"a directory is {shortened(state, _UID_CHARS)!r}")
    ancestor = to_text(to_bytes(path)[: int(length)])
    return DirectoryFacts(ancestor, None if state == "good" else state)


def each(names: Sequence[str]) -> str:
    """Return the shell function that passes on names which come a line each."""
    return "each_word" if all(map(is_plain, names)) else "each_line"


def missing_tools(facts: HostFacts, names: Iterable[str] = REQUIRED_TOOLS) -> Sequence[str]:
    """Those of ``names`` that the host does not have."""
    return [name for name in names if name not in facts.tools]
