"""Putting new content in place: the script after a transport, and the parser of what it says.

Pure. When a transport has written the files to where they are *held* (see
`fastrr.files.staging`), one script

1. gives content that is wanted at several places to all of them, from the one that was sent;
2. computes a digest of every held file and compares it with the source's: XXH128 where the host
   has ``xxhsum``, else GMAC with OpenSSL 3 for large files, else SHA-1 (`fastrr.files.digests`);
3. sets the permissions of those that are right, where the transport has not;
4. renames them into their directory: one ``mv`` a directory or a tree, or one ``perl`` for all
   where there are many directories; and removes the holding directories. Should somebody else have
   made a tree's directory meanwhile, the files of the tree are put into it.

A destination is thus at every moment the old file or the new one (rename(2) within one directory;
ln and tar would unlink first). A file that fails is left as it was, is removed from the holding
directory and is reported; the others go on. Nothing is guaranteed for power failures: there is no
fsync.

The script comes in two forms: by itself (`finish_script`), or as a `Parcel` in the same tar stream
as the files, which is unpacked and run by one command: that spares a host the starting of a dozen
processes, and a far one several round trips.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from enum import Enum
from posixpath import basename, join
from typing import NamedTuple

from fastrr.files.algorithms import DIGEST
from fastrr.files.staging import HOLDING_NAMES, NOT_FOR_ALL, Held, chunks, holding_directories
from fastrr.hosts.library import library
from fastrr.hosts.shell import (
    Script,
    below,
    common_directory,
    fits_a_line,
    here_document,
    is_plain,
    parent,
    quote,
    script,
    to_bytes,
    to_text,
)
from fastrr.hosts.shell import join as join_words
from fastrr.hosts.ways import OWN
from fastrr.model import Algorithm

CONTROL = ".fastrr-control"
"""In a holding directory: the directory that a parcel's script comes in."""

PERL_FROM_DIRECTORIES = 4
"""From here one ``perl`` is quicker than a ``mv`` for each directory."""

STALE_AFTER_MINUTES = 24 * 60

LONGEST_COMMAND_BYTES = 6 << 10
"""Of the directories that are made by the command before a stream: it is one word, and csh (BSD's,
20110502) takes none of 9000 bytes."""

_PLACE = OWN + DIGEST + library(__file__, "place.sh")


class _Finish(NamedTuple):
    """What is to be done when all files are held."""

    text: str
    """Shell commands that find the tables in the directory ``$scratch``."""
    tables: Mapping[Algorithm, Sequence[str]]
    """Lines ``number digest mode path``, the path as seen from ``common``; by what verifies it."""

    @classmethod
    def of(
        cls,
        held: Sequence[Held],
        gmac_key: bytes,
        modes_set: bool,
        perl: bool,
        missing: Sequence[str] = (),
        *,
        shared: bool = False,
    ) -> _Finish:
        plain = [(n, h) for n, h in enumerate(held) if fits_a_line(h.copy.destination)]
        odd = [(n, h) for n, h in enumerate(held) if not fits_a_line(h.copy.destination)]
        common = common_directory([h.path for _, h in plain]) if plain else ""

        def row(number: int, h: Held) -> tuple[str, ...]:
            settled = modes_set and h.same_as is None and h.copy.mode == sent_mode(h.copy.mode)
            mode = "-" if settled else f"{h.copy.mode:o}"
            return str(number), h.digest, mode, h.path

        tables: dict[Algorithm, list[str]] = defaultdict(list)
        for n, h in plain:
            *words, path = row(n, h)
            tables[h.algorithm].append(" ".join((*words, below(common, path))))
        lines = [NOT_FOR_ALL, "begin strict\n" if shared else "begin\n"]
        lines += [f"make_all {join_words(chunk)}\n" for chunk in chunks(missing)]
        lines += _spread_lines(held)
        for n, h in odd:
            about = (str(n), h.digest, f"{h.copy.mode:o}", h.path, h.copy.destination)
            lines.append(f"odd {join_words(about)}\n")
        for by in (Algorithm.SHA1, Algorithm.XXH128):
            if table := tables.get(by):
                lines.append(f"verify {by.value} {quote(common)} {len(table)}\n")
        if Algorithm.GMAC in tables:
            lines.append(f"key={gmac_key.hex()}\n")
        for n, h in plain:
            if h.algorithm is Algorithm.GMAC:
                number, digest, *others = row(n, h)
                lines.append(f"keyed {join_words((number, digest.upper(), *others))}\n")
        lines += _move_lines([h for _, h in plain], common, list(tables), perl)
        lines += [f"left {quote(d)}\n" for d in dict.fromkeys(parent(h.path) for h in held)]
        holding = holding_directories(held)
        lines += [f"remove_all {join_words(chunk)}\n" for chunk in chunks(holding)]
        stale = f"{STALE_AFTER_MINUTES} {quote(HOLDING_NAMES)}"
        lines += [f"remove_stale {quote(d)} {stale}\n" for d in _and_above(map(parent, holding))]
        return cls("".join((*lines, "now\n")), tables)


def _and_above(directories: Iterable[str]) -> dict[str, None]:
    """Return directories with all those that they are in: earlier runs may have begun there."""
    found: dict[str, None] = {}
    for path in directories:
        directory = path
        while directory not in found:
            found[directory] = None
            directory = parent(directory)
    return found


def sent_mode(mode: int) -> int:
    """Return the permissions that a file is sent with, to become those of ``mode``.

    It must be readable to be verified; and nobody shall run it as somebody else before it is.
    """
    return mode & 0o777 | 0o400


def finish_script(
    held: Sequence[Held],
    gmac_key: bytes,
    *,
    modes_set: bool = False,
    perl: bool = False,
    tables_in: str | None = None,
) -> Script:
    """Return the script that verifies the held files and renames those that are right.

    ``modes_set``: they have been sent with their `sent_mode`. ``perl``: the host has it.
    ``tables_in``: a directory for what they are compared with, where somebody else may exchange
    holding directories.
    """
    finish = _Finish.of(held, gmac_key, modes_set, perl, shared=tables_in is not None)
    lines = [_PLACE]
    if finish.tables and tables_in is not None:
        lines.append(f"scratch_in {quote(tables_in)}\n")
    elif finish.tables:
        # In a directory that nobody else gets at, and that is removed in the end.
        control = join(held[0].holding, CONTROL)
        while _is_taken(control, held):
            control += "_"
        lines.append(f"scratch_at {quote(control)}\n")
    lines.extend(f"table {by.value} {here_document(rows)}" for by, rows in finish.tables.items())
    return script("".join((*lines, finish.text, "true\n")))


def _is_taken(path: str, held: Sequence[Held]) -> bool:
    """Whether something that is copied goes there, or below it."""
    return any(h.path == path or h.path.startswith(f"{path}/") for h in held)


class Parcel(NamedTuple):
    """What goes along with the held files in one tar stream, and what is done with all of it.

    Paths are absolute; they are words that every shell takes as they are.
    """

    directory: str
    """Where the stream is unpacked."""
    makes: tuple[str, ...]
    """Directories that have to be made first, for nobody else to read."""
    files: tuple[tuple[str, bytes], ...]
    """They come before everything else."""
    last: str
    """An empty file that comes after everything else: all has arrived."""
    script: Script
    runs: str
    """The file that the script is in."""

    @property
    def asked_bytes(self) -> int:
        """How much asks: the script with its tables."""
        return sum(len(content) for _, content in self.files)


def parcel(
    held: Sequence[Held],
    gmac_key: bytes,
    *,
    holding_exists: bool,
    missing: Sequence[str] = (),
    perl: bool = False,
) -> Parcel | None:
    """Return what makes one stream of files, script and tables; None where it can't be done so.

    ``holding_exists``: the holding directories have been made already, and all that is in them.
    ``missing``: directories that are to be made besides.
    """
    holding = holding_directories(held)
    directory = holding[0] if len(holding) == 1 else common_directory([h.path for h in held])
    control = join(holding[0], CONTROL)
    if not (is_plain(control) and is_plain(directory) and directory.startswith("/")):
        return None
    if _is_taken(control, held):
        return None
    makes = () if holding_exists else tuple(holding)
    if not all(map(is_plain, makes)) or sum(map(len, makes)) > LONGEST_COMMAND_BYTES:
        return None
    finish = _Finish.of(held, gmac_key, True, perl, missing)
    begin = f"unless_incomplete {join_words((control, *holding))}\n"
    script_ = script(f"{_PLACE}{begin}{finish.text}true\n")
    files = [(f"{control}/finish", script_.data)]
    for by, table in finish.tables.items():
        names = "".join(f"{line.split(' ', 3)[3]}\0" for line in table)
        files.append((f"{control}/held-{by.value}", to_bytes("".join(f"{t}\n" for t in table))))
        files.append((f"{control}/names-{by.value}", to_bytes(names)))
    return Parcel(directory, makes, tuple(files), f"{control}/all", script_, f"{control}/finish")


def _spread_lines(held: Sequence[Held]) -> Iterator[str]:
    places: dict[str, list[str]] = defaultdict(list)
    for h in held:
        if h.same_as is not None:
            places[h.same_as].append(h.path)
    for first, others in places.items():
        for chunk in chunks(others):
            yield f"spread {quote(first)} {join_words(chunk)}\n"


def _move_lines(
    held: Sequence[Held], common: str, tables: Sequence[Algorithm], perl: bool
) -> Iterator[str]:
    names: dict[str, list[str]] = defaultdict(list)
    trees: dict[tuple[str, str], dict[str, str]] = defaultdict(dict)
    for h in held:
        if h.tree is None:
            names[parent(h.path)].append(basename(h.path))
        else:
            trees[h.tree, h.holding][parent(h.path)] = parent(h.copy.destination)
    if perl and len(names) >= PERL_FROM_DIRECTORIES:
        words = (common, basename(held[0].holding), *(by.value for by in tables))
        yield f"rename_all {join_words(words)}\n"
        names.clear()
    for directory, inside in names.items():
        for chunk in chunks(inside):
            yield f"move {quote(directory)} {join_words(chunk)}\n"
    for (tree, holding), directories in trees.items():
        top, above = join(holding, basename(tree)), join(parent(tree), "")
        yield f"move_tree {join_words((top, above, tree))}\n"
        for chunk in chunks(list(directories.values())):
            yield f"tree_directories {join_words(chunk)}\n"
        for path, destination in directories.items():
            yield f"refill {quote(path)} {quote(destination)}\n"


class InstallFailure(Enum):
    """Why a file that was sent did not become the destination."""

    DIGEST = "what arrived is not what was sent: it was left out"
    RENAME = "could not be renamed into place"


class Finished(NamedTuple):
    """What a finishing script has said."""

    failures: Mapping[int, InstallFailure]
    """By number of the held file; no entry means that it is in place."""
    incomplete: bool = False
    """Not everything has arrived; so nothing was done."""
    seconds: float | None = None
    """How long it took, where that is known; to a hundredth of a second."""


def parse_finished(held: Sequence[Held], body: bytes) -> Finished:
    """Understand what the script made for ``held`` has said.

    :raises ValueError: when that can't be read.
    """
    by_path = {h.path: n for n, h in enumerate(held)}
    failures: dict[int, InstallFailure] = {}
    incomplete = False
    clock: list[float] = []
    for line in to_text(body).split("\n"):
        match line.split(" ", 2):
            case ["bad", number]:
                failures[_one_of(held, number)] = InstallFailure.DIGEST
            case ["left", "at", path] if path in by_path:
                failures.setdefault(by_path[path], InstallFailure.RENAME)
            case ["left", number] if number.isdigit():
                failures[_one_of(held, number)] = InstallFailure.RENAME
            case ["clock", seconds]:
                clock.append(float(seconds))
            case ["incomplete"]:
                incomplete = True
    return Finished(failures, incomplete, clock[1] - clock[0] if len(clock) == 2 else None)


def _one_of(held: Sequence[Held], number: str) -> int:
    if not 0 <= int(number) < len(held):
        raise ValueError(f"there is no file {number}")
    return int(number)
