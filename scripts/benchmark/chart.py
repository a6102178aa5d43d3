"""The main results as an SVG picture: bars from 1, which is what rsync -a needs. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from html import escape

from benchmark.results import BASELINE, Line, Results, Row, is_baseline, rounded

TITLE = f"Time that fastrr and others take, relative to {BASELINE}"
WIDTH = 840
NAMES_END = 282
AXIS_BEGIN, AXIS_END = 372, 736
"""Values stand beside the ends of bars: there is room for them on both sides."""
BAR, GAP = 17, 13
LEAST_BARS = 2
"""What the two lines of a caption take."""
TOP = 76

MAIN_ROWS = {
    ("large file", ", new"): "",
    ("large file", ", unchanged"): "",
    ("small files", ", new"): "",
    ("small files", ", unchanged"): "",
    ("changed parts", ""): ", 100 Mbit/s",
    ("far away", "KiB, new"): ", 50 ms round trips",
    ("far away", "KiB, unchanged"): ", 50 ms round trips",
    ("many hosts", ", new"): "",
    ("many hosts", ", unchanged"): "",
}
"""What is shown, by group and the end of the name, and what to add to that name. Of several rows
that fit it is the last."""

STYLE = """
text { font: 12px system-ui, -apple-system, "Segoe UI", sans-serif; fill: #1f2328 }
.title { font-size: 15px; font-weight: 600 }
.caption { font-weight: 600 }
.value, .tick, .hint { fill: #59636e }
.own { fill: #0969da }
.other { fill: #9aa4ae }
line { stroke: #59636e; stroke-width: 1 }
@media (prefers-color-scheme: dark) {
  text { fill: #e6edf3 }
  .value, .tick, .hint { fill: #9198a1 }
  .own { fill: #4493f8 }
  .other { fill: #656c76 }
  line { stroke: #9198a1 }
}
"""


@dataclass(frozen=True)
class _Scale:
    """Equal ratios are equal distances: half the time is as long as twice the time."""

    least: float
    most: float

    def x(self, ratio: float) -> float:
        share = math.log(ratio / self.least) / math.log(self.most / self.least)
        return AXIS_BEGIN + share * (AXIS_END - AXIS_BEGIN)

    def ticks(self) -> list[float]:
        steps = range(round(math.log2(self.least)), round(math.log2(self.most)) + 1)
        return [2.0**step for step in steps]


def svg(results: Results) -> str:
    """Return the picture."""
    rows = _main_rows(results)
    scale = _scale(row.ratio(line) for _, row in rows for line in _bars(row))
    body: list[str] = []
    y = TOP
    for addition, row in rows:
        body.append(_text(8, y + 12, row.name, "caption"))
        body.append(_text(8, y + 12 + BAR, f"{row.hosts} hosts{addition}", "hint"))
        bars = _bars(row)
        for number, line in enumerate(bars):
            body += _bar(y + number * BAR, row, line, scale)
        y += max(LEAST_BARS, len(bars)) * BAR + GAP
    return "\n".join((*_frame(y), *_axis(scale, y - GAP + 4), *body, "</svg>", ""))


def _main_rows(results: Results) -> list[tuple[str, Row]]:
    """Return rows with what is to be added to their names."""
    found = []
    for (group, end), addition in MAIN_ROWS.items():
        rows = [row for row in results.of_group(group) if row.name.endswith(end) and _bars(row)]
        found += [(addition, row) for row in rows[-1:]]
    return found


def _bars(row: Row) -> list[Line]:
    """Return fastrr as it is by default, and the others."""
    own = [line for line in row.lines if line.tool.startswith("fastrr")][:1]
    others = [x for x in row.lines if not (x.tool.startswith("fastrr") or is_baseline(x.tool))]
    return [line for line in (*own, *others) if line.note or row.ratio(line) is not None]


def _scale(ratios: Iterable[float | None]) -> _Scale:
    logs = [math.log2(ratio) for ratio in ratios if ratio]
    return _Scale(2.0 ** math.floor(min([-2, *logs])), 2.0 ** math.ceil(max([2, *logs])))


def _frame(height: int) -> list[str]:
    size = f'viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}"'
    return [
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img">',
        f"<title>{escape(TITLE)}</title>",
        f"<style>{STYLE}</style>",
        _text(8, 20, TITLE, "title"),
    ]


def _axis(scale: _Scale, bottom: int) -> list[str]:
    one = scale.x(1)
    parts = [
        _text(one - 8, TOP - 34, "← less time", "hint", "end"),
        _text(one + 8, TOP - 34, "more time →", "hint"),
        f'<line x1="{one:.1f}" y1="{TOP - 7}" x2="{one:.1f}" y2="{bottom}"/>',
    ]
    for tick in scale.ticks():
        x, name = scale.x(tick), f"{tick:g}" if tick >= 1 else f"1/{1 / tick:g}"
        parts.append(_text(x, TOP - 15, name, "tick", "middle"))
        parts.append(f'<line x1="{x:.1f}" y1="{TOP - 11}" x2="{x:.1f}" y2="{TOP - 7}"/>')
    return parts


def _bar(y: int, row: Row, line: Line, scale: _Scale) -> list[str]:
    """Draw a bar with its name and value; of what has no value, say why."""
    own = line.tool.startswith("fastrr")
    name = _text(NAMES_END, y + 12, "fastrr" if own else line.tool, "name", "end")
    ratio = row.ratio(line)
    if ratio is None:
        return [name, _text(scale.x(1) + 5, y + 12, line.note, "value")]
    begin, end = sorted((scale.x(1), scale.x(ratio)))
    shape = f'x="{begin:.1f}" y="{y + 2}" width="{max(1.0, end - begin):.1f}" height="{BAR - 4}"'
    value = f"{ratio:.2f}" if ratio < 10 else f"{ratio:.0f}"
    beside, anchor = (begin - 5, "end") if ratio < 1 else (end + 5, "start")
    return [
        name,
        f'<rect {shape} rx="2" class="{"own" if own else "other"}"/>',
        _text(beside, y + 12, f"{value} ({rounded(line.median, row.unit)} s)", "value", anchor),
    ]


def _text(x: float, y: float, text: str, kind: str, anchor: str = "start") -> str:
    return f'<text x="{x:.1f}" y="{y}" class="{kind}" text-anchor="{anchor}">{escape(text)}</text>'
