"""What screen is told and what it answers; sessions that really end, and only those."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from testbed.shells import Box, eventually, executed

from fastrr.components.screen import (
    StopAnswer,
    parse_sessions,
    parse_stopped,
    screen_word,
    stop_script,
)
from fastrr.hosts.shell import to_bytes, to_text


@pytest.mark.parametrize(
    ("listing", "sessions"),
    [
        ("No Sockets found in /run/screen/S-me.\n\n", ()),
        (
            (
                "There is a screen on:\n\t12.runner\t(11/23/26 00:41:35)\t(Detached)\n"
                "1 Socket in /run/screen/S-me.\n"
            ),
            ("12.runner",),
        ),
        (
            (
                "There are screens on:\n\t12.rr_1\t(Attached)\n\t13.rr_10\t(Dead ???)\n"
                "\t14.my  session\t(Multi, detached)\nRemove dead screens with 'screen -wipe'.\n"
                "3 Sockets in /tmp/x.\n"
            ),
            ("12.rr_1", "13.rr_10", "14.my  session"),
        ),
        ("noise\nThere is a screen on:\n\t9.a.b\t(Detached)\n1 Socket in /x.\nmore\n", ("9.a.b",)),
    ],
)
def test_sessions_are_read_from_screens_listing(listing: str, sessions: tuple[str, ...]) -> None:
    assert parse_sessions(listing) == (sessions, None)


@pytest.mark.parametrize(
    ("listing", "trouble"),
    [
        (
            "Directory /run/screen must have mode 777.\n",
            "Directory /run/screen must have mode 777.",
        ),
        ("Cannot make directory\n '/run/screen'\n", "Cannot make directory '/run/screen'"),
        ("", "screen -ls printed nothing"),
    ],
)
def test_anything_else_is_trouble(listing: str, trouble: str) -> None:
    assert parse_sessions(listing) == ((), trouble)


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("plain", '"plain"'),
        ("", '""'),
        ("two words", '"two words"'),
        ('"$HOME" ^C \\', '"\\"\\$HOME\\" \\^C \\\\"'),
        ("a\nb\x1b", '"a\\012b\\033"'),
        ("it's #1 ; ü", '"it\'s #1 ; ü"'),
    ],
)
def test_words_of_a_command_file(text: str, word: str) -> None:
    assert screen_word(text) == word


def test_screen_reads_words_back_as_they_were(one_box: Box) -> None:
    words = ("$HOME ${HOME}", "^C ^^", '"\\" \\n \\101', "it's", "# ; |", "tab\there", "ünï\u2028")
    target = one_box.home / "said"
    script = one_box.home / "say"
    script.write_text(f"#!/bin/sh\nprintf '%s\\0' \"$@\" >{target}.new\nmv {target}.new {target}\n")
    script.chmod(0o755)
    rc = one_box.home / "rc"
    rc.write_text(f"screen {screen_word(str(script))} {' '.join(map(screen_word, words))}\n")
    one_box.screen("-c", str(rc), "-dmS", "words")
    eventually(target.exists)
    assert target.read_bytes().split(b"\0")[:-1] == [to_bytes(word) for word in words]


# stopping


def start(box: Box, *names: str) -> dict[str, str]:
    """Start a session of each name; return ``pid.name`` by name."""
    for name in names:
        box.screen("-dmS", name, "sleep", "60")
    eventually(lambda: len(box.sessions()) >= len(names))
    return {session.partition(".")[2]: session for session in box.sessions()}


def stop(box: Box, *sessions: str, directory: str = "/no/where") -> StopAnswer:
    return parse_stopped(box.ask(stop_script(sessions, directory)))


def test_exactly_the_named_session_ends(some_box: Box) -> None:
    sessions = start(some_box, "rr_1", "rr_10", "rr")
    assert stop(some_box, sessions["rr_1"]) == StopAnswer()
    assert sorted(some_box.sessions()) == sorted((sessions["rr_10"], sessions["rr"]))


def test_sessions_of_any_name_end(box: Box) -> None:
    sessions = start(box, "my session", "it's", "-n", "$HOME", "ünï")
    assert stop(box, *sessions.values()) == StopAnswer()
    assert box.sessions() == []


def test_two_sessions_of_one_name_end_both(some_box: Box) -> None:
    start(some_box, "same")
    some_box.screen("-dmS", "same", "sleep", "60")
    eventually(lambda: len(some_box.sessions()) == 2)
    assert stop(some_box, *some_box.sessions()) == StopAnswer()
    assert some_box.sessions() == []


def test_nothing_to_stop_is_fine(some_box: Box) -> None:
    assert stop(some_box) == StopAnswer()
    assert stop(some_box, "999999999.gone") == StopAnswer()


def kill_screen(box: Box, session: str) -> None:
    """Leave nothing of a session but its socket, as a crash does."""
    inside = [pid for pid in box.processes() if str(pid) != session.partition(".")[0]]
    for pid in (int(session.partition(".")[0]), *inside):
        os.kill(pid, 9)
    eventually(lambda: not box.processes())


def test_what_a_dead_session_left_is_wiped(some_box: Box) -> None:
    session = start(some_box, "dead")["dead"]
    kill_screen(some_box, session)
    assert some_box.sessions() == [session]
    assert stop(some_box, session) == StopAnswer()
    assert some_box.sessions() == []


def test_a_dead_session_whose_process_id_is_anothers_is_wiped(some_box: Box) -> None:
    session = start(some_box, "dead")["dead"]
    kill_screen(some_box, session)
    sockets = Path(some_box.environment["SCREENDIR"])
    with subprocess.Popen(["sleep", "60"]) as other:
        try:
            (sockets / session).rename(sockets / f"{other.pid}.dead")
            assert some_box.sessions() == [f"{other.pid}.dead"]
            assert stop(some_box, f"{other.pid}.dead") == StopAnswer()
            assert other.poll() is None
        finally:
            other.kill()
    assert some_box.sessions() == []


def program(box: Box, name: str, session: str) -> subprocess.Popen[bytes]:
    """Run what is a component's launcher and program in one, and does not end with its session."""
    directory = box.home / "state" / name
    directory.mkdir(parents=True)
    launcher = directory / "launch.sh"
    launcher.write_text("trap '' HUP\nread -r line\n")
    process = subprocess.Popen(["sh", launcher], env=box.environment, stdin=subprocess.PIPE)
    for file in ("launcher", "pid"):
        (directory / file).write_text(f"{process.pid}\n")
    (directory / "session").write_text(f"{session}\n")
    return executed(process)


def test_programs_of_that_session_and_no_other_are_waited_for(box: Box) -> None:
    # Where sleep takes whole seconds only there are ten pauses; and these are short ones.
    (box.bin / "sleep").write_text('#!/bin/sh\n[ "$1" = 1 ]\n')
    (box.bin / "sleep").chmod(0o755)
    session, other = "99999998.ours", "99999999.theirs"
    with program(box, "a b", session) as ours, program(box, "theirs", other) as theirs:
        state = str(box.home / "state")
        assert stop(box, session, directory=state) == StopAnswer((), (("a b", ours.pid),))
        for process in (ours, theirs):
            assert process.poll() is None
            process.communicate(b"\n")
        assert stop(box, session, other, directory=state) == StopAnswer()


def test_what_does_not_end_is_told() -> None:
    body = b"alive 12.my session No  luck \nprogram 77 two words\x0c\n\n"
    assert parse_stopped(body) == StopAnswer(("12.my session No  luck",), (("two words\x0c", 77),))


def test_names_keep_their_bytes() -> None:
    assert parse_stopped(b"program 7 \xff\n") == StopAnswer((), ((to_text(b"\xff"), 7),))
