"""Who could lead astray what a run writes: the rules, and what real hosts say of their ways."""

from __future__ import annotations

import ctypes
import os
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from testbed.needs import lack
from testbed.shells import NOBODY, Box

from fastrr.hosts.shell import script
from fastrr.hosts.ways import OWN, Place, Walker, on_the_way, parse_asked, places_script

ME, BOB = 1000, 1001
DIRECTORY, OPEN, STICKY = 0o40755, 0o40777, 0o41777
FILE, LINK = 0o100644, 0o120777


def places(**extra: Place | None) -> dict[str, Place | None]:
    """A host; further places by path, with _ for the slashes."""
    known = {
        "/": Place(DIRECTORY, 0, 1),
        "/tmp": Place(STICKY, 0, 1),
        "/home": Place(DIRECTORY, 0, 1),
        "/home/me": Place(0o40700, ME, 1),
        "/open": Place(OPEN, 0, 1),
    }
    return known | {name.replace("_", "/"): place for name, place in extra.items()}


def objections(path: str, *, allowed: tuple[str, ...] = (), **extra: Any) -> str:
    """What is wrong with the way to a path that is known in full; empty if nothing is."""
    walker = Walker(places(**extra), ME, allowed)
    walker.go(path)
    assert not walker.unknown
    assert not walker.unread
    assert len(walker.objections) <= 1
    return next(iter(walker.objections), "")


@pytest.mark.parametrize(
    ("path", "extra"),
    [
        ("/home/me", {}),
        ("/home/me/new/deep", {"_home_me_new": None}),
        ("/tmp", {}),
        ("/tmp/new/deep", {"_tmp_new": None}),
        ("/tmp/mine/f", {"_tmp_mine": Place(DIRECTORY, ME, 1), "_tmp_mine_f": None}),
        ("/tmp/root", {"_tmp_root": Place(DIRECTORY, 0, 1)}),
        ("/tmp/link/x", {"_tmp_link": Place(LINK, 0, 1, "/home/me"), "_home_me_x": None}),
        ("/home/team", {"_home_team": Place(0o42775, BOB, 1)}),
        ("/home/bob", {"_home_bob": Place(DIRECTORY, BOB, 1)}),
        ("/home/link", {"_home_link": Place(LINK, BOB, 1, "me/../me/.")}),
    ],
)
def test_what_nobody_else_can_change_is_safe(path: str, extra: dict[str, Any]) -> None:
    assert objections(path, **extra) == ""


@pytest.mark.parametrize(
    ("path", "about", "extra"),
    [
        ("/open", "directory /open (mode 777)", {}),
        ("/open/new", "directory /open (mode 777)", {}),
        ("/open/sub/new", "directory /open (mode 777)", {"_open_sub": Place(DIRECTORY, ME, 1)}),
        ("/home/me/open", "/home/me/open", {"_home_me_open": Place(0o40702, ME, 1)}),
        ("/home/me/l/x", "directory /open", {"_home_me_l": Place(LINK, ME, 1, "/open")}),
        ("/home/l/x", "directory /open", {"_home_l": Place(LINK, 0, 1, "../open")}),
        ("/tmp/bobs", "directory /tmp/bobs belongs to", {"_tmp_bobs": Place(DIRECTORY, BOB, 1)}),
        ("/tmp/f", "file /tmp/f belongs to the user id 1001", {"_tmp_f": Place(FILE, BOB, 1)}),
        ("/tmp/l", "link /tmp/l belongs to", {"_tmp_l": Place(LINK, BOB, 1, "/home/me")}),
        ("/home/l", "link /tmp/m belongs to",
         {"_home_l": Place(LINK, ME, 1, "/tmp/m"), "_tmp_m": Place(LINK, BOB, 1)}),
        ("/home/l", "link /tmp/m belongs to",
         {"_home_l": Place(LINK, ME, 1, "/tmp/m/../x"), "_tmp_m": Place(LINK, BOB, 1)}),
    ],
)  # fmt: skip
def test_what_somebody_else_can_change_is_not(path: str, about: str, extra: dict[str, Any]) -> None:
    assert about in objections(path, **extra)


def test_the_directory_above_all_may_be_shared_too() -> None:
    walker = Walker({"/": Place(OPEN, 0, 1)}, ME)
    walker.go("/new")
    assert "directory / (mode 777)" in next(iter(walker.objections))


def test_what_the_user_allows_is_written_to() -> None:
    extra = {"_open_sub": Place(OPEN, BOB, 1), "_open_sub_x": None}
    assert objections("/open/new", allowed=("/open/",), _open_new=None) == ""
    assert "/open/sub" in objections("/open/sub/x", allowed=("/open",), **extra)
    assert objections("/open/sub/x", allowed=("/open", "/open/sub"), **extra) == ""
    assert "belongs" in objections("/tmp/f", allowed=("/tmp",), _tmp_f=Place(FILE, BOB, 1))


def test_for_root_everybody_else_is_somebody_else() -> None:
    walker = Walker(places(_tmp_mine=Place(DIRECTORY, ME, 1)), 0)
    walker.go("/tmp/mine")
    assert walker.objections


def test_links_that_go_round_lead_nowhere() -> None:
    loop = {"_home_a": Place(LINK, ME, 1, "b"), "_home_b": Place(LINK, ME, 1, "/home/a/x")}
    assert Walker(places(**loop), ME).go("/home/a") is None


def test_links_that_multiply_are_given_up() -> None:
    """As path_resolution(7) has it: forty in all."""
    bomb = {
        f"_home_l{n}": Place(LINK, ME, 1, f"l{n + 1}/../l{n + 1}/../l{n + 1}") for n in range(60)
    }
    began = time.process_time()
    assert Walker(places(**bomb), ME).go("/home/l0") is None
    assert time.process_time() - began < 5


@pytest.mark.parametrize("path", ["", "relative", "./x"])
def test_only_absolute_paths_are_gone(path: str) -> None:
    with pytest.raises(ValueError, match="no absolute path"):
        Walker(places(), ME).go(path)


def test_what_is_not_known_is_asked_for() -> None:
    walker = Walker(places(), ME)
    assert walker.go("/home/me/unknown/deeper") is None
    assert list(walker.unknown) == ["/home/me/unknown"]
    walker = Walker(places(_home_l=Place(LINK, ME, 1)), ME)
    assert walker.go("/home/l") is None
    assert list(walker.unread) == ["/home/l"]


def test_a_way_is_gone_once_however_many_end_there() -> None:
    deep = "/home/me" + "/d" * 1500
    known = places() | {path: Place(DIRECTORY, ME, 1) for path in on_the_way([deep])}
    assert Walker(known, ME).go(deep) == deep


NAMES = ("plain", "two words", "-n", "new\nline\n", "back\\slash", "\udcff", "it's")


def test_a_host_is_asked_about_places_of_any_name(box: Box) -> None:
    paths = [str(box.home / name) for name in NAMES]
    for path in paths:
        os.symlink(f"to {Path(path).name}", path)
    absent = str(box.home / "absent")
    asked = [*paths, absent, str(box.home)]
    body = box.ask(places_script(asked, []))
    found = parse_asked(asked, [], {}, body)
    assert found[absent] is None
    for path in paths:
        status = os.lstat(path)
        assert found[path] == Place(status.st_mode, status.st_uid, status.st_dev)
    found = parse_asked([], paths, found, box.ask(places_script([], paths)))
    assert [place.target for path in paths if (place := found[path])] == [
        f"to {name}" for name in NAMES
    ]


def test_what_is_exchanged_meanwhile_is_never_ours(box: Box) -> None:
    """By a link to a directory of ours, and a directory of theirs: renameat2(2)."""
    if os.getuid() != 0:
        lack("what belongs to others can't be made")
    shared = box.home / "shared"
    shared.mkdir()
    shared.chmod(0o1777)
    link, directory = shared / "name", shared / "other"
    link.symlink_to(box.home)
    directory.mkdir()
    for path in (link, directory):
        os.chown(path, NOBODY, NOBODY, follow_symlinks=False)
    over = threading.Event()
    exchanger = threading.Thread(target=exchange_until, args=(over, link, directory))
    exchanger.start()
    asks = f"n=0; while [ $n -lt 300 ]; do n=$((n + 1)); own {link} && echo yes; done; true\n"
    try:
        assert box.ask(script(f"{OWN}{asks}")) == b""
    finally:
        over.set()
        exchanger.join()


def exchange_until(over: threading.Event, one: Path, other: Path) -> None:
    """Swap two names, again and again; each is always there."""
    here, exchange = -100, 2  # AT_FDCWD, RENAME_EXCHANGE
    renameat2 = ctypes.CDLL(None, use_errno=True).renameat2
    while not over.is_set():
        assert renameat2(here, bytes(one), here, bytes(other), exchange) == 0
        time.sleep(0.0001)


def test_what_is_ours_is_told_when_it_comes_to_it(box: Box) -> None:
    shared = box.home / "shared"
    shared.mkdir()
    for name in ("mine", "theirs"):
        (shared / name).mkdir()
    os.symlink(box.home, shared / "link")
    os.symlink(box.home, shared / "their-link")
    if os.getuid() == 0:
        os.chown(shared / "theirs", NOBODY, NOBODY)
        os.chown(shared / "their-link", NOBODY, NOBODY, follow_symlinks=False)

    def own(name: str) -> bool:
        return box.ask(script(f"{OWN}own {shared}/{name} && echo yes || echo no\n")) == b"yes\n"

    assert own("theirs")  # where only its owner may write, it is the owner's decision
    shared.chmod(0o1777)
    assert own("mine")
    assert own("link")
    assert not own("absent")
    if os.getuid() == 0:
        assert not own("theirs")
        assert not own("their-link")
