"""Where the time went, as a table and as trace events."""

from __future__ import annotations

import io
import json
import time
from typing import Any

import pytest

from fastrr.events import Advanced, Sent, Span, StepBegan, StepEnded
from fastrr.ui.timings import Timings


def test_a_row_a_host_and_a_column_an_activity(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr("fastrr.ui.timings.time.monotonic", lambda: now)
    timings = Timings()
    timings.take(StepBegan("start 1", 2, "components"))
    timings.take(Span("web", "connect", 100.0, 100.25))
    timings.take(Span("database", "connect", 100.0, 100.5))
    timings.take(Span("web", "start", 101.0, 101.5))
    timings.take(Span("web", "start", 102.0, 102.25))
    timings.take(Span("", "hash", 101.0, 103.0))
    timings.take(Sent("web", 1))
    timings.take(Advanced(1))
    now = 103.0
    timings.take(StepEnded())
    timings.take(StepEnded())  # no step is under way: nothing happens
    assert timings.table() == (
        "seconds         connect  hash  start\n"
        "web                0.25         0.75\n"
        "database           0.50\n"
        "(this machine)           2.00   3.00\n"
    )


def test_nothing_happened() -> None:
    assert Timings().table() == "seconds\n"


def traced(timings: Timings) -> list[dict[str, Any]]:
    file = io.StringIO()
    timings.write_trace(file)
    events = json.loads(file.getvalue())["traceEvents"]
    assert isinstance(events, list)
    return events


def test_trace_events_have_the_format_s_fields() -> None:
    timings = Timings()
    began = time.monotonic()
    timings.take(StepBegan("check", 1, "hosts"))
    timings.take(Span("web", "copy", began, began + 0.5, "3 files"))
    timings.take(Span("", "hash", began, began + 1.0))
    timings.take(Span("", "hash", began + 0.5, began + 1.5))
    events = traced(timings)
    names = {(e["name"], e["tid"]): e["args"] for e in events if e["ph"] == "M"}
    assert names["thread_name", 0] == {"name": "(this machine)"}
    assert names["thread_name", 1] == {"name": "web"}
    (copy,) = (e for e in events if e["name"] == "copy")
    assert (copy["ph"], copy["tid"], copy["dur"]) == ("X", 1, 500_000)
    assert 0 <= copy["ts"] < 1_000_000
    assert copy["args"] == {"detail": "3 files"}
    # The step was not ended: a run that was stopped has a trace, too.
    assert [e["ph"] for e in events if e["name"] == "step check"] == ["X"]
    hashes = [(e["ph"], e["id"]) for e in events if e["name"] == "hash"]
    assert [phase for phase, _ in hashes] == ["b", "e", "b", "e"]
    assert hashes[0][1] == hashes[1][1] != hashes[2][1] == hashes[3][1]


def test_nothing_is_obeyed_and_no_time_is_longer_than_time() -> None:
    timings = Timings()
    for seconds in (float("inf"), float("nan"), 1e300, -1.0, 0.5):
        timings.take(Span("we\x1bb", "check", 0.0, seconds, "d\x7f\x9b\u202e" + "x" * 100_000))
    assert timings.table() == "seconds  check\nwe\\x1bb   0.50\n"
    (span,) = [event for event in traced(timings) if event["ph"] == "X"]
    assert span["args"]["detail"].startswith("d\\x7f\\x9b\\u202ex")
    assert len(span["args"]["detail"]) < 3000
