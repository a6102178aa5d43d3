"""Copying on one host: what arrives, with which permissions, and what is left when it fails."""

from __future__ import annotations

import logging
import os
import pwd
import time
from pathlib import Path
from threading import Thread

import pytest
from testbed.needs import lack
from testbed.shells import NOBODY, eventually
from testbed.stand import Run, Stand, alter, mode

from fastrr.errors import CommandFailed, ConnectionLost, HostError, Interrupted
from fastrr.events import Sent
from fastrr.files import copy as copying
from fastrr.files import method as choice
from fastrr.files.copy import CopyReport
from fastrr.files.staging import discard_script

BOTH_WAYS = pytest.mark.parametrize("prepared", [False, True], ids=["at once", "prepared"])
"""By one command, or with directories that are made before."""


def decided(stand: Stand, *, prepared: bool = False) -> Run:
    """A run that is about to copy."""
    if prepared:
        stand.plan = stand.plan._replace(directories=(str(stand.there / "empty"),))
    run = stand.run()
    assert run.check().problems == ()
    assert run.decide().problems == ()
    return run


# What arrives


@BOTH_WAYS
def test_what_arrives_is_dated_now(stand: Stand, *, prepared: bool) -> None:
    began = time.time() - 60
    f = stand.wants("f", "content")
    assert decided(stand, prepared=prepared).copy() == CopyReport(1, 7)
    assert f.stat().st_mtime > began


@BOTH_WAYS
def test_all_bytes_are_told_as_they_go_out(stand: Stand, *, prepared: bool) -> None:
    for name, size in {"f": 300_000, "g": 5}.items():
        stand.wants(name, os.urandom(size))
    assert decided(stand, prepared=prepared).copy() == CopyReport(2, 300_005)
    assert sum(event.bytes for event in stand.events if isinstance(event, Sent)) == 300_005


def test_a_directory_is_no_part_of_a_new_tree_whose_name_it_begins_with(stand: Stand) -> None:
    arrived = stand.wants("data/sub/f", "content")
    beside = [stand.there / "data2", stand.there / "data.log" / "empty"]
    stand.plan = stand.plan._replace(directories=tuple(map(str, beside)))
    assert stand.deploy() == (1, 0)
    assert arrived.read_text() == "content"
    assert all(directory.is_dir() for directory in beside)


def test_directories_are_made_with_and_without_files(stand: Stand) -> None:
    new = stand.there / "new"
    f = stand.wants("new/deep/f", "content")
    stand.plan = stand.plan._replace(directories=tuple(map(str, (new, new / "empty"))))
    assert stand.deploy() == (1, 0)
    assert f.read_text() == "content"
    assert (new / "empty").is_dir()


@pytest.mark.parametrize("by", ["auto", "rsync"])
def test_names_of_directories_are_no_commands(stand: Stand, by: str) -> None:
    stand.set(transport=by)
    odd = "it's $(touch ~/run) `touch ~/run`; touch ~\\/run & {touch,~} *"
    files = [stand.wants(f"{odd}/{name}", name) for name in ("f", "deeper/-")]
    assert stand.deploy() == (2, 0)
    files.append(stand.wants("-/elsewhere", "elsewhere"))
    assert stand.deploy(always_copy=True) == (3, 0)
    assert [path.read_text() for path in files] == ["f", "deeper/-", "elsewhere"]
    assert [path.name for path in stand.box.home.iterdir()] == ["there"]
    assert stand.left_over() == []


def test_hosts_that_share_a_directory_have_their_own_temporary_names(stand: Stand) -> None:
    """Both copy the same files to it at the same time."""
    f = stand.wants("f", "content")
    runs = [stand.run(number=number) for number in range(2)]
    for run in runs:
        run.check()
        run.decide()
    waits = stand.box.root / "waits"
    stand.program("mv", f'touch {waits}; while [ -e {waits} ]; do sleep 0.02; done; {{real}} "$@"')
    done: list[CopyReport] = []
    first = Thread(target=lambda: done.append(runs[0].copy()), daemon=True)
    first.start()
    eventually(waits.exists)
    (stand.box.bin / "mv").unlink()
    assert runs[1].copy() == CopyReport(1, 7)
    waits.unlink()
    first.join(10)
    assert done == [CopyReport(1, 7)]
    assert f.read_text() == "content"
    assert stand.left_over() == []


# Permissions: as an ordinary user, whose umask cuts what root's tar would not


MODES = (0o600, 0o640, 0o664, 0o775, 0o666, 0o777, 0o400, 0o200, 0o4775, 0o2711)


@BOTH_WAYS
def test_permissions_are_the_sources_whatever_the_umask(stand: Stand, *, prepared: bool) -> None:
    stand.nobody = True
    files = {stand.wants(f"{mode:o}", f"{mode}", mode): mode for mode in MODES}
    assert decided(stand, prepared=prepared).copy().failures == ()
    assert {file: mode(file) for file in files} == files


@BOTH_WAYS
def test_of_the_same_content_each_has_its_own_permissions(stand: Stand, *, prepared: bool) -> None:
    stand.nobody = True
    files = {stand.wants(f"{mode:o}", "same", mode): mode for mode in MODES}
    assert decided(stand, prepared=prepared).copy() == CopyReport(len(MODES), 4)
    assert {file: mode(file) for file in files} == files
    assert {file.read_text() for file in files if os.access(file, os.R_OK)} == {"same"}


def test_permissions_do_not_depend_on_what_else_goes_by_rsync(
    stand: Stand, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(choice, "DELTA_FROM_BYTES", 1000)
    stand.nobody = True
    large = stand.wants("large", "old" * 1000, 0o755)
    small = stand.wants("small", "old", 0o775)
    stand.deploy()
    stand.wants("large", "new" * 1001, 0o775)
    stand.wants("small", "new!", 0o664)
    assert stand.deploy() == (2, 0)
    assert any("by rsync" in message for message in told_how(stand))
    assert (mode(large), mode(small)) == (0o775, 0o664)
    assert large.read_text() == "new" * 1001


def told_how(stand: Stand) -> list[str]:
    return [message for message in stand.logged(logging.DEBUG) if ", by " in message]


@pytest.mark.parametrize("places", [["f"], ["a/f", "b/f"]], ids=["one", "several"])
@BOTH_WAYS
def test_nobody_else_gets_at_what_is_not_in_place_yet(
    stand: Stand, places: list[str], *, prepared: bool
) -> None:
    """Who may write to a holding directory could exchange what has been verified."""
    for place in places:
        (stand.there / place).parent.mkdir(exist_ok=True)
        stand.wants(place, place, 0o777)
    seen, find = stand.box.root / "seen", f"find {stand.there} -name '.fastrr-*' -type d"
    look = f"{find} -exec stat -c '%a %n' {{}} + >>{seen}"
    # The one is the first to be run in the holding directories, the other the last.
    stand.program("tar", f'{look}\n{{real}} "$@"\n{look}')
    stand.program("mv", f'{look}\nexec {{real}} "$@"')
    assert decided(stand, prepared=prepared).copy().failures == ()
    modes = dict(line.split()[::-1] for line in seen.read_text().splitlines())
    holding = [path for path in modes if not path.endswith("-control")]
    assert len(holding) == len(places)
    lines = [line for line in seen.read_text().splitlines() if line.split()[1] in holding]
    assert {line.split()[0] for line in lines} == {"700"}


# What fails


def test_a_file_that_fails_is_told_and_the_others_arrive(stand: Stand) -> None:
    for name in ("f", "g"):
        stand.wants(name, f"content of {name}")
    run = decided(stand)
    (stand.there / "f" / "in the way").mkdir(parents=True)
    copied = run.copy()
    assert copied.copied == 1
    (failure,) = copied.failures
    assert failure.startswith(f"{stand.there}/f could not be renamed into place: ")
    assert (stand.there / "g").read_text() == "content of g"
    assert stand.left_over() == []


@BOTH_WAYS
def test_a_source_that_changes_meanwhile_leaves_what_was_there(
    stand: Stand, *, prepared: bool
) -> None:
    f = stand.wants("f", "content")
    f.write_text("old")
    stand.wants("g", "other")
    run = decided(stand, prepared=prepared)
    digests = run.copy_request()
    alter(stand.source("f"), "CONTENT")
    copied = digests.handle(run.context)
    assert copied.copied == 1
    assert copied.failures == (
        f"{stand.source('f')} changed while it was being copied to {f}, which was left as it was",
    )
    assert f.read_text() == "old"
    assert stand.left_over() == []


@BOTH_WAYS
def test_a_source_that_is_gone_is_named(stand: Stand, *, prepared: bool) -> None:
    """By its own name, whatever else goes along, and is not sent since it is the same."""
    for name in ("a", "b", "c", "d"):
        stand.wants(name, "same" if name < "c" else name)
    run = decided(stand, prepared=prepared)
    request = run.copy_request()
    stand.source("c").unlink()
    copied = request.handle(run.context)
    assert copied.copied == 3
    assert copied.failures == (
        f"{stand.source('c')} could not be copied to {stand.there}/c: No such file or directory",
    )
    assert not (stand.there / "c").exists()


def test_what_is_wrong_with_rsync_s_part_is_laid_to_the_right_file(
    stand: Stand, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(choice, "DELTA_FROM_BYTES", 1000)
    for name in ("small", "one", "two"):
        stand.wants(name, f"old {name}" * (1 if name == "small" else 1000))
    stand.deploy()
    for name in ("small", "one", "two"):
        stand.wants(name, f"new {name}!" * (1 if name == "small" else 1000))
    run = decided(stand)
    request = run.copy_request()
    stand.source("two").unlink()
    copied = request.handle(run.context)
    assert copied.copied == 2
    (failure,) = copied.failures
    source = stand.source("two")
    assert (
        failure == f"{source} could not be copied to {stand.there}/two: No such file or directory"
    )


def test_rsync_puts_a_new_file_beside_the_old_one(
    stand: Stand, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Even of the same size and date; a program that runs goes on having the old one."""
    monkeypatch.setattr(choice, "DELTA_FROM_BYTES", 1000)
    large = stand.wants("large", "new" * 1000)
    large.write_text("old" * 1000)
    for path in (large, stand.source("large")):
        os.utime(path, (1_700_000_000, 1_700_000_000))
    with large.open() as opened:
        assert stand.deploy() == (1, 0)
        assert opened.read() == "old" * 1000
    assert any("by rsync" in message for message in told_how(stand))
    assert large.read_text() == "new" * 1000


def test_where_rsync_fails_the_stream_takes_its_part(
    stand: Stand, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(choice, "DELTA_FROM_BYTES", 1000)
    large = stand.wants("large", "old" * 1000)
    stand.deploy()
    stand.wants("large", "new" * 1001)
    stand.program("rsync", "echo broken >&2; exit 12")
    assert stand.deploy() == (1, 0)
    assert large.read_text() == "new" * 1001
    assert any("sending all of the files by stream" in message for message in stand.logged())


# What is left


def test_a_directory_that_can_t_be_made_leaves_nothing(stand: Stand) -> None:
    f = stand.wants("f", "new")
    f.write_text("old content")
    run = decided(stand, prepared=True)
    (stand.there / "empty").write_text("in the way")
    copied = run.copy()
    assert copied.copied == 0
    (failure,) = copied.failures
    assert failure.startswith(f"the directory {stand.there}/empty can't be made: ")
    assert f.read_text() == "old content"
    assert stand.left_over() == []


@BOTH_WAYS
def test_a_host_that_fails_meanwhile_leaves_nothing(stand: Stand, *, prepared: bool) -> None:
    f = stand.wants("f", "new")
    f.write_text("old content")
    run = decided(stand, prepared=prepared)
    # What was to be run next is gone, like a shell that the kernel ended for lack of memory.
    stand.program("tar", '{real} "$@"; kill -9 $PPID')
    stand.program("xargs", "kill -9 $PPID")
    with pytest.raises(HostError):
        run.copy()
    assert f.read_text() == "old content"
    assert stand.left_over() == []


def test_a_host_that_fails_while_directories_are_made_leaves_nothing(stand: Stand) -> None:
    stand.wants("f", "new")
    run = decided(stand, prepared=True)
    stand.program("mkdir", 'case $* in *.fastrr-*) {real} "$@"; kill -9 $PPID; esac; {real} "$@"')
    with pytest.raises(HostError):
        run.copy()
    assert stand.left_over() == []


@BOTH_WAYS
def test_an_interrupt_leaves_nothing(stand: Stand, *, prepared: bool) -> None:
    f = stand.wants("f", os.urandom(300_000))
    f.write_text("old content")
    run = decided(stand, prepared=prepared)
    run.context.cancel(cut=False)
    with pytest.raises(Interrupted):
        run.copy()
    assert f.read_text() == "old content"
    assert stand.left_over() == []


def names(stand: Stand, *tokens: str) -> list[Path]:
    """Have the stand use these names for holding directories; return their paths."""
    rest = iter(tokens)
    stand.new_token = lambda: next(rest)
    return [stand.there / f".fastrr-{token}-0" for token in tokens]


@BOTH_WAYS
def test_what_somebody_else_has_made_is_not_used(stand: Stand, *, prepared: bool) -> None:
    """It would be theirs to exchange what is in it, the script that is run among it."""
    f = stand.wants("f", "new")
    f.write_text("old content")
    _, first, second, third = names(stand, "base", "one", "two", "three")
    for theirs in (first, second):
        (theirs / ".fastrr-control").mkdir(parents=True)
        (theirs / ".fastrr-control" / "finish").write_text(f"touch {stand.there}/theirs-was-run")
    run = decided(stand, prepared=prepared)
    assert run.copy() == CopyReport(1, 3)
    assert f.read_text() == "new"
    assert not (stand.there / "theirs-was-run").exists()
    assert (first.exists(), second.exists(), third.exists()) == (True, True, False)


@BOTH_WAYS
def test_who_takes_every_name_is_told_by_name(stand: Stand, *, prepared: bool) -> None:
    if os.getuid() != 0:
        lack("nobody's directories can't be made")
    f = stand.wants("f", "new")
    g = stand.wants("elsewhere/g", "new")
    _, *taken = names(stand, "base", "one", "two", "three")
    g.parent.mkdir()
    for theirs in taken:
        theirs.mkdir()
        (theirs / "theirs").touch()
        os.chown(theirs, NOBODY, NOBODY)
    run = decided(stand, prepared=prepared)
    began = time.monotonic()
    (failure,) = run.copy().failures
    assert time.monotonic() - began < 3
    assert str(taken[-1]) in failure
    assert "somebody else's" in failure
    assert pwd.getpwuid(NOBODY).pw_name in failure
    assert not f.exists()
    assert sorted(stand.box.root.rglob(".fastrr-*")) == sorted(taken)


def test_a_login_file_that_prints_does_not_hide_that_a_name_is_taken(stand: Stand) -> None:
    if os.getuid() != 0:
        lack("nobody's directories can't be made")
    f = stand.wants("f", "new")
    stand.there.chmod(0o1777)
    stand.noise = "welcome"
    _, first, *_ = names(stand, "base", "one", "two", "three")
    first.mkdir()
    (first / "theirs").touch()
    os.chown(first, NOBODY, NOBODY)
    assert decided(stand).copy() == CopyReport(1, 3)
    assert f.read_text() == "new"
    assert (first / "theirs").exists()


def test_what_is_somebody_else_s_is_not_discarded(stand: Stand) -> None:
    """Where a copy fails it may not be known who has made the directory."""
    if os.getuid() != 0:
        lack("nobody's directories can't be made")
    shared = stand.box.root / "shared"
    shared.mkdir()
    shared.chmod(0o1777)
    for name, owner in (("ours", 0), ("theirs", NOBODY)):
        (shared / name).mkdir()
        (shared / name / "f").touch()
        os.chown(shared / name, owner, owner)
    began = time.monotonic()
    stand.box.ask(discard_script([str(shared / name) for name in ("ours", "theirs")]))
    assert time.monotonic() - began < 2
    assert [path.name for path in shared.rglob("*")] == ["theirs", "f"]


@BOTH_WAYS
def test_an_empty_directory_of_our_name_is_ours_whoever_it_belongs_to(
    stand: Stand, *, prepared: bool
) -> None:
    """NFS with root_squash shows what we have made as nobody's."""
    if os.getuid() != 0:
        lack("nobody's directories can't be made")
    stand.wants("f", "new")
    stand.wants("elsewhere/g", "new")
    _, first, *_ = names(stand, "base", "one", "two", "three")
    first.mkdir()
    os.chown(first, NOBODY, NOBODY)
    assert decided(stand, prepared=prepared).copy() == CopyReport(2, 3)  # the content goes once
    assert sorted(stand.box.root.rglob(".fastrr-*")) == []


def test_what_arrived_is_verified_without_the_temporary_directory(stand: Stand) -> None:
    f = stand.wants("f", "new")
    stand.wants(".fastrr-control/g", "a directory's own name")
    stand.box.environment["TMPDIR"] = str(stand.box.root / "none")
    assert stand.deploy() == (2, 0)
    assert f.read_text() == "new"
    assert stand.deploy() == (0, 2)


def test_no_directory_is_made_that_everybody_may_write_to(stand: Stand) -> None:
    """Else the next run would refuse it."""
    stand.umask = "000"
    stand.wants("new/deep/f", "f")
    stand.wants("new\nline/g", "g")
    stand.plan = stand.plan._replace(directories=(str(stand.there / "empty/deep"),))
    assert stand.deploy() == (2, 0)
    stand.wants("in-stream/deep/h", "h")
    assert stand.deploy() == (1, 2)
    modes = {str(path.relative_to(stand.there)): mode(path) for path in directories(stand)}
    assert len(modes) == 7
    assert set(modes.values()) == {0o775}, modes
    assert stand.deploy() == (0, 3)


def directories(stand: Stand) -> list[Path]:
    return [path for path in stand.there.rglob("*") if path.is_dir()]


def test_where_cleaning_up_fails_it_is_told_what_is_left(stand: Stand) -> None:
    stand.wants("f", "content")
    _, holding = names(stand, "base", "one")
    run = decided(stand)
    begun = stand.box.root / "begun"
    stand.program("tar", f"touch {begun}; sleep 60")

    def cut() -> None:
        eventually(begun.exists)
        run.context.cancel(cut=True)

    cutter = Thread(target=cut)
    cutter.start()
    with pytest.raises((ConnectionLost, Interrupted)):
        run.copy()
    cutter.join()
    assert any(str(holding) in message and "by hand" in message for message in stand.logged())
    assert holding.exists()


def test_where_cleaning_up_is_ended_it_is_told_what_is_left(stand: Stand) -> None:
    stand.wants("f", "content")
    _, holding = names(stand, "base", "one")
    run = decided(stand)
    stand.program("tar", '{real} "$@"; kill -9 $PPID')
    stand.program("rm", "kill -9 $PPID")
    with pytest.raises(HostError):
        run.copy()
    assert any(str(holding) in message and "by hand" in message for message in stand.logged())


@BOTH_WAYS
def test_where_the_answer_is_missing_it_is_said_that_files_may_be_in_place(
    stand: Stand, *, prepared: bool
) -> None:
    f = stand.wants("f", "content")
    run = decided(stand, prepared=prepared)
    stand.program("mv", '{real} "$@"; kill -9 $PPID')
    with pytest.raises(HostError, match="which of them are in place, the next run will see"):
        run.copy()
    assert f.read_text() == "content"
    assert stand.left_over() == []


def test_where_directories_may_be_shared_nothing_is_run_from_there(stand: Stand) -> None:
    """Who may write to a directory can exchange what is in it, and what is in that."""
    stand.set(allow_shared=("/elsewhere",))
    for name in ("f", "new/g"):
        stand.wants(name, name)
    seen = stand.box.root / "seen"
    stand.program("xargs", f'find {stand.there} >>{seen}; {{real}} "$@"')
    assert stand.deploy() == (2, 0)
    held = [line for line in seen.read_text().splitlines() if "/.fastrr-" in line]
    assert {os.path.basename(path) for path in held} >= {"f", "g"}
    assert not [path for path in held if "control" in path]
    assert [path.name for path in stand.box.home.iterdir()] == ["there"]


def test_a_disk_that_hangs_is_not_waited_for_for_ever(
    stand: Stand, monkeypatch: pytest.MonkeyPatch
) -> None:
    stand.wants("f", "content")
    run = decided(stand)
    monkeypatch.setattr(copying, "ANSWER_WITHIN_S", 0.2)
    stand.program("awk", "sleep 5")
    with pytest.raises(CommandFailed, match="does a file system hang there"):
        run.copy()


def test_what_was_not_unpacked_whole_is_no_copy(stand: Stand) -> None:
    f = stand.wants("f", "new " * 50_000)
    f.write_text("old content")
    run = decided(stand)
    # The script has arrived, the file has not.
    stand.program("tar", 'head -c 60000 | {real} "$@" 2>/dev/null; cat >/dev/null')
    with pytest.raises(CommandFailed, match="not all files could be unpacked"):
        run.copy()
    assert f.read_text() == "old content"
    assert stand.left_over() == []
