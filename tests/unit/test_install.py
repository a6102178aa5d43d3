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
from testbed.shells import Box

from fastrr.install import (
    Held,
    InstallFailure,
    Preparation,
    discard_script,
    finish_script,
    hold,
    holding_directory,
    parse_finished,
    parse_prepared,
    prepare_script,
    remove_script,
)
from fastrr.model import Algorithm, Copy, CopyReason
from fastrr.shell import Script, to_bytes, to_text

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
    return hold(copies, {(path, Algorithm.SHA1): d for path, d in digests.items()}, able, RUN)


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
    return parse_prepared(preparation, box.ask(prepare_script(preparation), nobody=nobody))


def install(
    box: Box, files: Sequence[File], lost: Collection[str] = ()
) -> dict[str, InstallFailure]:
    """Take all the steps of a copy; return what failed, by path."""
    held = held_for(files)
    assert prepare(box, held) == {}
    send(files, held, lost)
    failures = parse_finished(held, box.ask(finish_script(held, bytes(16))))
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


def test_directories_of_any_name_are_made_and_filled(box: Box) -> None:
    files = [File(os.path.join(box.home, name, "file")) for name in NAMES]
    assert install(box, files) == {}
    assert {content_of(file) for file in files} == {b"new"}
    assert names_below(box.home) == {to_bytes(name) for name in NAMES}
    assert {*os.listdir(os.path.dirname(files[-1].name))} == {b"file"}


def test_content_is_verified_without_openssl(box: Box) -> None:
    box.only()
    files = [File(os.path.join(box.home, name), name.encode("utf-8", "replace")) for name in NAMES]
    wrong = [
        File(str(box.home / "wrong"), b"new", arrives=b"bad"),
        File(str(box.home / "\nwrong"), b"new", arrives=b"bad"),
    ]
    assert install(box, [*files, *wrong]) == {file.path: InstallFailure.DIGEST for file in wrong}
    assert [content_of(file) for file in files] == [file.content for file in files]


@pytest.mark.parametrize("odd", ["", "\n"], ids=["plain", "odd"])
def test_permissions_are_the_sources(box: Box, odd: str) -> None:
    modes = (0o644, 0o755, 0o4755, 0o2711, 0o1777, 0o7777, 0o400, 0o001, 0o000)
    files = [File(str(box.home / f"{mode:o}{odd}"), b"%d" % mode, mode) for mode in modes]
    assert install(box, files) == {}
    assert [mode_of(file) for file in files] == list(modes)


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


def test_an_empty_file_is_content_too(box: Box) -> None:
    files = [File(str(box.home / name), b"") for name in ("a", "b", "\n")]
    assert install(box, files) == {}
    assert [content_of(file) for file in files] == [b"", b"", b""]


def test_what_was_there_is_replaced_by_a_rename(box: Box) -> None:
    files = [File(str(box.home / name), b"new " + name.encode()) for name in ("old", "old\n")]
    for file in files:
        Path(file.path).write_text("old content")
        os.link(file.path, file.path + " kept")
    assert install(box, files) == {}
    for file in files:
        assert content_of(file) == file.content
        assert Path(file.path + " kept").read_text() == "old content"


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


def test_two_thousand_files_take_a_handful_of_processes(box: Box) -> None:
    directory = box.home / "many"
    files = [File(str(directory / f"file {n}"), b"%d" % (n % 20)) for n in range(2000)]
    held = held_for(files)
    calls = box.count_calls(("openssl", "awk", "mv", "chmod", "mkdir", "tee", "xargs", "rm"))
    assert install(box, files) == {}
    # Of these, 20 give a content that was sent to 99 other places.
    assert len(calls()) < 60, calls()
    assert [content_of(file) for file in files] == [file.content for file in files]
    assert held[1999].same_as == held[19].path
    assert not any((box.root / "tmp").iterdir())


# what goes wrong


@pytest.mark.parametrize("name", ["file", "odd\nfile", "-n", "back\\slash"])
def test_what_arrived_wrong_is_left_out(box: Box, name: str) -> None:
    wrong = File(str(box.home / name), b"new", arrives=b"nee")
    right = [File(str(box.home / other), b"x") for other in ("before", "right\n", "zz")]
    Path(wrong.path).write_bytes(b"old")
    assert install(box, [right[0], wrong, *right[1:]]) == {wrong.path: InstallFailure.DIGEST}
    assert content_of(wrong) == b"old"
    assert [content_of(file) for file in right] == [b"x"] * 3
    assert names_below(box.home) == {os.path.basename(f.name) for f in (wrong, *right)}


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


@pytest.mark.parametrize("name", ["taken", "taken\n", "\x0c\u2028taken", to_text(b"\xff")])
def test_a_directory_in_the_way_stays(box: Box, name: str) -> None:
    taken = File(os.path.join(box.home, name), b"new")
    other = File(str(box.home / "other"), b"new")
    os.mkdir(taken.name)
    assert install(box, [taken, other]) == {taken.path: InstallFailure.RENAME}
    assert os.listdir(taken.name) == []
    assert content_of(other) == b"new"
    assert names_below(box.home) == {to_bytes(name), b"other"}


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


@pytest.mark.parametrize("line", [0, 1, 2])
def test_nothing_is_renamed_when_the_table_was_cut(box: Box, line: int) -> None:
    files = [File(str(box.home / name), name.encode()) for name in ("a", "b", "c")]
    held = held_for(files)
    prepare(box, held)
    send(files, held)
    whole = finish_script(held, bytes(16))
    entry = f"{line} {held[line].digest} 644 {held[line].path}\n"
    assert whole.text.count(entry) == 1
    cut = Script(whole.text.replace(entry, ""), whole.nonce)
    answer = cut.body_of(box.run(cut).stdout)
    assert answer is not None
    assert answer[1] != 0
    assert names_below(box.home) == {f".fastrr-{RUN}".encode()}


def test_nothing_is_renamed_when_there_is_no_room_for_the_table(box: Box) -> None:
    files = [File(str(box.home / "a"))]
    held = held_for(files)
    prepare(box, held)
    send(files, held)
    box.environment["TMPDIR"] = str(box.root / "none")
    script = finish_script(held, bytes(16))
    answer = script.body_of(box.run(script).stdout)
    assert answer is not None
    assert answer[1] != 0
    assert names_below(box.home) == {f".fastrr-{RUN}".encode()}


# before and after


def test_directories_are_made_and_holding_directories_are_private(box: Box) -> None:
    directories = [str(box.home / "a b/c"), str(box.home / "-d"), str(box.home / "e\nf")]
    held = held_for([File(str(box.home / "x/y/file")), File(str(box.home / "file"))])
    assert prepare(box, held, directories) == {}
    assert all(os.path.isdir(path) for path in directories)
    for directory in (box.home / "x/y", box.home):
        assert (directory / f".fastrr-{RUN}").stat().st_mode & 0o7777 == 0o700
    assert prepare(box, held, directories) == {}


def test_directories_that_cannot_be_made_are_told_apart(box: Box) -> None:
    (box.home / "file").write_text("")
    (box.home / "locked").mkdir()
    (box.home / "locked").chmod(0o555)
    new = str(box.home / "new")
    files = [
        File(str(box.home / "locked/below/x")),
        File(str(box.home / "locked/x")),
        File(str(box.home / "file\x0c\n/x")),
        File(str(box.home / "fine/x")),
    ]
    (box.home / "file\x0c\n").write_text("")
    directories = [new, str(box.home / "file"), str(box.home / "file/below")]
    held = held_for(files)
    failures = prepare(box, held, directories, nobody=True)
    assert set(failures) == {
        str(box.home / "file"),
        str(box.home / "file/below"),
        str(box.home / "locked/below"),
        str(box.home / "locked"),
        str(box.home / "file\x0c\n"),
    }
    assert "Permission denied" in failures[str(box.home / "locked")]
    assert "Permission denied" in failures[str(box.home / "locked/below")]
    assert "Not a directory" in failures[str(box.home / "file/below")]
    assert "exists" in failures[str(box.home / "file")]
    assert os.path.isdir(new)


def test_files_whose_directory_could_not_be_made_do_not_stop_the_others(box: Box) -> None:
    (box.home / "file").write_text("")
    files = [File(str(box.home / "file/x")), File(str(box.home / "fine/x"), b"other")]
    held = held_for(files)
    prepare(box, held)
    send(files, held, lost={files[0].path})
    assert parse_finished(held, box.ask(finish_script(held, bytes(16)))) == {
        0: InstallFailure.DIGEST
    }
    assert content_of(files[1]) == b"other"


def test_a_copy_that_was_given_up_leaves_nothing(box: Box) -> None:
    (box.home / "old").write_text("old")
    files = [File(str(box.home / name), name.encode()) for name in ("old", "n\nl", "sub/x")]
    held = held_for(files)
    prepare(box, held)
    send(files, held)
    box.ask(discard_script(held))
    assert names_below(box.home) == {b"old", b"sub"}
    assert names_below(box.home / "sub") == set()
    assert (box.home / "old").read_text() == "old"


def test_temporary_base_dirs_are_made_anew_for_this_account_alone(box: Box) -> None:
    made = [str(box.home / "a b"), str(box.home / "it's")]
    assert prepare(box, (), base_dirs=made) == {}
    for path in made:
        assert os.stat(path).st_mode & 0o7777 == 0o700
    failures = prepare(box, (), base_dirs=[made[1], str(box.home / "none/x")])
    assert set(failures) == {made[1], str(box.home / "none/x")}
    assert "exists" in failures[made[1]]


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


def test_a_recorded_answer_is_parsed() -> None:
    held = held_for([File(f"/srv/{name}", name.encode()) for name in ("a", "b c", "d", "e")])
    body = b"bad 0\nleft at /srv/.fastrr-r1/b c\nleft at /srv/.fastrr-r1/stranger\nleft 3\n\n"
    assert parse_finished(held, body) == {
        0: InstallFailure.DIGEST,
        1: InstallFailure.RENAME,
        3: InstallFailure.RENAME,
    }


def test_a_wrong_digest_outweighs_that_the_file_is_still_there() -> None:
    held = held_for([File("/srv/a")])
    body = b"bad 0\nleft at /srv/.fastrr-r1/a\n"
    assert parse_finished(held, body) == {0: InstallFailure.DIGEST}


def test_an_empty_answer_means_that_all_is_in_place() -> None:
    held = held_for([File("/srv/a")])
    assert parse_finished(held, b"") == {}
    assert parse_prepared(Preparation.of((), ["/srv"], held), b"") == {}


def test_the_first_reason_for_a_directory_is_kept() -> None:
    held = held_for([File("/srv/a")])
    body = b"0 mkdir: Permission denied \n1 mkdir: No such file or directory \n"
    preparation = Preparation.of((), ["/srv"], held)
    assert parse_prepared(preparation, body) == {"/srv": "mkdir: Permission denied"}
