"""One stream with files, script and tables: unpacked and run by real shells and tars."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Collection, Sequence
from hashlib import sha1
from pathlib import Path
from typing import IO

import pytest
from testbed.shells import Box, gnu_and_busybox

from fastrr.files.place import (
    CONTROL,
    Finished,
    InstallFailure,
    Parcel,
    parcel,
    parse_finished,
    sent_mode,
)
from fastrr.files.staging import Held, Preparation, Prepared, hold, parse_prepared, prepare_script
from fastrr.files.transports import Item, StreamTransport
from fastrr.hosts.base import Completed, Feed, Host
from fastrr.hosts.process import feed, start
from fastrr.model import Algorithm, Copy, CopyReason

RUN = "r1"
KEY = bytes(16)


class BoxHost:
    """As much of a `Host` as a stream needs, in a box."""

    def __init__(self, box: Box, cut_after: int | None = None) -> None:
        self._box = box
        self._cut_after = cut_after
        """Bytes after which nothing more arrives."""

    def stream(
        self,
        command: str,
        write: Callable[[Feed], None],
        *,
        bulk: bool = False,
        limit_s: float | None = None,
        answer_bytes: int | None = None,
    ) -> Completed:
        assert not bulk
        process = start([str(self._box.bin / "sh"), "-c", command], self._box.environment)
        stdout, stderr = feed(
            process, lambda to: write(_Cut(to, self._cut_after)), limit_s, answer_bytes
        )
        return Completed(process.returncode, stdout, stderr)


class _Cut:
    def __init__(self, to: Feed, after: int | None) -> None:
        self._to, self._left = to, after

    def write(self, data: bytes) -> None:
        if self._left is not None:
            data = data[: self._left]
            self._left -= len(data)
        self._to.write(data)

    def send_file(self, file: IO[bytes], count: int, sent: Callable[[int], None]) -> int:
        return self._to.send_file(file, count, sent)


def held_for(
    files: dict[str, bytes], missing: dict[str, str], mode: int = 0o644
) -> tuple[Held, ...]:
    """Hold files (content by destination), whose sources are named by the digests of both."""
    copies = [
        Copy(_source(path), path, len(content), mode, CopyReason.MISSING)
        for path, content in files.items()
    ]
    digests = {_source(path): sha1(content).hexdigest() for path, content in files.items()}
    able = frozenset({Algorithm.SHA1})
    return hold(copies, {Algorithm.SHA1: digests}, able, RUN, missing)


def _source(path: str) -> str:
    return sha1(os.fsencode(path)).hexdigest()


def deploy(
    box: Box,
    files: dict[str, bytes],
    *,
    missing: Collection[str] = (),
    directories: Sequence[str] = (),
    prepared: bool = False,
    perl: bool = False,
    mode: int = 0o644,
    spoiled: Collection[str] = (),
    cut_after: int | None = None,
) -> tuple[Finished, Completed]:
    """Send files by one stream; ``missing``: directories below home that there are not yet."""
    sources = box.root / "sources"
    sources.mkdir(exist_ok=True)
    for path, content in files.items():
        (sources / _source(path)).write_bytes(b"x" * len(content) if path in spoiled else content)
    held = held_for(files, dict.fromkeys(missing, str(box.home)), mode)
    preparation = Preparation.of((), directories, held)
    besides = None if prepared else preparation.in_stream(missing, held)
    if prepared:
        assert parse_prepared(preparation, box.ask(prepare_script(preparation))) == Prepared()
    else:
        assert besides is not None
    made = parcel(held, KEY, holding_exists=prepared, missing=besides or (), perl=perl)
    assert made is not None
    items = [
        Item(str(sources / h.copy.source), h.path, h.copy.size, None, sent_mode(h.copy.mode))
        for h in held
        if h.same_as is None
    ]
    host: Host = BoxHost(box, cut_after)  # type: ignore[assignment]
    refused, completed = StreamTransport().send_parcel(host, items, lambda _: None, made, 60)
    assert refused == {}
    answer = made.script.body_of(completed.stdout)
    assert answer is not None, completed
    assert answer[1] == 0, completed
    return parse_finished(held, answer[0]), completed


def assert_all_there(box: Box, files: dict[str, bytes], mode: int = 0o644) -> None:
    assert {path: Path(path).read_bytes() for path in files} == files
    assert {os.stat(path).st_mode & 0o7777 for path in files} == {mode}
    assert_nothing_left(box)


def assert_nothing_left(box: Box) -> None:
    assert list(box.root.rglob(".fastrr-*")) == []
    assert list((box.root / "tmp").iterdir()) == []


def some_files(directory: Path, count: int = 3) -> dict[str, bytes]:
    return {str(directory / f"file {n}"): b"content %d" % n for n in range(count)}


@pytest.mark.parametrize("prepared", [False, True])
@gnu_and_busybox
def test_new_directories_with_files(box: Box, prepared: bool) -> None:
    new, deeper = box.home / "new dir", box.home / "new dir/a/b"
    files = some_files(new) | some_files(deeper)
    finished, completed = deploy(box, files, missing=(str(new), str(deeper)), prepared=prepared)
    assert (finished.failures, finished.incomplete, completed.stderr) == ({}, False, b"")
    assert_all_there(box, files)
    # The directories are as any that this account makes.
    assert new.stat().st_mode & 0o777 == 0o777 & ~_umask()


def _umask() -> int:
    umask = os.umask(0o22)
    os.umask(umask)
    return umask


@pytest.mark.parametrize("perl", [False, True])
@pytest.mark.parametrize("prepared", [False, True])
@gnu_and_busybox
def test_files_in_many_directories_are_replaced(box: Box, prepared: bool, perl: bool) -> None:
    directories = [box.home / f"dir-{n}" for n in range(6)]
    files: dict[str, bytes] = {}
    for directory in directories:
        directory.mkdir()
        files |= {str(directory / name): name.encode() for name in ("one", "it's", "-n", "$x \t")}
    for path in list(files)[::2]:
        Path(path).write_bytes(b"old")
    finished, completed = deploy(box, files, prepared=prepared, perl=perl)
    assert (finished.failures, completed.stderr) == ({}, b"")
    assert_all_there(box, files)


@pytest.mark.parametrize("perl", [False, True])
@gnu_and_busybox
def test_a_spoiled_file_is_left_out_and_the_others_are_not(box: Box, perl: bool) -> None:
    directories = [box.home / f"{n}" for n in range(6)]
    for directory in directories:
        directory.mkdir()
    files = {str(directory / "f"): directory.name.encode() for directory in directories}
    spoiled = str(directories[2] / "f")
    Path(spoiled).write_bytes(b"old")
    finished, _ = deploy(box, files, spoiled=[spoiled], perl=perl)
    assert finished.failures == {2: InstallFailure.DIGEST}
    assert_all_there(box, files | {spoiled: b"old"})


@pytest.mark.parametrize("perl", [False, True])
@gnu_and_busybox
def test_what_can_not_be_renamed_is_told(box: Box, perl: bool) -> None:
    directories = [box.home / f"{n}" for n in range(6)]
    for directory in directories:
        directory.mkdir()
    files = {str(directory / "f"): b"new" + directory.name.encode() for directory in directories}
    files |= {str(directory / ".f"): b"new ." for directory in directories[:2]}
    numbers = {path: number for number, path in enumerate(files)}
    taken = [str(directories[4] / "f"), str(directories[1] / ".f")]
    for path in taken:  # since it was looked at
        os.makedirs(f"{path}/below")
    finished, completed = deploy(box, files, perl=perl)
    assert finished.failures == {numbers[path]: InstallFailure.RENAME for path in taken}
    assert b"directory" in completed.stderr
    assert [os.listdir(path) for path in taken] == [["below"]] * 2
    for path in taken:
        del files[path]
    assert_all_there(box, files)


@gnu_and_busybox
def test_a_deep_directory_and_one_above_it(box: Box) -> None:
    deep = box.home / "/".join(["directory-of-a-long-name"] * 8)
    deep.mkdir(parents=True)
    files = some_files(deep) | some_files(box.home)
    finished, completed = deploy(box, files)
    assert (finished.failures, completed.stderr) == ({}, b"")
    assert_all_there(box, files)


def test_what_killed_runs_left_is_removed_a_day_later(some_box: Box) -> None:
    below, hour = some_box.home / "below", 60 * 60
    below.mkdir()
    left = {  # how long ago something was made in it, and whether it stays
        some_box.home / ".fastrr-0123456789ab-0": (25 * hour, False),
        below / ".fastrr-0123456789ab-12": (1000 * hour, False),
        some_box.home / ".fastrr-abcdefabcdef-3": (23 * hour, True),  # a long copy, perhaps
        below / ".fastrr-abcdefabcdef-0": (0, True),
        some_box.home / ".fastrr-data": (1000 * hour, True),  # somebody else's
        some_box.home / ".fastrr-control": (1000 * hour, True),
        some_box.home / "fastrr-0123456789ab-0": (1000 * hour, True),
        some_box.home / ".fastrr-0123456789-0": (1000 * hour, True),
    }
    for path, (ago, _) in left.items():
        (path / "deep").mkdir(parents=True)
        (path / "deep/file").write_text("x")
        os.utime(path, (time.time(), time.time() - ago))
    finished, completed = deploy(some_box, some_files(below))
    assert (finished.failures, completed.stderr) == ({}, b"")
    assert {path: (path / "deep/file").exists() for path in left} == {
        path: stays for path, (_, stays) in left.items()
    }


@gnu_and_busybox
def test_the_same_content_at_several_places_is_sent_once(box: Box) -> None:
    files = dict.fromkeys((str(box.home / name) for name in ("a/f", "b/c/f", "f")), b"same")
    missing = [str(box.home / name) for name in ("a", "b/c")]
    finished, completed = deploy(box, files, missing=missing, mode=0o755)
    assert (finished.failures, completed.stderr) == ({}, b"")
    assert_all_there(box, files, 0o755)


@gnu_and_busybox
def test_directories_without_files_are_made_too(box: Box) -> None:
    files = some_files(box.home / "new")
    empty = str(box.home / "new/empty/deep")
    finished, _ = deploy(box, files, missing=(str(box.home / "new"), empty), directories=[empty])
    assert finished.failures == {}
    assert os.path.isdir(empty)
    assert_all_there(box, files)


@gnu_and_busybox
def test_permissions_are_those_wanted(box: Box) -> None:
    for mode in (0o755, 0o200, 0o4755, 0o600):
        new = box.home / f"{mode:o}"
        files = some_files(new)
        deploy(box, files, missing=[str(new)], mode=mode)
        assert {os.stat(path).st_mode & 0o7777 for path in files} == {mode}
        assert_nothing_left(box)


@pytest.mark.parametrize("cut_after", [4000, 9000, 15_000, 17_000])
@gnu_and_busybox
def test_a_stream_that_breaks_off_changes_nothing(box: Box, cut_after: int) -> None:
    there = box.home / "there"
    there.mkdir()
    files = {str(there / f"{n}"): b"%04d" % n for n in range(40)}
    (there / "0").write_bytes(b"old")
    try:
        finished, _ = deploy(box, files, cut_after=cut_after)
    except AssertionError:  # there was no script yet
        assert cut_after < 9000
    else:
        assert finished.incomplete
        assert_nothing_left(box)
    assert {path.name: path.read_bytes() for path in there.glob("[0-9]*")} == {"0": b"old"}


@gnu_and_busybox
def test_a_holding_directory_that_can_t_be_made(box: Box) -> None:
    files = some_files(box.home / "new")
    (box.home / f".fastrr-{RUN}").write_text("in the way")
    with pytest.raises(AssertionError, match="mkdir"):
        deploy(box, files, missing=[str(box.home / "new")])
    assert not (box.home / "new").exists()


def test_odd_names_go_with_the_others(box: Box) -> None:
    (box.home / "d").mkdir()
    names = ("new\nline", "back\\slash", "plain", "\udcff")
    files = {str(box.home / "d" / name): name.encode(errors="replace") for name in names}
    finished, completed = deploy(box, files)
    assert (finished.failures, completed.stderr) == ({}, b"")
    assert_all_there(box, files)


@pytest.mark.parametrize(
    ("mode", "sent"), [(0o644, 0o644), (0o4755, 0o755), (0o2711, 0o711), (0o200, 0o600), (0, 0o400)]
)
def test_nothing_is_sent_that_could_be_run_as_somebody_else(mode: int, sent: int) -> None:
    assert sent_mode(mode) == sent


@pytest.mark.parametrize("place", ["two words", "it's", CONTROL])
def test_where_shells_would_have_to_quote_it_can_t_be_done(place: str) -> None:
    held = held_for({f"/srv/{place}/file": b""}, {f"/srv/{place}": "/srv"})
    inside = held_for({f"/srv/{place}/new/file": b""}, {f"/srv/{place}/new": f"/srv/{place}"})
    made = [parcel(some, KEY, holding_exists=False) for some in (held, inside)]
    if place == CONTROL:
        assert made[0] is None
    else:
        assert isinstance(made[0], Parcel)
        assert made[1] is None


def test_few_programs_are_run(one_box: Box) -> None:
    files = {str(one_box.home / f"new/{n % 20}/{n}"): b"%d" % n for n in range(200)}
    missing = {str(Path(path).parent) for path in files}
    calls = one_box.count_calls(("mkdir", "tar", "xargs", "openssl", "awk", "mv", "rm", "chmod"))
    deploy(one_box, files, missing=missing)
    assert sorted(calls()) == ["awk", "mkdir", "mv", "openssl", "rm", "tar", "xargs"]
    assert_all_there(one_box, files)
