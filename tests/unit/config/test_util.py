"""``util``: trees of files, and ranges of hosts."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from fastrr.config import util
from fastrr.config.util import hosts, recursive_files_dict


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """``tree/a``, ``tree/sub/b``, ``tree/sub/deeper/c`` and an empty directory; cwd is above."""
    top = tmp_path / "tree"
    (top / "sub" / "deeper").mkdir(parents=True)
    (top / "empty").mkdir()
    for name in ("a", "sub/b", "sub/deeper/c"):
        (top / name).write_text(name)
    monkeypatch.chdir(tmp_path)
    return top


def test_files_only_each_at_the_same_place_below_the_destination(tree: Path) -> None:
    files = recursive_files_dict(str(tree), "/abs/dest")
    assert type(files) is dict
    assert files == {
        f"{tree}/a": "/abs/dest/a",
        f"{tree}/sub/b": "/abs/dest/sub/b",
        f"{tree}/sub/deeper/c": "/abs/dest/sub/deeper/c",
    }


def test_a_relative_source_gives_relative_keys_for_configs_that_look_them_up(tree: Path) -> None:
    assert recursive_files_dict("tree/sub", "x") == {
        "tree/sub/b": "x/b",
        "tree/sub/deeper/c": "x/deeper/c",
    }


@pytest.mark.parametrize(
    ("destination", "placed"),
    [
        (".", "b"),
        ("./", "b"),
        ("x/", "x/b"),
        ("x/../y", "y/b"),
        ("~", "~/b"),
        ("~/x", "~/x/b"),
        ("/", "/b"),
    ],
)
def test_destinations(tree: Path, destination: str, placed: str) -> None:
    assert recursive_files_dict("tree/sub", destination)["tree/sub/b"] == placed


def test_a_trailing_slash_and_path_objects_are_fine(tree: Path) -> None:
    expected = set(recursive_files_dict("tree", ".").values())
    assert set(recursive_files_dict("tree/", ".").values()) == expected
    assert set(recursive_files_dict(tree, Path()).values()) == expected  # type: ignore[arg-type]


def test_home_in_the_source_is_expanded(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tree))
    assert recursive_files_dict("~/sub/deeper", ".") == {f"{tree}/sub/deeper/c": "c"}


def test_a_directory_named_tilde_does_not_end_up_at_home(tree: Path) -> None:
    (tree / "~").mkdir()
    (tree / "~" / "f").touch()
    assert recursive_files_dict("tree", ".")["tree/~/f"] == "./~/f"


def test_the_order_is_always_the_same(tree: Path) -> None:
    for name in ("z", "B", "10", "9"):
        (tree / name).touch()
    names = [os.path.basename(key) for key in recursive_files_dict("tree", ".")]
    assert names == ["10", "9", "B", "a", "b", "c", "z"]


def test_an_empty_directory_gives_nothing(tree: Path) -> None:
    assert recursive_files_dict("tree/empty", ".") == {}


def test_links_are_followed_to_files_and_directories(tree: Path) -> None:
    (tree / "empty" / "file").symlink_to(tree / "a")
    (tree / "empty" / "dir").symlink_to(tree / "sub", target_is_directory=True)
    assert sorted(recursive_files_dict("tree/empty", ".").values()) == [
        "dir/b",
        "dir/deeper/c",
        "file",
    ]


def test_links_back_up_are_passed_over(tree: Path) -> None:
    (tree / "self").symlink_to(".", target_is_directory=True)
    (tree / "sub" / "deeper" / "up").symlink_to("../..", target_is_directory=True)
    assert sorted(recursive_files_dict("tree", ".").values()) == ["a", "sub/b", "sub/deeper/c"]


def test_links_to_nowhere_are_files_so_that_load_can_complain(tree: Path) -> None:
    (tree / "empty" / "dangling").symlink_to("nowhere")
    (tree / "empty" / "loop").symlink_to("loop")
    assert recursive_files_dict("tree/empty", ".") == {
        "tree/empty/dangling": "dangling",
        "tree/empty/loop": "loop",
    }


def test_names_that_are_no_text_are_kept(tree: Path) -> None:
    name = os.fsdecode(b"caf\xe9\n")
    (tree / "empty" / name).touch()
    assert recursive_files_dict("tree/empty", ".") == {f"tree/empty/{name}": name}


def test_a_missing_directory_says_where_it_was_looked_for(tree: Path) -> None:
    with pytest.raises(FileNotFoundError) as caught:
        recursive_files_dict("nope", ".")
    assert str(caught.value) == f"there is no directory 'nope' (seen from {tree.parent})"


def test_a_file_is_no_directory(tree: Path) -> None:
    with pytest.raises(NotADirectoryError, match=r"'tree/a' is no directory: write files\["):
        recursive_files_dict("tree/a", ".")


def test_in_muddlers_keys_are_absolute(tree: Path) -> None:
    files = util.anchored().recursive_files_dict("tree/sub/deeper", "x")
    assert files == {f"{tree}/sub/deeper/c": "x/c"}
    assert util.anchored().hosts is hosts


# hosts


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("gw", ["gw"]),
        ("node[1-3]", ["node1", "node2", "node3"]),
        ("node[01-03,7],gw", ["node01", "node02", "node03", "node7", "gw"]),
        ("node[8-11]", ["node8", "node9", "node10", "node11"]),
        ("node[08-11]", ["node08", "node09", "node10", "node11"]),
        ("node[1-9/4]", ["node1", "node5", "node9"]),
        ("n[1-2]r[1-2].lan", ["n1r1.lan", "n1r2.lan", "n2r1.lan", "n2r2.lan"]),
        ("me@n[1-2]:22", ["me@n1:22", "me@n2:22"]),
        (" a , b[1] ", ["a", "b1"]),
        ("10.0.0.[5-6]", ["10.0.0.5", "10.0.0.6"]),
        ("a,,b", ["a", "b"]),
        ("n[3-3]", ["n3"]),
    ],
)
def test_hosts(pattern: str, expected: list[str]) -> None:
    assert hosts(pattern) == expected


@pytest.mark.parametrize(
    ("pattern", "reason"),
    [
        ("", "there is no host in it"),
        (" , ", "there is no host in it"),
        ("n[1-3", "a bracket is not closed"),
        ("n1-3]", "the brackets do not match"),
        ("n[1[2]]", "the brackets do not match"),
        ("n[3-1]", "'3-1' does not count up"),
        ("n[1-3/0]", "'1-3/0' does not count up"),
        ("n[a-c]", "'a-c' is no number and no range like 01-16"),
        ("n[]", "'' is no number"),
        ("n[1,]", "'' is no number"),
        ("n[-1]", "'-1' is no number"),
    ],
)
def test_hosts_says_what_it_can_not_read(pattern: str, reason: str) -> None:
    with pytest.raises(ValueError, match=r"^hosts\(") as caught:
        hosts(pattern)
    assert str(caught.value).startswith(f"hosts({pattern!r}): ")
    assert reason in str(caught.value)
