"""Putting content in place: verified, renamed, and nothing left lying about."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from hashlib import sha1
from pathlib import Path

import pytest
from testbed.needs import need
from testbed.shells import Box, gnu_and_busybox

from fastrr.files import algorithms
from fastrr.files.algorithms import Hashers, algorithm, supported_algorithms
from fastrr.files.digests import digest
from fastrr.files.place import CONTROL, InstallFailure, finish_script, parse_finished
from fastrr.files.staging import (
    Held,
    Preparation,
    Prepared,
    discard_script,
    hold,
    holding_directories,
    holding_directory,
    parse_prepared,
    prepare_script,
    remove_script,
)
from fastrr.hosts.shell import Script, to_bytes, to_text
from fastrr.model import Algorithm, Copy, CopyReason

RUN = "r1"
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
    "-rf",
    "--",
    ".dot",
    "..two",
    "*",
    "100%s %n",
    "ünï 日本語 🚀",
    "\u2028\u0085\x0c\x1c",
    "odd-8",
    to_text(b"invalid \xff\xfe\xc3"),
    to_text(b"both \xff and\nnewline"),
    "x" * 255,
)


@dataclass(frozen=True)
class File:
    """What should be at a path, and what a transport makes of it."""

    path: str
    content: bytes = b"new"
    mode: int = 0o644
    arrives: bytes | None = None
    """What is sent in its place, if not the content."""

    @property
    def name(self) -> bytes:
        return to_bytes(self.path)


def held_for(files: Sequence[File]) -> tuple[Held, ...]:
    copies = [
        Copy(f"/source/{n}", file.path, len(file.content), file.mode, CopyReason.MISSING)
        for n, file in enumerate(files)
    ]
    digests = {f"/source/{n}": sha1(file.content).hexdigest() for n, file in enumerate(files)}
    able = frozenset({Algorithm.SHA1})
    return hold(copies, {Algorithm.SHA1: digests}, able, RUN)


def send(files: Sequence[File], held: Sequence[Held], lost: Collection[str] = ()) -> None:
    """Do a transport's part."""
    for file, h in zip(files, held, strict=True):
        if h.same_as is None and file.path not in lost:
            descriptor = os.open(to_bytes(h.path), os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(descriptor, "wb") as opened:
                opened.write(file.content if file.arrives is None else file.arrives)


def prepare(
    box: Box,
    held: Sequence[Held],
    directories: Sequence[str] = (),
    base_dirs: Sequence[str] = (),
    nobody: bool = False,
) -> dict[str, str]:
    """Make the directories; return what could not be made, and why."""
    preparation = Preparation.of(base_dirs, directories, held)
    prepared = parse_prepared(preparation, box.ask(prepare_script(preparation), nobody=nobody))
    assert prepared.taken == {}
    return dict(prepared.failures)


def install(
    box: Box, files: Sequence[File], lost: Collection[str] = ()
) -> dict[str, InstallFailure]:
    """Take all the steps of a copy; return what failed, by path."""
    held = held_for(files)
    assert prepare(box, held) == {}
    send(files, held, lost)
    failures = parse_finished(held, box.ask(finish_script(held, bytes(16)))).failures
    return {files[n].path: failure for n, failure in failures.items()}


def names_below(directory: Path) -> set[bytes]:
    return set(os.listdir(os.fsencode(directory)))


def content_of(file: File) -> bytes:
    with open(file.name, "rb") as opened:
        return opened.read()


def mode_of(file: File) -> int:
    return os.stat(file.name).st_mode & 0o7777


# names, modes, places


def test_files_of_any_name_are_put_in_place(box: Box) -> None:
    files = [
        File(os.path.join(box.home, "new dir", name), b"content of %d" % n)
        for n, name in enumerate(NAMES)
    ]
    assert install(box, files) == {}
    assert {file.path: content_of(file) for file in files} == {
        file.path: file.content for file in files
    }
    assert names_below(box.home / "new dir") == {to_bytes(name) for name in NAMES}


@gnu_and_busybox
def test_directories_of_any_name_are_made_and_filled(box: Box) -> None:
    files = [File(os.path.join(box.home, name, "file")) for name in NAMES]
    assert install(box, files) == {}
    assert {content_of(file) for file in files} == {b"new"}
    assert names_below(box.home) == {to_bytes(name) for name in NAMES}
    assert {*os.listdir(os.path.dirname(files[-1].name))} == {b"file"}


@gnu_and_busybox
def test_content_is_verified_without_openssl(box: Box) -> None:
    box.only()
    files = [File(os.path.join(box.home, name), name.encode("utf-8", "replace")) for name in NAMES]
    wrong = [
        File(str(box.home / "wrong"), b"new", arrives=b"bad"),
        File(str(box.home / "\nwrong"), b"new", arrives=b"bad"),
    ]
    assert install(box, [*files, *wrong]) == {file.path: InstallFailure.DIGEST for file in wrong}
    assert [content_of(file) for file in files] == [file.content for file in files]


@gnu_and_busybox
def test_permissions_are_the_sources(box: Box) -> None:
    modes = (0o644, 0o755, 0o4755, 0o2711, 0o1777, 0o7777, 0o400, 0o001, 0o000)
    files = [
        File(str(box.home / f"{mode:o}{odd}"), b"%d" % mode, mode)
        for odd in ("", "\n")
        for mode in modes
    ]
    assert install(box, files) == {}
    assert [mode_of(file) for file in files] == [*modes, *modes]


@gnu_and_busybox
def test_content_wanted_at_several_places_is_sent_once(box: Box) -> None:
    files = [
        File(str(box.home / "a"), b"same", 0o600),
        File(str(box.home / "b"), b"same", 0o755),
        File(str(box.home / "odd\nc"), b"same", 0o644),
        File(str(box.home / "elsewhere" / "-d"), b"same", 0o444),
        File(str(box.home / "other"), b"other"),
    ]
    held = held_for(files)
    assert [h.same_as for h in held] == [None, held[0].path, held[0].path, held[0].path, None]
    assert install(box, files) == {}
    assert [(content_of(file), mode_of(file)) for file in files] == [
        (file.content, file.mode) for file in files
    ]
    assert len({os.stat(file.name).st_ino for file in files}) == len(files)


@gnu_and_busybox
def test_an_empty_file_is_content_too(box: Box) -> None:
    files = [File(str(box.home / name), b"") for name in ("a", "b", "\n")]
    assert install(box, files) == {}
    assert [content_of(file) for file in files] == [b"", b"", b""]


@gnu_and_busybox
def test_what_was_there_is_replaced_by_a_rename(box: Box) -> None:
    files = [File(str(box.home / name), b"new " + name.encode()) for name in ("old", "old\n")]
    for file in files:
        Path(file.path).write_text("old content")
        os.link(file.path, file.path + " kept")
    assert install(box, files) == {}
    for file in files:
        assert content_of(file) == file.content
        assert Path(file.path + " kept").read_text() == "old content"


@gnu_and_busybox
def test_a_running_program_is_replaced(box: Box) -> None:
    sleep = shutil.which("sleep")
    assert sleep is not None
    program = box.home / "program"
    shutil.copy(sleep, program)
    with subprocess.Popen([program, "60"], env=box.environment) as running:
        try:
            assert install(box, [File(str(program), b"#!/bin/sh\n", 0o755)]) == {}
            assert program.read_bytes() == b"#!/bin/sh\n"
            assert running.poll() is None
        finally:
            running.kill()


@gnu_and_busybox
def test_hundreds_of_files_take_a_handful_of_processes(box: Box) -> None:
    directory = box.home / "many"
    files = [File(str(directory / f"file {n}"), b"%d" % (n % 20)) for n in range(500)]
    held = held_for(files)
    calls = box.count_calls(("openssl", "awk", "mv", "chmod", "mkdir", "tee", "xargs", "rm"))
    assert install(box, files) == {}
    # Of these, 20 give a content that was sent to 24 other places.
    assert len(calls()) < 60, calls()
    assert [content_of(file) for file in files] == [file.content for file in files]
    assert held[499].same_as == held[19].path
    assert not any((box.root / "tmp").iterdir())


# what goes wrong


@gnu_and_busybox
def test_what_arrived_wrong_is_left_out(box: Box) -> None:
    names = ("file", "odd\nfile", "-n", "back\\slash", ".dot")
    wrong = [File(str(box.home / name), b"new", arrives=b"nee") for name in names]
    right = [File(str(box.home / other), b"x") for other in ("before", "right\n", "zz")]
    for file in wrong:
        Path(file.path).write_bytes(b"old")
    assert install(box, [right[0], *wrong, *right[1:]]) == {
        file.path: InstallFailure.DIGEST for file in wrong
    }
    assert [content_of(file) for file in wrong] == [b"old"] * len(names)
    assert [content_of(file) for file in right] == [b"x"] * 3
    assert names_below(box.home) == {os.path.basename(f.name) for f in (*wrong, *right)}


@gnu_and_busybox
def test_what_did_not_arrive_is_left_out_wherever_it_is_wanted(box: Box) -> None:
    files = [
        File(str(box.home / "a"), b"lost"),
        File(str(box.home / "b"), b"lost"),
        File(str(box.home / "c\n"), b"lost"),
        File(str(box.home / "d"), b"sent"),
    ]
    failures = install(box, files, lost={files[0].path})
    assert failures == {file.path: InstallFailure.DIGEST for file in files[:3]}
    assert names_below(box.home) == {b"d"}


def test_a_directory_in_the_way_stays(box: Box) -> None:
    names = ("taken", "taken\n", "\x0c\u2028taken", to_text(b"\xff"), "-n", "two  words", "*")
    # What a shell's `*` does not stand for: all that begin with a dot are told, too.
    dotted = (".taken", "..taken", "...", ".-", ".[!.]*", ".\ntaken")
    taken = [File(os.path.join(box.home, name), b"new") for name in (*names, *dotted)]
    other = File(str(box.home / "other"), b"new")
    for file in taken:
        os.mkdir(file.name)
    assert install(box, [*taken, other]) == {file.path: InstallFailure.RENAME for file in taken}
    assert [os.listdir(file.name) for file in taken] == [[]] * len(taken)
    assert content_of(other) == b"new"
    assert names_below(box.home) == {os.path.basename(file.name) for file in (*taken, other)}


@gnu_and_busybox
def test_all_kinds_of_failure_at_once(box: Box) -> None:
    files = [
        File(str(box.home / "good"), b"1"),
        File(str(box.home / "bad"), b"2", arrives=b"x"),
        File(str(box.home / "taken"), b"3"),
        File(str(box.home / "sub" / "good"), b"4"),
        File(str(box.home / "sub" / "bad"), b"5", arrives=b""),
    ]
    (box.home / "taken").mkdir()
    assert install(box, files) == {
        files[1].path: InstallFailure.DIGEST,
        files[2].path: InstallFailure.RENAME,
        files[4].path: InstallFailure.DIGEST,
    }
    assert names_below(box.home) == {b"good", b"taken", b"sub"}
    assert names_below(box.home / "sub") == {b"good"}


@gnu_and_busybox
def test_nothing_is_renamed_when_the_table_was_cut(box: Box) -> None:
    files = [File(str(box.home / name), name.encode()) for name in ("a", "b", "c")]
    held = held_for(files)
    prepare(box, held)
    send(files, held)
    whole = finish_script(held, bytes(16))
    for line in range(3):
        entry = f"{line} {held[line].digest} 644 ./{os.path.basename(held[line].path)}\n"
        assert whole.text.count(entry) == 1
        cut = Script(whole.text.replace(entry, ""), whole.nonce)
        answer = cut.body_of(box.run(cut).stdout)
        assert answer is not None
        assert answer[1] != 0
        assert names_below(box.home) == {f".fastrr-{RUN}".encode()}
        assert {h.path: Path(h.path).exists() for h in held} == {h.path: True for h in held}


@gnu_and_busybox
def test_what_stands_for_permissions_is_no_command(box: Box) -> None:
    """The table may be where others can get at it, if that was asked for."""
    files = [File(str(box.home / "a"))]
    held = held_for(files)
    prepare(box, held)
    send(files, held)
    whole = finish_script(held, bytes(16))
    table = f" {held[0].digest} 644 "
    assert whole.text.count(table) == 1
    changed = whole.text.replace(table, f" {held[0].digest} 644;>{box.home}/run; ")
    box.run(Script(changed, whole.nonce))
    assert names_below(box.home) == {b"a"}


@gnu_and_busybox
def test_nothing_is_renamed_when_there_is_no_room_for_the_table(box: Box) -> None:
    files = [File(str(box.home / "a"))]
    held = held_for(files)
    prepare(box, held)
    send(files, held)
    (box.home / f".fastrr-{RUN}" / CONTROL).touch()
    script = finish_script(held, bytes(16))
    answer = script.body_of(box.run(script).stdout)
    assert answer is not None
    assert answer[1] != 0
    assert names_below(box.home) == {f".fastrr-{RUN}".encode()}


# by which digest


ALL = frozenset(Algorithm)
KEY = bytes(range(16))


def install_by(
    box: Box, files: Sequence[File], able: frozenset[Algorithm] = ALL
) -> tuple[dict[str, InstallFailure], dict[str, Algorithm]]:
    """Take all the steps of a copy, by digests of real sources; return failures and algorithms."""
    if Algorithm.XXH128 in able:
        need("xxhsum")
    sources = box.root / "sources"
    sources.mkdir(exist_ok=True)
    copies = []
    for n, file in enumerate(files):
        (sources / str(n)).write_bytes(file.content)
        size = len(file.content)
        copies.append(Copy(str(sources / str(n)), file.path, size, file.mode, CopyReason.MISSING))
    digests: dict[Algorithm, dict[str, str]] = {by: {} for by in Algorithm}
    for copy in copies:
        by = algorithm(copy, able)
        digests[by][copy.source] = digest(copy.source, by, KEY)[0]
    held = hold(copies, digests, able, RUN)
    assert prepare(box, held) == {}
    send(files, held)
    failures = parse_finished(held, box.ask(finish_script(held, KEY))).failures
    by_path = {h.copy.destination: h.algorithm for h in held}
    return {files[n].path: failure for n, failure in failures.items()}, by_path


@pytest.fixture(params=Algorithm, ids=lambda by: by.value)
def able(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> frozenset[Algorithm]:
    """Abilities that make one algorithm that of all files with plain names."""
    monkeypatch.setattr(algorithms, "GMAC_FROM_BYTES", 0)
    return frozenset({Algorithm.SHA1, request.param})


@gnu_and_busybox
def test_each_digest_puts_right_content_in_place(box: Box, able: frozenset[Algorithm]) -> None:
    files = [
        File(os.path.join(box.home, "new dir", name), b"content of %d" % n, 0o600 + n % 8)
        for n, name in enumerate(NAMES)
    ]
    files += [
        File(str(box.home / "empty"), b""),
        File(str(box.home / "zeros"), bytes(100_000), 0o4755),
        File(str(box.home / "same"), b"content of 0"),
    ]
    failures, by = install_by(box, files, able)
    assert failures == {}
    assert {by[os.path.join(box.home, "new dir", "plain")], Algorithm.SHA1} == able
    assert by[os.path.join(box.home, "new dir", "new\nline")] is Algorithm.SHA1
    assert [(content_of(file), mode_of(file)) for file in files] == [
        (file.content, file.mode) for file in files
    ]


@gnu_and_busybox
def test_each_digest_leaves_wrong_content_out(box: Box, able: frozenset[Algorithm]) -> None:
    names = ("wrong", "-n", "two  words ", "it's $(id)", "back\\slash", "new\nline")
    changes = dict.fromkeys(names, b"X234567890")
    for what, arrives in {
        "nothing": b"",
        "last byte": b"123456789X",
        "too short": b"123456789",
        "too long": b"1234567890 and more",
        "zeros": bytes(10),
    }.items():
        changes |= {what: arrives, f"{what}\n": arrives}
    wrong = [
        File(str(box.home / name), b"12345%02d890" % n, arrives=arrives.replace(b"67", b"%02d" % n))
        for n, (name, arrives) in enumerate(changes.items())
    ]
    right = File(str(box.home / "right"), b"1")
    for file in wrong:
        assert file.arrives != file.content
        with open(file.name, "wb") as opened:
            opened.write(b"old")
    failures, _ = install_by(box, [*wrong, right], able)
    assert failures == {file.path: InstallFailure.DIGEST for file in wrong}
    assert {content_of(file) for file in wrong} == {b"old"}
    assert content_of(right) == b"1"
    assert names_below(box.home) == {os.path.basename(file.name) for file in (*wrong, right)}


def test_all_digests_together(some_box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    """As where a host has no xxhsum, and files of all sizes and names are copied."""
    monkeypatch.setattr(algorithms, "GMAC_FROM_BYTES", 1 << 17)
    large = os.urandom((1 << 17) - 1) + b"."
    able = frozenset({Algorithm.SHA1, Algorithm.GMAC})
    files = [
        File(str(some_box.home / "large"), large, 0o755),
        File(str(some_box.home / "also large"), large, 0o600),
        File(str(some_box.home / "large\nand odd"), large, 0o644),
        File(str(some_box.home / "large and bad"), large[:-1] + b"!", arrives=large[:-1] + b"?"),
        File(str(some_box.home / "small"), b"small"),
        File(str(some_box.home / "small and bad"), b"small.", arrives=b"small,"),
    ]
    failures, by = install_by(some_box, files, able)
    assert failures == dict.fromkeys((files[3].path, files[5].path), InstallFailure.DIGEST)
    assert list(by.values()) == [
        *(Algorithm.GMAC, Algorithm.GMAC, Algorithm.SHA1, Algorithm.GMAC),
        *(Algorithm.SHA1, Algorithm.SHA1),
    ]
    for file in (*files[:3], files[4]):
        assert content_of(file) == file.content
        assert mode_of(file) == file.mode
    assert names_below(some_box.home) == {os.path.basename(f.name) for f in (*files[:3], files[4])}


@pytest.mark.parametrize("program", ["openssl", "xxhsum"])
@gnu_and_busybox
def test_what_can_t_be_verified_is_left_out(
    box: Box, monkeypatch: pytest.MonkeyPatch, program: str
) -> None:
    monkeypatch.setattr(algorithms, "GMAC_FROM_BYTES", 0)
    files = [File(str(box.home / name), name.encode()) for name in ("a", "b", "c\nd")]
    (box.home / "a").write_bytes(b"old")
    able = {Algorithm.SHA1, Algorithm.GMAC if program == "openssl" else Algorithm.XXH128}
    unverified = files if program == "openssl" else files[:2]
    ways = ("exit 1", "echo unknown option >&2; exit 1", "echo 0123456789abcdef", "kill $$", "")
    for does in ways:
        (box.bin / program).write_text(f"#!/bin/sh\n{does}\n")
        (box.bin / program).chmod(0o755)
        failures, _ = install_by(box, files, frozenset(able))
        assert failures == {file.path: InstallFailure.DIGEST for file in unverified}, does
        assert content_of(files[0]) == b"old"
        assert names_below(box.home) <= {b"a", b"c\nd"}


@gnu_and_busybox
def test_digests_are_no_numbers(box: Box) -> None:
    """To awk, what looks like one is: 0e1 is 0e2, and all that is too large for it is the same."""
    said = ["0e10", "0e10", "1e999", "1e999", "0012"]
    wanted = ["0e11", "0e10", "1e998", "1e999", "12"]
    copies = [
        Copy(f"/source/{n}", f"{box.home}/{n}", 1, 0o644, CopyReason.MISSING)
        for n in range(len(said))
    ]
    digests = {copy.source: wanted[n] for n, copy in enumerate(copies)}
    held = hold(copies, {Algorithm.XXH128: digests}, frozenset({Algorithm.XXH128}), RUN)
    held = tuple(h._replace(same_as=None) for h in held)
    assert prepare(box, held) == {}
    for h in held:
        Path(h.path).touch()
    lines = "".join(f"echo '{number}  ./{n}'\n" for n, number in enumerate(said))
    (box.bin / "xxhsum").write_text(f"#!/bin/sh\n{lines}")
    (box.bin / "xxhsum").chmod(0o755)
    failures = parse_finished(held, box.ask(finish_script(held, KEY))).failures
    assert failures == dict.fromkeys((0, 2, 4), InstallFailure.DIGEST)


def test_many_files_are_verified_by_one_process(one_box: Box) -> None:
    need("xxhsum")
    files = [File(str(one_box.home / f"{n}"), b"%d" % n) for n in range(100)]
    calls = one_box.count_calls(("xxhsum", "openssl", "sha1sum"))
    assert install_by(one_box, files) == (
        {},
        {file.path: Algorithm.XXH128 for file in files},
    )
    assert calls() == ["xxhsum"]


# before and after


@gnu_and_busybox
def test_directories_are_made_and_holding_directories_are_private(box: Box) -> None:
    directories = [str(box.home / "a b/c"), str(box.home / "-d"), str(box.home / "e\nf")]
    held = held_for([File(str(box.home / "x/y/file")), File(str(box.home / "file"))])
    assert prepare(box, held, directories) == {}
    assert all(os.path.isdir(path) for path in directories)
    for directory in (box.home / "x/y", box.home):
        assert (directory / f".fastrr-{RUN}").stat().st_mode & 0o7777 == 0o700
    assert prepare(box, held, directories) == {}


def test_directories_that_cannot_be_made_are_told_apart(some_box: Box) -> None:
    (some_box.home / "file").write_text("")
    (some_box.home / "locked").mkdir()
    (some_box.home / "locked").chmod(0o555)
    new = str(some_box.home / "new")
    files = [
        File(str(some_box.home / "locked/below/x")),
        File(str(some_box.home / "locked/x")),
        File(str(some_box.home / "file\x0c\n/x")),
        File(str(some_box.home / "fine/x")),
    ]
    (some_box.home / "file\x0c\n").write_text("")
    directories = [new, str(some_box.home / "file"), str(some_box.home / "file/below")]
    held = held_for(files)
    failures = prepare(some_box, held, directories, nobody=True)
    assert set(failures) == {
        str(some_box.home / "file"),
        str(some_box.home / "file/below"),
        str(some_box.home / "locked/below"),
        str(some_box.home / "locked"),
        str(some_box.home / "file\x0c\n"),
    }
    assert "Permission denied" in failures[str(some_box.home / "locked")]
    assert "Permission denied" in failures[str(some_box.home / "locked/below")]
    assert "Not a directory" in failures[str(some_box.home / "file/below")]
    assert "exists" in failures[str(some_box.home / "file")]
    assert os.path.isdir(new)


@gnu_and_busybox
def test_files_whose_directory_could_not_be_made_do_not_stop_the_others(box: Box) -> None:
    (box.home / "file").write_text("")
    files = [File(str(box.home / "fine/x"), b"other"), File(str(box.home / "file/x"))]
    held = held_for(files)
    prepare(box, held)
    send(files, held, lost={files[1].path})
    assert parse_finished(held, box.ask(finish_script(held, bytes(16)))).failures == {
        1: InstallFailure.DIGEST
    }
    assert content_of(files[0]) == b"other"


@gnu_and_busybox
def test_a_copy_that_was_given_up_leaves_nothing(box: Box) -> None:
    (box.home / "old").write_text("old")
    files = [File(str(box.home / name), name.encode()) for name in ("old", "n\nl", "sub/x")]
    held = held_for(files)
    prepare(box, held)
    send(files, held)
    box.ask(discard_script(holding_directories(held)))
    assert names_below(box.home) == {b"old", b"sub"}
    assert names_below(box.home / "sub") == set()
    assert (box.home / "old").read_text() == "old"


@gnu_and_busybox
def test_temporary_base_dirs_are_made_anew_for_this_account_alone(box: Box) -> None:
    made = [str(box.home / "a b"), str(box.home / "it's")]
    assert prepare(box, (), base_dirs=made) == {}
    for path in made:
        assert os.stat(path).st_mode & 0o7777 == 0o700
    failures = prepare(box, (), base_dirs=[made[1], str(box.home / "none/x")])
    assert set(failures) == {made[1], str(box.home / "none/x")}
    assert "exists" in failures[made[1]]


@gnu_and_busybox
def test_temporary_directories_are_removed(box: Box) -> None:
    paths = [box.home / "a b", box.home / "-n", box.home / "it's\n"]
    for path in paths:
        (path / "sub").mkdir(parents=True)
    box.ask(remove_script([str(path) for path in paths]))
    assert names_below(box.home) == set()


# pure


def test_a_file_is_held_beside_its_destination_under_its_own_name() -> None:
    held = held_for([File("/srv/data/file"), File("/file", b"other")])
    assert [h.path for h in held] == ["/srv/data/.fastrr-r1/file", "/.fastrr-r1/file"]
    assert holding_directory("/srv/data", RUN) == "/srv/data/.fastrr-r1"


def test_held_paths_fit_a_line_and_differ() -> None:
    names = ("odd-1", "a\nb", "odd-1_", "odd-4", "c\nd", "e\\f")
    held = held_for([File(f"/srv/{name}", name.encode()) for name in names])
    paths = [h.path for h in held]
    assert len(set(paths)) == len(paths)
    assert not any("\n" in path or "\\" in path for path in paths)
    assert paths[0] == "/srv/.fastrr-r1/odd-1"


MIB4 = 1 << 22


@pytest.mark.parametrize(
    ("size", "name", "able", "expected"),
    [
        (0, "f", "sha1", "sha1"),
        (MIB4, "f", "sha1", "sha1"),
        (MIB4 - 1, "f", "sha1 gmac", "sha1"),
        (MIB4, "f", "sha1 gmac", "gmac"),
        (0, "f", "sha1 xxh128", "xxh128"),
        (MIB4, "f", "sha1 gmac xxh128", "xxh128"),
        (MIB4, "odd\n", "sha1 gmac xxh128", "sha1"),
        (MIB4, "odd\\", "sha1 gmac xxh128", "sha1"),
    ],
)
def test_the_fastest_algorithm_is_taken(size: int, name: str, able: str, expected: str) -> None:
    copy = Copy("/source", f"/srv/{name}", size, 0o644, CopyReason.MISSING)
    assert algorithm(copy, frozenset(map(Algorithm, able.split()))) is Algorithm(expected)


@pytest.mark.parametrize(
    ("openssl", "able"),
    [
        ("", ""),
        ("OpenSSL 1.0.2k-fips  26 Jan 2017", ""),
        ("OpenSSL 1.1.1w  11 Sep 2023", ""),
        ("LibreSSL 3.8.2", ""),
        ("OpenSSL 3.0.19 27 Jan 2026 (Library: OpenSSL 3.0.19 27 Jan 2026)", "gmac"),
        ("OpenSSL 3.5.1 1 Jul 2025", "gmac"),
    ],
)
def test_abilities_of_openssl(openssl: str, able: str) -> None:
    assert supported_algorithms(Hashers(openssl=openssl)) == {
        Algorithm.SHA1,
        *map(Algorithm, able.split()),
    }


@pytest.mark.parametrize(
    ("xxhsum", "able"),
    [
        ("", ""),
        ("xxhsum: command not found", ""),
        ("xxhsum 0.6.5 (64-bits little endian), by Yann Collet", ""),
        ("xxhsum 0.7.3 (64-bit x86_64 + SSE2 little endian), GCC 9.3.0, by Yann Collet", ""),
        ("xxhsum 0.7.4 by Yann Collet", ""),
        ("xxhsum 0.8.0 by Yann Collet", "xxh128"),
        ("xxhsum 0.8.1 by Yann Collet", "xxh128"),
        ("xxhsum 0.10.0 by Yann Collet", "xxh128"),
        ("xxhsum 1.0.0 by Yann Collet", "xxh128"),
    ],
)
def test_abilities_of_xxhsum(xxhsum: str, able: str) -> None:
    assert supported_algorithms(Hashers(xxhsum=xxhsum)) == {
        Algorithm.SHA1,
        *map(Algorithm, able.split()),
    }


def test_content_is_sent_twice_only_if_it_is_verified_in_two_ways() -> None:
    names = ("a", "b", "odd\n1", "odd\n2")
    copies = [Copy("/source", f"/srv/{n}", MIB4, 0o644, CopyReason.MISSING) for n in names]
    digests = {by: {"/source": by.value} for by in Algorithm}
    held = hold(copies, digests, ALL, RUN)
    assert [h.same_as for h in held] == [None, held[0].path, None, held[2].path]


def test_a_recorded_answer_is_parsed() -> None:
    held = held_for([File(f"/srv/{name}", name.encode()) for name in ("a", "b c", "d", "e")])
    body = b"bad 0\nleft at /srv/.fastrr-r1/b c\nleft at /srv/.fastrr-r1/stranger\nleft 3\n\n"
    assert parse_finished(held, body).failures == {
        0: InstallFailure.DIGEST,
        1: InstallFailure.RENAME,
        3: InstallFailure.RENAME,
    }


def test_a_wrong_digest_outweighs_that_the_file_is_still_there() -> None:
    held = held_for([File("/srv/a")])
    body = b"bad 0\nleft at /srv/.fastrr-r1/a\n"
    assert parse_finished(held, body).failures == {0: InstallFailure.DIGEST}


def test_an_empty_answer_means_that_all_is_in_place() -> None:
    held = held_for([File("/srv/a")])
    assert parse_finished(held, b"").failures == {}
    assert parse_prepared(Preparation.of((), ["/srv"], held), b"") == Prepared()


def test_the_first_reason_for_a_directory_is_kept() -> None:
    held = held_for([File("/srv/a")])
    body = b"0 mkdir: Permission denied \n1 mkdir: No such file or directory \n"
    preparation = Preparation.of((), ["/srv"], held)
    assert parse_prepared(preparation, body).failures == {"/srv": "mkdir: Permission denied"}


# trees of new directories


def tree_for(box: Box, files: Sequence[File]) -> tuple[Held, ...]:
    """Hold files as if nothing below the home was there yet."""
    home = str(box.home)
    copies = [
        Copy(f"/source/{n}", file.path, len(file.content), file.mode, CopyReason.MISSING)
        for n, file in enumerate(files)
    ]
    digests = {f"/source/{n}": sha1(file.content).hexdigest() for n, file in enumerate(files)}
    ancestors = {os.path.dirname(f.path): home for f in files if os.path.dirname(f.path) != home}
    sha1_only = frozenset({Algorithm.SHA1})
    return hold(copies, {Algorithm.SHA1: digests}, sha1_only, RUN, ancestors)


def finish(box: Box, files: Sequence[File], held: Sequence[Held]) -> dict[str, InstallFailure]:
    failures = parse_finished(held, box.ask(finish_script(held, bytes(16)))).failures
    return {files[n].path: failure for n, failure in failures.items()}


def files_of_a_tree(box: Box) -> list[File]:
    names = ("top", "new/a", "new/b c/d", "new/b c/-e/.f", "new/b c/-e/*", "other/g", "-n/h")
    return [File(f"{box.home}/{name}", name.encode(), 0o640 + n) for n, name in enumerate(names)]


def test_new_trees_are_held_whole_and_put_in_place_by_one_rename(some_box: Box) -> None:
    files = files_of_a_tree(some_box)
    held = tree_for(some_box, files)
    assert {h.holding for h in held} == {f"{some_box.home}/.fastrr-{RUN}"}
    assert [h.tree and os.path.basename(h.tree) for h in held] == [
        *(None, "new", "new", "new", "new", "other", "-n")
    ]
    empty = [f"{some_box.home}/new/empty/deeper", f"{some_box.home}/apart"]
    assert prepare(some_box, held, empty) == {}
    assert names_below(some_box.home) == {f".fastrr-{RUN}".encode(), b"apart"}
    send(files, held)
    inode = os.stat(os.path.dirname(held[1].path)).st_ino
    assert finish(some_box, files, held) == {}
    assert [(content_of(file), mode_of(file)) for file in files] == [
        (file.content, file.mode) for file in files
    ]
    assert names_below(some_box.home) == {b"top", b"new", b"other", b"-n", b"apart"}
    assert (some_box.home / "new/empty/deeper").is_dir()
    assert (some_box.home / "new").stat().st_ino == inode


@gnu_and_busybox
def test_what_fails_in_a_tree_is_left_out_of_it(box: Box) -> None:
    files = [
        File(f"{box.home}/new/good", b"good"),
        File(f"{box.home}/new/wrong", b"right", arrives=b"wrong"),
        File(f"{box.home}/new/sub/lost", b"lost"),
    ]
    held = tree_for(box, files)
    assert prepare(box, held) == {}
    send(files, held, lost=[files[2].path])
    assert finish(box, files, held) == {
        files[1].path: InstallFailure.DIGEST,
        files[2].path: InstallFailure.DIGEST,
    }
    assert names_below(box.home / "new") == {b"good", b"sub"}
    assert names_below(box.home / "new" / "sub") == set()
    assert names_below(box.home) == {b"new"}


def test_a_tree_that_somebody_else_has_made_meanwhile_is_filled(box: Box) -> None:
    files = files_of_a_tree(box)
    held = tree_for(box, files)
    prepare(box, held)
    send(files, held)
    (box.home / "new" / "b c").mkdir(parents=True)
    (box.home / "new" / "a").write_bytes(b"theirs")
    (box.home / "new" / "z").write_bytes(b"theirs, too")
    (box.home / "other").symlink_to("new")
    assert finish(box, files, held) == {}
    assert [(content_of(file), mode_of(file)) for file in files] == [
        (file.content, file.mode) for file in files
    ]
    assert (box.home / "new" / "z").read_bytes() == b"theirs, too"
    assert (box.home / "other").is_symlink()
    assert names_below(box.home) == {b"top", b"new", b"other", b"-n"}


@gnu_and_busybox
def test_a_tree_whose_place_is_taken_by_a_file_fails(box: Box) -> None:
    files = [File(f"{box.home}/new/a"), File(f"{box.home}/new/sub/b"), File(f"{box.home}/c")]
    held = tree_for(box, files)
    prepare(box, held)
    send(files, held)
    (box.home / "new").write_bytes(b"theirs")
    assert finish(box, files, held) == {
        files[0].path: InstallFailure.RENAME,
        files[1].path: InstallFailure.RENAME,
    }
    assert (box.home / "new").read_bytes() == b"theirs"
    assert names_below(box.home) == {b"new", b"c"}


@gnu_and_busybox
def test_a_tree_with_a_name_that_fits_no_line_is_no_tree(box: Box) -> None:
    files = [File(f"{box.home}/new/a"), File(f"{box.home}/new/sub/o\ndd"), File(f"{box.home}/n2/b")]
    held = tree_for(box, files)
    assert [h.tree for h in held] == [None, None, f"{box.home}/n2"]
    assert prepare(box, held) == {}
    send(files, held)
    assert finish(box, files, held) == {}
    assert [content_of(file) for file in files] == [b"new"] * 3
    assert names_below(box.home) == {b"new", b"n2"}


def test_a_tree_below_the_root_directory_is_held_in_it() -> None:
    copy = Copy("/source/0", "/new/sub/file", 1, 0o644, CopyReason.MISSING)
    (held,) = hold(
        [copy], {Algorithm.SHA1: {"/source/0": "0"}}, frozenset(), RUN, {"/new/sub": "/"}
    )
    assert (held.holding, held.path, held.tree) == (
        "/.fastrr-r1",
        "/.fastrr-r1/new/sub/file",
        "/new",
    )
    preparation = Preparation.of((), ["/new", "/new/empty"], [held])
    assert set(preparation.inside) == {
        ("/.fastrr-r1/new", "/new"),
        ("/.fastrr-r1/new/empty", "/new/empty"),
        ("/.fastrr-r1/new/sub", "/new/sub"),
    }


def test_what_is_made_anew_while_it_is_removed_is_removed_again(some_box: Box) -> None:
    files = [File(f"{some_box.home}/a"), File(f"{some_box.home}/new/b")]
    held = tree_for(some_box, files)
    prepare(some_box, held)
    send(files, held)
    # What was receiving goes on for a moment: until the first pause, or the second, is over.
    new, log = f"{held[0].holding}/new", some_box.root / "pauses"
    (some_box.bin / "sleep").write_text(
        f"#!/bin/sh\necho $1 >>{log}\n"
        f"[ $(wc -l <{log}) -gt 2 ] || {{ mkdir -p {new} && echo late >{new}/b; }}\n"
    )
    (some_box.bin / "sleep").chmod(0o755)
    some_box.ask(discard_script(holding_directories(held)))
    assert names_below(some_box.home) == set()


def test_what_is_always_made_anew_is_given_up(one_box: Box) -> None:
    held = tree_for(one_box, [File(f"{one_box.home}/a")])
    prepare(one_box, held)
    log = one_box.root / "pauses"
    (one_box.bin / "sleep").write_text(f"#!/bin/sh\necho >>{log}\nmkdir {held[0].holding}\n")
    (one_box.bin / "sleep").chmod(0o755)
    script = discard_script(holding_directories(held))
    answer = script.body_of(one_box.run(script).stdout)
    assert answer == (b"", 1)  # so that it is told what is left
    assert 2 < len(log.read_bytes()) < 30
