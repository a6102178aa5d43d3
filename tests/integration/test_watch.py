"""Waiting for components, and the exit code."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from conftest import Controller
from testbed import TestHost
from testbed.clients import Client, sshd
from testbed.loopback_bed import servers
from testbed.shells import eventually

CONFIG = """
c = Component(name='w', executable='/bin/sh', base_dir='/tmp', host='{host}', start_index=1)
c.args, c.wait = ['-c', '''{script}'''], True
config.add_component(c)
"""


ENDINGS = {
    "exit 0": (0, "component 'w' ended well"),
    "echo bad luck; exit 3": (1, "component 'w' ended with status 3"),
    "kill -9 $$": (1, "component 'w' ended with status 137 (killed by SIGKILL)"),
}


@pytest.mark.parametrize("host", ["host1", "localhost"])
@pytest.mark.parametrize("script", ENDINGS)
def test_the_exit_status_decides(
    controller: Controller, hosts: list[TestHost], host: str, script: str
) -> None:
    code, words = ENDINGS[script]
    controller.config(CONFIG.format(host=host, script=script))
    result = controller.fastrr()
    assert result.status == code, result
    assert words in result.stderr
    if "bad luck" in script:
        assert "\n    bad luck\n" in result.stderr


def test_others_keep_running_after_fastrr(controller: Controller, hosts: list[TestHost]) -> None:
    controller.config(
        CONFIG.format(host="host1", script="exit 0")
        + "c.name, c.args, c.wait = 'long', ['-c', 'sleep 61'], False\nconfig.add_component(c)\n"
    )
    assert controller.fastrr().status == 0
    time.sleep(0.5)
    assert hosts[0].run(f"kill -0 {hosts[0].state('long', 'pid').strip()}").status == 0


def test_a_component_that_ends_badly_unwaited_is_a_warning(
    controller: Controller, hosts: list[TestHost]
) -> None:
    controller.config(
        CONFIG.format(host="host1", script="sleep 0.3")
        + "c.name, c.args, c.wait = 'other', ['-c', 'echo oops; exit 7'], False\n"
        + "config.add_component(c)\n"
    )
    result = controller.fastrr()
    assert result.status == 0
    assert "WARNING: host1: component 'other' ended with status 7" in result.stderr
    assert "\n    oops\n" in result.stderr


def test_a_killed_launcher_is_noticed(controller: Controller, hosts: list[TestHost]) -> None:
    controller.config(CONFIG.format(host="host1", script="kill -9 $PPID $$"))
    result = controller.fastrr()
    assert result.status == 1, result
    assert "component 'w' vanished" in result.stderr


def test_a_session_that_is_quit_ends_the_wait(
    controller: Controller, hosts: list[TestHost]
) -> None:
    controller.config(CONFIG.format(host="host1", script="sleep 1; screen -X quit; sleep 60"))
    result = controller.fastrr(timeout=20)
    assert result.status == 1, result
    assert "component 'w' ended with status 129 (killed by SIGHUP)" in result.stderr


def test_a_time_limit(controller: Controller, hosts: list[TestHost]) -> None:
    controller.config(CONFIG.format(host="host1", script="sleep 62"))
    result = controller.fastrr("--timeout", "3", timeout=20)
    assert result.status == 4, result
    assert "time limit" in result.stderr
    assert hosts[0].run(f"kill -0 {hosts[0].state('w', 'pid').strip()}").status == 0


@contextmanager
def watching(controller: Controller, *options: str | Path) -> Iterator[Callable[[], str]]:
    """Have fastrr run until it watches; yields a function that returns its log so far.

    It must have ended when the time inside is over.
    """
    log = controller.directory / "stderr"
    config = controller.directory / "config.py"
    with (
        log.open("wb") as stderr,
        subprocess.Popen(
            controller.command(*options, "-c", config, "-l", "DEBUG"),
            env=controller.environment,
            stdout=subprocess.DEVNULL,
            stderr=stderr,
        ) as process,
    ):
        try:
            eventually(lambda: "start 1: " in log.read_text() or process.poll() is not None, 30)
            assert "start 1: " in log.read_text(), log.read_text()
            yield log.read_text
            with log.open("a") as more:
                more.write(f"exit code {process.wait(30)}\n")
        finally:
            process.kill()


WHEN_TOLD = "until [ -e go ]; do sleep 0.05; [ $((n += 1)) -lt 1000 ] || exit 99; done; exit 5"


def test_a_lost_connection_is_made_again(controller: Controller, hosts: list[TestHost]) -> None:
    controller.config(CONFIG.format(host="host1", script=f"cd; {WHEN_TOLD}"))
    with watching(controller) as log:
        hosts[0].cut_connections()
        eventually(lambda: "connecting again" in log(), 30)
        hosts[0].sh("touch go")
    assert "WARNING: host1: the connection was lost" in log()
    assert "component 'w' ended with status 5" in log()
    assert log().endswith("exit code 1\n")


def test_a_host_that_refuses_is_asked_once(lone_controller: Controller, tmp_path: Path) -> None:
    """Who fails to log in again and again is banned by OpenSSH 9.8."""
    home, screens = (lone_controller.environment[name] for name in ("HOME", "SCREENDIR"))
    client = Client(tmp_path)
    client.configure(f"IdentityFile {client.key()}", "StrictHostKeyChecking accept-new")
    with sshd(tmp_path / "sshd", f"SetEnv HOME={home} SCREENDIR={screens}") as server:
        server.authorize(tmp_path / "key")
        lone_controller.config(CONFIG.format(host=server.name, script="sleep 60"))
        with watching(lone_controller, "-F", tmp_path / "ssh_config") as log:
            server.authorize()
            for pid in servers(server.process.pid)[1:]:
                os.kill(pid, signal.SIGKILL)
        assert "can't be made again" in log()
        assert log().endswith("exit code 3\n")
        assert server.log.read_text().count("Failed publickey for") == 1
        assert server.log.read_text().count("Connection from ") == 2
