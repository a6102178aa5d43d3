"""Digests of local files: those of the programs that hosts compute them with; steady or none."""

from __future__ import annotations

import hashlib
import io
import os
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from testbed.needs import lack, need

from fastrr.files import digests as digests_module
from fastrr.files.digests import Abandoned, Unsteady, digest
from fastrr.model import Algorithm, Signature

SHA1, XXH128, GMAC = Algorithm.SHA1, Algorithm.XXH128, Algorithm.GMAC
KEY = bytes(range(16))
CHUNK = 1 << 20
LENGTHS = (
    *(0, 1, 15, 16, 17, 128, 129, 240, 241, 4096),  # XXH128 takes another way for each
    *(CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK, 3 * CHUNK + 12345),
)


def said_by(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def openssl_mac(path: Path, key: bytes) -> str:
    if not said_by("openssl", "version").startswith("OpenSSL 3"):
        lack("openssl mac came with OpenSSL 3")
    options = ["-cipher", "AES-128-GCM", "-macopt", f"hexkey:{key.hex()}"]
    options += ["-macopt", f"hexiv:{bytes(12).hex()}", "-in", str(path)]
    return said_by("openssl", "mac", *options, "GMAC").lower()


def of(path: Path, algorithm: Algorithm, key: bytes = KEY) -> str:
    return digest(str(path), algorithm, key)[0]


# the same as theirs


@pytest.mark.parametrize("length", LENGTHS)
def test_digests_are_those_of_the_hosts_programs(tmp_path: Path, length: int) -> None:
    path = tmp_path / "file"
    path.write_bytes(os.urandom(length))
    assert of(path, SHA1) == hashlib.sha1(path.read_bytes()).hexdigest()
    assert of(path, SHA1) == said_by("openssl", "dgst", "-sha1", "-r", str(path)).split()[0]
    assert of(path, GMAC) == openssl_mac(path, KEY)
    need("xxhsum")
    assert of(path, XXH128) == said_by("xxhsum", "-H2", str(path)).split()[0]


@pytest.mark.parametrize("algorithm", Algorithm)
def test_leading_zeros_are_written(tmp_path: Path, algorithm: Algorithm) -> None:
    path = tmp_path / "file"
    for number in range(4000):
        path.write_text(str(number))
        if (found := of(path, algorithm)).startswith("0"):
            break
    if algorithm is SHA1:
        assert found == said_by("sha1sum", str(path)).split()[0]
    elif algorithm is GMAC:
        assert found == openssl_mac(path, KEY)
    else:
        need("xxhsum")
        assert found == said_by("xxhsum", "-H2", str(path)).split()[0]


@pytest.mark.parametrize("key", [bytes(16), b"\xff" * 16, KEY])
def test_gmac_is_keyed(tmp_path: Path, key: bytes) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"content")
    assert of(path, GMAC, key) == openssl_mac(path, key)
    assert of(path, GMAC, key) != of(path, GMAC, b"another key" + bytes(5))


@pytest.mark.parametrize("algorithm", Algorithm)
@pytest.mark.parametrize("place", [0, CHUNK - 1, CHUNK, 2 * CHUNK + 6])
def test_every_byte_counts(tmp_path: Path, algorithm: Algorithm, place: int) -> None:
    content = bytearray(2 * CHUNK + 7)
    (tmp_path / "a").write_bytes(content)
    content[place] = 1
    (tmp_path / "b").write_bytes(content)
    assert of(tmp_path / "a", algorithm) != of(tmp_path / "b", algorithm)


def test_content_is_read_to_its_end_however_little_comes_at_a_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As from FUSE with direct_io, or from a network's file system after a signal (read(2))."""

    class Slow(io.FileIO):
        def read(self, size: int | None = -1, /) -> bytes:
            return super().read(min(999, size or 999))

        def readinto(self, buffer: memoryview, /) -> int:  # type: ignore[override]
            return super().readinto(memoryview(buffer)[:999])

    monkeypatch.setattr(digests_module, "open", lambda path, *_, **__: Slow(path), raising=False)
    for length in (5000, 3 * CHUNK):
        path = tmp_path / "file"
        path.write_bytes(os.urandom(length))
        assert of(path, SHA1) == hashlib.sha1(path.read_bytes()).hexdigest()


# the signature


def test_the_signature_is_that_of_the_content(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"content")
    assert digest(str(path), SHA1, KEY)[1] == Signature.of(path.stat())


def test_a_link_has_the_signature_of_the_file_it_leads_to(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"content")
    (tmp_path / "link").symlink_to("file")
    found, signature = digest(str(tmp_path / "link"), SHA1, KEY)
    assert found == hashlib.sha1(b"content").hexdigest()
    assert signature == Signature.of((tmp_path / "file").stat())


def _meddling(
    monkeypatch: pytest.MonkeyPatch, meddle: Callable[[], object], pieces: int = 1
) -> list[int]:
    """Have ``meddle`` called when so many pieces were read; return the sizes of all that are."""
    real = digests_module._start
    read: list[int] = []

    def start(
        algorithm: Algorithm, key: bytes
    ) -> tuple[Callable[[memoryview], object], Callable[[], str]]:
        update, finish = real(algorithm, key)

        def updating(piece: memoryview) -> None:
            update(piece)
            read.append(len(piece))
            if len(read) == pieces:
                meddle()

        return updating, finish

    monkeypatch.setattr(digests_module, "_start", start)
    return read


def _rewrite(path: Path) -> None:
    """Other content of the same size, with the old mtime."""
    status = path.stat()
    with path.open("r+b") as file:
        file.write(b"X")
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


CHANGES: dict[str, Callable[[Path], object]] = {
    "grows": lambda path: path.open("ab").write(b"more"),
    "shrinks": lambda path: os.truncate(path, 1),
    "is rewritten and its mtime put back": _rewrite,
    "is touched": os.utime,
    "is replaced": lambda path: path.with_name("new").replace(path),
    "is removed": lambda path: path.unlink(),
}


@pytest.mark.parametrize("algorithm", Algorithm)
@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("size", [100, 2 * CHUNK], ids=["small", "large"])
def test_a_file_that_changes_while_it_is_read_has_no_digest(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    algorithm: Algorithm,
    change: str,
    size: int,
) -> None:
    path = tmp_path / "file"
    for one in (path, tmp_path / "new"):
        one.write_bytes(bytes(size))
        os.utime(one, ns=(1, 1))
    _meddling(monkeypatch, lambda: CHANGES[change](path))
    with pytest.raises(Unsteady):
        digest(str(path), algorithm, KEY)


def test_reading_a_file_is_no_change(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "file"
    path.write_bytes(bytes(100))
    os.utime(path, (1, 10**9))  # so that relatime moves atime on
    _meddling(monkeypatch, path.read_bytes)
    assert of(path, SHA1) == hashlib.sha1(bytes(100)).hexdigest()


# what can't be read


def test_what_is_no_file_has_no_digest(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        of(tmp_path / "none", SHA1)
    with pytest.raises(IsADirectoryError):
        of(tmp_path, SHA1)
    with pytest.raises(OSError, match="no regular file"):
        of(Path("/dev/zero"), SHA1)


@pytest.mark.parametrize("algorithm", Algorithm)
def test_hashing_is_abandoned_between_two_pieces(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, algorithm: Algorithm
) -> None:
    path = tmp_path / "file"
    path.write_bytes(bytes(5 * CHUNK))
    abandon = threading.Event()
    read = _meddling(monkeypatch, abandon.set, pieces=2)
    with pytest.raises(Abandoned):
        digest(str(path), algorithm, KEY, abandon)
    assert read == [CHUNK, CHUNK]


def test_an_event_that_is_not_set_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(bytes(3 * CHUNK))
    assert digest(str(path), SHA1, KEY, threading.Event()) == digest(str(path), SHA1, KEY)
