"""What the command line asks for is what hosts see; where the output goes does not matter."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import socket
import struct
import subprocess
import termios
from pathlib import Path

import pytest
from conftest import Controller
from testbed import Bed, TestHost
from testbed.bed import BARE

from fastrr.files.algorithms import GMAC_FROM_BYTES

HOST = """
c = Component(name='main', executable='/bin/true', base_dir='/tmp', host='{}', start_index=1)
config.add_component(c)
"""


def test_no_two_runs_have_the_same_key(controller: Controller, bed: Bed) -> None:
    """Who knows the key of a GMAC can change a file so that nobody sees it."""
    if bed.kind != "docker":
        pytest.skip("a loopback host has all that this machine has")
    (host,) = bed.need(1, BARE)
    host.sh("echo 'PATH=~/bin:$PATH' >.bashrc; mkdir bin; cat >bin/openssl; chmod 755 bin/openssl")
    host.sh(
        'cat >bin/openssl <<\'E\'\n#!/bin/sh\necho "$*" >>~/calls\nexec /usr/bin/openssl "$@"\nE\n'
    )
    (controller.directory / "large").write_bytes(os.urandom(GMAC_FROM_BYTES))
    controller.config(HOST.format("bare1").replace("'/tmp'", "'work', files={'large': 'large'}"))
    for _ in range(2):
        result = controller.fastrr("--always-copy", "--copy-only")
        assert result.status == 0, result
    calls = host.sh("cat calls")
    keys = re.findall(r"^mac .*hexkey:([0-9a-f]{32}) .*/large GMAC$", calls, re.MULTILINE)
    assert len(set(keys)) == 2, keys


def test_no_two_runs_have_the_same_names(lone_controller: Controller) -> None:
    """Two controllers may be at it at the same time."""
    mark = lone_controller.directory / "where"
    lone_controller.config(
        f"""
        c = Component(name='main', executable='/bin/sh', host=localhost, start_index=1)
        c.args, c.wait = ['-c', 'pwd >>{mark}'], True
        config.add_component(c)
        """
    )
    state = Path(lone_controller.environment["HOME"], ".local/state/fastrr")
    runs = []
    for _ in range(2):
        result = lone_controller.fastrr()
        assert result.status == 0, result
        (run,) = state.glob("*/runner/main/run")
        runs.append(run.read_text())
    assert len(set(mark.read_text().split())) == 2
    assert len(set(runs)) == 2, "what an earlier run's launchers write would count as this one's"


@pytest.fixture
def fresh_config(controller: Controller, hosts: list[TestHost]) -> Path:
    """An ssh configuration by which no host is known yet."""
    assert controller.bed is not None
    known = controller.directory / "known_hosts"
    text = controller.bed.ssh_config.read_text()
    return controller.write("ssh_config", text.replace(str(controller.bed.known_hosts), str(known)))


@pytest.mark.parametrize(
    ("policy", "status"), [("strict", 3), ("accept-new", 0), ("off", 0), ("", 0)]
)
def test_the_policy_for_host_keys(
    controller: Controller, fresh_config: Path, policy: str, status: int
) -> None:
    controller.config(HOST.format("host1"))
    options = ["--host-keys", policy] if policy else []
    result = controller.fastrr("-F", fresh_config, "--copy-only", *options)
    assert result.status == status, result
    assert ("key" in result.stderr and "ERROR: host1: " in result.stderr) == (status == 3)
    assert (controller.directory / "known_hosts").exists() == (policy in {"accept-new", ""})


def test_the_user_is_the_one_given(controller: Controller, hosts: list[TestHost]) -> None:
    """Before the one of ssh's configuration."""
    controller.config(HOST.format("host1"))
    result = controller.fastrr("--copy-only", "-u", "nobody-we-know")
    assert result.status == 3, result
    assert "nobody-we-know" in result.stderr


def test_the_time_for_connecting_is_the_one_given(lone_controller: Controller) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        host = f"127.0.0.1:{silent.getsockname()[1]}"
        lone_controller.config(HOST.format(host))
        result = lone_controller.fastrr("--connect-timeout", "1.5", "-F", "none")
    assert result.status == 3, result
    assert re.search(rf"^ERROR: {host}: .*1\.5 s", result.stderr, re.MULTILINE), result


@pytest.mark.parametrize("option", ["", "--no-kill"])
def test_the_earlier_session(lone_controller: Controller, option: str) -> None:
    lone_controller.config(
        HOST.format("localhost").replace("/bin/true'", "/bin/sleep', args=['60']")
    )
    assert lone_controller.fastrr().status == 0
    before = lone_controller.local_sessions()
    assert lone_controller.fastrr(*option.split()).status == 0
    after = lone_controller.local_sessions()
    assert len(before) == len(after) == 1
    assert (before == after) == bool(option)


def test_copy_only_starts_nothing(lone_controller: Controller) -> None:
    lone_controller.config(HOST.format("localhost"))
    result = lone_controller.fastrr("--copy-only")
    assert result.status == 0, result
    assert re.search(r"^localhost .* 0 +\S+$", result.stdout, re.MULTILINE), result
    assert lone_controller.local_sessions() == []


# Where the output goes


@pytest.mark.parametrize("option", ["", "--no-progress"])
def test_bars_are_for_terminals(lone_controller: Controller, option: str) -> None:
    """And log lines stand above them."""
    lone_controller.config(HOST.format("localhost"))
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("4H", 24, 80, 0, 0))
    done = subprocess.run(
        lone_controller.command("-c", lone_controller.directory / "config.py", *option.split()),
        env=lone_controller.environment,
        stdout=subprocess.PIPE,
        stderr=theirs,
        timeout=60,
        check=False,
    )
    os.close(theirs)
    with open(ours, "rb", buffering=0) as terminal:
        shown = terminal.read(1 << 16).decode()
    assert done.returncode == 0, shown
    assert ("0/1" in shown) == (not option)
    assert re.search(r"INFO: check: 1 hosts in [\d.]+ s\r\n", shown), shown
    assert b"\nlocalhost " in done.stdout
    assert "0/1" not in lone_controller.fastrr(*option.split()).stderr


def run_by_sh(controller: Controller, redirection: str) -> subprocess.CompletedProcess[str]:
    words = [*controller.command("-c", controller.directory / "config.py"), "--timings"]
    return subprocess.run(
        ["bash", "-c", f'set -o pipefail; "$@" {redirection}', "sh", *words],
        env=controller.environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize("redirection", [">/dev/full", "| true", ">&-"])
@pytest.mark.parametrize("status", [0, 1])
def test_a_table_that_can_t_be_written_changes_nothing(
    lone_controller: Controller, redirection: str, status: int
) -> None:
    lone_controller.config(
        f"""
        c = Component(name='main', executable='/bin/sh', base_dir='/tmp', host=localhost)
        c.args, c.wait, c.start_index = ['-c', 'exit {status}'], True, 1
        config.add_component(c)
        """
    )
    done = run_by_sh(lone_controller, redirection)
    assert done.returncode == status, done
    assert "Traceback" not in done.stderr
    assert "Exception" not in done.stderr


@pytest.mark.parametrize("redirection", ["2>/dev/full", "2>&-", "2>&1 | cat"])
def test_log_lines_that_can_t_be_written_stop_nothing(
    lone_controller: Controller, redirection: str
) -> None:
    mark = lone_controller.directory / "größe"
    lone_controller.config(
        f"""
        c = Component(name='größe', executable='/bin/touch', base_dir='/tmp', host=localhost)
        c.args, c.wait, c.start_index = ['{mark}'], True, 1
        config.add_component(c)
        """
    )
    lone_controller.environment["LC_ALL"] = "C"
    done = run_by_sh(lone_controller, redirection)
    assert mark.exists(), done
    assert re.search(r"^localhost .* 1 +\d", done.stdout, re.MULTILINE), done


def test_a_trace_that_can_t_be_written_is_told_before_anything_is_done(
    lone_controller: Controller,
) -> None:
    lone_controller.config(HOST.format("localhost"))
    result = lone_controller.fastrr("--trace", "/no/such/trace.json")
    assert result.status == 2, result
    assert "--trace /no/such/trace.json: it can't be written: No such file" in result.stderr
    assert lone_controller.local_sessions() == []
    full = lone_controller.fastrr("--trace", "/dev/full")
    assert full.status == 0, full
    assert "--trace /dev/full: it could not be written: No space left" in full.stderr
