"""What is held where until it is verified; the scripts that make and discard it. Pure.

For every directory that gets files a *holding directory* ``.fastrr-NAME`` is made inside it,
readable by nobody else; a transport writes each file there. Directories that do not exist yet are
made there, too, in the holding directory of the nearest parent that does: a whole *tree* of new
directories and files is put in place by one rename.

What is run and renamed comes from there, so nobody else may have made it: each is made by a
``mkdir`` that has to succeed. The name is nobody's to foresee, but that is not what safety rests
on; it keeps others from taking it. A ``mkdir`` that succeeded is enough, whoever the file system
says it belongs to (NFS with root_squash, CIFS).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from itertools import count
from posixpath import basename, join
from typing import NamedTuple, TypeVar

from fastrr.files.algorithms import algorithm
from fastrr.hosts.library import library
from fastrr.hosts.shell import Script, fits_a_line, inside, parent, quote, script, to_text
from fastrr.hosts.shell import join as join_words
from fastrr.hosts.ways import OWN
from fastrr.model import Algorithm, Copy

T = TypeVar("T")

HOLDING_NAMES = f".fastrr-{'[0-9a-f]' * 12}-[0-9]*"
"""A shell's pattern of what real runs call them; see `fastrr.hosts.context.Context.new_name`."""


def holding_directory(directory: str, name: str) -> str:
    """Return the path under which new files for ``directory`` are kept until they are verified."""
    return join(directory, f".fastrr-{name}")


class Held(NamedTuple):
    """A copy, the temporary path its content is written to, and its expected digest in hex."""

    copy: Copy
    holding: str
    """The holding directory it is in, perhaps some directories deeper."""
    path: str
    algorithm: Algorithm
    digest: str
    same_as: str | None = None
    """Path of the held file that is sent in place of this one: the content is the same."""
    tree: str | None = None
    """The topmost of the new directories that its destination is in, where it is put in place
    with them."""


def hold(
    copies: Sequence[Copy],
    digests: Mapping[Algorithm, Mapping[str, str]],
    able: frozenset[Algorithm],
    name: str,
    ancestors: Mapping[str, str] | None = None,
    *,
    send_once: bool = True,
) -> tuple[Held, ...]:
    """Give each copy its temporary path; content that occurs twice is marked to be sent once.

    That is, if it is to be sent only once: then the host copies it, from name to name.
    ``name`` tells these holding directories from all others.
    ``ancestors`` has, for each directory that does not exist, the nearest parent that does.
    """
    trees = _trees(copies, ancestors or {})
    destinations = {copy.destination for copy in copies}
    sent: dict[tuple[Algorithm, str], str] = {}
    held = []
    for number, copy in enumerate(copies):
        file = basename(copy.destination)
        if not fits_a_line(copy.destination):
            file = f"odd-{number}"
            while join(parent(copy.destination), file) in destinations:
                file += "_"
        directory = parent(copy.destination)
        tree = trees.get(directory)
        above = directory if tree is None else parent(tree)
        holding = holding_directory(above, name)
        path = moved(join(directory, file), above, holding)
        by = algorithm(copy, able)
        digest = digests[by][copy.source]
        first = sent.setdefault((by, digest), path)
        same_as = None if first == path or not send_once else first
        held.append(Held(copy, holding, path, by, digest, same_as, tree))
    return tuple(held)


def holding_directories(held: Sequence[Held]) -> list[str]:
    """Return the holding directories that the held files are in."""
    return list(dict.fromkeys(h.holding for h in held))


def _trees(copies: Sequence[Copy], ancestors: Mapping[str, str]) -> dict[str, str]:
    """Return the topmost new directory of each new directory that gets files.

    Trees that have names which do not fit a line are left out: these are put in place one by one.
    """
    trees: dict[str, str] = {}
    for directory in dict.fromkeys(parent(copy.destination) for copy in copies):
        if (ancestor := ancestors.get(directory)) is not None:
            trees[directory] = _first_below(ancestor, directory)
    odd = {
        trees.get(parent(copy.destination)) for copy in copies if not fits_a_line(copy.destination)
    }
    return {directory: tree for directory, tree in trees.items() if tree not in odd}


def _first_below(ancestor: str, directory: str) -> str:
    """Return the directory of ``ancestor`` that leads to ``directory``."""
    return join(ancestor, inside(ancestor, directory).partition("/")[0])


def moved(path: str, directory: str, to: str) -> str:
    """Return the path that what is in ``directory`` has when it is in ``to``."""
    return join(to, inside(directory, path))


_STAGING = OWN + library(__file__, "staging.sh")


NOT_FOR_ALL = "umask o-w\n"
"""Where an account's umask is 0, too, no directory is made that everybody may write to."""


class Preparation(NamedTuple):
    """The directories that must be there before content can be sent."""

    base_dirs: tuple[str, ...] = ()
    """Temporary base_dirs: made anew, for nobody else to read; an error if they exist."""
    directories: tuple[str, ...] = ()
    """Made with all their parents, where they are missing."""
    firsts: tuple[str, ...] = ()
    """Of the missing ones, those to be made in directories that there are."""
    holding: tuple[str, ...] = ()
    """Holding directories: made anew, for nobody else to read."""
    inside: tuple[tuple[str, str], ...] = ()
    """Directories of trees, made in holding directories: where, and where they will be."""

    @classmethod
    def of(
        cls,
        base_dirs: Sequence[str],
        directories: Sequence[str],
        held: Sequence[Held],
        ancestors: Mapping[str, str] | None = None,
    ) -> Preparation:
        """Return what has to be made for ``held`` and, besides, ``directories``.

        ``ancestors``: see `hold`.
        """
        holding = tuple(holding_directories(held))
        trees = {h.tree: h.holding for h in held if h.tree is not None}
        wanted: dict[str, None] = {}
        in_trees = {parent(h.path): parent(h.copy.destination) for h in held if h.tree is not None}
        for path in (*directories, *map(parent, holding)):
            if tree := next((t for t in trees if path == t or path.startswith(t + "/")), None):
                in_trees[moved(path, parent(tree), trees[tree])] = path
            else:
                wanted[path] = None
        above = ancestors or {}
        firsts = dict.fromkeys(
            _first_below(above[path], path) for path in wanted if above.get(path, path) != path
        )
        return cls(tuple(base_dirs), tuple(wanted), tuple(firsts), holding, tuple(in_trees.items()))

    @property
    def groups(self) -> tuple[Sequence[str], ...]:
        """All directories, in the order in which they are made."""
        in_trees = [path for path, _ in self.inside]
        return self.base_dirs, self.firsts, self.directories, self.holding, in_trees

    def in_stream(self, missing: Collection[str], held: Sequence[Held]) -> tuple[str, ...] | None:
        """Return what has to be made besides by who unpacks files into holding directories.

        None where that would not do: holding directories need their parents, and temporary
        base_dirs and directories that get no files an answer. ``missing`` directories do not
        exist. (A ``tar`` makes the directories of the files that are sent.)
        """
        if self.base_dirs or any(path in missing for path in self.directories):
            return None
        filled = {parent(h.path) for h in held if h.same_as is None}
        return tuple(path for path, _ in self.inside if path not in filled)


def prepare_script(preparation: Preparation) -> Script:
    """Return the script that makes the directories of ``preparation``.

    One ``mkdir`` makes many; only what is then not there is tried again, to hear why.
    """
    numbers = count()
    base_dirs, firsts, wanted, holding, in_trees = (
        [(next(numbers), path) for path in paths] for paths in preparation.groups
    )
    lines = [NOT_FOR_ALL, _STAGING, "stop=\n"]
    lines += _calls("anew", base_dirs)
    lines += _calls("first", firsts)
    lines += ["stop_or_go\n"] if base_dirs or firsts else []
    lines += _make_all(wanted)
    lines += _calls("made", wanted)
    for chunk in chunks(holding):
        first, _ = chunk[0]
        lines.append(f"hold_all {first} {join_words(path for _, path in chunk)}\n")
    lines += _make_all(in_trees)
    lines += _calls("made", in_trees)
    return script("".join((*lines, "true\n")))


def _calls(function: str, numbered: Iterable[tuple[int, str]]) -> list[str]:
    return [f"{function} {number} {quote(path)}\n" for number, path in numbered]


def _make_all(numbered: Sequence[tuple[int, str]]) -> list[str]:
    paths = [path for _, path in numbered]
    return [f"make_all {join_words(chunk)}\n" for chunk in chunks(paths)]


class Prepared(NamedTuple):
    """What a `prepare_script` could not make."""

    failures: Mapping[str, str] = {}
    """What ``mkdir`` said, by directory: of a holding directory, the one it should be in."""
    taken: Mapping[str, str] = {}
    """By holding directory that somebody else has made: how ``ls`` describes it."""
    unmade: frozenset[str] = frozenset()
    """The holding directories that are not ours."""


def parse_prepared(preparation: Preparation, body: bytes) -> Prepared:
    """Understand what the script made for ``preparation`` has said."""
    paths = [path for group in preparation.groups for path in group]
    holding = set(preparation.holding)
    failures: dict[str, str] = {}
    taken: dict[str, str] = {}
    unmade: set[str] = set()
    for line in filter(None, to_text(body).split("\n")):
        match line.split(" ", 2):
            case ["stop"]:
                unmade |= holding
            case ["taken", number, owner]:
                taken[paths[int(number)]] = owner.strip()
                unmade.add(paths[int(number)])
            case [number, *words]:
                path = paths[int(number)]
                if path in holding:
                    unmade.add(path)
                    path = parent(path)
                failures.setdefault(path, " ".join(words).strip())
    return Prepared(failures, taken, frozenset(unmade))


def discard_script(holding: Sequence[str]) -> Script:
    """Return the script that removes what an abandoned copy has left in holding directories.

    What was receiving may live on for a moment, and make anew what has just been removed: it is
    over when nothing has come back for a while.
    """
    return script(f"{_STAGING}remove_until_gone {join_words(holding)}\n")


def remove_script(directories: Sequence[str]) -> Script:
    """Return the script that removes directories that this run has made, if it could."""
    lines = [f"discard {quote(path)}\n" for path in directories]
    return script("".join((_STAGING, *lines, "true\n")))


def chunks(words: Sequence[T], size: int = 400) -> Iterator[Sequence[T]]:
    """Cut into pieces that fit one argument list: 400 words of at most 255 bytes, or 4096."""
    for start in range(0, len(words), size):
        yield words[start : start + size]
