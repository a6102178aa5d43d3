"""What is copied, and why: decided from what was found."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import pytest

from fastrr.files.algorithms import Hashers
from fastrr.files.compare import (
    Decision,
    base_dirs,
    contents,
    draft,
    missing_directories,
    settle,
)
from fastrr.files.probe import Answer, Found
from fastrr.files.storage import Space, Storage
from fastrr.hosts.facts import DirectoryFacts, HostFacts
from fastrr.hosts.shell import absolute
from fastrr.model import (
    MISSING,
    Copy,
    CopyReason,
    FileKind,
    FileTarget,
    FreshBase,
    HostPlan,
    RemoteFile,
    Signature,
    SourceFile,
)

FACTS = HostFacts(
    home="/home/me",
    node="web1",
    uid="1000",
    state_directory="/home/me/.local/state/fastrr/web1",
    temporary_directory="/tmp",
)
STORAGE = Storage({"/srv": DirectoryFacts("/srv")})


def answered(files: Iterable[RemoteFile] = (), storage: Storage = STORAGE) -> Answer:
    return Answer(FACTS, (), Hashers(), storage, Found(tuple(files)))


def source(path: str = "/src/a", size: int = 3, mode: int = 0o644) -> SourceFile:
    return SourceFile(path, mode, Signature(size, 0, 0, 0, 0))


def there(size: int = 3, digest: str | None = None, link_to: str | None = None) -> RemoteFile:
    return RemoteFile(FileKind.FILE, Signature(size, 1, 2, 3, 4), digest, link_to)


def decide(
    found: Mapping[str, RemoteFile],
    digest: str = "abc",
    *,
    of: SourceFile | None = None,
    storage: Storage = STORAGE,
    always_copy: bool = False,
) -> Decision:
    """Decide on a source that is wanted at each of these destinations."""
    wanted = of or source()
    plan = HostPlan("host", tuple(FileTarget(wanted.path, path) for path in found))
    answer = answered(found.values(), storage)
    drafted = draft(plan, answer, {wanted.path: wanted}, always_copy=always_copy)
    if drafted.decision.problems:
        return drafted.decision
    return settle(plan, answer, drafted, {wanted.path: digest})


def reasons(decision: Decision) -> list[CopyReason]:
    return [copy.reason for copy in decision.copies]


@pytest.mark.parametrize(
    ("found", "reason"),
    [
        (MISSING, CopyReason.MISSING),
        (there(size=4), CopyReason.SIZE),
        (there(size=4, digest="abc"), CopyReason.SIZE),
        (there(digest="abd"), CopyReason.DIGEST),
        (there(digest=None), CopyReason.DIGEST),
        (there(digest="abc"), None),
    ],
)
def test_a_file_is_copied_for_a_reason(found: RemoteFile, reason: CopyReason | None) -> None:
    decision = decide({"/srv/a": found})
    assert reasons(decision) == ([] if reason is None else [reason])
    assert decision.unchanged == (reason is None)
    assert decision.problems == ()


def test_permissions_alone_are_no_reason() -> None:
    decision = decide({"/srv/a": there(digest="abc")}, of=source(mode=0o755))
    assert (decision.copies, decision.unchanged) == ((), 1)


def test_everything_is_copied_when_asked_for() -> None:
    found = {"/srv/same": there(digest="abc"), "/srv/gone": MISSING, "/srv/size": there(size=9)}
    decision = decide(found, always_copy=True)
    assert reasons(decision) == [CopyReason.ALWAYS, CopyReason.MISSING, CopyReason.ALWAYS]
    assert decision.unchanged == 0


def test_a_copy_says_what_to_put_where() -> None:
    decision = decide({"/srv/a b": MISSING}, of=source("/src/x", 5, 0o4755))
    assert decision.copies == (Copy("/src/x", "/srv/a b", 5, 0o4755, CopyReason.MISSING),)


def test_only_what_has_the_right_size_is_unsettled() -> None:
    plan = HostPlan("host", tuple(FileTarget("/src/a", f"/srv/{n}") for n in range(3)))
    found = (there(digest="abc"), there(size=9), MISSING)
    drafted = draft(plan, answered(found), {"/src/a": source()})
    assert [(copy.destination, digest) for copy, digest in drafted.unsettled] == [("/srv/0", "abc")]


@pytest.mark.parametrize(
    ("destination", "link_to", "copied_to"),
    [
        ("/srv/a", "/data/real", "/data/real"),
        ("./a", None, "/home/me/a"),
        ("./sub/../a", None, "/home/me/a"),
        ("/srv/a", None, "/srv/a"),
    ],
)
def test_copies_have_absolute_destinations(
    destination: str, link_to: str | None, copied_to: str
) -> None:
    (copy,) = decide({destination: MISSING._replace(link_to=link_to)}).copies
    assert copy.destination == copied_to


@pytest.mark.parametrize(
    ("path", "expected"), [("/a", "/a"), ("./a", "/home/me/a"), (".", "/home/me")]
)
def test_paths_on_a_host_start_at_home(path: str, expected: str) -> None:
    assert absolute(path, "/home/me") == expected


@pytest.mark.parametrize(
    ("kind", "what"), [(FileKind.DIRECTORY, "a directory"), (FileKind.OTHER, "no regular file")]
)
def test_what_is_in_the_way_is_a_problem(kind: FileKind, what: str) -> None:
    decision = decide({"/srv/a": RemoteFile(kind), "/srv/b": MISSING})
    assert decision.problems == (
        (
            f"/srv/a is {what}, and /src/a should become a file of that name: "
            "move it away or choose another destination"
        ),
    )


# two paths to one file


@pytest.mark.parametrize("size", [3, 4, None], ids=["same size", "other size", "missing"])
def test_two_sources_for_one_file_are_a_problem(size: int | None) -> None:
    """One path is that of the file, or from the home; the other leads to it by a link."""
    plan = HostPlan(
        "host",
        (
            FileTarget("/src/a", "./real"),
            FileTarget("/src/b", "/srv/link"),
            FileTarget("/src/b", "/srv/apart"),
        ),
    )
    real = MISSING if size is None else there(size, "abc")
    sources = {path: source(path) for path in ("/src/a", "/src/b")}
    found = (real, real._replace(link_to="/home/me/real"), real)
    for always_copy in (False, True):
        drafted = draft(plan, answered(found), sources, always_copy=always_copy)
        assert drafted.decision.problems == (
            "/home/me/real should be a copy of both /src/a and /src/b",
        )


def test_one_source_may_reach_a_file_by_two_paths() -> None:
    for real in (there(), there(size=9), MISSING):
        found = {"./real": real, "/srv/link": real._replace(link_to="/home/me/real")}
        for always_copy in (False, True):
            decision = decide(found, always_copy=always_copy)
            assert decision.problems == ()
            assert [copy.destination for copy in decision.copies] == ["/home/me/real"]


def test_what_is_right_already_and_what_is_not_contradict_each_other() -> None:
    plan = HostPlan("host", (FileTarget("/src/a", "./real"), FileTarget("/src/b", "/srv/link")))
    sources = {"/src/a": source("/src/a"), "/src/b": source("/src/b", size=9)}
    found = (there(digest="abc"), there(digest="abc", link_to="/home/me/real"))
    drafted = draft(plan, answered(found), sources)
    assert len(drafted.decision.problems) == 1
    assert (
        settle(plan, answered(), drafted, {"/src/a": "abc"}).problems == drafted.decision.problems
    )


# directories


def with_directory(path: str, facts: DirectoryFacts) -> Storage:
    return Storage({path: facts})


def directory_problems(path: str, facts: DirectoryFacts) -> tuple[str, ...]:
    plan = HostPlan("host", directories=(path,))
    return draft(plan, answered((), with_directory(path, facts)), {}).decision.problems


def test_a_wanted_directory_must_be_possible() -> None:
    assert directory_problems("/srv", DirectoryFacts("/srv")) == ()
    assert directory_problems("/srv/new", DirectoryFacts("/srv")) == ()
    assert directory_problems("/srv/a/b", DirectoryFacts("/srv/a", "file")) == (
        "/srv/a is no directory, and /srv/a/b should be one",
    )
    assert directory_problems("/srv/a", DirectoryFacts("/srv/a", "file")) == (
        "/srv/a is no directory, and /srv/a should be one",
    )
    assert directory_problems("/srv/new", DirectoryFacts("/srv", "denied")) == (
        "/srv/new can't be made: this account may not write to /srv",
    )


def test_a_directory_that_is_there_need_not_be_writable() -> None:
    assert directory_problems("/srv", DirectoryFacts("/srv", "denied")) == ()


def test_a_directory_that_is_written_to_must_be_writable() -> None:
    storage = with_directory("/srv", DirectoryFacts("/srv", "denied"))
    denied = ("the directory /srv may not be written to by this account",)
    assert decide({"/srv/a": MISSING}, storage=storage).problems == denied
    assert decide({"/srv/a": there(digest="abd")}, storage=storage).problems == denied
    assert decide({"/srv/a": there(digest="abc")}, storage=storage).problems == ()


def test_the_same_trouble_is_told_once() -> None:
    directories = {f"/srv/{name}": DirectoryFacts("/srv", "denied") for name in "abc"}
    plan = HostPlan("host", directories=tuple(directories))
    storage = STORAGE._replace(directories=directories)
    assert len(draft(plan, answered((), storage), {}).decision.problems) == 1


def test_missing_directories_are_made() -> None:
    plan = HostPlan("host", directories=("/srv", "/srv/new", "./new"))
    directories = {
        "/srv": DirectoryFacts("/srv"),
        "/srv/new": DirectoryFacts("/srv"),
        "./new": DirectoryFacts("."),
    }
    decision = draft(plan, answered((), Storage(directories)), {}).decision
    assert decision.directories == ("/srv/new", "/home/me/new")


# space


def test_new_content_must_fit() -> None:
    tight = STORAGE._replace(space={"/srv": Space("/", 4_000_000)})
    fits = {"/srv/a": MISSING, "/srv/b": there(size=1)}
    assert decide(fits, of=source(size=2_000_000), storage=tight).problems == ()
    assert decide(
        {**fits, "/srv/c": MISSING}, of=source(size=2_000_000), storage=tight
    ).problems == ("6.0 MB are to be copied to the file system /, which has 4.0 MB free",)


def test_what_is_new_and_what_has_changed_must_fit_together() -> None:
    tight = STORAGE._replace(space={"/srv": Space("/", 5)})
    found = {"/srv/new": MISSING, "/srv/changed": there(digest="abd")}
    assert decide(found, storage=tight._replace(space={"/srv": Space("/", 6)})).problems == ()
    assert len(decide(found, storage=tight).problems) == 1


def test_what_is_unchanged_needs_no_space() -> None:
    full = STORAGE._replace(space={"/srv": Space("/", 0)})
    assert decide({"/srv/a": there(digest="abc")}, storage=full).problems == ()
    assert len(decide({"/srv/a": there(digest="abd")}, storage=full).problems) == 1


def test_file_systems_are_summed_up_one_by_one() -> None:
    storage = STORAGE._replace(
        directories={name: DirectoryFacts(name) for name in ("/srv", "/srv/sub", "/data")},
        space={"/srv": Space("/", 5), "/srv/sub": Space("/", 5), "/data": Space("/data", 5)},
    )
    assert decide({"/srv/a": MISSING, "/data/a": MISSING}, storage=storage).problems == ()
    assert len(decide({"/srv/a": MISSING, "/srv/sub/a": MISSING}, storage=storage).problems) == 1


def test_unknown_space_is_no_problem() -> None:
    assert decide({"/srv/a": MISSING}, of=source(size=10**15)).problems == ()


# temporary base_dirs


def test_everything_goes_into_a_temporary_base_dir() -> None:
    fresh = (
        FreshBase("one", (FileTarget("/src/a", "bin/x"), FileTarget("/src/a", "./y")), ("log",)),
        FreshBase("two"),
    )
    plan = HostPlan("host", fresh=fresh)
    decision = draft(plan, answered(), {"/src/a": source()}, ("/tmp/t1", "/tmp/t2")).decision
    assert [copy.destination for copy in decision.copies] == ["/tmp/t1/bin/x", "/tmp/t1/y"]
    assert reasons(decision) == [CopyReason.MISSING] * 2
    assert decision.directories == ("/tmp/t1/log",)
    assert decision.base_dirs == ("/tmp/t1", "/tmp/t2")


def test_temporary_base_dirs_are_named_after_session_component_and_run() -> None:
    plan = HostPlan("host", fresh=(FreshBase("my / odd'\n one"), FreshBase("x" * 300)))
    assert base_dirs(plan, FACTS, "fastrr-runner", "r1") == (
        "/tmp/fastrr-runner-my_odd_one.r1-0",
        f"/tmp/fastrr-runner-{'x' * 40}.r1-1",
    )


def test_a_host_with_nothing_to_do() -> None:
    assert decide({"/srv/a": there(digest="abc")}).nothing_to_do
    assert not decide({"/srv/a": MISSING}).nothing_to_do
    assert not Decision(directories=("/a",)).nothing_to_do
    assert not Decision(base_dirs=("/a",)).nothing_to_do


# what is told apart


def test_contents_are_those_of_all_files_in_order() -> None:
    digests = {contents(sha1s) for sha1s in ((), ("a",), ("b",), ("a", "b"), ("b", "a"), ("ab",))}
    assert len(digests) == 5  # of a fixed length, so that "ab" is the same as "a", "b"
    assert all(len(digest) == 40 for digest in digests)


def test_directories_looked_for_in_vain_and_what_there_is_above_them() -> None:
    storage = STORAGE._replace(
        directories={
            "/srv": DirectoryFacts("/srv"),
            "/srv/new": DirectoryFacts("/srv"),
            "./new/er": DirectoryFacts("."),
            "/denied/new": DirectoryFacts("/denied", "denied"),
            "/srv/file": DirectoryFacts("/srv/file", "file"),
        }
    )
    assert missing_directories(storage, "/home/me") == {
        "/srv/new": "/srv",
        "/home/me/new/er": "/home/me",
    }


def test_what_comes_after_a_file_in_whose_way_something_is_is_decided_too() -> None:
    plan = HostPlan("host", tuple(FileTarget("/src/a", f"/srv/{n}") for n in range(3)))
    found = (RemoteFile(FileKind.DIRECTORY), MISSING, RemoteFile(FileKind.OTHER))
    decision = draft(plan, answered(found), {"/src/a": source()}).decision
    assert [copy.destination for copy in decision.copies] == ["/srv/1"]
    assert len(decision.problems) == 2
    assert decision.unchanged == 0


def test_a_copy_knows_the_size_of_what_it_replaces() -> None:
    decision = decide({"/srv/a": there(size=9), "/srv/b": MISSING, "/srv/c": there(digest="x")})
    assert [copy.replaces for copy in decision.copies] == [9, None, 3]


def test_a_file_that_could_not_be_looked_at_is_copied() -> None:
    assert reasons(decide({"/srv/a": RemoteFile(FileKind.FILE)})) == [CopyReason.MISSING]


def test_copies_into_a_temporary_base_dir_say_what_to_put_where() -> None:
    plan = HostPlan("host", fresh=(FreshBase("one", (FileTarget("/src/a", "x"),)),))
    sources = {"/src/a": source(size=7, mode=0o755)}
    (copy,) = draft(plan, answered(), sources, ("/tmp/t",)).decision.copies
    assert copy == Copy("/src/a", "/tmp/t/x", 7, 0o755, CopyReason.MISSING)


def test_each_directory_that_stops_something_is_told() -> None:
    directories = {
        "/srv": DirectoryFacts("/srv"),
        "/a/x": DirectoryFacts("/a", "denied"),
        "/a/y": DirectoryFacts("/a", "denied"),
        "/unused": DirectoryFacts("/unused", "denied"),
        "./b": DirectoryFacts("./b", "denied"),
        "/c/x": DirectoryFacts("/c", "file"),
    }
    plan = HostPlan(
        "host", (FileTarget("/src/a", "./b/f"),), tuple(p for p in directories if p != "./b")
    )
    storage = STORAGE._replace(directories=directories)
    told = draft(plan, answered((MISSING,), storage), {"/src/a": source()}).decision.problems
    assert [problem.split()[:3] for problem in told] == [
        ["/a/x", "can't", "be"],
        ["the", "directory", "./b"],
        ["/c", "is", "no"],
    ]
