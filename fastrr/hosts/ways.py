"""The ways to what a run writes: whether somebody else on the host could lead it elsewhere. Pure.

Who may write to a directory may put something else in the place of what is in it. So a directory
that everybody may write to is refused (it is *shared*), unless it is sticky, as /tmp is. There,
what belongs to us or to root is safe; what belongs to others, be it a link, a directory or a file,
is neither followed nor written to. Where sharing is allowed, links of others are not followed, at
least: they could lead to any file of ours. That a group may write to a directory is its owner's
decision.

A host is asked what is on each way (`WAYS`, and `places_script` for what only turns out then); the
`Walker` goes there as the kernel would (path_resolution(7)), and has an objection or none.
"""

from __future__ import annotations

import stat
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from posixpath import basename, join, normpath
from typing import NamedTuple

from fastrr.hosts.library import library
from fastrr.hosts.shell import Script, fits_a_line, parent, quote, script, to_text
from fastrr.hosts.shell import join as join_words

OWN = library(__file__, "own.sh")
"""Shell functions for the moment after the check; they cost processes in sticky directories."""

WAYS = library(__file__, "ways.sh")
"""Shell functions that tell what is on the way to paths."""

_SHARED, _SHARED_BUT_STICKY = stat.S_IWOTH, stat.S_IWOTH | stat.S_ISVTX
_MOST_LINKS = 40
"""As the kernel has it (path_resolution(7)): more are a loop."""
_LONGEST_PATH = 4096
"""PATH_MAX (limits.h); a link can't lead further."""


class Place(NamedTuple):
    """What is at a path: the link itself where there is one (lstat(2))."""

    mode: int
    """Kind and permissions."""
    uid: int
    device: int
    target: str | None = None
    """Where a link leads to, if that has been asked."""

    @property
    def is_link(self) -> bool:
        return stat.S_ISLNK(self.mode)

    @property
    def is_shared(self) -> bool:
        """Whether it is a directory where everybody may write, to what is others' as well."""
        return self.is_directory and self.mode & _SHARED_BUT_STICKY == _SHARED

    @property
    def is_directory(self) -> bool:
        return stat.S_ISDIR(self.mode)


Places = Mapping[str, "Place | None"]
"""By absolute path; None where there is nothing."""


def on_the_way(paths: Iterable[str]) -> dict[str, None]:
    """Return all directories that lead to ``paths``, these included, each once."""
    found: dict[str, None] = {}
    for path in paths:
        way = path
        while way not in found and way not in ("", "/"):
            found[way] = None
            way = way.rpartition("/")[0]
    return found


def parse_places(lines: Iterable[str], home: str) -> Iterator[tuple[str, Place]]:
    """Parse what the shell function ``places`` printed, some paths being seen from ``home``.

    :raises ValueError: for other lines.
    """
    for line in filter(None, lines):
        mode, uid, device, path = line.split(" ", 3)
        if ".." in path.split("/"):
            continue  # the host has gone up from where a link leads to
        yield normpath(join(home, path)), Place(int(mode, 16), int(uid), int(device))


def places_script(paths: Sequence[str], links: Sequence[str]) -> Script:
    """Return the script that tells what is at ``paths``, and where ``links`` lead to."""
    plain = [path for path in paths if fits_a_line(path)]
    odd = [path for path in paths if not fits_a_line(path)]
    starts = range(0, len(plain), _AT_ONCE)
    lines = [WAYS, *(f"places {join_words(plain[n : n + _AT_ONCE])}\n" for n in starts)]
    lines.append("section odd\n")
    lines.extend(f"odd {number} {quote(path)}\n" for number, path in enumerate(odd))
    lines.append("section links\n")
    lines.extend(f"link {number} {quote(path)}\n" for number, path in enumerate(links))
    return script("".join((*lines, "true\n")))


_AT_ONCE = 400


def parse_asked(
    paths: Sequence[str], links: Sequence[str], known: Places, body: bytes
) -> dict[str, Place | None]:
    """Return what the `places_script` of ``paths`` and ``links`` has found, besides ``known``.

    :raises ValueError: when that can't be read.
    """
    plain, _, rest = to_text(body).partition("== odd\n")
    odd_lines, _, link_lines = rest.partition("== links\n")
    places: dict[str, Place | None] = {**known, **dict.fromkeys(paths)}
    for path, place in parse_places(plain.split("\n"), "/"):
        if path in places:
            places[path] = place
    odd = [path for path in paths if not fits_a_line(path)]
    for line in filter(None, odd_lines.split("\n")):
        number, mode, uid, device = line.split(" ")
        places[odd[int(number)]] = Place(int(mode, 16), int(uid), int(device))
    told: dict[str, str] = {}
    for line in filter(None, link_lines.split("\n")):
        number, _, target = line.partition(" ")
        told[links[int(number)]] = target.replace("\1", "\n")
    for path in links:
        if (link_ := places.get(path)) is not None:
            places[path] = link_._replace(target=told.get(path, ""))
    return places


class Walker:
    """Goes the ways on one host, with what is known of them; collects what is wrong."""

    def __init__(self, places: Places, uid: int, allowed: Collection[str] = ()) -> None:
        """``allowed``: directories that may be shared, as the user has said."""
        self._places = places
        self._trusted = (0, uid)
        self._allowed = frozenset(normpath(path) for path in allowed)
        self._led_to: dict[str, str | None] = {}
        self._followed = 0
        """Links on the way that is being gone."""
        self.objections: dict[str, None] = {}
        """What is wrong, each thing once."""
        self.unknown: dict[str, None] = {}
        """Paths that the host has to be asked about."""
        self.unread: dict[str, None] = {}
        """Links of which it has to be asked where they lead."""

    def go(self, path: str) -> str | None:
        """Return where an absolute path leads to; None where there is nothing, or no telling.

        :raises ValueError: for any other path.
        """
        if not path.startswith("/"):
            raise ValueError(f"{path!r} is no absolute path")
        self._followed = 0
        if not self._led_to:
            self._led_to["/"] = self._enter("/")
        way = []
        at = path
        while at not in self._led_to:
            way.append(at)
            at = parent(at)
        led_to = self._led_to[at]
        for at in reversed(way):
            led_to = self._led_to[at] = self._step(led_to, basename(at))
        return led_to

    def is_open(self, directory: str | None) -> bool:
        """Whether everybody may write to a directory that was `go`ne to, sticky or allowed."""
        place = self._places.get(directory or "")
        return place is not None and bool(place.mode & _SHARED)

    def is_sticky(self, directory: str | None) -> bool:
        """Whether everybody may write to a directory that was `go`ne to, but not to all in it."""
        place = self._places.get(directory or "")
        return place is not None and place.mode & _SHARED_BUT_STICKY == _SHARED_BUT_STICKY

    def _step(self, directory: str | None, name: str) -> str | None:
        if directory is None or name in ("", "."):
            return directory
        if name == "..":
            return parent(directory)
        path = join(directory, name)
        if (place := self._at(path)) is None:
            return None
        # Where sharing is allowed, what others have made is the point of it; where their links
        # lead to is not.
        theirs = self.is_open(directory) if place.is_link else self.is_sticky(directory)
        if theirs and place.uid not in self._trusted:
            self._object_to(path, place, directory)
            return None
        if place.is_link:
            return self._follow(directory, path, place)
        return self._enter(path) if place.is_directory else path

    def _follow(self, directory: str, path: str, link: Place) -> str | None:
        if link.target is None:
            self.unread[path] = None
            return None
        self._followed += 1
        if self._followed > _MOST_LINKS or len(link.target) > _LONGEST_PATH:
            return None
        at: str | None = self._enter("/") if link.target.startswith("/") else directory
        for name in link.target.split("/"):
            at = self._step(at, name)
        return at

    def _at(self, path: str) -> Place | None:
        if path not in self._places:
            self.unknown[path] = None
        return self._places.get(path)

    def _enter(self, path: str) -> str | None:
        if (place := self._at(path)) is None:
            return None
        if place.is_shared and path not in self._allowed:
            self.objections[
                f"everybody may write to the directory {path} (mode {place.mode & 0o7777:o}), and "
                f"so put something else in the place of what is in it: look at what is there "
                f"already, and whose it is (ls -la), and chmod o-w {quote(path)}; or give "
                f"--allow-shared {quote(path)}"
            ] = None
            return None
        return path

    def _object_to(self, path: str, place: Place, directory: str) -> None:
        what = "link" if place.is_link else "directory" if place.is_directory else "file"
        self.objections[
            f"the {what} {path} belongs to the user id {place.uid}, who may change it: where "
            f"everybody may write ({directory}), what is others' is neither followed nor written "
            "to; remove it, or choose another place"
        ] = None
