"""Where the time of a run went: a table for people, and trace events for Perfetto."""

from __future__ import annotations

import json
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import IO, Any

from fastrr.events import Event, Span, StepBegan, StepEnded
from fastrr.text import printable, shortened

ACTIVITIES = (
    *("connect", "check", "hash", "end sessions"),
    *("prepare", "copy", "verify", "start", "watch"),
)
"""Of hosts (and, for ``hash``, of the controller), in the order of a run."""

CONTROLLER = "(this machine)"
_LONGEST_S = 1e8


class Timings:
    """Takes note of what events say about time."""

    def __init__(self) -> None:
        self._began = time.monotonic()
        self._spans: list[Span] = []
        self._step: tuple[str, float] | None = None

    def take(self, event: Event) -> None:
        """Hear an event; most tell nothing about time."""
        match event:
            case Span() if 0 <= event.seconds < _LONGEST_S:  # some are as long as a host says
                event = _shown(event)
                self._spans.append(event)
            case StepBegan():
                self._step = (event.name, time.monotonic())
            case StepEnded():
                self._end_step()

    def _end_step(self) -> None:
        """Note a step as an activity of the controller that no host has."""
        if self._step is not None:
            name, began = self._step
            self._spans.append(Span("", f"step {name}", began, time.monotonic()))
        self._step = None

    def table(self) -> str:
        """Return a row a host and a column an activity, in seconds.

        What happens twice counts together; the hashing of a host is part of its check. The
        controller's row has the steps, each of which waits for the slowest host, and in ``hash``
        the time of all its threads together.
        """
        spent: dict[str, dict[str, float]] = defaultdict(lambda: defaultdict(float))
        for span in self._spans:
            spent[span.host or CONTROLLER][_column(span)] += span.seconds
        columns = [name for name in ACTIVITIES if any(name in row for row in spent.values())]
        hosts = [name for name in spent if name != CONTROLLER]
        names = [*hosts, *(name for name in spent if name == CONTROLLER)]
        rows = [("seconds", *columns), *(_row(name, spent[name], columns) for name in names)]
        widths = [max(len(row[n]) for row in rows) for n in range(len(rows[0]))]
        return "".join(f"{_line(row, widths)}\n" for row in rows)

    def write_trace(self, file: IO[str]) -> None:
        """Write the Trace Event Format: the JSON object format, with complete events.

        Source: "Trace Event Format", chromium.org. Microseconds since the run began.
        """
        self._end_step()
        rows = {"": 0}
        for span in self._spans:
            rows.setdefault(span.host, len(rows))
        events = [_name_of("process_name", 0, "fastrr")]
        events += [_name_of("thread_name", n, host or CONTROLLER) for host, n in rows.items()]
        events += [_name_of("thread_sort_index", n, n) for n in rows.values()]
        for number, span in enumerate(self._spans):
            events += self._events_of(span, rows[span.host], number)
        json.dump({"traceEvents": events, "displayTimeUnit": "ms"}, file)
        file.write("\n")

    def _events_of(self, span: Span, row: int, number: int) -> list[dict[str, Any]]:
        began, ended = ((t - self._began) * 1e6 for t in (span.began_s, span.ended_s))
        event: dict[str, Any] = {
            "name": span.activity,
            "cat": "host" if span.host else "run",
            "pid": 1,
            "tid": row,
        }
        if span.detail:
            event["args"] = {"detail": span.detail}
        if span.host or span.activity.startswith("step "):
            return [{**event, "ph": "X", "ts": round(began), "dur": round(ended - began)}]
        # Threads of the controller work side by side; what overlaps must be asynchronous.
        return [
            {**event, "ph": phase, "ts": round(at), "id": number}
            for phase, at in (("b", began), ("e", ended))
        ]


def _shown(span: Span) -> Span:
    host, activity, detail = map(printable, (span.host, span.activity, span.detail))
    return span._replace(host=host, activity=activity, detail=shortened(detail))


def _column(span: Span) -> str:
    """An activity, or the step it is called after: ``step start 2`` is ``start``."""
    return span.activity.removeprefix("step ").partition(" ")[0] if not span.host else span.activity


def _row(name: str, spent: Mapping[str, float], columns: list[str]) -> tuple[str, ...]:
    return (name, *(f"{spent[column]:.2f}" if column in spent else "" for column in columns))


def _line(row: Sequence[str], widths: Sequence[int]) -> str:
    numbers = (cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))
    return "  ".join((row[0].ljust(widths[0]), *numbers)).rstrip()


def _name_of(what: str, row: int, name: str | int) -> dict[str, Any]:
    key = "sort_index" if what.endswith("index") else "name"
    return {"name": what, "ph": "M", "pid": 1, "tid": row, "args": {key: name}}
