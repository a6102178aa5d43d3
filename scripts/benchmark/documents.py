"""The results as docs/benchmarks.md. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from benchmark.chart import TITLE
from benchmark.copies import OTHERS_LIMIT_S, SLOW_S
from benchmark.results import BASELINE, Line, Results, Row, rounded, shown

GROUPS = {
    "large file": (
        "One large file",
        "A file of random bytes goes to all hosts at once.",
    ),
    "small files": (
        "Many small files",
        "Files of 4 KiB, 100 in a directory.",
    ),
    "changed parts": (
        "Changed parts of a large file, on a slow network",
        """\
1 % of the file, in pieces of 64 KiB all over it, is written anew before each round. All hosts
together get 100 Mbit/s (`tc` with a token bucket filter on the bridge of their network).""",
    ),
    "far away": (
        "Hosts far away",
        """\
A proxy between here and the hosts delays what is sent by 25 ms in either direction, and does not
limit its rate. What many files need more than few shows whether each has to wait for an answer.
*Round trips* are the longest chain of pieces on one connection that each were sent after the one
before had arrived, whether or not they had to wait for it: an upper bound. Connecting and logging
in are part of it.""",
    ),
    "many hosts": (
        "Many hosts",
        """\
The hosts run on the machine that everything else runs on: this is also about what they cost it.""",
    ),
    "starting": (
        "Starting components",
        """\
Nothing is copied: six components a host are started in `screen`, half of them when all of the
first half run.""",
    ),
    "start-up": (
        "Start-up of the command",
        "Of a process that only says what it is, beside a Python that does nothing.",
    ),
    "memory": (
        "Memory of this machine",
        """\
The most that all processes of a tool together had at any time, as the sum of their proportional
set sizes (PSS), looked at every 30 ms in one run.""",
    ),
}  # fmt: skip
"""Headings and explanations, in the order of the document."""

INTRODUCTION = f"""\
# Benchmarks

`make bench` has measured this and written this page.

**Ratios matter, absolute times do not:** everything, the hosts too, ran on one small machine that
may have had other things to do. The figures are medians with the least and the most of all runs;
the ratio is that of the median to the median of `{BASELINE}` (below 1: faster).

![{TITLE}](benchmarks.svg)

## What was measured

- Each tool has its own destination on the hosts. `fastrr` is `fastrr --copy-only` with a config
  that lists the hosts; `rsync`, and `tar` without any checks, run for all hosts at once by
  `xargs -P`. `ansible` is its module `copy` with as many forks as hosts and with pipelining,
  `pyinfra` its operation `files.sync`. All use the same ssh configuration and keys.
- The tools take turns, round after round, after one round that warms the caches. A tool (other
  than fastrr and `{BASELINE}`) whose first run took over {SLOW_S:.0f} s was run once only, and
  stopped after {OTHERS_LIMIT_S:.0f} s.
- *new*: there is nothing at the destination; it is removed after each run. *unchanged*: everything
  is there, by an earlier run (for ansible and pyinfra, one of rsync). fastrr had one more run 3 s
  later: it remembers digests only of files that have been at rest for 2 s. `--rehash` ignores what
  it remembers, as `rsync -ac` reads all files. *--always-copy*: everything is there and is copied
  anyway: rsync with `--ignore-times` finds out what is the same after all, and does not send it;
  with `--whole-file` it sends everything, as fastrr does with small files.
- A command that fails is no measurement. After new and changed files were copied, their checksums
  on the hosts were compared with those here, once for each tool; and fastrr had to say that it had
  copied nothing where nothing had changed.
"""


def markdown(results: Results) -> str:
    """Return the page."""
    return "\n".join(_sections(results))


def _sections(results: Results) -> Iterator[str]:
    yield INTRODUCTION
    yield from _about(results)
    for group, (title, explanation) in GROUPS.items():
        rows = results.of_group(group)
        if rows:
            yield f"## {title}\n\n{explanation}\n"
            yield _table(rows)
            for row in rows:
                if row.text:
                    yield f"Where the time of one run ({row.name}) went:\n\n```\n{row.text}\n```\n"
    skipped = [f"- {note}" for notes in results.notes.values() for note in notes]
    if skipped:
        yield "## What was skipped\n\n" + "\n".join(skipped) + "\n"


def _about(results: Results) -> Iterator[str]:
    about = dict(results.about)
    dates = sorted({row.date for row in results.rows if row.date})
    if dates:
        about["measured"] = " to ".join(dict.fromkeys((dates[0], dates[-1])))
    commits = dict.fromkeys(row.commit for row in results.rows if row.commit)
    if commits:
        about["commit"] = ", ".join(commits)
    lines = [f"| {name} | {value} |" for name, value in about.items()]
    yield "\n".join(("| with | |", "| --- | --- |", *lines)) + "\n"


def _table(rows: list[Row]) -> str:
    ratios = any(row.ratio(line) is not None for row in rows for line in row.lines)
    headings = ["work", "hosts", "tool", "median", "least to most"]
    headings += [f"ratio to `{BASELINE}`"] if ratios else []
    lines = [headings, ["---", "---", "---", "--:", "--:", "--:"][: len(headings)]]
    for row in rows:
        for number, line in enumerate(row.lines):
            cells = [row.name, str(row.hosts or "")] if number == 0 else ["", ""]
            lines.append([*cells, f"`{line.tool}`", *_figures(row, line, ratios=ratios)])
    return "".join(f"| {' | '.join(_escaped(cell) for cell in line)} |\n" for line in lines)


def _figures(row: Row, line: Line, *, ratios: bool) -> list[str]:
    ratio = row.ratio(line)
    if not line.values:
        cells = [line.note, "", ""]
    else:
        spread = " to ".join(rounded(x, row.unit) for x in (min(line.values), max(line.values)))
        note = f" ({line.note})" if line.note else ""
        cells = [shown(line.median, row.unit) + note, "" if len(line.values) == 1 else spread]
        cells.append("1" if line is row.baseline else "" if ratio is None else f"{ratio:.2f}")
    return cells if ratios else cells[:2]


def _escaped(cell: str) -> str:
    return cell.replace("|", "\\|")
