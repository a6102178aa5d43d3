"""The password stays out of sight."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from conftest import Controller
from testbed import TestHost
from testbed.bed import PASSWORD
from testbed.shells import eventually

CONFIG = """
c = Component(name='w', executable='/bin/sleep', args=['60'], base_dir='/tmp', start_index=1)
c.wait = True
for c.host in ('host1', 'host2', 'localhost'):
    config.add_component(c)
"""

WAYS = {
    "--pass X": (["--pass", PASSWORD], {}),
    "--pass=X": ([f"--pass={PASSWORD}"], {}),
    "-pX": ([f"-p{PASSWORD}"], {}),
    "environment": ([], {"FASTRR_PASS": PASSWORD}),
}


@pytest.mark.parametrize("way", WAYS)
def test_ps_shows_nothing_of_the_password(
    controller: Controller, hosts: list[TestHost], way: str, tmp_path: Path
) -> None:
    """Neither on the controller nor on a host, in no command line and no environment."""
    if not hosts[0].own_machine:
        pytest.skip("loopback hosts take no passwords")
    arguments, environment = WAYS[way]
    assert controller.bed is not None
    config = tmp_path / "password_only"
    lines = controller.bed.ssh_config.read_text().splitlines(keepends=True)
    config.write_text("".join(line for line in lines if "IdentityFile" not in line))
    controller.config(CONFIG)
    command = [*controller.command()[:3], "-F", str(config), "-l", "DEBUG"]
    command += ["-c", str(controller.directory / "config.py"), *arguments]
    process = subprocess.Popen(
        command,
        env=controller.environment | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        # Not just its pid: for a moment that is still the shell's that becomes the program.
        eventually(lambda: all(host.pids("sleep") for host in hosts) or process.poll(), 30)
        assert process.poll() is None
        assert_hidden_here(process.pid)
        for host in hosts:
            seen = host.run("ps -ef; cat /proc/[0-9]*/environ", "root").stdout
            assert "sleep 60" in seen
            assert "HOME=" in seen
            assert PASSWORD not in seen
            assert PASSWORD not in host.sh("cat $(find .local -type f)")
    finally:
        process.terminate()
        output = process.communicate()[0]
    assert PASSWORD not in output
    assert process.returncode == 130


def assert_hidden_here(coordinator: int) -> None:
    """Look at the coordinator and every process below it."""
    children = subprocess.run(
        ["pgrep", "-P", str(coordinator)], capture_output=True, text=True, check=True
    ).stdout.split()
    assert len(children) >= 2, "workers"
    for pid in [str(coordinator), *children]:
        for name, visible in (("cmdline", b"fastrr"), ("environ", b"PATH=")):
            content = Path("/proc", pid, name).read_bytes()
            assert visible in content
            assert PASSWORD.encode() not in content, (pid, name)
