"""All files for a host in one tar stream: one round trip, however many there are.

The content of a small stream is read once and kept while all hosts of a worker get it, as they
mostly get the same. That of a large one goes straight from the files.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Sequence

from fastrr.errors import ConnectionLost
from fastrr.files.place import Parcel
from fastrr.files.staging import NOT_FOR_ALL
from fastrr.files.transports.base import Item
from fastrr.files.transports.tarstream import BLOCK_BYTES, END, header, padding
from fastrr.hosts.answers import bound
from fastrr.hosts.base import Completed, Feed, Host, Unanswered
from fastrr.hosts.shell import common_directory, inside, is_plain, to_bytes, to_text

BULK_FROM_BYTES = 48 << 20
"""From here a second connection, by the OpenSSH client, pays its handshake (0.15 to 0.2 s)."""

KEEP_UP_TO_BYTES = 8 << 20
"""Twice as much may be kept by every worker."""
_PIECE_BYTES = 1 << 17
NOT_MADE = 77
"""Exit status of a parcel's command whose directories are not ours to make."""
UNKNOWN = "; all files had been sent: which of them are in place, the next run will see"


class StreamTransport:
    """See `fastrr.files.transports.base.Transport`."""

    name = "stream"
    sets_modes = True
    wire_bytes: int | None = None

    def __init__(
        self,
        bulk_from_bytes: int = BULK_FROM_BYTES,
        keep_up_to_bytes: int = KEEP_UP_TO_BYTES,
    ) -> None:
        self._bulk_from_bytes = bulk_from_bytes
        self._keep_up_to_bytes = keep_up_to_bytes

    def is_bulk(self, size: int) -> bool:
        """Whether so much goes by a connection of its own."""
        return size >= self._bulk_from_bytes

    def send(
        self, host: Host, items: Sequence[Item], sent: Callable[[int], None]
    ) -> dict[int, str]:
        if not items:
            return {}
        directory = _directory(items)
        bulk = self.is_bulk(sum(item.size for item in items))
        unpack = f"{_TAR} -C {directory}"
        command = _in_large_pieces(unpack) if bulk else f"exec {unpack}"
        archive = self._archive(items, directory, sent)
        completed = host.stream(
            command,
            archive,
            bulk=bulk,
            answer_bytes=_answer_bytes(items),
        )
        refused = _refused(archive.names, completed.stderr) if completed.status != 0 else {}
        return refused | archive.failures

    def send_parcel(
        self,
        host: Host,
        items: Sequence[Item],
        sent: Callable[[int], None],
        parcel: Parcel,
        limit_s: float,
    ) -> tuple[dict[int, str], Completed]:
        """Send a parcel with its items; return which of them failed, and what the script said.

        ``limit_s`` is for what is left to do when all has been sent. The status is `NOT_MADE` where
        its directories could not be made; then nothing has happened.
        """
        # Where nobody listens any more, what has arrived is to be put in place or removed.
        commands = ['trap "" PIPE', f"echo {parcel.script.begins} >&2", NOT_FOR_ALL.rstrip()]
        if parcel.makes:
            undo = "rmdir $fastrr_made 2>/dev/null"  # those that are empty
            commands.append(f'fastrr_made="{" ".join(parcel.makes)}"')
            commands.append(f"mkdir -m 700 $fastrr_made || {{ {undo}; exit {NOT_MADE}; }}")
        # What is run is what has been unpacked here: not in somebody else's directory.
        commands += [f"cd {parcel.directory} || exit 1", _TAR]
        command = "; ".join((*commands, f"exec sh {parcel.runs}"))
        archive = self._archive(items, parcel.directory, sent, parcel)
        try:
            limit_bytes = _answer_bytes(items, *(content for _, content in parcel.files))
            completed = host.stream(command, archive, limit_s=limit_s, answer_bytes=limit_bytes)
        except (ConnectionLost, Unanswered) as error:
            raise type(error)(f"{error}{UNKNOWN if archive.complete else ''}") from error
        completed = completed._replace(stderr=parcel.script.errors_of(completed.stderr))
        return _refused(archive.names, completed.stderr) | archive.failures, completed

    def _archive(
        self,
        items: Sequence[Item],
        directory: str,
        sent: Callable[[int], None],
        parcel: Parcel | None = None,
    ) -> _Archive:
        keep = sum(item.size for item in items) <= self._keep_up_to_bytes
        return _Archive(items, directory, sent, keep, parcel)


_TAR = "tar -x -o -m -p -f -"
"""The command that unpacks a stream; every login shell takes its words as they are.

-o: the account owns what it extracts, root's too; -m: no times are set; -p: whatever the umask.
"""


def _in_large_pieces(unpack: str) -> str:
    """GNU tar reads 10 KiB at a time unless told otherwise: a third of its time is system calls."""
    large = f"{unpack} -b 512"
    return f"case $(tar --version 2>/dev/null) in *GNU*) exec {large};; *) exec {unpack};; esac"


class _Archive:
    """Writes the archive of some items, seen from a directory on the host."""

    def __init__(
        self,
        items: Sequence[Item],
        directory: str,
        sent: Callable[[int], None],
        keep: bool,
        parcel: Parcel | None,
    ) -> None:
        self._items = items
        self._directory = directory
        self._sent = sent
        self._keep = keep
        self._parcel = parcel
        self.names = [self._below(item.destination) for item in items]
        self.failures: dict[int, str] = {}
        """What could not be read here, and why, by number of the item."""
        self.complete = False

    def __call__(self, feed: Feed) -> None:
        last = b""
        if self._parcel is not None:
            last = header(to_bytes(self._below(self._parcel.last)), 0)
            feed.write(b"".join(self._first(self._parcel)))
        if self._keep:
            pieces, self.failures = _kept.archive(self._items, self.names, last)
            for piece, content in pieces:
                feed.write(piece)
                if content:
                    self._sent(content)
        else:
            self.failures = _write_files(feed, self._items, self.names, self._sent)
            feed.write(last + END)
        self.complete = True

    def _first(self, parcel: Parcel) -> Iterator[bytes]:
        for path, content in parcel.files:
            yield header(to_bytes(self._below(path)), len(content)) + content
            yield padding(len(content))

    def _below(self, path: str) -> str:
        return inside(self._directory, path)


_Pieces = Iterable[tuple[bytes, int]]
"""What is to be written, and how much of each piece is content."""


class _Kept:
    """The content of the files asked for last, and the archive first made of it.

    Hosts mostly want the same, and new files are called the same as seen from their directory.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._key: tuple[tuple[str, int, int], ...] = ()
        self._contents: list[bytes | OSError] = []
        self._names: Sequence[str] = ()
        self._last = b""
        self._pieces: _Pieces = ()

    def archive(
        self, items: Sequence[Item], names: Sequence[str], last: bytes
    ) -> tuple[_Pieces, dict[int, str]]:
        """Return an archive of ``items`` and a ``last`` entry, and which of them can't be read."""
        key = tuple((item.source, item.size, item.mode) for item in items)
        with self._lock:
            if key != self._key:
                self._contents = [_read(item) for item in items]
                self._key, self._names, self._last = key, names, last
                self._pieces = tuple(_pieces(items, names, self._contents, last))
            failures = {
                number: content.strerror or str(content)
                for number, content in enumerate(self._contents)
                if isinstance(content, OSError)
            }
            if (names, last) == (self._names, self._last):
                return self._pieces, failures
            return _pieces(items, names, self._contents, last), failures


_kept = _Kept()


def _read(item: Item) -> bytes | OSError:
    try:
        with open(item.source, "rb", buffering=0) as file:
            return file.read(item.size)
    except OSError as error:
        return error


def _pieces(
    items: Sequence[Item],
    names: Sequence[str],
    contents: Sequence[bytes | OSError],
    last: bytes,
) -> Iterator[tuple[bytes, int]]:
    """Yield an archive in pieces that are worth a write, and not too large for one."""
    parts: list[bytes] = []
    size = counted = 0
    for item, name, content in zip(items, names, contents, strict=True):
        if isinstance(content, OSError):
            continue
        parts += (header(to_bytes(name), item.size, item.mode), content.ljust(item.size, b"\0"))
        parts.append(padding(item.size))
        size += item.size + BLOCK_BYTES
        counted += item.size
        if size >= _PIECE_BYTES:
            yield from _cut(b"".join(parts), counted)
            parts.clear()
            size = counted = 0
    yield from _cut(b"".join((*parts, last, END)), counted)


def _cut(data: bytes, content: int) -> Iterator[tuple[bytes, int]]:
    if len(data) < 2 * _PIECE_BYTES:
        yield data, content
        return
    for start in range(0, len(data), _PIECE_BYTES):
        piece = data[start : start + _PIECE_BYTES]
        part = min(content, len(piece))
        yield piece, part
        content -= part


def _write_files(
    feed: Feed, items: Sequence[Item], names: Sequence[str], sent: Callable[[int], None]
) -> dict[int, str]:
    """Write ``items`` from their files; return which were not as expected."""
    failures: dict[int, str] = {}
    for number, item in enumerate(items):
        try:
            file = open(item.source, "rb", buffering=0)  # noqa: SIM115
        except OSError as error:
            failures[number] = error.strerror or str(error)
            continue
        with file:
            feed.write(header(to_bytes(names[number]), item.size, item.mode))
            count = feed.send_file(file, item.size, sent)
        if count < item.size:
            failures[number] = "it became shorter while it was being sent"
            _write_zeros(feed, item.size - count)
        feed.write(padding(item.size))
    return failures


def _write_zeros(feed: Feed, count: int) -> None:
    while count > 0:
        feed.write(bytes(min(count, _PIECE_BYTES)))
        count -= _PIECE_BYTES


def _directory(items: Sequence[Item]) -> str:
    """Return where to unpack: below all that the destinations have in common, if it is one word."""
    directory = common_directory([item.destination for item in items])
    return directory if is_plain(directory) and directory.startswith("/") else "/"


def _answer_bytes(items: Sequence[Item], *more: bytes) -> int:
    """How much may be printed by what gets ``items``; ``more`` is asked along with them."""
    asked = sum(len(item.destination) for item in items) + sum(map(len, more))
    return bound(asked, len(items) + sum(content.count(b"\n") for content in more))


def _refused(names: Sequence[str], said: bytes) -> dict[int, str]:
    """Find the files tar complains of: ``tar: NAME: what it could not do: why``.

    What it says in other words (of a name it quotes, say) is found by the file's digest.
    """
    numbers = {name: number for number, name in enumerate(names)}
    most_words = max((name.count(": ") for name in names), default=0) + 1
    failures: dict[int, str] = {}
    for line in to_text(said).splitlines():
        words = line.split(": ")
        for count in range(2, min(len(words), most_words + 2)):
            if (number := numbers.get(": ".join(words[1:count]))) is not None:
                failures.setdefault(number, words[-1])
    return failures
