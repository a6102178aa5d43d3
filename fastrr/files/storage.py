"""Where files can go on a host: its directories, their free space, and the ways to them. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from posixpath import normpath
from typing import NamedTuple

from fastrr.hosts.facts import (
    TROUBLES,
    DirectoryFacts,
    HostFacts,
    Sections,
    each,
    parse_directory,
)
from fastrr.hosts.library import library
from fastrr.hosts.shell import absolute, fits_a_line, here_document, join, parent, quote
from fastrr.hosts.ways import WAYS, Place, on_the_way, parse_places
from fastrr.model import FileTarget, HostPlan

_FEW_DIRECTORIES = 64
"""Whose free space is asked for one by one, and on the way to which all places fit a command."""

_STORAGE = WAYS + library(__file__, "storage.sh")

# Most hosts are to have the same files: what depends on nothing else is found out once.
_once = lru_cache(maxsize=4)


class Space(NamedTuple):
    """A file system: where it is mounted and how many bytes an ordinary user may still write."""

    mount: str
    free_bytes: int
    kind: str = ""
    """The type of the file system; empty where ``df`` does not tell."""


class Storage(NamedTuple):
    """Where files can go on a host."""

    directories: Mapping[str, DirectoryFacts] = {}
    """By path as in the plan: directories, and parents of files."""
    space: Mapping[str, Space] = {}
    """By `DirectoryFacts.ancestor`."""
    places: Mapping[str, Place | None] = {}
    """What is on the ways to directories, by absolute path; see `fastrr.hosts.ways`."""
    temporary_trouble: str | None = None
    """Why nothing can be made in the temporary directory."""

    def file_system_of(self, directory: str) -> str:
        """The type of the file system of a directory of the plan; empty if it is not known."""
        facts = self.directories.get(directory)
        space = self.space.get(facts.ancestor) if facts else None
        return space.kind if space else ""


def needed_directories(plan: HostPlan) -> tuple[str, ...]:
    """The directories a plan needs, outside temporary base_dirs, without doubles."""
    return tuple(dict.fromkeys((*plan.directories, *_parents(plan.files))))


@_once
def _parents(files: tuple[FileTarget, ...]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(parent(target.destination) for target in files))


class AskStorage(NamedTuple):
    """The part that asks about the directories of a plan."""

    plan: HostPlan
    space: bool
    """Whether to ask how much is free."""

    @property
    def text(self) -> str:
        directories = needed_directories(self.plan)
        few = len(directories) <= _FEW_DIRECTORIES
        look = "look_for_space" if few and self.space else "look"
        lines = [_STORAGE, "temporary\n"]
        lines.extend(f"{look} {quote(directory)}\n" for directory in directories)
        ways = _ways(directories)
        lines.append(f"ways {join(ways) if few else ''}\n")
        if not few:
            names = [path if path[0] == "/" else f"./{path}" for path in ways]
            many = "many_places_and_space" if self.space else "many_places"
            lines.append(f"{many} {each(names)} {here_document(names)}")
        elif directories and self.space:
            lines.append("space\n")
        return "".join(lines)

    def parse(self, sections: Sections, facts: HostFacts) -> Storage:
        home = facts.home
        directories = _directories(needed_directories(self.plan), sections["directories"])
        by_name = [absolute(path, home) for path in _ways(needed_directories(self.plan))]
        besides = (home, facts.state_directory, facts.temporary_directory, sections["screens"][0])
        asked = {"/", *by_name, *on_the_way(normpath(path) for path in besides if path)}
        places = {at: place for at, place in parse_places(sections["ways"], home) if at in asked}
        # What was asked by name and not found is not there; of what is above it all has been asked.
        missing = {path: None for path in by_name if path not in places}
        temporary = parse_directory(facts.temporary_directory, sections["tmp"][0])
        return Storage(
            directories,
            _space(sections, home, places, directories),
            {**places, **missing},
            "is not there"
            if temporary.ancestor != facts.temporary_directory
            else temporary.trouble and TROUBLES[temporary.trouble],
        )


@_once
def _ways(directories: tuple[str, ...]) -> tuple[str, ...]:
    """All that leads to ``directories``, as far as it can be asked by name at once."""
    return tuple(on_the_way(filter(_can_be_gone, directories)))


def _can_be_gone(path: str) -> bool:
    """Whether what is on a way can be asked by name before it is known what leads where."""
    return fits_a_line(path) and ".." not in path.split("/")


def _directories(wanted: Sequence[str], lines: Sequence[str]) -> dict[str, DirectoryFacts]:
    return {path: parse_directory(path, line) for path, line in zip(wanted, lines, strict=True)}


_DF_SIZES = r" (\d{1,19}) +-?\d{1,19} +(-?\d{1,19}) +(?:\d{1,3}%|-) +(?=/)"
"""Sizes in a line of ``df`` (blanks between them), and what is before the mount point. What may
come in any number is followed by something else: the time it takes goes with the line's length."""


def _df_line(line: str) -> Space | None:
    """Parse ``[SYSTEM] TYPE|SYSTEM SIZE USED FREE USE% MOUNT``; names may have blanks in them."""
    if (sizes := re.search(_DF_SIZES, line)) is None:
        return None
    before = line[: sizes.start()].split()
    if not before:
        return None
    return Space(line[sizes.end() :], int(sizes[2]) * 1024, before[-1])


def _space(
    sections: Sections,
    home: str,
    places: Mapping[str, Place],
    directories: Mapping[str, DirectoryFacts],
) -> dict[str, Space]:
    """Return the space of all directories, from that of one of each file system."""
    asked = [absolute(normpath(path), home) for path in filter(None, sections.get("space", []))]
    title, *lines = sections.get("df") or [""]
    typed = title.split()[1:2] == ["Type"]
    told = [space for line in lines if (space := _df_line(line))]
    if len(told) != len(asked):
        return {}
    found = {
        path: space if typed else space._replace(kind="")
        for path, space in zip(asked, told, strict=True)
    }
    by_device = {
        places[path].device: space
        for path, space in found.items()
        if path in places and places[path].is_directory
    }
    spaces: dict[str, Space] = {}
    for ancestor in dict.fromkeys(facts.ancestor for facts in directories.values()):
        path = absolute(ancestor, home)
        place = places.get(path)
        space = found.get(path)
        if space is None and place is not None and place.is_directory:
            space = by_device.get(place.device)
        if space is not None:
            spaces[ancestor] = space
    return spaces
