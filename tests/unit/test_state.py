"""Where state is kept, and the shell functions that read it."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from testbed.shells import Box, executed

from fastrr.components.state import LOOK, Launch, component_directory, directory_name, name_of
from fastrr.hosts.shell import Script, quote, script, to_bytes, to_text
from fastrr.model import ComponentPlan

NAMES = (
    *("plain", "two words", "it's", "$HOME", "ünï 🚀", "-n", "%", "%2F", "a/b", "a|b", "..", "."),
    *(".hidden", "new\nline", "\x01\x7f", "a%2Fb", to_text(b"\xff\x80"), "back\\slash"),
)


@pytest.mark.parametrize("name", NAMES)
def test_a_name_can_be_read_back_from_its_directory(name: str) -> None:
    assert name_of(directory_name(name)) == name


def test_different_names_have_different_directories() -> None:
    assert len({directory_name(name) for name in NAMES}) == len(NAMES)


@pytest.mark.parametrize(
    ("name", "directory"),
    [
        ("main program", "main program"),
        ("a/b", "a%2Fb"),
        ("..", "%2E."),
        ("50%", "50%25"),
        ("a\n", "a%0A"),
        ("a|b", "a%7Cb"),
    ],
)
def test_a_directory_is_like_its_name(name: str, directory: str) -> None:
    assert directory_name(name) == directory


def test_each_component_of_each_session_has_a_directory() -> None:
    assert component_directory("/state", "my/run", "a b") == "/state/my%2Frun/a b"


@pytest.mark.parametrize(
    ("executable", "program"),
    [("bin/x", "/srv/bin/x"), ("./x", "/srv/x"), ("../x", "/x"), ("/bin/ls", "/bin/ls")],
)
def test_a_program_is_relative_to_its_base_dir(executable: str, program: str) -> None:
    component = ComponentPlan("one", "host", executable, (), "/srv", 0)
    assert Launch(component, "/srv", "/state/one").program == program


# the shell functions


def state_of(box: Box, **files: str) -> str:
    number = len(list((box.home / "state").glob("*")))
    directory = box.home / "state" / f"it's {number}"
    directory.mkdir(parents=True)
    for name, content in files.items():
        (directory / name).write_bytes(to_bytes(content))
    return str(directory)


def asking(command: str) -> Script:
    return script(f"{LOOK}{command}\n")


def test_look_tells_how_a_component_is(box: Box) -> None:
    cases: list[tuple[dict[str, str], str]] = [
        ({}, "nothing"),
        ({"exit": ""}, "nothing"),
        ({"exit": "3\n"}, "ended 7 3"),
        ({"failed": "a  reason\\n 'of' it \nmore\n"}, "failed 7 a  reason\\n 'of' it "),
        ({"failed": "why\n", "exit": "126\n"}, "failed 7 why"),
        ({"failed": "\udcff\n"}, "failed 7 \udcff"),
    ]
    looks = (f"look 7 {quote(state_of(box, **files))} || echo nothing\n" for files, _ in cases)
    body = box.ask(asking("".join(looks)))
    assert to_text(body).split("\n")[:-1] == [said for _, said in cases]


def test_alive_is_what_runs_this_very_launcher(box: Box) -> None:
    directory = state_of(box)
    launcher = Path(directory, "launch.sh")
    launcher.write_text("sleep 60\n:\n")
    other = Path(directory, "other.sh")
    other.write_text("sleep 60\n:\n")
    running = {
        path: executed(subprocess.Popen(["sh", path], env=box.environment, start_new_session=True))
        for path in (launcher, other)
    }
    alive = asking(f"alive {quote(directory)} && echo alive || echo gone")
    try:
        assert box.ask(alive) == b"gone\n"
        for path, said in ((launcher, b"alive\n"), (other, b"gone\n")):
            Path(directory, "launcher").write_text(f"{running[path].pid}\n")
            assert box.ask(alive) == said
    finally:
        for process in running.values():
            os.killpg(process.pid, 9)
            process.wait()
    Path(directory, "launcher").write_text(f"{running[launcher].pid}\n")
    assert box.ask(alive) == b"gone\n"


def test_a_vanished_launcher_is_not_taken_for_the_last_one_seen(box: Box) -> None:
    directory = state_of(box, launcher="999999999\n")
    seen = quote(f"sh {directory}/launch.sh")
    body = box.ask(asking(f"line={seen}; alive {quote(directory)} && echo alive || echo gone"))
    assert body == b"gone\n"


def test_a_process_that_nobody_waits_for_any_more_is_not_running(one_box: Box) -> None:
    with subprocess.Popen(["true"]) as ended:
        os.waitid(os.P_PID, ended.pid, os.WEXITED | os.WNOWAIT)
        body = one_box.ask(
            asking(f"running {ended.pid} || echo gone; running {os.getpid()} && echo runs")
        )
    assert body == b"gone\nruns\n"


def test_pauses_count_rightly_where_sleep_takes_whole_seconds_only(one_box: Box) -> None:
    (one_box.bin / "sleep").write_text('#!/bin/sh\n[ "$1" = 1 ]\n')
    (one_box.bin / "sleep").chmod(0o755)
    counted = asking("ticks=0; pause 0.02 50; pause 0.2 5; echo $ticks")
    assert one_box.ask(counted) == b"55\n"
    (one_box.bin / "sleep").unlink()
    assert one_box.ask(counted) == b"2\n"
