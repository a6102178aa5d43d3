"""One tar stream: each host gets its own files, and a file that changes spoils no other."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
from testbed.shells import Box, time_ratio
from testbed.stand import BoxHost, mode

from fastrr.files.transports import Item, StreamTransport
from fastrr.files.transports.stream import _refused

NOW_AND_THEN = pytest.mark.parametrize("keep", [1 << 20, 0], ids=["kept", "from files"])
"""Content that all hosts get from memory, or that goes out from the files."""


def nothing(_count: int) -> None:
    """Nobody counts."""


def sources(directory: Path, *contents: str) -> list[str]:
    directory.mkdir(exist_ok=True)
    paths = []
    for content in contents:
        path = directory / content.split()[0]
        path.write_text(content)
        paths.append(str(path))
    return paths


def items(box: Box, paths: Sequence[str], place: str) -> list[Item]:
    """Have them go to a directory on the host."""
    (box.home / place).mkdir()
    return [
        Item(path, str(box.home / place / Path(path).name), Path(path).stat().st_size, None, 0o640)
        for path in paths
    ]


def arrived(wanted: Sequence[Item]) -> list[str]:
    assert {mode(Path(item.destination)) for item in wanted} == {0o640}
    return [Path(item.destination).read_text() for item in wanted]


@NOW_AND_THEN
def test_each_host_gets_its_own(one_box: Box, tmp_path: Path, keep: int) -> None:
    """Under its own names, whatever went to another host just before."""
    host = BoxHost(one_box)
    transport = StreamTransport(keep_up_to_bytes=keep)
    some, others = sources(tmp_path / "a", "one", "two"), sources(tmp_path / "b", "ONE", "2nd")
    first = items(one_box, some, "first")
    renamed = [i._replace(destination=f"{i.destination}-x") for i in items(one_box, some, "x")]
    last = items(one_box, others, "last")
    for wanted in (first, renamed, last, first):
        assert transport.send(host, wanted, nothing) == {}
    assert [arrived(wanted) for wanted in (first, renamed, last)] == [
        ["one", "two"], ["one", "two"], ["ONE", "2nd"],
    ]  # fmt: skip


@NOW_AND_THEN
@pytest.mark.parametrize("change", [20_000, 1, 0])
def test_a_source_that_changes_spoils_no_other(
    one_box: Box, tmp_path: Path, keep: int, change: int
) -> None:
    paths = sources(tmp_path / "a", "changing " + "x" * 5000, "other")
    wanted = items(one_box, paths, "there")
    Path(paths[0]).write_text("y" * change)
    failures = StreamTransport(keep_up_to_bytes=keep).send(BoxHost(one_box), wanted, nothing)
    assert set(failures) <= {0}
    assert Path(wanted[0].destination).stat().st_size == 5009, "so that its digest is wrong"
    assert Path(wanted[1].destination).read_text() == "other"


@NOW_AND_THEN
def test_what_can_t_be_read_or_written_is_told_by_its_number(
    one_box: Box, tmp_path: Path, keep: int
) -> None:
    wanted = items(one_box, sources(tmp_path / "a", "one", "two", "three", "four"), "there")
    Path(wanted[1].source).unlink()
    Path(wanted[2].destination).mkdir()
    Path(wanted[2].destination, "in the way").touch()
    failures = StreamTransport(keep_up_to_bytes=keep).send(BoxHost(one_box), wanted, nothing)
    assert set(failures) == {1, 2}
    assert failures[1] == "No such file or directory"
    assert arrived([wanted[0], wanted[3]]) == ["one", "four"]


@NOW_AND_THEN
def test_all_bytes_are_counted(one_box: Box, tmp_path: Path, keep: int) -> None:
    wanted = items(one_box, sources(tmp_path / "a", "x" * 200, "y " * 150_000, "z"), "there")
    counts: list[int] = []
    StreamTransport(keep_up_to_bytes=keep).send(BoxHost(one_box), wanted, counts.append)
    assert sum(counts) == 300_201


@pytest.mark.parametrize("name", ["a", "a: b: c"])
def test_the_time_complaints_take_goes_with_their_length(name: str) -> None:
    assert time_ratio(lambda n: _refused([name], b"tar: " + b"a: " * n), 20_000) < 12


def test_complaints_are_laid_to_their_files() -> None:
    said = b"tar: d/a: b: Cannot open: No space\ntar: c: Cannot: x: y: No luck\ntar: other: Bad\n"
    assert _refused(["c", "d/a: b"], said) == {1: "No space", 0: "No luck"}
