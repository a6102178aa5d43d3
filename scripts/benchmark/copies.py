"""Copying, measured: the tools take turns, so that a machine that gets slower does so for all."""

from __future__ import annotations

import contextlib
import os
import random
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from enum import Enum, auto

from benchmark.lab import IN_MEMORY, KIB, LIMIT_S, Failed, Lab, Reach, TooSlow
from benchmark.results import Line
from benchmark.tools import Job, Tool

SLOW_S = 20.0
"""A tool whose first run takes longer is not run again."""
OTHERS_LIMIT_S = 120.0
"""When a run of a tool that need not be measured is stopped."""
AT_REST_S = 3.0
"""fastrr remembers of a file only what it saw when that was 2 s old."""
EDIT_BYTES = 64 * KIB
EDIT_SHARE = 0.01


class Before(Enum):
    """What there is on the hosts before each run."""

    NOTHING = auto()
    THE_SAME = auto()
    AN_OLDER_VERSION = auto()
    """Of one file: 1 % of it has changed here since."""


@dataclass(frozen=True)
class Copying:
    """A row."""

    tree: str
    reach: Reach
    tools: Sequence[Tool]
    before: Before
    rounds: int
    unchanged: bool = False
    """Nothing may be copied."""
    in_memory: bool = False
    """Into a tmpfs: what a disk costs is the same for all tools, and differs from run to run."""
    during: Callable[[], AbstractContextManager[object]] = contextlib.nullcontext
    """Opened around the rounds, not around their preparation."""
    after_run: Callable[[Tool], None] = lambda _: None
    """Told of each run, also of that which warms the caches."""


@dataclass
class _Runs:
    job: Job
    tool: Tool
    seconds: list[float] = field(default_factory=list)
    note: str = ""
    over: bool = False

    def end(self, note: str) -> None:
        self.note, self.over = note, True


def measure(lab: Lab, copying: Copying) -> tuple[Line, ...]:
    """Run every tool in every round after one that warms the caches.

    A tool that fails has a note in place of figures. What is on the hosts is checked once.
    """
    place = IN_MEMORY if copying.in_memory else ""
    clear(copying.reach, f"{place}bench-*")
    all_runs = [
        _Runs(Job(lab, copying.tree, place + tool.slug, copying.reach), tool)
        for tool in copying.tools
    ]
    if copying.before is not Before.NOTHING:
        _fill(all_runs, warm=copying.unchanged)
    with copying.during():
        for number in range(copying.rounds + 1):
            if copying.before is Before.AN_OLDER_VERSION:
                edit(lab, copying.tree)
            for runs in all_runs:
                if not runs.over:
                    _one_run(copying, runs, number)
    clear(copying.reach, f"{place}bench-*")
    return tuple(Line(runs.tool.name, tuple(runs.seconds), runs.note) for runs in all_runs)


def clear(reach: Reach, directory: str) -> None:
    """Have these directories out of the way.

    Small files are only put aside, until the hosts go: to make files after others have been
    removed costs ext4 several times as much for the next minutes (it looks for inodes that were
    not in use recently, ext4/ialloc.c), and whoever comes next would pay for it.
    """
    if directory.startswith(IN_MEMORY):
        reach.on_all(f"rm -rf {directory}")
        return
    reach.on_all(
        f"mkdir -p .aside && for d in {directory}; do"
        " [ ! -e $d ] || mv $d .aside/$d-$(date +%s%N); done;"
        "find .aside -type f -size +1M -delete"
    )


def edit(lab: Lab, tree: str) -> None:
    """Write over 1 % of the only file of a tree, in pieces that are far from each other."""
    (path,) = (path for path in (lab.work / tree).rglob("*") if path.is_file())
    places = path.stat().st_size // EDIT_BYTES
    with path.open("r+b") as file:
        for place in random.sample(range(places), max(1, round(places * EDIT_SHARE))):
            file.seek(place * EDIT_BYTES)
            file.write(os.urandom(EDIT_BYTES))


def _fill(all_runs: Sequence[_Runs], *, warm: bool) -> None:
    """Let each tool bring about that nothing is left to do, and find that out for itself."""
    for runs in all_runs:
        with _failure_noted(runs):
            runs.job.lab.run((runs.tool.fills_by or runs.tool).command(runs.job))
    if warm:
        time.sleep(AT_REST_S)
        for runs in all_runs:
            if runs.tool.remembers and not runs.over:
                with _failure_noted(runs):
                    runs.job.lab.run(runs.tool.command(runs.job))


def _one_run(copying: Copying, runs: _Runs, number: int) -> None:
    tool, job = runs.tool, runs.job
    os.sync()  # what others have written is not to be paid for by this one
    with _failure_noted(runs):
        done = job.lab.run(tool.command(job), LIMIT_S if tool.patient else OTHERS_LIMIT_S)
        if copying.unchanged and tool.copied is not None and (count := tool.copied(done)):
            raise Failed(f"{count} files were copied, though nothing has changed")
        if number == 0 and not copying.unchanged:
            job.lab.verify(job.tree, job.to, job.reach)
        slow = number == 0 and done.seconds > SLOW_S and not tool.patient
        if slow:
            runs.end("run once only")
        if number or slow:
            runs.seconds.append(done.seconds)
        copying.after_run(tool)
    if copying.before is Before.NOTHING:
        clear(copying.reach, job.to)


@contextlib.contextmanager
def _failure_noted(runs: _Runs) -> Iterator[None]:
    """Let a tool that fails drop out, and the others go on."""
    try:
        yield
    except TooSlow:
        runs.end(f"stopped after {OTHERS_LIMIT_S:.0f} s")
    except Failed as error:
        runs.seconds.clear()
        runs.end("failed")
        runs.job.lab.fail(f"{runs.tool.name}: {error}")
