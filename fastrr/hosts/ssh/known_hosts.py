"""known_hosts files: which keys are on file for a host, and adding one.

The format is that of sshd(8), "SSH_KNOWN_HOSTS FILE FORMAT". paramiko's own reader knows neither
patterns (``*.example.org,!bad.example.org``) nor the markers ``@revoked`` and ``@cert-authority``,
and all of these decide whether a key is to be trusted.
"""

from __future__ import annotations

import base64
import binascii
import fcntl
import hashlib
import hmac
import os
from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase
from functools import lru_cache
from typing import NamedTuple


class Entry(NamedTuple):
    """One line: who it is about, and a public key (wire format, RFC 4253 section 6.6)."""

    patterns: tuple[str, ...]
    key_type: str
    key: bytes
    marker: str | None
    place: str
    """``file:line``, for messages."""

    def matches(self, name: str) -> bool:
        """Tell whether the entry is about ``name`` (``host`` or ``[host]:port``)."""
        found = False
        for pattern in self.patterns:
            negated = pattern.startswith("!")
            if _matches(pattern.removeprefix("!"), name):
                if negated:
                    return False
                found = True
        return found


def _matches(pattern: str, name: str) -> bool:
    if pattern.startswith("|"):
        return _hash_matches(pattern, name)
    # Square brackets are literal in ssh's patterns; only * and ? are special.
    return fnmatchcase(name, pattern.lower().replace("[", "[[]"))


def _hash_matches(pattern: str, name: str) -> bool:
    try:
        _, version, salt, digest = pattern.split("|")
        mac = hmac.new(base64.b64decode(salt), name.encode(), hashlib.sha1).digest()
        return version == "1" and hmac.compare_digest(mac, base64.b64decode(digest))
    except ValueError:
        return False


def parse(text: str, place: str) -> list[Entry]:
    """Parse a file's content; lines that make no sense are passed over, as ssh does."""
    entries = []
    for number, line in enumerate(text.split("\n"), 1):
        fields = line.split()
        if not fields or fields[0].startswith("#"):
            continue
        marker = fields.pop(0) if fields[0].startswith("@") else None
        if len(fields) < 3:
            continue
        try:
            key = base64.b64decode(fields[2], validate=True)
        except binascii.Error:
            continue
        patterns = tuple(fields[0].split(","))
        entries.append(Entry(patterns, fields[1], key, marker, f"{place}:{number}"))
    return entries


@lru_cache(maxsize=64)
def _read(path: str, _mtime_ns: int, _size: int) -> tuple[Entry, ...]:
    with open(path, encoding="utf-8", errors="replace") as file:
        return tuple(parse(file.read(), path))


def read(paths: Iterable[str]) -> list[Entry]:
    """Return the entries of all ``paths``; a file that can't be read has none."""
    entries: list[Entry] = []
    for path in paths:
        try:
            status = os.stat(path)
            entries.extend(_read(path, status.st_mtime_ns, status.st_size))
        except OSError:
            continue
    return entries


class OnFile(NamedTuple):
    """What known_hosts says about one host."""

    keys: tuple[Entry, ...] = ()
    revoked: tuple[Entry, ...] = ()
    without_port: tuple[Entry, ...] = ()
    """Keys of the same name at port 22, which ssh accepts where there is no other entry."""
    authorities: tuple[Entry, ...] = ()
    """Keys that sign certificates of the host."""

    @property
    def key_types(self) -> list[str]:
        return list(dict.fromkeys(entry.key_type for entry in (*self.keys, *self.without_port)))

    def has(self, key: bytes) -> bool:
        return any(entry.key == key for entry in self.keys or self.without_port)


def look_up(entries: Sequence[Entry], name: str) -> OnFile:
    """Return what ``entries`` say about ``name`` (``host`` or ``[host]:port``)."""
    name = name.lower()
    plain = name[1 : name.rindex("]")] if name.startswith("[") and "]" in name else None

    def marked(marker: str) -> tuple[Entry, ...]:
        return tuple(
            e
            for e in entries
            if e.marker == marker and (e.matches(name) or (plain and e.matches(plain)))
        )

    return OnFile(
        tuple(e for e in entries if e.marker is None and e.matches(name)),
        marked("@revoked"),
        tuple(e for e in entries if plain and e.marker is None and e.matches(plain)),
        marked("@cert-authority"),
    )


def line_for(name: str, key_type: str, key: bytes, hashed: bool) -> str:
    """Return the line that files ``key`` under ``name``, hashed as by ``HashKnownHosts``."""
    name = name.lower()
    if hashed:
        salt = os.urandom(20)
        mac = hmac.new(salt, name.encode(), hashlib.sha1).digest()
        name = f"|1|{base64.b64encode(salt).decode()}|{base64.b64encode(mac).decode()}"
    return f"{name} {key_type} {base64.b64encode(key).decode()}\n"


def add(path: str, name: str, key_type: str, key: bytes, hashed: bool) -> None:
    """File ``key`` under ``name`` in the file, which is made if need be; safe beside other writers.

    :raises OSError: when it can't be written.
    """
    os.makedirs(os.path.dirname(path) or ".", mode=0o700, exist_ok=True)
    descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o600)
    with open(descriptor, "rb+") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        content = file.read()
        # Hashed lines differ by their salt: what counts is whether the key is on file by now.
        entries = parse(content.decode(errors="replace"), path)
        if any(entry.key == key for entry in look_up(entries, name).keys):
            return
        newline = b"\n" if content and not content.endswith(b"\n") else b""
        file.write(newline + line_for(name, key_type, key, hashed).encode())
