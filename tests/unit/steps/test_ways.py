"""Where everybody on a host may write: what a run does not follow, write to or use there."""

from __future__ import annotations

import os
import shutil
import time
from pathlib import Path

import pytest
from testbed.needs import lack
from testbed.shells import NOBODY
from testbed.stand import Stand

from fastrr.errors import HostError
from fastrr.files.copy import CopyReport
from fastrr.files.ledger import AT_REST_S
from fastrr.model import FreshBase

SOMEBODY = 1234


@pytest.fixture
def shared(stand: Stand) -> Path:
    """A directory on the host that everybody may write to, as /tmp is."""
    if os.getuid() != 0:
        lack("what belongs to others can't be made")
    directory = stand.box.root / "shared"
    directory.mkdir()
    directory.chmod(0o1777)
    stand.nobody = True
    return directory


def give(path: Path, uid: int = SOMEBODY) -> Path:
    os.chown(path, uid, uid, follow_symlinks=False)
    return path


def problems(stand: Stand) -> str:
    """What the check says; nothing may be made before it."""
    before = sorted(map(str, stand.box.root.rglob("*")))
    text = " | ".join(stand.run().check().problems)
    assert sorted(map(str, stand.box.root.rglob("*"))) == before
    return text


def test_in_a_sticky_directory_what_is_ours_is_deployed(stand: Stand, shared: Path) -> None:
    for name in ("f", "new/deep/g", "there/h"):
        stand.wants(name, name, to=str(shared / name))
    give(shared, 0)
    (shared / "there").mkdir()
    give(shared / "there", NOBODY)
    assert stand.deploy() == (3, 0)
    assert stand.deploy() == (0, 3)
    assert (shared / "new/deep/g").read_text() == "new/deep/g"
    assert sorted(shared.rglob(".fastrr-*")) == []


@pytest.mark.parametrize("below", ["f", "new/f", "sub/f"])
def test_a_directory_everybody_may_write_to_is_refused(
    stand: Stand, shared: Path, below: str
) -> None:
    (shared / "sub").mkdir()
    give(shared / "sub", NOBODY)
    shared.chmod(0o777)
    stand.wants("f", "content", to=str(shared / below))
    said = problems(stand)
    assert f"everybody may write to the directory {shared} (mode 777)" in said
    assert f"--allow-shared {shared}" in said
    stand.set(allow_shared=(str(shared),))
    assert stand.deploy() == (1, 0)
    assert (shared / below).read_text() == "content"


def test_where_sharing_is_allowed_links_of_others_are_not_followed(
    stand: Stand, shared: Path
) -> None:
    """They could lead to any file of ours; what others have copied there is replaced."""
    shared.chmod(0o777)
    stand.set(allow_shared=(str(shared),))
    valuable = stand.box.home / "valuable"
    valuable.write_text("mine")
    (shared / "directory").symlink_to(stand.box.home)
    for name, to in (("f", "f"), ("valuable", "directory/valuable")):
        stand.wants(name, "content", to=str(shared / to))
    (shared / "f").symlink_to(valuable)
    for path in (shared / "f", shared / "directory"):
        give(path)
    said = problems(stand)
    assert f"the link {shared / 'f'} belongs to" in said
    assert f"the link {shared / 'directory'} belongs to" in said
    for path in (shared / "f", shared / "directory"):
        path.unlink()
    (shared / "f").write_text("an earlier one, of a colleague")
    give(shared / "f")
    assert stand.deploy() == (2, 0)
    assert valuable.read_text() == "mine"


def test_where_sharing_is_allowed_nothing_goes_where_a_link_leads_that_was_planted(
    stand: Stand, shared: Path
) -> None:
    shared.chmod(0o777)
    stand.set(allow_shared=(str(shared),))
    valuable = stand.box.home / "valuable"
    valuable.mkdir()
    stand.wants("f", "content", to=str(shared / "new" / "f"))
    run = stand.run()
    assert run.check().problems == ()
    assert run.decide().problems == ()
    (shared / "new").symlink_to(valuable)
    give(shared / "new")
    report = run.copy()
    assert (report.copied, len(report.failures)) == (0, 1), report
    assert "somebody else has made it" in report.failures[0]
    assert list(valuable.iterdir()) == []


def test_where_sharing_is_allowed_nothing_is_copied_from_name_to_name(
    stand: Stand, shared: Path
) -> None:
    shared.chmod(0o777)
    stand.set(allow_shared=(str(shared),))
    for name in ("f", "g"):
        stand.wants(name, "content", to=str(shared / name))
    stand.program("tee", "exit 1")
    assert stand.deploy() == (2, 0)


def test_it_is_refused_though_all_is_as_it_was(stand: Stand, shared: Path) -> None:
    """The short way of looking looks at this, too."""
    give(shared, NOBODY)
    stand.wants("f", "content", to=str(shared / "f"))
    stand.deploy()
    time.sleep(AT_REST_S + 0.1)
    assert stand.deploy() == (0, 1)
    assert stand.deploy() == (0, 1)
    shared.chmod(0o777)
    assert "everybody may write" in problems(stand)


def test_a_group_may_write_where_the_owner_lets_it(stand: Stand, shared: Path) -> None:
    shared.chmod(0o2775)
    give(shared, NOBODY)
    stand.wants("f", "content", to=str(shared / "f"))
    assert stand.deploy() == (1, 0)


@pytest.mark.parametrize("kind", ["link to a file", "link to a directory", "file", "directory"])
def test_what_somebody_has_planted_is_not_followed(stand: Stand, shared: Path, kind: str) -> None:
    """Nor is a file that its owner can change as soon as it has been compared."""
    valuable = stand.box.home / "valuable"
    valuable.mkdir()
    (valuable / "f").write_text("mine")
    planted = shared / "planted"
    if kind == "link to a file":
        planted.symlink_to(valuable / "f")
    elif kind == "link to a directory":
        planted.symlink_to(valuable)
    elif kind == "file":
        planted.write_text("content")
    else:
        planted.mkdir()
    give(planted)
    inside = kind.endswith("directory")
    stand.wants("f", "content", to=str(planted / "f" if inside else planted))
    said = problems(stand)
    assert f"{kind.partition(' ')[0]} {planted} belongs to the user id {SOMEBODY}" in said
    assert (valuable / "f").read_text() == "mine"


def test_what_was_objected_to_is_not_remembered(stand: Stand, shared: Path) -> None:
    """Its owner could change it as soon as it counts as unchanged."""
    give(shared, 0)
    stand.wants("f", "content", to=str(shared / "f"))
    (shared / "f").write_text("content")
    give(shared / "f")
    time.sleep(AT_REST_S + 0.1)
    for _ in range(3):
        assert f"file {shared / 'f'} belongs to the user id {SOMEBODY}" in problems(stand)
    assert stand.remembered() == {}


def test_a_link_elsewhere_is_followed_with_the_same_care(stand: Stand, shared: Path) -> None:
    (shared / "planted").mkdir()
    give(shared / "planted")
    (stand.there / "link").symlink_to(shared / "planted")
    stand.wants("f", "content", to=str(stand.there / "link" / "f"))
    assert f"directory {shared / 'planted'} belongs" in problems(stand)


def test_what_is_planted_after_the_check_is_not_used(stand: Stand, shared: Path) -> None:
    valuable = stand.box.home / "valuable"
    valuable.mkdir()
    stand.wants("f", "content", to=str(shared / "new" / "f"))
    for planted in ("link", "directory"):
        for prepared in (False, True):
            empty = (str(shared / "new" / "empty"),) if prepared else ()
            stand.plan = stand.plan._replace(directories=empty)
            run = stand.run()
            assert run.check().problems == ()
            assert run.decide().problems == ()
            if planted == "link":
                (shared / "new").symlink_to(valuable)
            else:
                (shared / "new").mkdir()
                (shared / "new").chmod(0o777)
                (shared / "new" / "theirs").touch()
            give(shared / "new")
            report = run.copy()
            assert (report.copied, len(report.failures)) == (0, 1), report
            assert "somebody else has made it" in report.failures[0]
            assert list(valuable.iterdir()) == []
            assert sorted(stand.box.root.rglob(".fastrr-*")) == []
            if planted == "link":
                (shared / "new").unlink()
            else:
                assert os.listdir(shared / "new") == ["theirs"]
                shutil.rmtree(shared / "new")


def test_a_temporary_base_dir_is_not_made_where_everybody_may_write(
    stand: Stand, shared: Path
) -> None:
    stand.box.environment["TMPDIR"] = str(shared)
    stand.plan = stand.plan._replace(fresh=(FreshBase("main"),))
    run = stand.run()
    assert run.check().problems == ()
    assert run.decide().to_do
    assert run.copy() == CopyReport(0, 0)
    (made,) = shared.iterdir()
    assert (made.stat().st_mode & 0o7777, made.stat().st_uid) == (0o700, NOBODY)
    shared.chmod(0o777)
    assert f"everybody may write to the directory {shared}" in problems(stand)


def test_a_temporary_directory_that_is_open_to_all_is_refused(stand: Stand, shared: Path) -> None:
    """Where sh is bash, its here-documents are there."""
    stand.box.environment["TMPDIR"] = str(shared)
    shared.chmod(0o777)
    give(shared)
    stand.wants("f", "content")
    before = shared.stat().st_mtime_ns
    assert f"everybody may write to the directory {shared}" in problems(stand)
    assert shared.stat().st_mtime_ns == before  # the check itself keeps away from it
    stand.set(allow_shared=(str(shared),))
    assert stand.deploy() == (1, 0)


def test_the_check_works_in_no_temporary_directory_of_somebody_else_s(
    stand: Stand, shared: Path
) -> None:
    """Who owns a sticky directory may exchange what is in it."""
    stand.box.environment["TMPDIR"] = str(shared)
    stand.wants("f", "content")
    run = stand.run()
    give(shared)
    before = shared.stat().st_mtime_ns
    assert run.check().problems == ()
    assert shared.stat().st_mtime_ns == before


@pytest.mark.parametrize("above", ["open to all", "somebody else's, sticky", "by a link"])
def test_the_check_works_in_no_temporary_directory_that_can_be_exchanged(
    stand: Stand, shared: Path, above: str
) -> None:
    """It is ours alone; but who may write to what it is in can put another in its place."""
    temporary = shared / "mine"
    temporary.mkdir(mode=0o700)
    stand.box.environment["TMPDIR"] = str(temporary)
    stand.wants("f", "content")
    run = stand.run()
    give(temporary, NOBODY)
    if above == "open to all":
        shared.chmod(0o777)
    elif above == "by a link":
        (shared / "link").symlink_to(temporary)
        stand.box.environment["TMPDIR"] = str(shared / "link")
    else:
        give(shared)
    seen = stand.box.root / "seen"
    stand.program("stat", f'echo "$TMPDIR" >>{seen}; {{real}} "$@"')
    before = temporary.stat().st_mtime_ns
    assert bool(run.check().problems) == (above == "open to all")
    assert seen.read_text().split()[0] == str(stand.box.home), "here-documents are there"
    assert temporary.stat().st_mtime_ns == before


def test_a_temporary_directory_by_a_link_is_judged(stand: Stand, shared: Path) -> None:
    """All permissions are set on a link, and mean nothing (symlink(7))."""
    link = stand.box.home / "tmp"
    link.symlink_to(shared)
    shared.chmod(0o777)
    stand.box.environment["TMPDIR"] = str(link)
    stand.wants("f", "content")
    assert f"everybody may write to the directory {shared}" in problems(stand)


def test_a_temporary_base_dir_of_somebody_else_is_let_alone(stand: Stand, shared: Path) -> None:
    """The name was taken just before ours would have been made."""
    stand.box.environment["TMPDIR"] = str(shared)
    stand.plan = stand.plan._replace(fresh=(FreshBase("main"),))
    stand.new_token = lambda: "name"
    stand.nobody = False  # root could remove it
    run = stand.run()
    assert run.check().problems == ()
    run.decide()
    theirs = shared / f"fastrr-{stand.session.name}-main.name-0-0"
    theirs.mkdir()
    (theirs / "theirs").touch()
    give(theirs)
    (failure,) = run.copy().failures
    assert str(theirs) in failure
    run.discard()
    assert (theirs / "theirs").exists()


def test_state_is_not_kept_where_somebody_could_change_it(stand: Stand, shared: Path) -> None:
    stand.box.environment["XDG_STATE_HOME"] = str(shared / "state")
    stand.component("main", "exit 3", wait=True)
    stand.set(zombie=False)
    planted = shared / "state"
    planted.mkdir()
    planted.chmod(0o777)
    give(planted)
    assert f"directory {planted} belongs to the user id {SOMEBODY}" in problems(stand)
    planted.rmdir()
    run = stand.run()
    assert run.check().problems == ()
    planted.symlink_to(stand.box.home)
    give(planted)
    with pytest.raises(HostError, match="not this account's"):
        run.start()
    assert not (stand.box.home / "fastrr").exists()
    planted.unlink()
    run.start()
    run.watch()
    assert stand.ended() == {"main": 3}
    assert planted.stat().st_mode & 0o7777 == 0o700


def test_left_overs_of_others_are_left_to_them(stand: Stand, shared: Path) -> None:
    """What is being removed could be exchanged for a link meanwhile."""
    stand.wants("f", "content", to=str(shared / "f"))
    old = [shared / f".fastrr-{digit * 12}-0" for digit in "ab"]
    for directory, uid in zip(old, (SOMEBODY, NOBODY), strict=True):
        directory.mkdir()
        give(directory, uid)
        os.utime(directory, (0, 0))
    stand.nobody = False  # root could remove both
    give(old[1], 0)
    assert stand.deploy() == (1, 0)
    assert [directory.exists() for directory in old] == [True, False]
