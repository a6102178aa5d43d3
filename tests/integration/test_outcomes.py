"""What a run that fails has done, and has not; what it tells."""

from __future__ import annotations

import re
import subprocess

from conftest import Controller
from testbed import TestHost
from testbed.shells import eventually

ONE_HOST = """
c = Component(name='main', executable='/bin/sleep', args=['60'], host='host1', start_index=1)
c.base_dir, c.files = 'work', {'f': 'f'}
config.add_component(c)
"""


def test_what_ran_still_runs_after_a_run_that_could_not_decide(
    controller: Controller, hosts: list[TestHost]
) -> None:
    """A file vanishes when the hosts are being connected to: what is to be copied stays open."""
    assert controller.bed is not None
    file = controller.write("f", "old")
    controller.config(ONE_HOST)
    assert controller.fastrr().status == 0
    before = hosts[0].sessions()
    assert len(before) == 1
    controller.write("f", "new")
    config = controller.write("ssh_config", f'Match exec "rm -f {file}"\n')
    with config.open("a") as ssh_config:
        ssh_config.write(controller.bed.ssh_config.read_text())
    result = controller.fastrr("-F", config)
    assert result.status == 2, result
    assert f"{file} can't be read: No such file or directory" in result.stderr
    assert hosts[0].sessions() == before
    assert hosts[0].sh("cat work/f") == "old"
    assert hosts[0].run(f"kill -0 {hosts[0].state('main', 'pid').strip()}").status == 0


def test_with_keep_going_a_host_starts_all_that_can_be_started(lone_controller: Controller) -> None:
    mark = lone_controller.directory / "started"
    lone_controller.config(
        f"""
        c = Component(name='a', executable='/no/such', base_dir='/tmp', host=localhost)
        c.start_index = 1
        config.add_component(c)
        c.name, c.executable, c.args, c.start_index = 'b', '/bin/touch', ['{mark}'], 2
        config.add_component(c)
        """
    )
    stopped = lone_controller.fastrr()
    assert stopped.status == 3, stopped
    assert not mark.exists()
    result = lone_controller.fastrr("--keep-going")
    assert result.status == 3, result
    eventually(mark.exists)
    assert re.search(r"^localhost .* 1 .*FAILED: component 'a': ", result.stdout, re.MULTILINE)


def test_a_host_that_is_lost_while_copying(controller: Controller, hosts: list[TestHost]) -> None:
    """The run ends, nothing is started, and the other host keeps nothing of it."""
    controller.write("f", "x")
    (controller.directory / "large").write_bytes(bytes(20_000_000))
    controller.config(
        """
        c = Component(name='main', executable='/bin/sleep', args=['60'], start_index=1)
        c.host, c.files = 'host1', {'f': 'f'}
        config.add_component(c)
        c.host, c.files = 'host2', {'large': 'large'}
        config.add_component(c)
        """
    )
    near, lost = hosts
    # Bash reads .bashrc, whatever ssh is to run; tar is found, and hears, but writes nothing.
    lost.sh("echo 'PATH=~/bin:$PATH' >.bashrc; mkdir bin; cat >bin/tar; chmod 755 bin/tar")
    lost.sh(
        "cat >bin/tar <<'E'\n#!/bin/sh\ntouch ~/copying\n"
        "perl -e 'while (sysread STDIN, $_, 9999) { select $x, $x, $x, 0.05 }'\nE\n"
    )
    process = subprocess.Popen(
        controller.command("-c", controller.directory / "config.py"),
        env=controller.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    made = 'cat "${TMPDIR:-/tmp}"/fastrr-runner-main.*/f'
    eventually(lambda: lost.exists("copying") and near.run(made).stdout == "x", 30)
    lost.cut_connections()
    output = process.communicate(timeout=60)[0]
    assert process.returncode == 3, output
    assert re.search(r"^host2 .*FAILED: the connection was lost", output, re.MULTILINE)
    assert re.search(r"^host1 +1 +0 .* 0 +\S+$", output, re.MULTILINE)
    for host in hosts:
        assert host.sessions() == []
    assert near.run('ls -d "${TMPDIR:-/tmp}"/fastrr-*').stdout == ""
