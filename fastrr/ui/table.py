"""The table at the end of a run. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from fastrr.run.report import HostReport, RunReport
from fastrr.text import ALL_CHARS, printable
from fastrr.ui.progress import size

HEADINGS = ("host", "copied", "unchanged", "sent", "started", "seconds", "")


def table(report: RunReport) -> str:
    """Return a row a host: what was done there in which time, or why not."""
    rows = [HEADINGS, *(_row(host) for host in report.hosts.values())]
    widths = [max(len(row[column]) for row in rows) for column in range(len(HEADINGS) - 1)]
    return "".join(f"{_line(row, widths)}\n" for row in rows)


def _row(host: HostReport) -> tuple[str, ...]:
    failure = ""
    if host.failures:
        more = f" (and {len(host.failures) - 1} more)" if len(host.failures) > 1 else ""
        failure = f"FAILED: {_shortened(host.failures[0])}{more}"
    elif host.unfinished:
        failure = f"stopped in the {host.unfinished} step"
    return (
        printable(host.host),
        str(host.copied),
        str(host.unchanged),
        size(host.bytes),
        str(host.started),
        f"{host.seconds:.2f}",
        failure,
    )


def _shortened(text: str, length: int = 72) -> str:
    text = printable(" ".join(text[:ALL_CHARS].split()))
    return text if len(text) <= length else f"{text[: length - 1].rstrip()}…"


def _line(row: Sequence[str], widths: Sequence[int]) -> str:
    name, *numbers, failure = row
    cells = [name.ljust(widths[0])]
    cells += [number.rjust(width) for number, width in zip(numbers, widths[1:], strict=True)]
    return "  ".join((*cells, failure)).rstrip()
