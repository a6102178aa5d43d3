"""All files for a host in one tar stream: one round trip, however many there are.

The content of a small stream is read once and kept while all hosts of a worker get it, as they
mostly get the same. That of a large one goes straight from the files.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from fastrr.hosts.base import Feed, Host
from fastrr.shell import common_directory, is_plain, to_bytes, to_text
from fastrr.transports.base import Item
from fastrr.transports.tarstream import BLOCK_BYTES, END, header, padding

BULK_FROM_BYTES = 48 << 20
"""From here a second connection, by the OpenSSH client, pays its handshake (0.15 to 0.2 s)."""

KEEP_UP_TO_BYTES = 8 << 20
"""Twice as much may be kept by every worker."""
_PIECE_BYTES = 1 << 18


class StreamTransport:
    """See `fastrr.transports.base.Transport`."""

    name = "stream"
    wire_bytes: int | None = None

    def __init__(
        self,
        bulk_from_bytes: int = BULK_FROM_BYTES,
        keep_up_to_bytes: int = KEEP_UP_TO_BYTES,
    ) -> None:
        self._bulk_from_bytes = bulk_from_bytes
        self._keep_up_to_bytes = keep_up_to_bytes

    def send(
        self, host: Host, items: Sequence[Item], sent: Callable[[int], None]
    ) -> dict[int, str]:
        if not items:
            return {}
        failures: dict[int, str] = {}
        size = sum(item.size for item in items)
        directory = _directory(items)
        names = [_name(item, directory) for item in items]

        def write(feed: Feed) -> None:
            if size <= self._keep_up_to_bytes:
                pieces, unreadable = _kept.archive(items, names)
                failures.update(unreadable)
                _write_archive(feed, pieces, sent)
            else:
                failures.update(_write_files(feed, items, names, sent))

        bulk = size >= self._bulk_from_bytes
        completed = host.stream(_extract(directory, much=bulk), write, bulk=bulk)
        if completed.status != 0:
            failures = _refused(names, completed.stderr) | failures
        return failures


def _extract(directory: str, *, much: bool) -> str:
    """Return the command that unpacks the stream; every login shell takes its words as they are.

    -o: the account owns what it extracts, root's too; -m: no times are set.
    """
    command = f"tar -x -o -m -f - -C {directory}"
    if not much:
        return f"exec {command}"
    # GNU tar reads 10 KiB at a time unless told otherwise: a third of its time is system calls.
    larger = f"*GNU*) exec {command} -b 512;; *) exec {command};;"
    return f"exec sh -c 'case $(tar --version 2>/dev/null) in {larger} esac'"


_Pieces = Iterable[tuple[bytes, int]]
"""What is to be written, and how much of each piece is content."""


class _Kept:
    """The content of the files asked for last, and the archive first made of it.

    Hosts mostly want the same, and new files are called the same as seen from their directory.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._key: tuple[tuple[str, int], ...] = ()
        self._contents: list[bytes | OSError] = []
        self._names: Sequence[str] = ()
        self._pieces: _Pieces = ()

    def archive(
        self, items: Sequence[Item], names: Sequence[str]
    ) -> tuple[_Pieces, dict[int, str]]:
        """Return an archive of ``items``, and which of them can't be read."""
        key = tuple((item.source, item.size) for item in items)
        with self._lock:
            if key != self._key:
                self._contents, self._names = [_read(item) for item in items], names
                self._pieces = tuple(_pieces(items, names, self._contents))
                self._key = key
            failures = {
                number: content.strerror or str(content)
                for number, content in enumerate(self._contents)
                if isinstance(content, OSError)
            }
            if names == self._names:
                return self._pieces, failures
            return _pieces(items, names, self._contents), failures


_kept = _Kept()


def _read(item: Item) -> bytes | OSError:
    try:
        with open(item.source, "rb", buffering=0) as file:
            return file.read(item.size)
    except OSError as error:
        return error


def _pieces(
    items: Sequence[Item], names: Sequence[str], contents: Sequence[bytes | OSError]
) -> Iterator[tuple[bytes, int]]:
    """Yield an archive in pieces that are worth a write, and not too large for one."""
    parts: list[bytes] = []
    size = counted = 0
    for item, name, content in zip(items, names, contents, strict=True):
        if isinstance(content, OSError):
            continue
        parts += (header(to_bytes(name), item.size), content.ljust(item.size, b"\0"))
        parts.append(padding(item.size))
        size += item.size + BLOCK_BYTES
        counted += item.size
        if size >= _PIECE_BYTES:
            yield from _cut(b"".join(parts), counted)
            parts.clear()
            size = counted = 0
    yield from _cut(b"".join((*parts, END)), counted)


def _cut(data: bytes, content: int) -> Iterator[tuple[bytes, int]]:
    for start in range(0, len(data), _PIECE_BYTES):
        piece = data[start : start + _PIECE_BYTES]
        part = min(content, len(piece))
        yield piece, part
        content -= part


def _write_archive(feed: Feed, pieces: _Pieces, sent: Callable[[int], None]) -> None:
    for piece, content in pieces:
        feed.write(piece)
        if content:
            sent(content)


def _write_files(
    feed: Feed, items: Sequence[Item], names: Sequence[str], sent: Callable[[int], None]
) -> Mapping[int, str]:
    """Write an archive of ``items`` from their files; return which were not as expected."""
    failures: dict[int, str] = {}
    for number, item in enumerate(items):
        try:
            file = open(item.source, "rb", buffering=0)  # noqa: SIM115
        except OSError as error:
            failures[number] = error.strerror or str(error)
            continue
        with file:
            feed.write(header(to_bytes(names[number]), item.size))
            count = feed.send_file(file, item.size, sent)
        if count < item.size:
            failures[number] = "it became shorter while it was being sent"
            _write_zeros(feed, item.size - count)
        feed.write(padding(item.size))
    feed.write(END)
    return failures


def _write_zeros(feed: Feed, count: int) -> None:
    while count > 0:
        feed.write(bytes(min(count, _PIECE_BYTES)))
        count -= _PIECE_BYTES


def _directory(items: Sequence[Item]) -> str:
    """Return where to unpack: below all that the destinations have in common, if it is one word."""
    directory = common_directory([item.destination for item in items])
    return directory if is_plain(directory) and directory.startswith("/") else "/"


def _name(item: Item, directory: str) -> str:
    return item.destination[len(directory.rstrip("/")) + 1 :]


def _refused(names: Sequence[str], said: bytes) -> dict[int, str]:
    """Find the files tar complains of: ``tar: NAME: what it could not do: why``.

    What it says in other words (of a name it quotes, say) is found by the file's digest.
    """
    numbers = {name: number for number, name in enumerate(names)}
    failures: dict[int, str] = {}
    for line in to_text(said).splitlines():
        words = line.split(": ")
        for count in range(2, len(words)):
            if (number := numbers.get(": ".join(words[1:count]))) is not None:
                failures.setdefault(number, words[-1])
    return failures
