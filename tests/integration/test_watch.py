"""Waiting for components, and the exit code."""

from __future__ import annotations

import subprocess
import time

import pytest
from conftest import Controller
from testbed import TestHost
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


def test_a_lost_connection_is_made_again(controller: Controller, hosts: list[TestHost]) -> None:
    controller.config(CONFIG.format(host="host1", script="sleep 3; exit 5"))
    process = subprocess.Popen(
        controller.command("-c", controller.directory / "config.py"),
        env=controller.environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    eventually(lambda: hosts[0].state("w", "pid"))
    hosts[0].cut_connections()
    log = process.communicate(timeout=30)[1]
    assert "WARNING: host1: the connection was lost" in log
    assert "component 'w' ended with status 5" in log
    assert process.returncode == 1
