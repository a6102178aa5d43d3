"""The ``util`` of config files and muddlers."""

from __future__ import annotations

import os
import posixpath
import re
from collections.abc import Iterator
from types import SimpleNamespace

__all__ = ["hosts", "recursive_files_dict"]


def recursive_files_dict(src_path: str, dest_path: str) -> dict[str, str]:
    """Return all files below the directory ``src_path``, for a component's ``files``.

    Each is mapped to the same place below ``dest_path``; ``'.'`` means base_dir. Symbolic links
    are followed, to files and to directories; one that leads back to a directory above it is
    passed over. Empty directories have no entry: see ``component.dirs``.

    :raises FileNotFoundError: when there is no ``src_path``.
    :raises NotADirectoryError: when it is a file.
    """
    source, destination = os.fspath(src_path), os.fspath(dest_path)
    top = os.path.expanduser(source)
    if not os.path.exists(top):
        raise FileNotFoundError(f"there is no directory {source!r} (seen from {os.getcwd()})")
    if not os.path.isdir(top):
        raise NotADirectoryError(f"{source!r} is no directory: write files[{source!r}] = ...")
    files: dict[str, str] = {}
    start = len(os.path.join(top, ""))
    for path in _files_below(top, ()):
        to = posixpath.normpath(posixpath.join(destination, path[start:]))
        named_tilde = to.startswith("~") and not destination.startswith("~")
        files[path] = f"./{to}" if named_tilde else to
    return files


def anchored() -> SimpleNamespace:
    """Return the ``util`` of muddlers.

    They run in the caller's working directory, while relative keys of ``files`` are relative to
    the config file: `recursive_files_dict` gives absolute keys here.
    """

    def recursive(src_path: str, dest_path: str) -> dict[str, str]:
        found = recursive_files_dict(src_path, dest_path)
        return {os.path.abspath(path): to for path, to in found.items()}

    return SimpleNamespace(hosts=hosts, recursive_files_dict=recursive)


def _files_below(directory: str, above: tuple[tuple[int, int], ...]) -> Iterator[str]:
    status = os.stat(directory)
    identity = (status.st_dev, status.st_ino)
    if identity in above:
        return
    with os.scandir(directory) as entries:
        for entry in sorted(entries, key=lambda entry: entry.name):
            if os.path.isdir(entry.path) if entry.is_symlink() else entry.is_dir():
                yield from _files_below(entry.path, (*above, identity))
            else:
                yield entry.path


_RANGE = re.compile(r"(\d+)(?:-(\d+)(?:/(\d+))?)?")


def hosts(pattern: str) -> list[str]:
    """Expand host ranges: ``hosts('node[01-03,7],gw')`` → node01, node02, node03, node7, gw.

    Numbers keep the width they are written with; ``[1-9/2]`` takes steps of 2; several brackets
    give all combinations, the last varying fastest. (The notation of pdsh, Slurm and ClusterShell.)

    :raises ValueError: saying which part can't be read.
    """
    names = [name for part in _split(pattern, pattern) for name in _expand(part.strip(), pattern)]
    if not names:
        raise ValueError(f"hosts({pattern!r}): there is no host in it")
    return names


def _split(text: str, pattern: str) -> list[str]:
    """Split at the commas outside brackets."""
    parts, depth = [""], 0
    for character in text:
        depth += (character == "[") - (character == "]")
        if depth not in (0, 1):
            raise ValueError(f"hosts({pattern!r}): the brackets do not match")
        if character == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += character
    if depth:
        raise ValueError(f"hosts({pattern!r}): a bracket is not closed")
    return [part for part in parts if part.strip()]


def _expand(part: str, pattern: str) -> list[str]:
    before, bracket, rest = part.partition("[")
    if not bracket:
        return [part]
    inside, _, after = rest.partition("]")
    tails = _expand(after, pattern)
    numbers = [n for piece in inside.split(",") for n in _numbers(piece.strip(), pattern)]
    return [f"{before}{number}{tail}" for number in numbers for tail in tails]


def _numbers(piece: str, pattern: str) -> list[str]:
    match = _RANGE.fullmatch(piece)
    if match is None:
        raise ValueError(f"hosts({pattern!r}): {piece!r} is no number and no range like 01-16")
    first, last, step = match[1], match[2] or match[1], int(match[3] or 1)
    if int(first) > int(last) or step < 1:
        raise ValueError(f"hosts({pattern!r}): {piece!r} does not count up")
    width = len(first) if first.startswith("0") else 0
    return [f"{number:0{width}d}" for number in range(int(first), int(last) + 1, step)]
