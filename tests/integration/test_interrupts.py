"""Ctrl-C, once and again, and worse: what is left behind, and what goes on."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pytest
from conftest import Controller
from testbed import TestHost
from testbed.shells import eventually

COPYING = """
c = Component(name='main', executable='/bin/sleep', args=['60'], start_index=1)
c.files = {'f': 'f'}
for c.host in ('host1', 'host2'):
    config.add_component(c)
"""
"""To a temporary base_dir."""

WATCHING = """
c = Component(name='main', executable='/bin/sleep', args=['60'], start_index=1, wait=True)
c.base_dir = '/tmp'
for c.host in ('host1', localhost):
    config.add_component(c)
"""

SLOW_TAR = """\
#!/bin/sh
perl -e 'while (sysread STDIN, $_, 1 << 16) { syswrite STDOUT, $_; select $x, $x, $x, 0.2 }' |
    /usr/bin/tar "$@"
"""
"""A third of a megabyte a second; bash reads .bashrc, whatever ssh is to run, and so finds it."""


@dataclass
class Running:
    """fastrr, under way."""

    process: subprocess.Popen[bytes]
    log_file: Path

    @property
    def log(self) -> str:
        return self.log_file.read_text()

    @property
    def workers(self) -> list[int]:
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        return [int(pid) for pid in children.read_text().split()]

    def wait_until(self, due: Callable[[], object]) -> None:
        def due_or_ended() -> object:
            assert self.process.poll() is None, self.log
            return due()

        eventually(due_or_ended, 60)

    def signal(self, number: signal.Signals) -> None:
        """Send it to all processes, as a terminal does."""
        os.killpg(self.process.pid, number)

    def ends(self) -> int:
        return self.process.wait(60)


@pytest.fixture
def start(controller: Controller) -> Iterator[Callable[..., Running]]:
    """Return what starts fastrr with a config."""
    started: list[subprocess.Popen[bytes]] = []

    def start(config: str, *options: str) -> Running:
        controller.config(config)
        log = controller.directory / "log"
        with log.open("wb") as file:
            process = subprocess.Popen(
                controller.command("-c", controller.directory / "config.py", *options),
                env=controller.environment,
                stdout=file,
                stderr=file,
                start_new_session=True,
            )
        started.append(process)
        return Running(process, log)

    yield start
    for process in started:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


@pytest.fixture
def slow_hosts(controller: Controller, hosts: list[TestHost]) -> list[TestHost]:
    """Hosts that take a minute for a file."""
    (controller.directory / "f").write_bytes(bytes(20_000_000))
    for host in hosts:
        host.sh(f"echo 'PATH=~/bin:$PATH' >.bashrc; mkdir bin; cat >bin/tar <<'E'\n{SLOW_TAR}E\n")
        host.sh("chmod 755 bin/tar")
    return hosts


@pytest.fixture
def copying(slow_hosts: list[TestHost], start: Callable[..., Running]) -> Running:
    """fastrr, in the middle of copying."""
    running = start(COPYING, "--jobs", "2")
    arriving = 'find "${TMPDIR:-/tmp}"/fastrr-runner-main.* -type f -size +100k'
    running.wait_until(lambda: all(host.run(arriving).stdout for host in slow_hosts))
    return running


def left_on(host: TestHost) -> str:
    """What a run that started nothing should not have left."""
    return host.sh("find . \"${TMPDIR:-/tmp}\" -name '*fastrr-*'")


@pytest.mark.parametrize(
    "signals",
    [(signal.SIGINT,), (signal.SIGINT, signal.SIGTERM), (signal.SIGHUP,)],
    ids=["once", "twice", "the terminal is closed"],
)
def test_nothing_is_left_of_a_copy_that_was_interrupted(
    copying: Running, hosts: list[TestHost], signals: tuple[signal.Signals, ...]
) -> None:
    for number in signals:
        copying.signal(number)
    assert copying.ends() == 130, copying.log
    assert "copy: " not in copying.log, "all was copied before the signal came"
    assert "interrupted in the copy step, before " in copying.log
    assert "FAILED" not in copying.log
    assert copying.log.count("  stopped in the copy step\n") >= 1
    for host in hosts:
        assert left_on(host) == ""


def test_the_third_interrupt_ends_it(copying: Running, hosts: list[TestHost]) -> None:
    """Whatever is left then: there has to be a way."""
    workers = copying.workers
    assert len(workers) == 2
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        copying.signal(number)
    assert copying.ends() == 130, copying.log
    assert copying.log.splitlines()[-1] == "ERROR: interrupted"
    assert "Traceback" not in copying.log
    assert not [pid for pid in workers if os.path.exists(f"/proc/{pid}")]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_what_was_to_be_replaced_is_still_there(
    slow_hosts: list[TestHost], start: Callable[..., Running], number: signal.Signals
) -> None:
    for host in slow_hosts:
        host.sh("mkdir work; echo old >work/f")
    running = start(COPYING.replace("c.files", "c.base_dir = 'work'\nc.files"), "-l", "DEBUG")
    arriving = "find work -path '*/.fastrr-*/*' -type f -size +100k"
    running.wait_until(lambda: all(host.run(arriving).stdout for host in slow_hosts))
    running.process.send_signal(number)
    assert running.ends() == 130, running.log
    assert "copy: " not in running.log, "all was copied before the signal came"
    assert "interrupted" in running.log
    assert "Traceback" not in running.log
    for host in slow_hosts:
        assert host.sh("cat work/f; ls -A work") == "old\nf\n"


def test_components_that_are_watched_run_on(
    hosts: list[TestHost], start: Callable[..., Running], controller: Controller
) -> None:
    running = start(WATCHING)
    running.wait_until(lambda: "start 1: 2 components" in running.log)
    running.process.send_signal(signal.SIGINT)
    assert running.ends() == 130, running.log
    assert hosts[0].run(f"kill -0 {hosts[0].state('main', 'pid').strip()}").status == 0
    assert len(controller.local_sessions()) == 1


def test_workers_end_when_the_coordinator_is_killed(
    hosts: list[TestHost], start: Callable[..., Running], controller: Controller
) -> None:
    """What has been started goes on; nobody is left to be told of it."""
    running = start(WATCHING, "--jobs", "1")
    running.wait_until(lambda: "start 1: 2 components" in running.log)
    workers = running.workers
    assert len(workers) == 1
    running.process.kill()
    running.ends()
    eventually(lambda: not [pid for pid in workers if os.path.exists(f"/proc/{pid}")])
    assert hosts[0].run(f"kill -0 {hosts[0].state('main', 'pid').strip()}").status == 0
    assert len(controller.local_sessions()) == 1
