"""Waiting for components, and reading what they said last."""

from __future__ import annotations

import os
import subprocess
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from testbed.shells import Box, eventually, executed, time_ratio

from fastrr.components import endings as watch
from fastrr.components.endings import Ended, Parser, readable_log, status_script, watch_script
from fastrr.components.state import Launch
from fastrr.hosts.shell import Script
from fastrr.model import ComponentPlan


@pytest.fixture(autouse=True)
def _in_short_ticks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch, "WATCH_TICK_S", 0.02)


def launches(box: Box, *names: str) -> list[Launch]:
    made = []
    for name in names:
        state = box.home / "state" / name
        state.mkdir(parents=True)
        component = ComponentPlan(name, "host", "/bin/true", (), "/", 0, wait=True)
        made.append(Launch(component, "/", str(state)))
    return made


def launcher_of(box: Box, launch: Launch) -> subprocess.Popen[bytes]:
    """A process that looks like a component's launcher."""
    path = Path(launch.state, "launch.sh")
    path.write_text("sleep 60\n:\n")
    process = subprocess.Popen(["sh", path], env=box.environment, start_new_session=True)
    Path(launch.state, "launcher").write_text(f"{process.pid}\n")
    return executed(process)


def end(process: subprocess.Popen[bytes]) -> None:
    os.killpg(process.pid, 9)
    process.wait()


def heard(which: list[Launch], body: bytes) -> list[Ended]:
    parser = Parser(which)
    return [one for line in body.split(b"\n") if (one := parser.hear(line))]


def test_those_that_have_ended_are_told_at_once(box: Box) -> None:
    which = launches(box, "good", "it's bad", "failed")
    Path(which[0].state, "exit").write_text("0\n")
    Path(which[1].state, "exit").write_text("137\n")
    Path(which[2].state, "failed").write_text("no such file\n")
    body = box.ask(watch_script(which))
    assert heard(which, body) == [Ended("good", 0), Ended("it's bad", 137), Ended("failed", None)]


@contextmanager
def watching(box: Box, which: list[Launch]) -> Iterator[Callable[[], Ended]]:
    """Have components watched; yields a function that waits for the next one that is told."""
    with subprocess.Popen(
        ["sh", "-c", 'eval "$(cat)"'],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=box.environment,
        cwd=box.home,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        limit = threading.Timer(10, process.kill)
        limit.start()
        process.stdin.write(watch_script(which).data)
        process.stdin.close()
        parser, output = Parser(which), process.stdout

        def next_one() -> Ended:
            for line in output:
                if one := parser.hear(line.removesuffix(b"\n")):
                    return one
            raise AssertionError("no more is told")

        try:
            yield next_one
            assert not [line for line in output.read().split(b"\n") if parser.hear(line)]
            assert process.wait(10) == 0
        finally:
            process.kill()
            limit.cancel()


def test_each_is_told_as_soon_as_it_ends(some_box: Box) -> None:
    which = launches(some_box, "first", "second")
    running = [launcher_of(some_box, launch) for launch in which]
    with watching(some_box, which) as next_one:
        for launch, process in zip(which, running, strict=True):
            Path(launch.state, "exit").write_text("5\n")
            end(process)
            assert next_one() == Ended(launch.component.name, 5)


def test_what_vanished_without_a_trace_is_told(some_box: Box) -> None:
    which = launches(some_box, "never", "killed", "stays")
    killed, stays = (launcher_of(some_box, launch) for launch in which[1:])
    with watching(some_box, which) as next_one:
        assert next_one() == Ended("never", None)
        end(killed)
        assert next_one() == Ended("killed", None)
        Path(which[2].state, "exit").write_text("0\n")
        end(stays)
        assert next_one() == Ended("stays", 0)


def test_the_last_one_that_vanishes_is_not_watched_for_ever(some_box: Box) -> None:
    which = launches(some_box, "only")
    process = launcher_of(some_box, which[0])
    with watching(some_box, which) as next_one:
        end(process)
        assert next_one() == Ended("only", None)


def test_an_ending_that_is_written_down_late_is_no_vanishing(one_box: Box) -> None:
    """A launcher may be gone a moment before what it has written is seen."""
    which = launches(one_box, "one", "other")
    states = [Path(launch.state) for launch in which]
    for state in states:
        (state / "launcher").write_text("999999999\n")
    pauses = one_box.home / "pauses"
    (one_box.bin / "sleep").write_text(
        f'#!/bin/sh\necho >>{pauses}\n[ "$(wc -l <{pauses})" -gt 1 ] || echo 3 >{states[0]}/exit\n'
    )
    (one_box.bin / "sleep").chmod(0o755)
    body = one_box.ask(watch_script(which))
    assert sorted(heard(which, body)) == [Ended("one", 3), Ended("other", None)]
    # Nor does it look again and again without a pause.
    assert len(pauses.read_text().splitlines()) == 1


def test_a_watch_ends_when_nobody_listens(one_box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch, "WATCH_TICK_S", 0.001)
    which = launches(one_box, "one")
    process = launcher_of(one_box, which[0])
    try:
        with subprocess.Popen(
            ["sh", "-c", 'eval "$(cat)"'],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=one_box.environment,
        ) as listened_to:
            assert listened_to.stdin is not None
            assert listened_to.stdout is not None
            listened_to.stdin.write(Script(watch_script(which).text, "").data)
            listened_to.stdin.close()
            assert listened_to.stdout.readline().endswith(b" begin\n")
            assert listened_to.stdout.readline() == b"beat\n"
            listened_to.stdout.close()
            assert listened_to.wait(timeout=10) != 0
        eventually(lambda: of_group(process.pid, one_box.processes()))
    finally:
        end(process)


def of_group(leader: int, processes: list[int]) -> bool:
    """Whether all these are of the process group of ``leader``."""
    with suppress(ProcessLookupError):
        return all(os.getpgid(process) == leader for process in processes)
    return False


def test_a_glance_tells_of_those_that_have_ended(box: Box) -> None:
    which = launches(box, "ended", "runs", "failed")
    Path(which[0].state, "exit").write_text("3\n")
    Path(which[2].state, "failed").write_text("why\n")
    assert heard(which, box.ask(status_script(which))) == [Ended("ended", 3), Ended("failed", None)]
    assert heard([], box.ask(status_script([]))) == []


@pytest.mark.parametrize("line", [b"", b"beat", b"noise ended 0 0", b"@fastrr x begin", b"ended"])
def test_other_lines_tell_nothing(one_box: Box, line: bytes) -> None:
    assert Parser(launches(one_box, "one")).hear(line) is None


@pytest.mark.parametrize("script_of", [watch_script, status_script])
def test_what_a_component_that_failed_said_last_is_told(
    box: Box, script_of: Callable[[Sequence[Launch]], Script]
) -> None:
    which = launches(box, "-it's bad", "good", "silent", "garbled")
    lines = b"".join(b"line %d\r\n" % n for n in range(100))
    for launch, status, log in zip(
        which, (3, 0, 1, 2), (lines, lines, b"", b"no newline\0 \xff"), strict=True
    ):
        Path(launch.state, "exit").write_text(f"{status}\n")
        Path(launch.state, "log").write_bytes(log)
    Path(which[2].state, "log").unlink()
    assert heard(which, box.ask(script_of(which))) == [
        Ended("-it's bad", 3, tuple(f"line {n}" for n in range(95, 100))),
        Ended("good", 0),
        Ended("silent", 1),
        Ended("garbled", 2, ("no newline \ufffd",)),
    ]


@pytest.mark.parametrize("script_of", [watch_script, status_script])
def test_a_log_that_is_still_being_written_is_waited_for(
    one_box: Box, script_of: Callable[[Sequence[Launch]], Script]
) -> None:
    (one,) = launches(one_box, "one")
    log = Path(one.state, "log")
    log.touch()
    Path(one.state, "exit").write_text("1\n")
    # Written as screen does it on a busy host: nothing at first, and in pieces.
    wc = one_box.bin / "wc"
    wc.write_text(
        f'#!/bin/sh\n/usr/bin/wc "$@"\n'
        f'case $(cat {log}) in "") echo one ;; one) echo two ;; esac >>{log}\n'
    )
    wc.chmod(0o755)
    assert heard([one], one_box.ask(script_of([one]))) == [Ended("one", 1, ("one", "two"))]


def test_what_looks_like_an_ending_in_a_log_is_none(box: Box) -> None:
    which = launches(box, "one", "two")
    Path(which[0].state, "exit").write_text("1\n")
    Path(which[0].state, "log").write_bytes(b"ended 1 0\nvanished 1\nsaid 1 x\n")
    Path(which[1].state, "exit").write_text("0\n")
    assert heard(which, box.ask(status_script(which))) == [
        Ended("one", 1, ("ended 1 0", "vanished 1", "said 1 x")),
        Ended("two", 0),
    ]


@pytest.mark.parametrize(
    ("data", "lines"),
    [
        (b"", []),
        (b"one\r\n\r\ntwo\r\n", ["one", "two"]),
        (b"\x1b[31mred\x1b[0m \x1b]0;title\x07text\x1b(B\r\n", ["red text"]),
        (b"10%\r50%\r100%\r\n", ["100%"]),
        (b"10%\r50%\r", ["50%"]),
        (b"bell\x07 null\0\r\n", ["bell null"]),
        (b"said\r\n\n=== Command terminated normally (Mon Nov 23) ===\n", ["said"]),
        (b"gr\xc3\xbc\xc3\x9fe \xff\n", ["grüße \ufffd"]),
        (b"1\n2\n3\n4\n5\n6\n", ["2", "3", "4", "5", "6"]),
        (b"  indented\ttab\n", ["  indented\ttab"]),
        (b"\x1b\x1b[m[2J cleared\n", ["\\x1b[2J cleared"]),
        (b"\xc2\x9b2J cleared\n", ["\\x9b2J cleared"]),
        (b"\xe2\x80\xaeesrever\n", ["\\u202eesrever"]),
    ],
)
def test_logs_are_made_readable(data: bytes, lines: list[str]) -> None:
    assert readable_log(data, 5) == lines


@pytest.mark.parametrize(
    "piece", [b"\x1b", b"\x1b]", b"\x1b[0", b"\x1b[ ", b"\x1b(", b"=== Command "]
)
def test_the_time_a_log_takes_goes_with_its_length(piece: bytes) -> None:
    assert time_ratio(lambda n: readable_log(piece * n, 5), 20_000) < 12


def test_what_a_host_says_of_others_than_were_asked_for_is_left_out(box: Box) -> None:
    which = launches(box, "one")
    parser = Parser(which)
    answers = [
        *(b"ended 1 0", b"ended -1 0", b"ended x 0", b"ended 0 x", b"ended 0 " + b"9" * 100_000),
        *(b"vanished 7", b"failed 9 x", b"said 5 text", b"said " + b"9" * 100_000 + b" text"),
    ]
    assert [parser.hear(line) for line in answers] == [None] * len(answers)
    assert parser.hear(b"ended 0 3") == Ended("one", 3)


def test_of_what_a_host_says_of_a_component_little_is_kept(box: Box) -> None:
    parser = Parser(launches(box, "one"))
    for number in range(100_000):
        parser.hear(b"said 0 %d" % number)
    parser.hear(b"said 0 " + b"x" * 60_000)
    ended = parser.hear(b"ended 0 1")
    assert ended is not None
    assert ended.last_lines[:4] == ("99996", "99997", "99998", "99999")
    assert len(ended.last_lines[4]) == 4096


def test_of_a_long_line_in_a_log_the_end_is_told(box: Box) -> None:
    (one,) = launches(box, "one")
    Path(one.state, "exit").write_text("1\n")
    Path(one.state, "log").write_bytes(b"x" * 1_000_000 + b"the end\nlast\n")
    (ended,) = heard([one], box.ask(status_script([one])))
    assert ended.last_lines[-1] == "last"
    assert ended.last_lines[-2].endswith("xthe end")
    assert len(ended.last_lines[-2]) < 4096
