"""The check's one round trip: what the script sees of a host, and what the parser makes of it."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Mapping, Sequence
from hashlib import sha1
from pathlib import Path

import pytest
from testbed.shells import Box, eventually, gnu_and_busybox, time_ratio

from fastrr.components.screen import AskSessions, Sessions
from fastrr.files.probe import (
    Answer,
    can_be_listed,
    follow_script,
    listing_key,
    listing_question,
    parse_followed,
    probe_question,
)
from fastrr.files.storage import Space, _df_line
from fastrr.hosts.facts import (
    REQUIRED_TOOLS,
    DirectoryFacts,
    UnreadableAnswer,
    missing_tools,
)
from fastrr.hosts.shell import script, to_bytes, to_text
from fastrr.model import (
    FileKind,
    FileTarget,
    FreshBase,
    HostPlan,
    RemoteFile,
    Signature,
    SourceFile,
)

NAMES = (
    "plain",
    "two words",
    "  spaces around  ",
    "it's",
    '"double"',
    "$HOME `id` $(id)",
    "back\\slash",
    "back\\nslash",
    "new\nline",
    "ends in newline\n",
    "\n",
    "tab\tand\rreturn",
    "-n",
    "--",
    ".dot",
    "..two",
    "*",
    "100%s %n",
    "a -> b",
    "== files",
    "ünï 日本語 🚀",
    "\u2028\u0085\x0c\x1c",
    to_text(b"invalid \xff\xfe\xc3"),
    to_text(b"both \xff and\nnewline"),
    "x" * 255,
)


def plan_of(
    wanted: Mapping[str, int], directories: Sequence[str] = (), fresh: Sequence[FreshBase] = ()
) -> tuple[HostPlan, dict[str, SourceFile]]:
    """A plan for files of these sizes, by destination, and their sources."""
    plan = HostPlan(
        "host",
        tuple(FileTarget(f"/source/{size}", path) for path, size in wanted.items()),
        tuple(directories),
        tuple(fresh),
    )
    sources = {
        f"/source/{size}": SourceFile(f"/source/{size}", 0o644, Signature(size, 0, 0, 0, 0))
        for size in wanted.values()
    }
    return plan, sources


ALSO = (AskSessions(),)


def sessions_in(answer: Answer) -> Sessions:
    (sessions,) = answer.also
    assert isinstance(sessions, Sessions)
    return sessions


def parsed(plan: HostPlan, body: bytes) -> Answer:
    """Understand an answer to the question about a plan."""
    sources = {t.source: SourceFile(t.source, 0o644, Signature(3, 0, 0, 0, 0)) for t in plan.files}
    return probe_question(plan, sources, also=ALSO).parse(body)


def look(
    box: Box,
    wanted: Mapping[str, int] | None = None,
    directories: Sequence[str] = (),
    fresh: Sequence[FreshBase] = (),
    *,
    hashing: bool = True,
    nobody: bool = False,
) -> Answer:
    plan, sources = plan_of(wanted or {}, directories, fresh)
    also = () if plan.files else ALSO
    question = probe_question(plan, sources, hashing, also=also)
    answer = question.parse(box.ask(question.script, nobody=nobody))
    if not answer.found.unfollowed:
        return answer
    script = follow_script(plan, sources, answer.found.unfollowed)
    return parse_followed(answer, box.ask(script, nobody=nobody))


def write(directory: Path, name: str, content: bytes) -> str:
    path = os.path.join(directory, name)
    with open(to_bytes(path), "wb") as file:
        file.write(content)
    return path


def digest(content: bytes) -> str:
    return sha1(content).hexdigest()


def nanoseconds(box: Box) -> bool:
    """Whether the box's stat tells more than whole seconds: busybox's does not.

    Which one a busybox sh runs is a matter of how it was built (FEATURE_SH_STANDALONE).
    """
    return b"." in box.ask(script("stat -c %.9Y / 2>/dev/null || true\n"))


# files, as shells and utilities really see them


def test_files_of_any_name_are_described(box: Box) -> None:
    content = {name: f"content of {n}".encode() for n, name in enumerate(NAMES)}
    paths = {name: write(box.home, name, content[name]) for name in NAMES}
    answer = look(box, {paths[name]: len(content[name]) for name in NAMES})
    for name, found in zip(NAMES, answer.files, strict=True):
        status = os.stat(to_bytes(paths[name]))
        signature = Signature.of(status)
        if not nanoseconds(box):
            signature = signature._replace(
                mtime_ns=status.st_mtime_ns // 10**9 * 10**9,
                ctime_ns=status.st_ctime_ns // 10**9 * 10**9,
            )
        expected = RemoteFile(FileKind.FILE, signature, digest(content[name]))
        assert (name, found) == (name, expected)


@gnu_and_busybox
def test_files_of_any_name_are_hashed_without_openssl(box: Box) -> None:
    box.only()
    paths = {name: write(box.home, name, name.encode("utf-8", "replace")) for name in NAMES}
    answer = look(box, {path: os.stat(to_bytes(path)).st_size for path in paths.values()})
    assert "openssl" not in answer.facts.tools
    for name, found in zip(NAMES, answer.files, strict=True):
        assert (name, found.digest) == (name, digest(name.encode("utf-8", "replace")))


@gnu_and_busybox
def test_only_files_of_the_wanted_size_are_hashed(box: Box) -> None:
    names = ("same", "other", "odd\nsame", "odd\nother", "empty")
    paths = [write(box.home, name, b"" if name == "empty" else b"12345") for name in names]
    os.symlink("same", box.home / "link same")
    os.symlink("same", box.home / "link other")
    paths += [str(box.home / "link same"), str(box.home / "link other")]
    found = look(box, dict(zip(paths, (5, 6, 5, 6, 0, 5, 6), strict=True))).files
    same, empty = digest(b"12345"), digest(b"")
    assert [file.digest for file in found] == [same, None, same, None, empty, same, None]
    assert {file.kind for file in found} == {FileKind.FILE}


def test_nothing_is_hashed_unless_asked_for(some_box: Box) -> None:
    paths = [write(some_box.home, name, b"12345") for name in ("plain", "odd\n")]
    os.symlink("plain", some_box.home / "link")
    found = look(
        some_box, dict.fromkeys([*paths, str(some_box.home / "link")], 5), hashing=False
    ).files
    assert [(file.kind, file.digest) for file in found] == [(FileKind.FILE, None)] * 3
    assert [file.link_to for file in found] == [None, None, str(some_box.home / "plain")]


@pytest.mark.parametrize(
    "names", [("a", "b/c", "-d"), ("a", "two words", "it's", '"', "$(id)", "x\n")]
)
@gnu_and_busybox
def test_without_hashing_the_same_is_found(box: Box, names: Sequence[str]) -> None:
    (box.home / "b").mkdir()
    wanted = {write(box.home, name, name.encode()): len(name) for name in names}
    wanted |= {str(box.home / "gone"): 1, str(box.home / "b"): 1}
    os.symlink("nowhere", box.home / "broken")
    wanted[str(box.home / "broken")] = 1

    def sizes(hashing: bool) -> list[object]:
        found = look(box, wanted, hashing=hashing).files
        return [(file.kind, file.signature and file.signature.size) for file in found]

    gone = RemoteFile(FileKind.MISSING)
    assert sizes(False) == sizes(True)
    assert look(box, {str(box.home / "no/such/file"): 1}, hashing=False).files == (gone,)


@gnu_and_busybox
def test_what_is_not_there_is_missing(box: Box) -> None:
    write(box.home, "file", b"")
    names = ("gone", "no/such/directory/x", "odd\nname", "file/below a file", "-", "\\")
    found = look(box, {os.path.join(box.home, name): 1 for name in names}).files
    assert found == (RemoteFile(FileKind.MISSING),) * len(names)


@gnu_and_busybox
def test_what_is_in_the_way_is_told_apart(box: Box) -> None:
    (box.home / "directory").mkdir()
    (box.home / "odd\ndirectory").mkdir()
    os.mkfifo(box.home / "fifo")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(box.home / "socket"))
    names = ("directory", "odd\ndirectory", "fifo", "socket")
    found = look(box, {str(box.home / name): 4096 for name in names}).files
    kinds = [file.kind for file in found]
    assert kinds == [FileKind.DIRECTORY, FileKind.DIRECTORY, FileKind.OTHER, FileKind.OTHER]
    assert [file.digest for file in found] == [None] * 4


def test_symbolic_links_are_followed(box: Box) -> None:
    real = write(box.home, "real file", b"content")
    odd = write(box.home, "real\nfile", b"content")
    newline_at_end = write(box.home, "real\n", b"content")
    (box.home / "links").mkdir()
    links = {
        "absolute": real,
        "relative": "../real file",
        "of link": "relative",
        "odd\\link": real,
        "odd\nlink": real,
        "to odd": odd,
        "to newline": newline_at_end,
        to_text(b"\xff"): real,
    }
    paths = {}
    for name, target in links.items():
        paths[name] = os.path.join(box.home, "links", name)
        os.symlink(target, to_bytes(paths[name]))
    found = look(box, dict.fromkeys(paths.values(), 7)).files
    for name, file in zip(paths, found, strict=True):
        leads_to = os.path.realpath(to_bytes(paths[name]))
        assert (name, to_bytes(file.link_to or "")) == (name, leads_to)
        assert (file.kind, file.digest) == (FileKind.FILE, digest(b"content"))


@gnu_and_busybox
def test_links_that_lead_nowhere(box: Box) -> None:
    os.symlink("not yet", box.home / "dangling")
    os.symlink("no/such/directory", box.home / "lost")
    os.symlink("loop", box.home / "loop")
    (box.home / "directory").mkdir()
    os.symlink("directory", box.home / "to directory")
    names = ("dangling", "lost", "loop", "to directory")
    found = look(box, {str(box.home / name): 1 for name in names}).files
    assert found[0] == RemoteFile(FileKind.MISSING, link_to=str(box.home / "not yet"))
    assert [file.kind for file in found[1:3]] == [FileKind.OTHER, FileKind.OTHER]
    assert (found[3].kind, found[3].link_to) == (
        FileKind.DIRECTORY,
        str(box.home / "directory"),
    )


@gnu_and_busybox
def test_relative_paths_start_in_the_login_directory(box: Box) -> None:
    (box.home / "sub").mkdir()
    write(box.home / "sub", "file", b"content")
    answer = look(box, {"./sub/file": 7, "./sub/missing": 7, "./-n": 7}, ["./sub", "./new/one"])
    assert [file.digest for file in answer.files] == [digest(b"content"), None, None]
    assert answer.facts.home == str(box.home)
    assert answer.storage.directories == {
        "./sub": DirectoryFacts("./sub"),
        "./new/one": DirectoryFacts("."),
        ".": DirectoryFacts("."),
    }


def test_what_cd_looks_through_makes_no_difference(some_box: Box) -> None:
    """Where CDPATH is set, ``cd d`` may lead elsewhere, and says so."""
    elsewhere = some_box.root / "elsewhere" / "d"
    for directory in (elsewhere, some_box.home / "d"):
        directory.mkdir(parents=True)
        for name in ("a", "b"):
            (directory / name).write_bytes(b"here" if directory == elsewhere else b"home")
    some_box.environment["CDPATH"] = str(elsewhere.parent)
    found = look(some_box, {"./d/a": 4, "./d/b": 4}, ["./d"]).files
    assert [file.digest for file in found] == [digest(b"home")] * 2


@gnu_and_busybox
def test_a_file_that_cannot_be_read_has_no_digest(box: Box) -> None:
    for name in ("one", "locked", "two"):
        write(box.home, name, b"content")
    (box.home / "locked").chmod(0o000)
    paths = {str(box.home / name): 7 for name in ("one", "locked", "two")}
    found = look(box, paths, nobody=True).files
    assert [file.digest for file in found] == [digest(b"content"), None, digest(b"content")]
    assert {file.kind for file in found} == {FileKind.FILE}


def test_hundreds_of_files_take_a_handful_of_processes(some_box: Box) -> None:
    directory = some_box.home / "many files"
    directory.mkdir()
    content = {f"file {n}": b"x" * (n % 20) for n in range(500)}
    for number, name in enumerate(content):
        if number < 20:
            write(directory, name, content[name])
        else:  # A link costs less than a file.
            os.link(directory / f"file {number % 20}", directory / name)
    wanted = {str(directory / name): len(content[name]) for name in content}
    calls = some_box.count_calls((*REQUIRED_TOOLS, "openssl", "cat", "rm", "readlink"))
    found = look(some_box, wanted).files
    assert [file.digest for file in found] == [digest(content[name]) for name in content]
    assert len(calls()) < 30, calls()
    assert not any((some_box.root / "tmp").iterdir())


# directories, space


def test_where_directories_will_be_made(box: Box) -> None:
    home = str(box.home)
    (box.home / "ünï ö").mkdir()
    write(box.home, "file", b"")
    os.symlink("nowhere", box.home / "dangling")
    os.symlink("ünï ö", box.home / "link")
    wanted = {
        home: DirectoryFacts(home),
        f"{home}/ünï ö": DirectoryFacts(f"{home}/ünï ö"),
        f"{home}/ünï ö/new/one": DirectoryFacts(f"{home}/ünï ö"),
        f"{home}/file": DirectoryFacts(f"{home}/file", "file"),
        f"{home}/file/below": DirectoryFacts(f"{home}/file", "file"),
        f"{home}/dangling/below": DirectoryFacts(f"{home}/dangling", "file"),
        f"{home}/link/new": DirectoryFacts(f"{home}/link"),
        f"{home}/it's\nnew": DirectoryFacts(home),
        "/": DirectoryFacts("/"),
        to_text(b"/\xff/new"): DirectoryFacts("/"),
    }
    assert look(box, directories=list(wanted)).storage.directories == wanted


@gnu_and_busybox
def test_directories_that_may_not_be_written_to(box: Box) -> None:
    for name, mode in (("read only", 0o555), ("closed", 0o000), ("no search", 0o666)):
        (box.home / name).mkdir()
        (box.home / name).chmod(mode)
    directories = [
        str(box.home / name) for name in ("read only", "closed/below", "no search", "fine")
    ]
    facts = look(box, directories=directories, nobody=True).storage.directories
    assert [facts[path] for path in directories] == [
        DirectoryFacts(str(box.home / "read only"), "denied"),
        DirectoryFacts(str(box.home / "closed"), "denied"),
        DirectoryFacts(str(box.home / "no search"), "denied"),
        DirectoryFacts(str(box.home)),
    ]


def test_parents_of_files_are_looked_at_too(some_box: Box) -> None:
    answer = look(
        some_box, {str(some_box.home / "a/b/file"): 1, str(some_box.home / "a/b/other"): 1}
    )
    assert answer.storage.directories == {
        str(some_box.home / "a/b"): DirectoryFacts(str(some_box.home))
    }


def test_free_space_is_that_of_the_nearest_directory(box: Box) -> None:
    (box.home / "with spaces  in it").mkdir()
    os.symlink("nowhere", box.home / "dangling")
    directories = [
        str(box.home / "with spaces  in it"),
        str(box.home / "new"),
        str(box.home / "dangling"),
        "/dev/shm",
    ]
    facts = look(box, directories=directories).storage
    assert str(box.home / "dangling") not in facts.space
    for path in (directories[0], str(box.home), "/dev/shm"):
        status = os.statvfs(path)
        space = facts.space[path]
        assert os.path.ismount(space.mount)
        assert space.free_bytes == pytest.approx(status.f_bavail * status.f_frsize, rel=0.1)


def test_without_anything_to_look_at_the_host_is_described(box: Box) -> None:
    answer = look(box)
    facts = answer.facts
    node = os.uname().nodename
    assert facts.home == str(box.home)
    assert facts.node == node
    assert facts.uid == str(os.getuid())
    assert facts.state_directory == f"{box.home}/.local/state/fastrr/{node}"
    assert facts.screen_directory == box.environment["SCREENDIR"]
    assert facts.boot == Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    assert missing_tools(facts) == []
    assert sessions_in(answer) == Sessions(socket_directory=box.environment["SCREENDIR"])
    assert facts.temporary_directory == box.environment["TMPDIR"]


def test_the_state_directory_follows_xdg(some_box: Box) -> None:
    some_box.environment["XDG_STATE_HOME"] = "/var/it's"
    assert look(some_box).facts.state_directory == f"/var/it's/fastrr/{os.uname().nodename}"


def test_a_home_of_any_name(box: Box) -> None:
    home = box.home / "back\\nslash  and\\c"
    home.mkdir()
    box.environment |= {"HOME": str(home), "SCREENDIR": str(home), "XDG_STATE_HOME": str(home)}
    facts = look(box).facts
    assert facts.home == str(home)
    assert facts.screen_directory == str(home)
    assert facts.state_directory == f"{home}/fastrr/{os.uname().nodename}"


@gnu_and_busybox
def test_tools_that_are_not_there_are_told(box: Box) -> None:
    box.only()
    (box.bin / "df").unlink()
    answer = look(box)
    facts = answer.facts
    assert not {"screen", "openssl", "rsync"} & set(facts.tools)
    assert sessions_in(answer).trouble is None
    # A shell may have them built in: busybox does.
    assert set(missing_tools(facts)) <= {"df"}


def test_sessions_are_listed(some_box: Box) -> None:
    for name in ("runner", "runner 2"):
        some_box.screen("-dmS", name, "sleep", "60")
    eventually(lambda: len(some_box.sessions()) == 2)
    assert sorted(sessions_in(look(some_box)).names) == sorted(some_box.sessions())
    assert len(some_box.sessions()) == 2


def test_a_socket_directory_screen_refuses_is_told(some_box: Box) -> None:
    (some_box.root / "screens").chmod(0o777)
    trouble = sessions_in(look(some_box)).trouble
    assert trouble is not None
    assert "700" in trouble


# the parser, on what hosts have answered

HEAD = b"""home /home/me
node web1
uid 1000
state /home/me/.local/state/fastrr/web1
tmp /tmp
screendir /run/s
boot 7d1c
tool screen /usr/bin/screen
tool openssl{none}
tool sha1sum /usr/bin/sha1sum
== sessions
No Sockets found in /run/screen/S-me.

== sockets
/run/screen/S-me
== state
good 9
== logind
KillUserProcesses=yes
== hashers
== tmp
good 4
== screens
/run/screen/S-me
== ways
41ed 0 2049 /
41ed 0 2049 /home
41c0 1000 2050 /home/me
== directories
""".replace(b"{none}", b" ")


def test_a_recorded_answer() -> None:
    plan, _ = plan_of({"/srv/a b": 3, "./gone": 1, "/srv/link": 3}, ["/srv/new"])
    answer = parsed(
        plan,
        HEAD
        + b"""== directories
good 4
good 4
good 1
== space
/srv
.
== df
Filesystem     1024-blocks     Used Available Capacity Mounted on
/dev/sda1         20511312  9000000  10463652      47% /
//nas/my share        1000     1000         0     100% /home/me
== files
clock 8180 90 1700000002.5 1700000002.500000000 44 40
0 81a4 3 1700000000.123456789 1700000001.5 42 2049 a9993e364706816aba3e25717850c26c9cd0d89d
2 a1ff 5 1700000000.000000000 1700000000.000000000 43 2049{none}
== followed
2 /srv/a b
81a4 3 1700000000.123456789 1700000001.5 42 2049 a9993e364706816aba3e25717850c26c9cd0d89d
""".replace(b"{none}", b" "),
    )
    facts = answer.facts
    assert facts.account == ("7d1c", "web1", "1000", "/home/me", "/run/s")
    assert facts.tools == {"screen": "/usr/bin/screen", "sha1sum": "/usr/bin/sha1sum"}
    assert sessions_in(answer).kills_user_processes
    storage = answer.storage
    assert storage.directories["/srv/new"] == DirectoryFacts("/srv")
    assert storage.directories["."] == DirectoryFacts(".")
    assert storage.space == {"/srv": Space("/", 10463652 * 1024), ".": Space("/home/me", 0)}
    assert sessions_in(answer).state_trouble is None
    assert answer.found.clock_ns == 1700000002_500000000
    signature = Signature(3, 1700000000_123456789, 1700000001_500000000, 42, 2049)
    file = RemoteFile(FileKind.FILE, signature, digest(b"abc"))
    assert answer.files == (file, RemoteFile(FileKind.MISSING), file._replace(link_to="/srv/a b"))


def test_whole_seconds_are_understood() -> None:
    plan, _ = plan_of({"/a": 3})
    tail = (
        b"== directories\ngood 1\n== files\n0 81a4 3 1700000000 1700000001 42 2049 \n== followed\n"
    )
    found = parsed(plan, HEAD + tail).files[0]
    assert found.signature == Signature(3, 1700000000 * 10**9, 1700000001 * 10**9, 42, 2049)
    assert found.digest is None


def test_the_kinds_of_file_systems_are_read_where_df_tells_them() -> None:
    plan, _ = plan_of({}, ["/a", "/home/me"])
    tail = b"""== directories
good 2
good 8
== space
/a
/home/me
== df
Filesystem     Type  1024-blocks     Used Available Capacity Mounted on
/dev/sda1      ext4     20511312  9000000  10463652      47% /
//nas/my share cifs         1000     1000         0     100% /home/my own
"""
    storage = parsed(plan, HEAD + tail).storage
    assert storage.space == {
        "/a": Space("/", 10463652 * 1024, "ext4"),
        "/home/me": Space("/home/my own", 0, "cifs"),
    }
    assert storage.file_system_of("/a") == "ext4"
    assert storage.file_system_of("/b") == ""


DF_LINES = [
    ("/dev/sda1 20511312 9000000 10463652 47% /", Space("/", 10463652 * 1024, "/dev/sda1")),
    ("overlay overlay 10 20 -5 - /a b/ c", Space("/a b/ c", -5 * 1024, "overlay")),
    ("//nas/1 2 3 cifs 1000 1000 0 100% /home", Space("/home", 0, "cifs")),
    ("df: /x: No such file", None),
    (" 1 2 3 4% /", None),
    ("x 1 2 3 4% relative", None),
    ("x 1 2 " + "9" * 5000 + " 4% /", None),
    ("", None),
]


@pytest.mark.parametrize(("line", "space"), DF_LINES)
def test_a_line_of_df(line: str, space: Space | None) -> None:
    assert _df_line(line) == space


@pytest.mark.parametrize("piece", ["1 ", "a 1 ", " ", "1", "1 1 1 1% x ", "a ", "- "])
def test_the_time_a_line_of_df_takes_goes_with_its_length(piece: str) -> None:
    assert time_ratio(lambda n: _df_line("x " + piece * n), 20_000) < 12


def test_no_version_is_long() -> None:
    plan, _ = plan_of({})
    head = HEAD.replace(b"== hashers\n", b"== hashers\nxxhsum " + b"1" * 100_000 + b"\n")
    assert parsed(plan, head).hashers.xxhsum == "1" * 200


@pytest.mark.parametrize(
    ("line", "trouble"),
    [
        (b"good 9", None),
        (b"file 8", "/home/me is no directory"),
        (b"denied 8", "/home/me may not be written to"),
    ],
)
def test_where_the_state_can_t_be_kept_is_told(line: bytes, trouble: str | None) -> None:
    plan, _ = plan_of({})
    answer = parsed(plan, HEAD.replace(b"good 9", line))
    assert sessions_in(answer).state_trouble == trouble


@pytest.mark.parametrize(
    ("line", "trouble"),
    [
        (b"good 4", None),
        (b"good 1", "is not there"),
        (b"denied 1", "is not there"),
        (b"file 4", "is no directory"),
        (b"denied 4", "may not be written to"),
    ],
)
def test_where_nothing_temporary_can_be_made_is_told(line: bytes, trouble: str | None) -> None:
    plan, _ = plan_of({})
    storage = parsed(plan, HEAD.replace(b"good 4", line)).storage
    assert storage.temporary_trouble == trouble


def test_the_version_of_xxhsum_is_asked_where_files_are_wanted(some_box: Box) -> None:
    for program, said in (
        ("echo 'xxhsum 0.8.1 by Yann Collet'; echo compiled as", "xxhsum 0.8.1 by Yann Collet"),
        ("echo 'xxhsum 0.7.3 (64-bit)' >&2", "xxhsum 0.7.3 (64-bit)"),
        ("exit 1", ""),
    ):
        (some_box.bin / "xxhsum").write_text(f"#!/bin/sh\n{program}\n")
        (some_box.bin / "xxhsum").chmod(0o755)
        assert look(some_box, {str(some_box.home / "f"): 3}).hashers.xxhsum == said
    (some_box.bin / "xxhsum").write_text("#!/bin/sh\necho 'asked in vain'\n")
    assert look(some_box).hashers.xxhsum == ""


def listing_of(box: Box, paths: Sequence[str]) -> str:
    """What `listing_question` makes of files."""
    plan, sources = plan_of(dict.fromkeys(paths, 3))
    assert can_be_listed(plan)
    question = listing_question(plan, sources)
    answer = question.parse(box.ask(question.script))
    assert answer.files == ()
    return answer.found.listing


AWKWARD = ("d/a b", "d/-n", "d/sub/it's", "d/$HOME")


def made(directory: Path, *names: str) -> list[Path]:
    """Make files, in directories that they need."""
    paths = [directory / name for name in names]
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"abc")
        os.utime(path, (1, 1))
    return paths


def test_a_listing_changes_with_anything_that_happens_to_a_file(one_box: Box) -> None:
    made(one_box.home, *AWKWARD)
    paths = [f"./{name}" for name in AWKWARD]
    file = one_box.home / AWKWARD[1]
    changes: list[Callable[[], object]] = [
        lambda: os.utime(file, (1, 1)),  # ctime alone
        lambda: file.chmod(0o600),
        lambda: file.write_bytes(b"abd"),
        lambda: file.write_bytes(b"abcd"),
        lambda: file.with_name("new").write_bytes(b"abc"),
        lambda: file.with_name("new").replace(file),
        lambda: file.rename(file.with_name("new")),
        lambda: file.symlink_to("new"),
    ]
    seen = {listing_of(one_box, paths)}
    for number, change in enumerate(changes):
        change()
        found = listing_of(one_box, paths)
        if number == 4:  # a file that nobody asked for
            assert found in seen
        else:
            assert found not in seen, number
        seen.add(found)
    (one_box.home / AWKWARD[2]).read_bytes()
    assert listing_of(one_box, paths) in seen
    assert listing_of(one_box, paths[::-1]) not in seen


def test_a_listing_is_the_same_by_both_scripts(some_box: Box) -> None:
    made(some_box.home, *AWKWARD)
    (apart,) = made(some_box.root, "other/a")
    below_home = [f"./{name}" for name in AWKWARD]
    absolute = [f"{some_box.home}/{name}" for name in AWKWARD]
    exact = nanoseconds(some_box)
    for number, paths in enumerate((below_home, absolute, [*below_home, str(apart)])):
        plan, sources = plan_of(dict.fromkeys(paths, 3))
        brief, whole = (
            question.parse(some_box.ask(question.script))
            for question in (listing_question(plan, sources), probe_question(plan, sources))
        )
        if exact:  # else nothing is ever known, so there is no listing to compare with
            assert brief.found.listing == whole.found.listing
        assert len(brief.found.listing) == len(digest(b""))
        assert brief.facts.home == whole.facts.home == str(some_box.home)
        assert brief.storage.directories == whole.storage.directories
        os.utime(some_box.home / AWKWARD[1], (2, 2 + number))
        assert listing_of(some_box, paths) != brief.found.listing


def test_a_directory_that_is_not_there_has_no_listing(some_box: Box) -> None:
    plan, sources = plan_of(
        {f"{some_box.root}/no directory/f": 3, f"{some_box.root}/no directory/g": 3}
    )
    question = listing_question(plan, sources)
    answer = question.parse(some_box.ask(question.script))
    assert answer.found.listing == ""


def test_what_can_t_be_listed() -> None:
    for names, expected in (([], False), (["/a", "./b"], True), (["/a", "/b\nc"], False)):
        assert can_be_listed(plan_of(dict.fromkeys(names, 1))[0]) is expected


def test_the_key_of_a_listing_tells_plans_apart() -> None:
    plans = (["/a", "/b"], ["/b", "/a"], ["/a"], ["/a/b"], ["/a", "/b", "/c"], ["./a", "/b"])
    assert len({listing_key(plan_of(dict.fromkeys(names, 1))[0]) for names in plans}) == len(plans)


@gnu_and_busybox
def test_a_destination_that_still_has_its_known_signature_is_not_hashed(box: Box) -> None:
    names = ("same", "unknown", "mtime_ns", "ctime_ns", "inode", "device")
    paths = {name: write(box.root, name, b"abc") for name in names}
    plan, sources = plan_of(dict.fromkeys(paths.values(), 3))
    known = {path: Signature.of(os.stat(path)) for path in paths.values()}
    for name in names[2:]:
        field = getattr(known[paths[name]], name)
        known[paths[name]] = known[paths[name]]._replace(**{name: field + 1})
    del known[paths["unknown"]]
    question = probe_question(plan, sources, True, known)
    answer = question.parse(box.ask(question.script))
    found = dict(zip(names, answer.files, strict=True))
    assert [found[name].digest for name in names[1:]] == [digest(b"abc")] * 5
    if nanoseconds(box):
        assert found["same"].digest is None
        assert found["same"].signature == known[paths["same"]]
    else:  # whole seconds: never known
        assert found["same"].digest == digest(b"abc")


def test_unknown_space_is_left_out() -> None:
    plan, _ = plan_of({}, ["/a", "/b"])
    tail = b"== directories\ngood 2\ngood 2\n== space\n/a\n/b\n== df\nFilesystem\nx 1 2 3 4% /\n"
    assert parsed(plan, HEAD + tail).storage.space == {}


def test_an_answer_about_other_files_is_refused() -> None:
    plan, _ = plan_of({"/a": 3, "/b": 3})
    body = HEAD + b"== directories\ngood 1\n== files\n%d 81a4 3 1 1 1 1 \n== followed\n"
    assert parsed(plan, body % 1).files[1].kind is FileKind.FILE
    for stranger in (2, -1):
        with pytest.raises(UnreadableAnswer):
            parsed(plan, body % stranger)


def test_every_directory_and_every_file_of_an_odd_name_has_an_answer() -> None:
    plan, _ = plan_of({"/a\nb": 3, "/b\\": 3}, ["/srv"])
    head = HEAD.removesuffix(b"== directories\n")
    lines = [b"== directories", b"good 4", b"good 1", b"== followed"]
    lines += [b"0 ", b"missing", b"1 ", b"missing"]
    body = head + b"".join(b"%b\n" % line for line in lines)
    assert parsed(plan, body).files == (RemoteFile(FileKind.MISSING),) * 2
    for line in range(len(lines)):
        cut = head + b"".join(b"%b\n" % x for n, x in enumerate(lines) if n != line)
        with pytest.raises(UnreadableAnswer):
            parsed(plan, cut)
    with pytest.raises(UnreadableAnswer):  # both lines of a file
        parsed(plan, head + b"".join(b"%b\n" % line for line in lines[:-2]))


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"home /home/me\n",
        HEAD.replace(b"== sessions\n", b""),
        HEAD.replace(b"tmp /tmp\n", b""),
        HEAD.replace(b"good 9\n", b""),
        HEAD,
        HEAD + b"== directories\n",
        HEAD + b"== directories\ngood\n== files\n",
        HEAD + b"== directories\ngood 1\n",
        HEAD + b"== directories\ngood 1\n== files\nnoise\n",
        HEAD + b"== directories\ngood 1\n== files\n0 81a4 3\n",
        HEAD + b"== directories\ngood 1\n== files\n7 81a4 3 1 1 1 1 \n",
        HEAD + b"== directories\ngood 1\n== files\n== followed\n0 /x\n",
    ],
    ids=range(13),
)
def test_an_answer_without_its_parts_is_refused(body: bytes) -> None:
    plan, _ = plan_of({"/a": 3})
    with pytest.raises(UnreadableAnswer):
        parsed(plan, body)


# many directories


def many(box: Box, count: int) -> list[str]:
    """Paths of files, each in a directory of its own."""
    directories = [
        box.home / f"{number % 40}" / f"some directory {number}" for number in range(count)
    ]
    for directory in directories:
        directory.mkdir(parents=True)
    return [str(directory / "f") for directory in directories]


def test_many_directories_are_told_as_few_are(box: Box) -> None:
    paths = many(box, 80)
    (box.home / "link").symlink_to("0")
    (box.home / "0/some directory 0").chmod(0o777)
    wanted = dict.fromkeys([*paths, str(box.home / "link/new/f"), "./relative/f", "/dev/shm/f"], 3)
    facts = look(box, wanted).storage
    few = {path: 3 for path in wanted if path not in paths[1:]}
    seen = look(box, few).storage
    assert {path: facts.directories[path] for path in seen.directories} == seen.directories
    assert {path: facts.places[path] for path in seen.places} == seen.places
    assert facts.places[str(box.home / "0/some directory 0")].mode & 0o7777 == 0o777  # type: ignore[union-attr]
    mounts = {path: space._replace(free_bytes=0) for path, space in facts.space.items()}
    assert {path: mounts[path] for path in seen.space} == {
        path: space._replace(free_bytes=0) for path, space in seen.space.items()
    }
    assert len(facts.space) == len({found.ancestor for found in facts.directories.values()})


def test_work_grows_with_the_number_of_directories_no_faster(one_box: Box) -> None:
    """Of a square, four times as many would take sixteen times as long."""

    def cpu_s(count: int) -> float:
        plan, sources = plan_of(dict.fromkeys(paths[:count], 3))
        script = probe_question(plan, sources).script
        before = os.times()
        one_box.ask(script, timeout=120)
        after = os.times()
        return (
            after.children_user
            + after.children_system
            - (before.children_user + before.children_system)
        )

    paths = many(one_box, 8000)
    assert any(cpu_s(8000) < 8 * cpu_s(2000) for _ in range(3))


@pytest.mark.parametrize(
    ("said", "instead"),
    [
        (b"home /home/me\n", b"home me\n"),
        (b"home /home/me\n", b"home \n"),
        (b"tmp /tmp\n", b"tmp tmp\n"),
        (b"state /home", b"state home"),
        (b"uid 1000\n", b"uid me\n"),
    ],
)
def test_what_can_t_be_so_is_no_answer(said: bytes, instead: bytes) -> None:
    plan, _ = plan_of({})
    assert parsed(plan, HEAD).facts.uid == "1000"
    with pytest.raises(UnreadableAnswer):
        parsed(plan, HEAD.replace(said, instead, 1))
