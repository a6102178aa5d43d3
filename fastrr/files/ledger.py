"""What is remembered between runs: the SHA-1 a file had under a signature, here and on each host.

A signature (device, inode, size, mtime, ctime) that is unchanged means unchanged content: ctime
can't be set from user space. An entry is made only where that holds:

- the file system is one that keeps such times itself (`TRUSTED_FILE_SYSTEMS`: no network, no FUSE,
  and none in memory, where writing to mapped pages (mmap(2)) changes no time);
- its times have fractions of a second (busybox's ``stat`` shows none);
- the file was at rest: when it was looked at, its mtime and ctime were more than `AT_REST_S` older
  than the clock of the file system. Else a change in the same tick of the clock could go unseen
  (git's "racy" rule: Documentation/technical/racy-git.txt).

Not seen, as by git and rsync: a file that was hashed while a program had pages of it mapped and
dirty, and changed in these before the kernel wrote them out (30 s, vm.dirty_expire_centisecs).

Entries of a host are bound to its host key, its machine-id and the account. The ledger is a cache:
one that is lost, corrupt, locked or read-only costs time, never truth. ``--rehash`` ignores it.
"""

from __future__ import annotations

import contextlib
import logging
import os
import re
import sqlite3
import time
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from fastrr.model import Signature, SourceFile

logger = logging.getLogger(__name__)

AT_REST_S = 2.0
KEEP_DAYS = 90
BUSY_TIMEOUT_S = 5.0
_AT_ONCE = 500
"""Values in one query: SQLite takes 999 or more (SQLITE_LIMIT_VARIABLE_NUMBER)."""

TRUSTED_FILE_SYSTEMS = frozenset(
    {"bcachefs", "btrfs", "ext2", "ext3", "ext4", "f2fs", "jfs", "overlay", "reiserfs", "xfs"}
    | {"zfs"}
)

_VERSION = 3
_SCHEMA = f"""
DROP TABLE IF EXISTS local;
DROP TABLE IF EXISTS remote;
DROP TABLE IF EXISTS listing;
CREATE TABLE local (
    path BLOB PRIMARY KEY, signature TEXT, sha1 TEXT, seal INTEGER, day INTEGER
) WITHOUT ROWID;
CREATE TABLE remote (
    host TEXT, path BLOB, machine TEXT, signature TEXT, sha1 TEXT, seal INTEGER, day INTEGER,
    PRIMARY KEY (host, path)
) WITHOUT ROWID;
CREATE TABLE listing (
    host TEXT, files TEXT, machine TEXT, digest TEXT, contents TEXT, seal INTEGER, day INTEGER,
    PRIMARY KEY (host, files)
) WITHOUT ROWID;
PRAGMA user_version = {_VERSION};
"""


_TROUBLE = (sqlite3.Error, OSError, ValueError, TypeError)
"""What is in the file may be anything: even sqlite3's own messages may be no UTF-8."""


class LocalEntry(NamedTuple):
    """A local file that was read."""

    path: str
    signature: Signature
    sha1: str


class RemoteEntry(NamedTuple):
    """A file on a host, as it was when its digest was computed."""

    signature: Signature
    sha1: str
    machine: str
    """Its host's machine-id."""


class Listing(NamedTuple):
    """Some files of a host that the ledger knows all; see `fastrr.files.probe.listing_script`."""

    digest: str
    """Of all that ``stat`` says of them: unchanged means that none of them has changed."""
    contents: str
    """Digest of their SHA-1 digests."""
    machine: str


def at_rest(signature: Signature, clock_ns: int) -> bool:
    """Tell whether a file had not been touched for long enough, by the clock it is timed with."""
    touched = max(signature.mtime_ns, signature.ctime_ns)
    return clock_ns - touched > AT_REST_S * 1e9 and signature.ctime_ns % 10**9 != 0


def default_path() -> str:
    """Where the ledger is kept: in the user's cache (XDG Base Directory Specification)."""
    cache = os.environ.get("XDG_CACHE_HOME", "")
    if not os.path.isabs(cache):  # which the specification says to ignore
        cache = os.path.expanduser("~/.cache")
    return os.path.join(cache, "fastrr", "ledger.sqlite")


class Ledger:
    """The file. Each process and thread opens it for itself, for as long as it needs it."""

    def __init__(self, path: str | None) -> None:
        self._path = path
        """None: there is nothing to remember, and nothing will be."""

    @contextlib.contextmanager
    def _open(self) -> Iterator[sqlite3.Connection | None]:
        """Open the file for the time inside; yield None where that can't be done."""
        if self._path is None:
            yield None
            return
        try:
            connection = _connect(self._path)
        except _TROUBLE as error:
            self._complain(error)
            yield None
            return
        with contextlib.closing(connection):
            try:
                yield connection
            except _TROUBLE as error:
                self._complain(error)

    def _complain(self, error: Exception) -> None:
        """Note that the ledger could not be used; if it is damaged, begin a new one next time.

        Else it is left alone from now on: who waited once for a lock does not wait again.
        """
        logger.debug("the ledger %s can't be used: %s", self._path, error)
        if self._path and _means_damage(error):
            _forget(self._path)
        else:
            self._path = None

    def remote(self, host: str, paths: Iterable[str] | None = None) -> dict[str, RemoteEntry]:
        """Return what is known of a host's files, or of these, by path.

        ``host`` is its identity.
        """
        found: dict[str, RemoteEntry] = {}
        wanted = None if paths is None else {os.fsencode(path) for path in paths}

        def take(path: bytes, machine: str, signature: str, sha1: str, seal: int) -> None:
            if wanted is not None and path not in wanted:
                return
            _check(seal, host, path, machine, signature, sha1)
            found[os.fsdecode(path)] = RemoteEntry(_parsed(signature), sha1, machine)

        query = "SELECT path, machine, signature, sha1, seal FROM remote WHERE host = ?"
        values: tuple[object, ...] = (host,)
        if wanted:  # mostly files of a few directories: those between are not many more
            query, values = f"{query} AND path BETWEEN ? AND ?", (host, min(wanted), max(wanted))
        self._read([(query, values)], take)
        return found

    def store_remote(self, host: str, entries: Mapping[str, RemoteEntry]) -> None:
        """Remember files of a host, by path."""
        rows = [
            _sealed(host, os.fsencode(path), entry.machine, _text(entry.signature), entry.sha1)
            for path, entry in entries.items()
        ]
        self._write("INSERT OR REPLACE INTO remote VALUES (?, ?, ?, ?, ?, ?, ?)", rows)

    def listing(self, host: str, files: str) -> Listing | None:
        """Return what is known of all ``files``, by their `fastrr.files.probe.listing_key`."""
        found: list[Listing] = []

        def take(machine: str, digest: str, contents: str, seal: int) -> None:
            _check(seal, host, files, machine, digest, contents)
            found.append(Listing(digest, contents, machine))

        query = "SELECT machine, digest, contents, seal FROM listing WHERE host = ? AND files = ?"
        self._read([(query, (host, files))], take)
        return found[0] if found else None

    def store_listing(self, host: str, files: str, listing: Listing) -> None:
        """Remember these files together."""
        row = _sealed(host, files, listing.machine, listing.digest, listing.contents)
        self._write("INSERT OR REPLACE INTO listing VALUES (?, ?, ?, ?, ?, ?, ?)", [row])

    def forget_remote(self, host: str) -> None:
        """Forget all files of a host."""
        for table in ("remote", "listing"):
            self._write(f"DELETE FROM {table} WHERE host = ?", [(host,)])  # noqa: S608

    def local(self, paths: Iterable[str]) -> dict[str, LocalEntry]:
        """Return what is known of local files, by path."""
        found: dict[str, LocalEntry] = {}

        def take(path: bytes, signature: str, sha1: str, seal: int) -> None:
            _check(seal, path, signature, sha1)
            name = os.fsdecode(path)
            found[name] = LocalEntry(name, _parsed(signature), sha1)

        wanted = [os.fsencode(path) for path in paths]
        some = [wanted[start : start + _AT_ONCE] for start in range(0, len(wanted), _AT_ONCE)]
        query = "SELECT path, signature, sha1, seal FROM local WHERE path IN ({})"
        self._read(((query.format(",".join("?" * len(part))), part) for part in some), take)
        return found

    def store_local(self, entries: Sequence[LocalEntry]) -> None:
        """Remember local files."""
        rows = [_sealed(os.fsencode(e.path), _text(e.signature), e.sha1) for e in entries]
        self._write("INSERT OR REPLACE INTO local VALUES (?, ?, ?, ?, ?)", rows)

    def _read(
        self, queries: Iterable[tuple[str, Sequence[object]]], take: Callable[..., None]
    ) -> None:
        with self._open() as connection:
            if connection is not None:
                for query, values in queries:
                    for row in connection.execute(query, values):
                        take(*row)

    def _write(self, statement: str, rows: Sequence[tuple[object, ...]]) -> None:
        if not rows:
            return
        with self._open() as connection:
            if connection is None:
                return
            with connection:  # which commits, but does not begin
                connection.execute("BEGIN IMMEDIATE")
                connection.executemany(statement, rows)
                _forget_old(connection)


class LocalLedger:
    """The ledger's view of local files, by the rules of this module."""

    def __init__(self, ledger: Ledger, *, ignore: bool = False) -> None:
        self._ledger = ledger
        self._ignore = ignore

    def look_up(self, files: Sequence[SourceFile]) -> dict[str, str]:
        """Return the SHA-1 of those files that are as they were when it was computed."""
        if self._ignore:
            return {}
        known = self._ledger.local(file.path for file in files)
        return {
            file.path: entry.sha1
            for file in files
            if (entry := known.get(file.path)) and entry.signature == file.signature
        }

    def changed(self, files: Sequence[SourceFile]) -> list[str]:
        """Return the paths of those that were known once, but are not as they are now."""
        known = self._ledger.local(file.path for file in files) if files else {}
        return [
            file.path
            for file in files
            if (entry := known.get(file.path))
            and (self._ignore or entry.signature != file.signature)
        ]

    def store(self, entries: Sequence[LocalEntry]) -> None:
        """Remember those on file systems that can be trusted; all were at rest when they were read.

        (Now is too late to ask: a change in the tick after the reading would go unseen.)
        """
        if not entries:
            return
        mounts = Mounts()
        self._ledger.store_local(
            [e for e in entries if mounts.file_system_of(e.path) in TRUSTED_FILE_SYSTEMS]
        )


class Mounts:
    """The mounted file systems of this machine (proc_pid_mountinfo(5)); none without a /proc.

    They are told by path, not by device: that of a file on btrfs is not that of its mount.
    """

    def __init__(self, table: str = "/proc/self/mountinfo") -> None:
        self._types: dict[str, str] = {}
        self._known: dict[str, str | None] = {}
        with contextlib.suppress(OSError), open(table, "rb") as file:
            for line in file:
                fields = line.split(b" ")
                self._types[_unescaped(fields[4])] = os.fsdecode(fields[fields.index(b"-") + 1])

    def file_system_of(self, path: str) -> str | None:
        """Return the type of the file system that the file at ``path`` is on, if that is known."""
        file = os.path.realpath(path)
        if file in self._types:  # single files can be mounted, too
            return self._types[file]
        directory = os.path.dirname(file)
        if directory not in self._known:
            point = directory
            while point not in self._types and point != "/":
                point = os.path.dirname(point)
            self._known[directory] = self._types.get(point)
        return self._known[directory]


def _unescaped(point: bytes) -> str:
    """A mount point with its octal escapes (of spaces, tabs, newlines, backslashes) replaced."""
    return os.fsdecode(re.sub(rb"\\([0-7]{3})", lambda match: bytes([int(match[1], 8)]), point))


def _means_damage(error: Exception) -> bool:
    """Tell a file that is no ledger (any more) from one that can't be used just now."""
    if isinstance(error, sqlite3.OperationalError):  # locked, full, no table of that name
        return getattr(error, "sqlite_errorname", "") == "SQLITE_ERROR"  # since Python 3.11
    return not isinstance(error, OSError)


def _seal(*values: object) -> int:
    """A checksum: SQLite has none, and a damaged digest would make copies fail."""
    return zlib.crc32(repr(values).encode())


def _sealed(*values: object) -> tuple[object, ...]:
    """A row: the values, their seal and today."""
    return (*values, _seal(*values), _today())


def _check(seal: int, *values: object) -> None:
    if seal != _seal(*values):
        raise ValueError("a row is damaged")


def _text(signature: Signature) -> str:
    """A signature as one value: inodes may be beyond what an INTEGER of SQLite holds."""
    return " ".join(map(str, signature))


def _parsed(text: str) -> Signature:
    return Signature(*map(int, text.split(" ")))


def _today() -> int:
    return int(time.time() // 86400)


def _connect(path: str) -> sqlite3.Connection:
    os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
    connection = sqlite3.connect(path, timeout=BUSY_TIMEOUT_S, isolation_level=None)
    connection.text_factory = bytes.decode  # its error means damage, that of sqlite3 may pass
    try:
        connection.execute("PRAGMA synchronous = OFF")
        if connection.execute("PRAGMA user_version").fetchone()[0] != _VERSION:
            _create(connection)
    except BaseException:
        connection.close()
        raise
    return connection


def _create(connection: sqlite3.Connection) -> None:
    """Make the tables, in place of another version's; another process may be doing the same."""
    connection.execute("BEGIN IMMEDIATE")
    if connection.execute("PRAGMA user_version").fetchone()[0] != _VERSION:
        for statement in filter(str.strip, _SCHEMA.split(";")):
            connection.execute(statement)
    connection.execute("COMMIT")


def _forget_old(connection: sqlite3.Connection) -> None:
    """Once a day, forget what was learned too long ago. The day is kept in ``application_id``."""
    today = _today()
    if connection.execute("PRAGMA application_id").fetchone()[0] != today:
        for table in ("local", "remote", "listing"):
            connection.execute(f"DELETE FROM {table} WHERE day < ?", (today - KEEP_DAYS,))  # noqa: S608
        connection.execute(f"PRAGMA application_id = {today}")


def _forget(path: str) -> None:
    for suffix in ("", "-wal", "-shm", "-journal"):
        with contextlib.suppress(OSError):
            os.unlink(path + suffix)
