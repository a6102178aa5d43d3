"""Which transport takes which file."""

from __future__ import annotations

import pytest

from fastrr.files.method import DELTA_FROM_BYTES, choose, unusable
from fastrr.files.transports import Basis, Item

HERE = {"rsync", "ssh"}
THERE = {"rsync", "tar", "screen"}
LARGE = DELTA_FROM_BYTES


def item(size: int, replaced: int | None = None) -> Item:
    basis = None if replaced is None else Basis("/d/f", replaced)
    return Item("/here/f", "/d/.fastrr-1/f", size, basis)


def shares(wanted: str, items: list[Item], here: set[str], there: set[str]) -> dict[str, list[int]]:
    return {s.transport: list(s.numbers) for s in choose(wanted, items, here, there)}


def test_large_files_that_changed_go_by_rsync_and_all_others_in_one_stream() -> None:
    items = [
        item(LARGE),  # new
        item(LARGE, LARGE),
        item(LARGE - 1, LARGE),
        item(LARGE, LARGE - 1),
        item(10 * LARGE, 20 * LARGE),
        item(0),
    ]
    assert shares("auto", items, HERE, THERE) == {"rsync": [1, 4], "stream": [0, 2, 3, 5]}
    assert shares("auto", items[1:2], HERE, THERE) == {"rsync": [0]}
    assert shares("auto", items[:1], HERE, THERE) == {"stream": [0]}


@pytest.mark.parametrize(
    ("here", "there"),
    [({"rsync"}, THERE), ({"ssh"}, THERE), (HERE, {"tar"})],
)
def test_without_rsync_or_ssh_at_both_ends_all_goes_by_stream(
    here: set[str], there: set[str]
) -> None:
    assert shares("auto", [item(LARGE, LARGE), item(1)], here, there) == {"stream": [0, 1]}


def test_without_tar_sftp_takes_what_is_left() -> None:
    items = [item(LARGE, LARGE), item(1)]
    assert shares("auto", items, HERE, {"rsync"}) == {"rsync": [0], "sftp": [1]}
    assert shares("auto", items, HERE, set()) == {"sftp": [0, 1]}
    rsync, _ = choose("auto", items, HERE, {"rsync"})
    assert rsync.fallback == "sftp"


def test_what_was_asked_for_takes_all_and_has_no_fallback() -> None:
    items = [item(LARGE, LARGE), item(1)]
    for wanted in ("stream", "rsync", "sftp"):
        (share,) = choose(wanted, items, HERE, THERE)
        assert (share.transport, share.numbers, share.fallback) == (wanted, (0, 1), None)


def test_no_files_no_shares() -> None:
    assert choose("auto", [], HERE, THERE) == choose("sftp", [], HERE, THERE) == ()


@pytest.mark.parametrize(
    ("transport", "here", "there", "why"),
    [
        ("auto", set(), set(), ""),
        ("sftp", set(), set(), ""),
        ("stream", set(), {"tar"}, ""),
        ("stream", HERE, {"rsync"}, "the host has no tar"),
        ("rsync", HERE, THERE, ""),
        ("rsync", HERE, {"tar"}, "the host has no rsync"),
        ("rsync", {"ssh"}, THERE, "this machine has no rsync"),
        ("rsync", {"rsync"}, THERE, "this machine has no ssh"),
    ],
)
def test_what_a_transport_lacks_is_named(
    transport: str, here: set[str], there: set[str], why: str
) -> None:
    assert unusable(transport, here, there) == why


def test_each_share_says_why() -> None:
    items = [item(LARGE, LARGE), item(1)]
    assert [share.why for share in choose("auto", items, HERE, THERE)] == [
        "large files that replace others, and both ends have rsync",
        "new and small files, in one stream",
    ]
    assert [share.why for share in choose("auto", items[1:], HERE, set())] == [
        "the host has no tar"
    ]
    assert [share.why for share in choose("sftp", items, HERE, THERE)] == ["it was asked for"]
