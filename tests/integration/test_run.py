"""The whole command against real hosts: what a run does, and what it leaves."""

from __future__ import annotations

import json
import re
import subprocess
import sys

from conftest import Controller
from testbed import TestHost


def test_copies_starts_and_says_so(controller: Controller, hosts: list[TestHost]) -> None:
    controller.write("prog.sh", "#!/bin/sh\necho started with: $*\nsleep 60\n", 0o755)
    controller.config(
        """
        c = Component()
        c.name, c.executable, c.start_index, c.base_dir = 'main', 'prog.sh', 1, 'work'
        c.files = {'prog.sh': 'prog.sh'}
        for c.host in ('host1', 'host2'):
            config.add_component(c)
        """
    )
    result = controller.fastrr()
    assert result.status == 0, result
    for host in hosts:
        assert re.search(rf"^{host.name} +1 +0 +\d+ B +1 ", result.stdout, re.MULTILINE)
        assert [name.partition(".")[2] for name in host.sessions()] == ["runner"]
        assert host.sh("cat work/prog.sh").startswith("#!/bin/sh\necho started")
        assert host.sh("ps -o args= -p $(cat .local/state/fastrr/*/runner/main/pid)").strip() == (
            f"/bin/sh {host.home}/work/prog.sh"
        )

    again = controller.fastrr()
    assert again.status == 0
    for host in hosts:
        assert re.search(rf"^{host.name} +0 +1 +0 B +1 ", again.stdout, re.MULTILINE)


def test_where_the_time_went_is_told_and_traced(
    controller: Controller, hosts: list[TestHost]
) -> None:
    controller.write("prog.sh", "#!/bin/sh\nsleep 1\n", 0o755)
    controller.config(
        """
        c = Component(name='main', executable='prog.sh', start_index=1, base_dir='work')
        c.files, c.wait = {'prog.sh': 'prog.sh'}, True
        for c.host in ('host1', 'host2'):
            config.add_component(c)
        """
    )
    result = controller.fastrr("--timings", "--trace", "trace.json")
    assert result.status == 0, result
    heading = re.search(r"^seconds .*$", result.stdout, re.MULTILINE)
    assert heading is not None
    activities = ["connect", "check", "copy", "verify", "start", "watch"]
    assert [word for word in heading[0].split() if word in activities] == activities
    for name in (*(host.name for host in hosts), r"\(this machine\)"):
        assert re.search(rf"^{name} +\d", result.stdout, re.MULTILINE)

    events = json.loads((controller.directory / "trace.json").read_text())["traceEvents"]
    for host in hosts:
        (row,) = (e["tid"] for e in events if e["ph"] == "M" and e["args"] == {"name": host.name})
        of_host = [e for e in events if e["ph"] == "X" and e["tid"] == row]
        assert sorted(e["name"] for e in of_host) == sorted(activities)
        copy, verify = (next(e for e in of_host if e["name"] == n) for n in ("copy", "verify"))
        assert copy["ts"] <= verify["ts"] + 10_000  # a part of it; told by a slower clock
        of_host.remove(verify)
        ends = [e["ts"] + e["dur"] for e in of_host]
        assert all(end <= e["ts"] + 1000 for end, e in zip(ends, of_host[1:], strict=False))
        assert of_host[-1]["dur"] >= 90_000

    trouble = controller.fastrr("--trace", "no/such/directory/trace.json")
    assert trouble.status == 2
    assert "directory/trace.json: it can't be written: No such file" in trouble.stderr


THREADS_BEFORE_FORKS = """
import os, runpy, sys, threading

threads, before_forks = [], []
start = threading.Thread.start
def note_and_start(thread):
    threads.append(thread.name)
    start(thread)
threading.Thread.start = note_and_start
os.register_at_fork(before=lambda: before_forks.append(list(threads)))
try:
    runpy.run_module("fastrr", run_name="__main__")
except SystemExit as ended:
    print(ended.code, before_forks)
"""


def test_no_thread_has_been_there_when_workers_are_forked(
    controller: Controller, hosts: list[TestHost]
) -> None:
    """They inherit locks as they are, and a thread that was joined may still hold one."""
    controller.write("f", "x")
    controller.config(
        """
        c = Component(name='a', executable='/bin/true', base_dir='work', start_index=1)
        c.files = {'f': 'f'}
        for c.host in ('host1', 'host2'):
            config.add_component(c)
        """
    )
    _, _, _, *options = controller.command("-c", controller.directory / "config.py", "--jobs", "2")
    done = subprocess.run(
        [sys.executable, "-c", THREADS_BEFORE_FORKS, *options],
        env=controller.environment,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.splitlines()[-1] == "0 [[], []]", done
