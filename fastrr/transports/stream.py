"""All files for a host in one tar stream: one round trip, however many there are.

The content of a small stream is read once and kept while all hosts of a worker get it, as they
mostly get the same. That of a large one goes straight from the files.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence

from fastrr.hosts.base import Feed, Host
from fastrr.shell import to_bytes, to_text
from fastrr.transports.base import Item
from fastrr.transports.tarstream import END, header, padding

EXTRACT = "tar -x -o -m -f - -C /"
"""-o: the account owns what it extracts, root's too; -m: no times are set."""

EXTRACT_MUCH = (
    "exec sh -c 'case $(tar --version 2>/dev/null) in "
    f"*GNU*) exec {EXTRACT} -b 512;; *) exec {EXTRACT};; esac'"
)
"""GNU tar reads 10 KiB at a time unless told otherwise; a third of its CPU time is system calls."""

BULK_FROM_BYTES = 48 << 20
"""From here a second connection, by the OpenSSH client, pays its handshake (0.15 to 0.2 s)."""

KEEP_UP_TO_BYTES = 32 << 20
_PIECE_BYTES = 1 << 18


class StreamTransport:
    """See `fastrr.transports.base.Transport`."""

    name = "stream"

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

        def write(feed: Feed) -> None:
            if size <= self._keep_up_to_bytes:
                failures.update(_write_kept(feed, items, _contents.of(items), sent))
            else:
                failures.update(_write_files(feed, items, sent))

        bulk = size >= self._bulk_from_bytes
        command = EXTRACT_MUCH if bulk else f"exec {EXTRACT}"
        completed = host.stream(command, write, bulk=bulk)
        if completed.status != 0:
            failures = _refused(items, completed.stderr) | failures
        return failures


class _Contents:
    """The content of the files asked for last, or why it can't be had."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._key: tuple[tuple[str, int], ...] = ()
        self._contents: list[bytes | OSError] = []

    def of(self, items: Sequence[Item]) -> list[bytes | OSError]:
        key = tuple((item.source, item.size) for item in items)
        with self._lock:
            if key != self._key:
                self._key, self._contents = key, [_read(item) for item in items]
            return self._contents


_contents = _Contents()


def _read(item: Item) -> bytes | OSError:
    try:
        with open(item.source, "rb", buffering=0) as file:
            return file.read(item.size)
    except OSError as error:
        return error


def _write_kept(
    feed: Feed,
    items: Sequence[Item],
    contents: Sequence[bytes | OSError],
    sent: Callable[[int], None],
) -> Mapping[int, str]:
    """Write an archive of what was read; return which files were not as expected."""
    failures: dict[int, str] = {}
    pieces = _Pieces(feed, sent)
    for number, (item, content) in enumerate(zip(items, contents, strict=True)):
        if isinstance(content, OSError):
            failures[number] = content.strerror or str(content)
            continue
        pieces.add(header(_name(item), item.size))
        pieces.add(content.ljust(item.size, b"\0"), item.size)
        pieces.add(padding(item.size))
    pieces.add(END)
    pieces.flush()
    return failures


class _Pieces:
    """Gathers small parts into writes that are worth it, and large ones into several."""

    def __init__(self, feed: Feed, sent: Callable[[int], None]) -> None:
        self._feed = feed
        self._sent = sent
        self._parts: list[bytes] = []
        self._size = self._content = 0

    def add(self, part: bytes, content: int = 0) -> None:
        """Write ``part`` sooner or later; ``content`` bytes of it are told as sent then."""
        if len(part) > _PIECE_BYTES:
            self.flush()
            for start in range(0, len(part), _PIECE_BYTES):
                piece = part[start : start + _PIECE_BYTES]
                self._feed.write(piece)
                self._sent(len(piece))
            return
        self._parts.append(part)
        self._size += len(part)
        self._content += content
        if self._size >= _PIECE_BYTES:
            self.flush()

    def flush(self) -> None:
        """Write what has been gathered."""
        if self._parts:
            self._feed.write(b"".join(self._parts))
        if self._content:
            self._sent(self._content)
        self._parts, self._size, self._content = [], 0, 0


def _write_files(
    feed: Feed, items: Sequence[Item], sent: Callable[[int], None]
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
            feed.write(header(_name(item), item.size))
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


def _name(item: Item) -> bytes:
    return to_bytes(item.destination.removeprefix("/"))


def _refused(items: Sequence[Item], said: bytes) -> dict[int, str]:
    """Find the files tar complains of: ``tar: NAME: what it could not do: why``.

    What it says in other words (of a name it quotes, say) is found by the file's digest.
    """
    numbers = {item.destination.removeprefix("/"): n for n, item in enumerate(items)}
    failures: dict[int, str] = {}
    for line in to_text(said).splitlines():
        words = line.split(": ")
        for count in range(2, len(words)):
            if (number := numbers.get(": ".join(words[1:count]))) is not None:
                failures.setdefault(number, words[-1])
    return failures
