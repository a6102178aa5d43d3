"""Two machines behind one name, with one host key: each connection may reach the other one."""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from itertools import chain, repeat
from pathlib import Path

import pytest
from conftest import Controller
from testbed import Bed, TestHost
from testbed.bed import FULL, Result
from testbed.docker_bed import DockerBed, DockerHost
from testbed.shells import eventually

MEGABYTE = 1_000_000
LARGE = 60 * MEGABYTE
"""Sent by a second connection."""

COPYING = """
config.add_component(Component(
    executable='/bin/true', host='twins', start_index=1, name='main', base_dir='{home}/work',
    files={{'large': 'large', 'small': 'small'}},
))
"""
WATCHING = """
config.add_component(Component(
    executable='/bin/sh', args=['-c', 'until [ -e {home}/go ]; do sleep 0.1; done; exit 7'],
    host='twins', start_index=1, name='main', base_dir='{home}', wait=True,
))
"""


class Name:
    """A port that leads to one machine or the other, as it likes."""

    def __init__(self) -> None:
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._server.getsockname()[1]
        self.turns: Iterator[Callable[[], str]] = iter(())
        self.count = 0
        """Of connections so far."""
        self._open: list[socket.socket] = []
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                ours, _ = self._server.accept()
            except OSError:
                return
            self.count += 1
            try:
                theirs = socket.create_connection((next(self.turns)(), 22), 5)
                theirs.settimeout(None)
            except (OSError, StopIteration):
                ours.close()
                continue
            self._open += [ours, theirs]
            for one, other in ((ours, theirs), (theirs, ours)):
                threading.Thread(target=_pass_on, args=(one, other), daemon=True).start()

    def cut(self) -> None:
        for one in self._open:
            _shut(one)
        self._open.clear()

    def close(self) -> None:
        _shut(self._server)
        self._server.close()
        self.cut()


def _pass_on(one: socket.socket, other: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while piece := one.recv(1 << 16):
            other.sendall(piece)
    _shut(one)
    _shut(other)


def _shut(one: socket.socket) -> None:
    with contextlib.suppress(OSError):
        one.shutdown(socket.SHUT_RDWR)


@pytest.fixture(scope="module")
def machines(session_bed: Bed) -> Iterator[list[DockerHost]]:
    """Two containers of one image, with one node name, one host key, on one kernel."""
    if not isinstance(session_bed, DockerBed):
        pytest.skip("would be done to this machine")
    twins = [session_bed.start("twin", FULL) for _ in range(2)]
    try:
        for twin in twins:
            twin.wait_until_up()
        key = "/etc/ssh/ssh_host_ed25519_key"
        for path in (key, f"{key}.pub"):
            content = twins[0].sh(f"cat {path}", user="root")
            twins[1].sh(f"cat >{path} <<'END'\n{content}END\n", user="root")
        twins[1].sh("kill -HUP 1", user="root")
        twins[1].wait_until_up()
        yield twins
    finally:
        for twin in twins:
            twin.close()


@pytest.fixture
def twins(machines: list[DockerHost]) -> list[DockerHost]:
    for twin in machines:
        twin.reset()
    return machines


@pytest.fixture
def name(bed: Bed) -> Iterator[Name]:
    """What is called ``twins`` in ssh's configuration."""
    name = Name()
    config = Path(bed.ssh_config)
    config.write_text(
        f"Host twins\n  HostName 127.0.0.1\n  Port {name.port}\n  User tester\n"
        + config.read_text()
    )
    yield name
    name.close()


def by(*machines: TestHost) -> Iterator[Callable[[], str]]:
    """Turns: one after the other, and then the last one always."""
    addresses = [lambda machine=machine: machine.address for machine in machines]
    return chain(addresses, repeat(addresses[-1]))


def write(controller: Controller, home: str) -> None:
    (controller.directory / "large").write_bytes(os.urandom(LARGE))
    controller.write("small", os.urandom(8).hex())
    controller.config(COPYING.format(home=home))


def assert_copied(result: Result, controller: Controller, right: TestHost, wrong: TestHost) -> None:
    assert result.status == 0, result
    for file in ("large", "small"):
        ours = controller.directory / file
        assert right.sh(f"sha1sum <work/{file}") == controller_sha1(ours)
    assert right.sh("ls -A work").split() == ["large", "small"]
    assert wrong.sh("find . -path ./.ssh -prune -o -type f -print") == ""
    assert wrong.sh("find / -xdev -name '.fastrr-*' -print 2>/dev/null; true") == ""


def controller_sha1(path: Path) -> str:
    return f"{hashlib.sha1(path.read_bytes()).hexdigest()}  -\n"


@pytest.mark.parametrize("transport", ["auto", "rsync"])
def test_a_second_connection_that_reaches_another_machine(
    controller: Controller, twins: list[DockerHost], name: Name, transport: str
) -> None:
    right, wrong = twins
    right.sh("mkdir work")
    wrong.sh("mkdir work")
    write(controller, right.home)
    if transport == "rsync":
        right.sh(f"head -c {LARGE} /dev/zero >work/large")
    name.turns = by(right, wrong)
    result = controller.fastrr("--copy-only")
    assert_copied(result, controller, right, wrong)
    assert name.count > 1
    assert "another machine" in result.stderr


def test_a_second_connection_that_reaches_the_same_machine(
    controller: Controller, twins: list[DockerHost], name: Name
) -> None:
    right, wrong = twins
    right.sh("mkdir work")
    write(controller, right.home)
    name.turns = by(right)
    result = controller.fastrr("--copy-only")
    assert_copied(result, controller, right, wrong)
    assert name.count > 1
    assert "another machine" not in result.stderr


def watch(controller: Controller, home: str, meanwhile: Callable[[], None]) -> Result:
    """Run, do something as soon as the component is being watched, and wait for the end."""
    controller.config(WATCHING.format(home=home))
    log = controller.directory / "log"
    with (
        log.open("w") as file,
        subprocess.Popen(
            controller.command("-c", controller.directory / "config.py"),
            env=controller.environment,
            stdout=file,
            stderr=file,
        ) as process,
    ):
        try:
            eventually(lambda: "start 1: 1 component" in log.read_text(), 60)
            meanwhile()
            status = process.wait(120)
        finally:
            process.kill()
    return Result(status, log.read_text())


def test_a_watch_is_taken_up_on_the_machine_where_it_began(
    controller: Controller, twins: list[DockerHost], name: Name
) -> None:
    right, wrong = twins
    name.turns = by(right, wrong, right)

    def cut() -> None:
        name.cut()
        eventually(lambda: name.count >= 3, 60)
        right.sh("touch go")

    result = watch(controller, right.home, cut)
    assert result.status == 1, result
    assert re.search(r"main.*7", result.output)
    assert wrong.sh("ls -A") == ".ssh\n"


def test_a_watch_that_reaches_only_another_machine_says_so(
    controller: Controller, twins: list[DockerHost], name: Name
) -> None:
    right, wrong = twins
    name.turns = by(right, wrong)

    result = watch(controller, right.home, name.cut)
    assert result.status == 3, result
    assert "was restarted, or another machine is behind its name" in result.output
    assert "vanished" not in result.output
    assert right.run(f"kill -0 {right.state('main', 'pid').strip()}").status == 0


def test_a_machine_that_was_restarted_has_lost_what_ran_there(
    controller: Controller, twins: list[DockerHost], name: Name
) -> None:
    right = twins[0]
    name.turns = by(right)

    def restart() -> None:
        right.container.restart(timeout=0)
        right.found_again()

    result = watch(controller, right.home, restart)
    assert result.status == 1, result
    assert "vanished" in result.output
    assert "the host restarted" in result.output
