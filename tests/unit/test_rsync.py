"""Understanding what rsync says."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from testbed.shells import time_ratio

from fastrr.errors import CommandFailed
from fastrr.files.transports.base import Item
from fastrr.files.transports.rsync import _plant, _Progress, _refused


@pytest.mark.parametrize("cut", [1, 3, 7, 1000])
def test_progress_is_told_once_whatever_the_pieces(cut: int) -> None:
    output = (
        b"\r          32768   0%    0.00kB/s    0:00:00  "
        b"\r       50331648  50%   48.00MB/s    0:00:01  "
        b"\r      100663296 100%   50.00MB/s    0:00:01 (xfr#1, to-chk=1/2)"
        b"\r      100663299 100%   50.00MB/s    0:00:01 (xfr#2, to-chk=0/2)\n"
    )
    counts: list[int] = []
    progress = _Progress(counts.append)
    for start in range(0, len(output), cut):
        progress.hear(output[start : start + cut])
    progress.hear(b"")
    progress.hear(b"\nsent 4321 bytes  received 99 bytes  8840.00 bytes/sec\ntotal size is 9\n")
    assert progress.wire_bytes == 4321
    assert sum(counts) == 100663299
    assert min(counts) == 0


def test_other_output_counts_nothing() -> None:
    counts: list[int] = []
    progress = _Progress(counts.append)
    for piece in (b"", b"skipping directory 12 50% \n", b"sent 10 bytes\n", b"12%\r"):
        progress.hear(piece)
    assert sum(counts) == 0


@pytest.mark.parametrize(
    ("line", "failures"),
    [
        (
            b'rsync: [receiver] mkstemp "/srv/.fastrr-1/.a b.Xy12_z" failed: Permission denied',
            {},
        ),
        (
            b'rsync: [receiver] mkstemp "/srv/.fastrr-1/.a b.Xy12Zz" failed: No such thing (13)',
            {0: "No such thing"},
        ),
        (
            b'rsync: [receiver] rename "/srv/.fastrr-1/.c.aa" -> "srv/.fastrr-1/c": No space (28)',
            {},
        ),
        (
            b'rsync: [receiver] write failed on "/srv/.fastrr-1/c": No space left on device (28)',
            {1: "No space left on device"},
        ),
        (b'rsync: [sender] read errors mapping "/tmp/farm/c": Input/output error (5)', {}),
        (b"rsync error: some files/attrs were not transferred (code 23) at main.c(1338)", {}),
        (b'rsync: mkstemp "/srv/.fastrr-1/c" (in files) failed: No space (28)', {1: "No space"}),
        (b'rsync: mkstemp "/srv/.fastrr-1/c" (in files failed: No space (28)', {}),
        (b"", {}),
    ],
)
def test_complaints_are_laid_to_their_files(line: bytes, failures: dict[int, str]) -> None:
    names = {"srv/.fastrr-1/a b": 0, "srv/.fastrr-1/c": 1}
    assert _refused(names, b"noise\n" + line + b"\n") == failures


@pytest.mark.parametrize("piece", [b'"/', b'" (', b'" failed: ', b'": ', b") failed: x (1"])
def test_the_time_complaints_take_goes_with_their_length(piece: bytes) -> None:
    assert time_ratio(lambda n: _refused({"a": 0}, piece * n + b" (2)"), 20_000) < 12


@pytest.mark.parametrize("piece", [b"\r", b"\r ", b"\r 1", b"1", b" 1 1", b"\rsent 1"])
def test_the_time_progress_takes_goes_with_its_length(piece: bytes) -> None:
    assert time_ratio(lambda n: _Progress(lambda _n: None).hear(piece * n), 20_000) < 12


def test_a_count_of_any_length_is_no_count() -> None:
    progress = _Progress(lambda _n: None)
    progress.hear(b"\nsent " + b"9" * 100_000 + b" bytes\n\r " + b"9" * 100_000 + b" 50% ")
    assert progress.wire_bytes is None


# The farm


def plant(
    tmp_path: Path, there: dict[str, str], *destinations: str
) -> tuple[list[str], dict[int, str]]:
    source = tmp_path / "source"
    source.write_bytes(b"content")
    items = [Item(str(source), destination, 7) for destination in destinations]
    names, failures = _plant(str(tmp_path / "private" / "farm"), items, there)
    farm = tmp_path / "private" / "farm"
    links = [str(path.relative_to(farm)) for path in farm.rglob("*") if path.is_symlink()]
    assert sorted(links) == sorted(names)
    assert all(os.readlink(farm / link) == str(source) for link in links)
    return sorted(links), failures


@pytest.fixture(autouse=True)
def private(tmp_path: Path) -> Path:
    (tmp_path / "private").mkdir()
    return tmp_path / "private"


def test_files_are_where_their_directories_really_are(tmp_path: Path) -> None:
    links, failures = plant(tmp_path, {"/srv/a": "/data/x y"}, "/srv/a/one", "/srv/b/two")
    assert links == ["data/x y/one", "srv/b/two"]
    assert failures == {}


OUTSIDE = ["/../../away", "/a/../../../away", "away", "../away", "", "/a//b", "/./a", "/..",
           "/a\0b"]  # fmt: skip


@pytest.mark.parametrize("there", OUTSIDE)
def test_nothing_is_made_outside_the_farm(tmp_path: Path, there: str) -> None:
    with pytest.raises(CommandFailed, match="the host's answer can't be used for rsync"):
        plant(tmp_path, {"/srv": there}, "/srv/one")
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["farm", "private", "source"]


def test_no_link_is_followed(tmp_path: Path) -> None:
    """A host may say that a directory is where a file is to be, and the other way round."""
    links, failures = plant(tmp_path, {"/b": "/a/one"}, "/a/one", "/b/x", "/c/d/e", "/c/d")
    assert links == ["a/one", "c/d/e"]
    assert failures == {1: "Not a directory", 3: "Not a directory"}
    assert (tmp_path / "source").read_bytes() == b"content"


def test_two_files_that_are_said_to_be_at_one_place(tmp_path: Path) -> None:
    links, failures = plant(tmp_path, {"/b": "/a"}, "/a/x", "/b/x")
    assert links == ["a/x"]
    assert failures == {1: "Not a directory"}
