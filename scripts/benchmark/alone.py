"""What only fastrr does, and what it needs of this machine."""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import Iterator

from benchmark.lab import Failed, Lab, Reach
from benchmark.results import Line
from benchmark.tools import Job, Tool, python_fastrr

SAMPLE_EVERY_S = 0.03
COMPONENTS = 6
STAGES = 2

START_CONFIG = """
c = Component(executable='/bin/sleep', args=['600'], base_dir='/tmp')
for c.host in extra_options.hosts.split(','):
    for n in range({components}):
        c.name, c.start_index = f'component {{n}}', n % {stages}
        config.add_component(c)
"""


def start(lab: Lab, reach: Reach, rounds: int) -> tuple[Line, ...]:
    """Take the time of a whole run that only starts components, and of its start steps."""
    config = lab.work / "bench-start.py"
    config.write_text(START_CONFIG.format(components=COMPONENTS, stages=STAGES))
    hosts = f"hosts={','.join(reach.names)}"
    command = python_fastrr("-F", str(reach.ssh_config), "-c", str(config), "-X", hosts)
    whole, steps = [], []
    for number in range(rounds + 1):
        done = lab.run(command)
        reach.on_all("screen -S runner -X quit")
        logged = [s.split() for s in done.stderr.splitlines() if s.startswith("INFO: start ")]
        if len(logged) != STAGES:
            raise Failed(f"fastrr has not told of {STAGES} start steps: {done.stderr}")
        if number:
            whole.append(done.seconds)
            steps.append(sum(float(words[-2]) for words in logged))
    return Line("fastrr, the whole run", tuple(whole)), Line("its start steps", tuple(steps))


def start_up(lab: Lab, rounds: int) -> tuple[Line, ...]:
    """Take the time until fastrr has said what it is, beside a Python that does nothing."""
    commands = {
        "fastrr --version": python_fastrr("--version"),
        "fastrr --help": python_fastrr("--help"),
        "python -c pass": f"{sys.executable} -c pass",
    }
    seconds: dict[str, list[float]] = {name: [] for name in commands}
    for number in range(rounds + 1):
        for name, command in commands.items():
            done = lab.run(command)
            if number:
                seconds[name].append(done.seconds)
    return tuple(Line(name, tuple(values)) for name, values in seconds.items())


def memory(lab: Lab, reach: Reach, tree: str, tools: list[Tool]) -> tuple[Line, ...]:
    """Find the most memory each tool has on this machine while it copies new files, in MB."""
    lines = []
    for tool in tools:
        command = tool.command(Job(lab, tree, tool.slug, reach))
        peak = 0
        began = time.monotonic()
        with lab.started(command) as process:
            while process.poll() is None:
                peak = max(peak, sum(_pss_bytes(pid) for pid in _family(process.pid)))
                time.sleep(SAMPLE_EVERY_S)
        lab.ended(command, process, time.monotonic() - began)
        lab.verify(tree, tool.slug, reach)
        reach.on_all(f"rm -rf {tool.slug}")
        lines.append(Line(tool.name, (peak / 1e6,)))
    return tuple(lines)


def _family(pid: int) -> Iterator[int]:
    """A process and all its descendants (proc_pid_task(5))."""
    yield pid
    for child in _children(pid):
        yield from _family(child)


def _children(pid: int) -> list[int]:

    children: list[int] = []
    with contextlib.suppress(OSError):  # processes end
        for thread in os.listdir(f"/proc/{pid}/task"):
            with open(f"/proc/{pid}/task/{thread}/children", encoding="ascii") as file:
                children += map(int, file.read().split())
    return children


def _pss_bytes(pid: int) -> int:
    """What a process has for itself, and its share of what it has together with others."""
    with contextlib.suppress(OSError), open(f"/proc/{pid}/smaps_rollup", encoding="ascii") as file:
        for line in file:
            if line.startswith("Pss:"):
                return int(line.split()[1]) * 1024
    return 0
