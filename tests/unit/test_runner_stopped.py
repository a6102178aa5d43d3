"""What becomes of a run that is interrupted, or runs out of time."""

from __future__ import annotations

import logging
import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from testbed.scripted import (
    ALL,
    PLANS,
    SILENT,
    STUCK,
    After,
    Answers,
    component,
    conduct,
    deployment,
    failed,
    until,
)

from fastrr.exitcodes import ExitCode
from fastrr.files.check import Checked
from fastrr.files.copy import CopyReport
from fastrr.model import Failure
from fastrr.run import deploy, pool


def interrupt() -> None:
    os.kill(os.getpid(), signal.SIGINT)


SILENCES = {
    "b Check": ("check", until("Check", Discard="abc")),
    "b Decide": ("check", until("Decide", Discard="abc")),
    "b EndSessions": ("check", until("EndSessions", Discard="abc")),
    "b CopyFiles": ("copy", until("CopyFiles", Discard="abc")),
    "b StartStage 1": ("start 1", until("StartStage 1")),
    "a Watch": ("watch", until("Watch")),
    "c Glance": ("watch", ALL),
}
"""Who is silent until the interrupt; in which step that is; and who is asked what in all."""


@pytest.mark.parametrize("what", SILENCES)
def test_an_interrupt_ends_the_run(what: str, caplog: pytest.LogCaptureFixture) -> None:
    step, steps = SILENCES[what]
    run = conduct(PLANS, {what: SILENT}, when={what: interrupt})
    assert run.steps == steps
    assert run.report.exit_code == ExitCode.INTERRUPTED
    assert failed(run) == {}
    assert run.report.hosts[what[0]].unfinished == step
    assert any(m.startswith(f"interrupted in the {step} step, before ") for m in caplog.messages)


@pytest.mark.parametrize("limit_s", [None, 0.4], ids=["an interrupt", "the time limit"])
def test_the_hashing_of_local_files_can_be_ended(tmp_path: Path, limit_s: float | None) -> None:
    """Of what takes seconds: nothing is asked of a host after them."""
    large = tmp_path / "large"
    large.touch()
    os.truncate(large, 5_000_000_000)
    plans = deployment(component("a", "main"), sources=[large])
    checked = {"a Check": Checked(("a",), (), unsettled=(str(large),))}
    if limit_s is None:
        timer = threading.Timer(0.2, interrupt)
        run = conduct(plans, checked, when={"a Check": timer.start})
        assert run.report.exit_code == ExitCode.INTERRUPTED
    else:
        run = conduct(plans, checked, time_limit_s=limit_s)
        assert run.report.exit_code == ExitCode.TIME_LIMIT
    assert run.steps == {"Check": "a", "Discard": "a"}


@pytest.fixture
def an_hour_passes(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Return what moves the coordinator's clock on."""
    real, passed = time.monotonic, [0]
    monkeypatch.setattr(time, "monotonic", lambda: real() + sum(passed))
    return lambda: passed.append(3600)


def test_the_time_limit_ends_the_run(
    caplog: pytest.LogCaptureFixture, an_hour_passes: Callable[[], None]
) -> None:
    silence = {"b CopyFiles": SILENT}
    run = conduct(PLANS, silence, when={"b CopyFiles": an_hour_passes}, time_limit_s=3600)
    assert run.steps == until("CopyFiles", Discard="abc")
    assert run.report.exit_code == ExitCode.TIME_LIMIT
    assert "the time limit passed in the copy step, before b had answered" in caplog.messages
    assert [row.unfinished for row in run.report.hosts.values()] == [None, "copy", None]


def test_the_time_limit_is_for_the_whole_run(an_hour_passes: Callable[[], None]) -> None:
    when = {"a Check": an_hour_passes, "a Watch": an_hour_passes}
    assert conduct(PLANS, {}, when=when, time_limit_s=7300).report.exit_code == ExitCode.OK
    run = conduct(PLANS, {"a Watch": After(0.1)}, when=when, time_limit_s=7100)
    assert run.steps == until("Watch")
    assert run.report.exit_code == ExitCode.TIME_LIMIT


def test_what_was_found_before_the_end_counts(
    caplog: pytest.LogCaptureFixture, an_hour_passes: Callable[[], None]
) -> None:
    run = conduct(
        PLANS,
        {
            "a CopyFiles": CopyReport(3, 30),
            "b CopyFiles": Failure("b", ("it broke",)),
            "c CopyFiles": SILENT,
        },
        when={"c CopyFiles": an_hour_passes},
        time_limit_s=3600,
    )
    assert (run.report.hosts["a"].copied, run.report.hosts["a"].bytes) == (3, 30)
    assert failed(run) == {"b": ["it broke"]}
    assert "b: it broke" in caplog.messages
    assert [row.unfinished for row in run.report.hosts.values()] == [None, None, "copy"]
    assert not [m for m in caplog.messages if ".fastrr-" in m], "c has cleaned up"


def test_a_host_that_is_stuck_keeps_nobody(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pool, "CANCEL_PATIENCE_S", 0.1)
    monkeypatch.setattr(deploy, "DISCARD_PATIENCE_S", 0.1)
    began = time.monotonic()
    run = conduct(PLANS, {"b CopyFiles": STUCK}, when={"b CopyFiles": interrupt})
    assert time.monotonic() - began < 10
    assert run.steps == until("CopyFiles", Discard="ac")
    assert run.report.exit_code == ExitCode.INTERRUPTED
    (left,) = [m for m in caplog.messages if ".fastrr-" in m]
    assert left.startswith("b: it did not answer any more: what was copied so far may be left")


def test_cleaning_up_heeds_no_further_interrupt() -> None:
    run = conduct(
        PLANS,
        {"b CopyFiles": SILENT, "b Discard": After(0.1)},
        when={"b CopyFiles": interrupt, "a Discard": interrupt},
    )
    assert Answers("b Discard") in run.events
    assert run.report.exit_code == ExitCode.INTERRUPTED


def test_now_and_then_it_is_said_who_is_waited_for(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pool, "WAITING_EVERY_S", 0.05)
    with caplog.at_level(logging.INFO):
        conduct(PLANS, {"b CopyFiles": After(0.4), "a Watch": After(0.2)})
    waiting = [m for m in caplog.messages if "still waiting" in m]
    assert [m for m in waiting if m.startswith("copy: still waiting for b (")]
    assert not [m for m in waiting if m.startswith("watch")], "components may run for days"
