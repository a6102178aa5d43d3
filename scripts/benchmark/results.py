"""What was measured, as values, and the file they are kept in. Pure but for that file."""

from __future__ import annotations

import json
import statistics
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path

BASELINE = "rsync -a"


def is_baseline(tool: str) -> bool:
    """Whether others are compared with it: rsync -a, and that with options for what is wanted."""
    return tool == BASELINE or tool.startswith(f"{BASELINE} ")


class Skipped(Exception):
    """Something can't be measured here; says why."""


@dataclass(frozen=True)
class Line:
    """What one tool needed for the work of a row."""

    tool: str
    values: tuple[float, ...]
    """One of each run. None: see the note."""
    note: str = ""

    @property
    def median(self) -> float:
        return statistics.median(self.values)


@dataclass(frozen=True)
class Row:
    """One piece of work for some hosts, and what each tool needed for it."""

    group: str
    """Key of `benchmark.documents.GROUPS`."""
    name: str
    hosts: int
    lines: tuple[Line, ...]
    unit: str = "s"
    place: int = 0
    """Among the rows of all groups."""
    text: str = ""
    """Shown below the table, as it is."""
    date: str = ""
    commit: str = ""

    def line(self, tool: str) -> Line | None:
        """What a tool needed, if it was measured."""
        found = (line for line in self.lines if line.tool == tool and line.values)
        return next(found, None)

    @property
    def baseline(self) -> Line | None:
        """What the others are compared with: the first of its kind."""
        found = (line for line in self.lines if is_baseline(line.tool) and line.values)
        return next(found, None)

    def ratio(self, line: Line) -> float | None:
        """What a tool needed, by what the baseline needed; None where that says nothing."""
        if self.unit not in {"s", "MB"} or self.baseline is None or not line.values:
            return None
        return line.median / self.baseline.median if self.baseline.median else None


@dataclass
class Results:
    """All rows, of one or several runs of the benchmark, and what they were measured with."""

    rows: list[Row] = field(default_factory=list)
    about: dict[str, str] = field(default_factory=dict)
    """The machine and the versions, as last seen."""
    notes: dict[str, list[str]] = field(default_factory=dict)
    """What was skipped and why, by what asked for it."""

    def put(self, rows: Iterable[Row]) -> None:
        """Take rows in, in the place of earlier ones of the same work."""
        for row in rows:
            kept = [r for r in self.rows if (r.group, r.name) != (row.group, row.name)]
            self.rows = sorted([*kept, row], key=lambda r: r.place)

    def of_group(self, group: str) -> list[Row]:
        return [row for row in self.rows if row.group == group]

    def save(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        beside = path.with_suffix(".new")
        beside.write_text(json.dumps(asdict(self), indent=1) + "\n")
        beside.replace(path)


def load(path: Path) -> Results:
    """Read what `Results.save` has written; nothing where there is no such file."""
    if not path.exists():
        return Results()
    kept = json.loads(path.read_text())
    rows = [
        Row(**{**row, "lines": tuple(_line(line) for line in row["lines"])}) for row in kept["rows"]
    ]
    return Results(rows, kept["about"], kept["notes"])


def _line(kept: dict[str, object]) -> Line:
    values = kept["values"]
    assert isinstance(values, list)
    return Line(str(kept["tool"]), tuple(float(value) for value in values), str(kept["note"]))


def rounded(value: float, unit: str) -> str:
    """A number with as many digits as are worth something."""
    digits = 2 if unit.startswith("s") and value < 100 else 1 if unit else 0
    return f"{value:.{digits}f}"


def shown(value: float, unit: str) -> str:
    """A number with its unit."""
    return f"{rounded(value, unit)} {unit}".rstrip()


def one_line(row: Row) -> str:
    """A row as the terminal shows it."""
    cells = []
    for line in row.lines:
        ratio = row.ratio(line)
        beside = f" ({ratio:.2f})" if ratio is not None and not is_baseline(line.tool) else ""
        value = shown(line.median, row.unit) if line.values else "-"
        note = f" [{line.note}]" if line.note else ""
        cells.append(f"{line.tool} {value}{beside}{note}")
    return f"{row.group}: {row.name}\n    " + "\n    ".join(cells)
