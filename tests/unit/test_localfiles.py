"""Digests of local files: right, complete, interruptible, and every unreadable file named."""

from __future__ import annotations

import contextlib
import hashlib
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fastrr.errors import Interrupted, UsageError
from fastrr.files import digests as digests_module
from fastrr.files.digests import Unsteady
from fastrr.files.ledger import (
    AT_REST_S,
    TRUSTED_FILE_SYSTEMS,
    Ledger,
    LocalEntry,
    LocalLedger,
    Mounts,
)
from fastrr.files.sources import FORESEE_FROM_BYTES, LocalFiles
from fastrr.model import Algorithm, Signature, SourceFile

SHA1 = Algorithm.SHA1
KEY = bytes(range(16))


def nothing() -> None:
    """Nobody wants to stop."""


@contextlib.contextmanager
def opened(*paths: Path, ledger: str | None = None) -> Iterator[LocalFiles]:
    sources = {str(path): SourceFile.at(str(path), path.stat()) for path in paths}
    files = LocalFiles(sources, KEY, LocalLedger(Ledger(ledger)))
    with contextlib.closing(files):
        yield files


def test_every_file_has_its_own_digest(tmp_path: Path) -> None:
    paths = [tmp_path / f"file {number}" for number in range(600)]
    for number, path in enumerate(paths):
        path.write_text(str(number))
    with opened(*paths) as files:
        assert files.collect(SHA1, map(str, paths), nothing) == {
            str(path): hashlib.sha1(str(number).encode()).hexdigest()
            for number, path in enumerate(paths)
        }


def test_each_file_is_read_once_for_each_algorithm(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[tuple[str, Algorithm]] = []
    real = digests_module.digest

    def counting(path: str, algorithm: Algorithm, *rest: object) -> object:
        read.append((path, algorithm))
        return real(path, algorithm, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr("fastrr.files.sources.digest", counting)
    path = tmp_path / "file"
    path.write_text("x")
    with opened(path) as files:
        for algorithm in (SHA1, SHA1, Algorithm.XXH128, SHA1):
            files.want(algorithm, [str(path)])
            files.collect(algorithm, [str(path)], nothing)
    assert sorted(read, key=str) == [(str(path), SHA1), (str(path), Algorithm.XXH128)]


def remembered(ledger: Path, *paths: Path) -> set[str]:
    return {Path(path).name for path in Ledger(str(ledger)).local(map(str, paths))}


def set_clock(monkeypatch: pytest.MonkeyPatch, path: Path, seconds: float) -> None:
    """Have it be so many seconds after a file was last touched."""
    now_ns = path.stat().st_ctime_ns + int(seconds * 1e9)
    monkeypatch.setattr("fastrr.files.sources.time.time_ns", lambda: now_ns)


def test_digests_are_remembered_of_files_that_were_at_rest_when_they_were_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However long the run lasts after that: a change in the same tick would go unseen."""
    if Mounts().file_system_of(str(tmp_path / "f")) not in TRUSTED_FILE_SYSTEMS:
        pytest.skip("the tests' directory is on a file system that is not trusted")
    old, new = tmp_path / "old", tmp_path / "new"
    ledger = tmp_path / "ledger"
    for path in (old, new):
        path.write_text(path.name)
    os.utime(new, (1, 1))
    with opened(old, new, ledger=str(ledger)) as files:
        set_clock(monkeypatch, old, AT_REST_S + 0.1)
        files.collect(SHA1, [str(old)], nothing)
        set_clock(monkeypatch, new, AT_REST_S - 0.1)
        files.collect(SHA1, [str(new)], nothing)
        set_clock(monkeypatch, new, 3600)
    assert remembered(ledger, old, new) == {"old"}
    with opened(old, new, ledger=str(ledger)) as files:
        files.collect(SHA1, [str(old), str(new)], nothing)
    assert remembered(ledger, old, new) == {"old", "new"}


def test_a_file_is_at_rest_before_it_is_read_not_after(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A large one takes long: a change just after the reading began would go unseen."""
    if Mounts().file_system_of(str(tmp_path / "f")) not in TRUSTED_FILE_SYSTEMS:
        pytest.skip("the tests' directory is on a file system that is not trusted")
    path, ledger = tmp_path / "file", tmp_path / "ledger"
    path.write_text("x")
    real = digests_module.digest

    def slow(*arguments: Any) -> tuple[str, Signature]:
        set_clock(monkeypatch, path, 3600)
        return real(*arguments)

    set_clock(monkeypatch, path, AT_REST_S - 0.1)
    monkeypatch.setattr("fastrr.files.sources.digest", slow)
    with opened(path, ledger=str(ledger)) as files:
        files.collect(SHA1, [str(path)], nothing)
    assert remembered(ledger, path) == set()


def test_only_sha1_is_remembered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """GMAC's key is new in each run, and XXH128 is for copies."""
    path, ledger = tmp_path / "file", tmp_path / "ledger"
    path.write_text("x")
    set_clock(monkeypatch, path, 3600)
    for algorithm in (Algorithm.GMAC, Algorithm.XXH128):
        with opened(path, ledger=str(ledger)) as files:
            files.collect(algorithm, [str(path)], nothing)
    assert remembered(ledger, path) == set()


def test_what_is_remembered_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, ledger = tmp_path / "file", tmp_path / "ledger"
    path.write_text("x")
    signature = Signature.of(path.stat())
    Ledger(str(ledger)).store_local([LocalEntry(str(path), signature, "d" * 40)])
    monkeypatch.setattr("fastrr.files.sources.digest", None)
    with opened(path, ledger=str(ledger)) as files:
        assert files.collect(SHA1, [str(path)], nothing) == {str(path): "d" * 40}


def test_large_files_that_have_changed_are_read_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger = str(tmp_path / "ledger")
    read: list[str] = []
    names = ("changed", "same", "small", "new")
    paths = {name: tmp_path / name for name in names}
    for name, path in paths.items():
        path.write_text(name)
        if name != "small":
            os.truncate(path, FORESEE_FROM_BYTES)
        if name != "new":
            entry = LocalEntry(str(path), Signature.of(path.stat()), "d" * 40)
            Ledger(ledger).store_local([entry])
    for name in ("changed", "small"):
        os.utime(paths[name], (1, 1))
    real = digests_module.digest

    def reading(path: str, *others: Any) -> tuple[str, Signature]:
        read.append(Path(path).name)
        return real(path, *others)

    monkeypatch.setattr("fastrr.files.sources.digest", reading)
    with opened(*paths.values(), ledger=ledger) as files:
        files.foresee()
        expected = hashlib.sha1(paths["changed"].read_bytes()).hexdigest()
        changed = str(paths["changed"])
        assert files.collect(SHA1, [changed], nothing) == {changed: expected}
    assert read == ["changed"]


def test_a_file_that_changes_while_it_is_read_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unsteady(path: str, *_rest: object) -> object:
        raise Unsteady(path)

    monkeypatch.setattr("fastrr.files.sources.digest", unsteady)
    path = tmp_path / "file"
    path.write_text("x")
    with opened(path, ledger=str(tmp_path / "ledger")) as files:
        with pytest.raises(UsageError) as caught:
            files.collect(SHA1, [str(path)], nothing)
        assert str(caught.value) == f"{path} can't be read: it changes while it is being read"
    assert remembered(tmp_path / "ledger", path) == set()


def test_no_files_no_digests() -> None:
    with opened() as files:
        assert files.collect(SHA1, (), nothing) == {}


def test_all_files_that_can_t_be_read_are_named_together(tmp_path: Path) -> None:
    for name in ("gone", "good", "changed"):
        (tmp_path / name).touch()
    with opened(*(tmp_path / name for name in ("gone", "good", "changed"))) as files:
        (tmp_path / "gone").unlink()
        (tmp_path / "changed").unlink()
        (tmp_path / "changed").mkdir()
        with pytest.raises(UsageError) as caught:
            files.collect(SHA1, [str(tmp_path / n) for n in ("gone", "good", "changed")], nothing)
    assert str(caught.value).splitlines() == [
        f"{tmp_path}/gone can't be read: No such file or directory",
        f"{tmp_path}/changed can't be read: Is a directory",
    ]


def test_who_waits_can_stop_waiting(tmp_path: Path) -> None:
    (tmp_path / "never").touch()
    with opened(tmp_path / "never") as files:
        (tmp_path / "never").unlink()
        os.mkfifo(tmp_path / "never")  # opening it waits for a writer

        def stop() -> None:
            raise Interrupted("interrupted")

        with pytest.raises(Interrupted):
            files.collect(SHA1, [str(tmp_path / "never")], stop)
        (tmp_path / "never").write_bytes(b"")


def test_closing_gives_up_what_is_not_hashed_yet(tmp_path: Path) -> None:
    """A sparse file of a terabyte would take a quarter of an hour."""
    with (tmp_path / "huge").open("wb") as file:
        file.truncate(1 << 40)
    before = threading.active_count()
    with opened(tmp_path / "huge") as files:
        files.want(SHA1, [str(tmp_path / "huge")])
    assert threading.active_count() == before
