"""What a person sees while a run is under way: lines, or bars on a terminal."""

from __future__ import annotations

import fcntl
import logging
import os
import pty
import re
import struct
import sys
import termios
import threading
from collections.abc import Iterator

import pytest

from fastrr.events import (
    Advanced,
    ComponentEnded,
    Event,
    Logged,
    Sent,
    Span,
    StepBegan,
    StepEnded,
)
from fastrr.ui import progress
from fastrr.ui.progress import LogHandler, PlainDisplay, TerminalDisplay, size

RUN: tuple[Event, ...] = (
    StepBegan("check", 2, "hosts"),
    Span("web", "connect", 10.0, 10.25),
    Advanced(1),
    Advanced(1),
    StepEnded(),
    StepBegan("copy", 3_000_000, "B"),
    Sent("web", 1_000_000),
    Logged(logging.WARNING, "web: slow disk"),
    Sent("db", 2_000_000),
    StepEnded(),
    StepBegan("watch", 1, "components"),
    ComponentEnded("web", "main", 0, True, "/state/main/log"),
    StepEnded(),
)


@pytest.fixture
def lines(caplog: pytest.LogCaptureFixture) -> Iterator[pytest.LogCaptureFixture]:
    with caplog.at_level(logging.DEBUG):
        yield caplog


def show(display: PlainDisplay, *events: Event) -> None:
    for event in events:
        display.show(event)


def told(lines: pytest.LogCaptureFixture, level: int = logging.INFO) -> list[str]:
    """The lines logged at a level, with their durations taken out."""
    return [
        re.sub(r"\d+\.\d\d s$", "T", record.getMessage())
        for record in lines.records
        if record.levelno == level
    ]


# Lines


def test_a_line_for_each_step(lines: pytest.LogCaptureFixture) -> None:
    show(PlainDisplay(), *RUN)
    assert told(lines) == ["check: 2 hosts in T", "copy: 3 MB in T", "watch: 1 components in T"]


def test_connections_are_for_those_who_debug(lines: pytest.LogCaptureFixture) -> None:
    show(PlainDisplay(), Span("web", "connect", 10.0, 10.25), Span("", "hash", 1.0, 3.0))
    assert [(r.levelno, r.getMessage()) for r in lines.records] == [
        (logging.DEBUG, "web: connect took 0.250 s"),
        (logging.DEBUG, "hash took 2.000 s"),
    ]


def test_what_workers_log_keeps_its_level_and_its_percent_signs(
    lines: pytest.LogCaptureFixture,
) -> None:
    show(PlainDisplay(), Logged(logging.WARNING, "disk 100 %s full"))
    assert told(lines, logging.WARNING) == ["disk 100 %s full"]


def test_a_long_step_is_told_of_now_and_then(
    lines: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 1000.0
    monkeypatch.setattr("fastrr.ui.progress.time.monotonic", lambda: now)
    display = PlainDisplay()
    display.show(StepBegan("copy", 4_000_000, "B"))
    for second in range(12):
        now = 1000.0 + second
        display.show(Sent("web", 250_000))
    display.show(StepEnded())
    assert [record.getMessage() for record in lines.records] == [
        "copy: 1.5 MB of 4 MB (38 %)",
        "copy: 2.75 MB of 4 MB (69 %)",
        "copy: 3 MB of 4 MB in 11.00 s",
    ]


def test_a_step_with_nothing_to_do_divides_by_no_zero(
    lines: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress, "TELL_EVERY_S", 0.0)
    show(PlainDisplay(), StepBegan("copy", 0, "B"), Sent("web", 1), StepEnded())
    assert told(lines) == ["copy: 0 B (100 %)", "copy: 0 B in T"]


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1 kB"),
        (12_345, "12.3 kB"),
        (999_499, "999 kB"),
        (999_999, "1 MB"),
        (256 * 1024**2, "268 MB"),
        (999_999_999, "1 GB"),
        (5 * 10**12, "5 TB"),
        (1234 * 10**12, "1.23e+03 TB"),
    ],
)
def test_sizes_have_three_digits(count: int, text: str) -> None:
    assert size(count) == text


def test_log_lines_read_level_and_message(capsys: pytest.CaptureFixture[str]) -> None:
    LogHandler().emit(logging.LogRecord("x", logging.ERROR, "", 0, "web: %s", ("down",), None))
    assert capsys.readouterr() == ("", "ERROR: web: down\n")


# Bars


class Terminal:
    """A pseudo-terminal that stands in for standard error."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._ours, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("4H", 24, 80, 0, 0))
        self._file = os.fdopen(theirs, "w")
        self._monkeypatch = monkeypatch

    def display(self) -> TerminalDisplay:
        """A display on this terminal. (pytest sets sys.stderr itself before each test.)"""
        self._monkeypatch.setattr(sys, "stderr", self._file)
        return TerminalDisplay()

    def shown(self) -> str:
        """Everything written so far."""
        self._file.flush()
        os.set_blocking(self._ours, False)
        text = b""
        while True:
            try:
                text += os.read(self._ours, 65536)
            except BlockingIOError:
                return text.decode()

    def close(self) -> None:
        self._file.close()
        os.close(self._ours)


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Iterator[Terminal]:
    terminal = Terminal(monkeypatch)
    yield terminal
    monkeypatch.undo()
    terminal.close()


def last_row(text: str) -> str:
    """What stands in the terminal's last row: what follows a carriage return overwrites."""
    return text.rsplit("\n", 1)[-1].rstrip("\r").rsplit("\r", 1)[-1].strip()


def test_a_bar_shows_the_step_and_how_far_it_is(terminal: Terminal) -> None:
    display = terminal.display()
    show(display, StepBegan("copy", 4_000_000, "B"), Sent("web", 1_000_000))
    assert display._bar is not None
    display._bar.refresh()
    row = last_row(terminal.shown())
    display.close()
    assert re.match(r"copy +:? *25%\|.*\| 1\.00M/4\.00M ", row), row


def test_a_log_line_stands_above_the_bar(terminal: Terminal) -> None:
    handler = LogHandler()
    handler.display = display = terminal.display()
    show(display, StepBegan("check", 3, "hosts"))
    handler.emit(logging.LogRecord("x", logging.WARNING, "", 0, "web: slow", (), None))
    text = terminal.shown()
    display.close()
    assert "WARNING: web: slow\r\n" in text
    assert re.match(r"check +: +0%\|.*0/3 ", last_row(text)), text


def test_nothing_of_a_bar_is_left_at_the_end_of_its_step(
    terminal: Terminal, lines: pytest.LogCaptureFixture
) -> None:
    display = terminal.display()
    show(display, *RUN)
    display.close()
    display.close()
    assert last_row(terminal.shown()) == ""
    assert told(lines) == ["check: 2 hosts in T", "copy: 3 MB in T", "watch: 1 components in T"]


def test_a_run_that_breaks_off_leaves_a_clean_terminal(terminal: Terminal) -> None:
    display = terminal.display()
    show(display, StepBegan("check", 3, "hosts"), Advanced(1))
    display.close()
    assert last_row(terminal.shown()) == ""


def test_bars_start_no_thread(terminal: Terminal) -> None:
    before = set(threading.enumerate())
    display = terminal.display()
    show(display, StepBegan("check", 3, "hosts"), Advanced(1))
    assert set(threading.enumerate()) == before
    display.close()


def test_a_step_with_nothing_to_do_has_no_bar(terminal: Terminal) -> None:
    display = terminal.display()
    show(display, StepBegan("copy", 0, "B"), Sent("web", 5), StepEnded())
    display.close()
    assert terminal.shown() == ""


NASTY = "\x1b\x1b[m\x1b[2J\x9b2J\x07\r\u202e\udc9b"


def logged(words: str, *arguments: str, error: Exception | None = None) -> None:
    """Log by nothing but the handler: pytest's own can't pass on such text."""
    info = (type(error), error, error.__traceback__) if error else None
    record = logging.LogRecord("test", logging.ERROR, "", 0, words, arguments, info)
    LogHandler().handle(record)


@pytest.mark.parametrize("how", ["a message", "an argument", "an exception"])
def test_nothing_that_is_logged_is_obeyed(how: str, capsys: pytest.CaptureFixture[str]) -> None:
    if how == "a message":
        logged(NASTY)
    elif how == "an argument":
        logged("%s", NASTY)
    else:
        logged("why", error=ValueError(NASTY))
    shown = capsys.readouterr().err
    assert {c for c in NASTY if c in shown} <= set("[m2J")
    assert "\\x1b\\x1b[m\\x1b[2J\\x9b2J\\x07\\x0d\\u202e\\x9b" in shown


def test_a_message_does_not_fill_the_screen(capsys: pytest.CaptureFixture[str]) -> None:
    logged("x" * 160_000_000)
    assert len(capsys.readouterr().err) < 5000
