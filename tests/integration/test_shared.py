"""Hosts with one base_dir on a file system they share, as clusters have it."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterator

import pytest
from conftest import Controller
from testbed import Bed, TestHost
from testbed.bed import Result

CONFIG = """
c = Component(executable='prog.sh', base_dir='{}', start_index=1)
c.files = util.recursive_files_dict('files', 'd')
c.files['prog.sh'] = 'prog.sh'
for c.host in ('host1', 'host2'):
    c.name = 'on ' + c.host
    config.add_component(c)
"""
COUNT = 300
LARGE = 20_000_000


@pytest.fixture
def directory(bed: Bed, hosts: list[TestHost]) -> Iterator[str]:
    """A directory that both hosts have."""
    path = hosts[0].sh(f"mktemp -d {bed.shared}/XXXXXX").strip()
    assert hosts[1].exists(path)
    yield path
    hosts[0].sh(f"rm -rf {path}")


def copied(result: Result) -> list[int]:
    """How many files went to each host."""
    assert result.status == 0, result
    return [int(n) for n in re.findall(r"^host\d +(\d+) ", result.stdout, re.MULTILINE)]


def write_files(controller: Controller) -> None:
    """Write many small files and a large one, all new: copying them takes both hosts a while."""
    for number in range(COUNT):
        controller.write(f"files/{number}", f"{number} {os.urandom(8).hex()}")
    (controller.directory / "files" / "large").write_bytes(os.urandom(LARGE))


def assert_there(controller: Controller, host: TestHost, directory: str) -> None:
    ours = {path.name: path.read_bytes() for path in (controller.directory / "files").iterdir()}
    lines = host.sh(f"cd {directory}/d && sha1sum *").splitlines()
    found = {name: digest for digest, name in (line.split() for line in lines)}
    assert found == {name: hashlib.sha1(content).hexdigest() for name, content in ours.items()}
    assert host.sh(f"find {directory} -name '.*'") == ""


@pytest.mark.parametrize("transport", ["auto", "sftp", "rsync"])
def test_two_hosts_put_the_same_files_into_one_directory_at_once(
    controller: Controller, hosts: list[TestHost], directory: str, transport: str
) -> None:
    controller.write("prog.sh", "#!/bin/sh\nsleep 60\n", 0o755)
    controller.config(CONFIG.format(directory))
    for new in (COUNT + 2, COUNT + 1):
        write_files(controller)
        # No host copies before each has decided what to: so both copy all.
        assert copied(controller.fastrr("--transport", transport)) == [new, new]
        for host in hosts:
            assert_there(controller, host, directory)
            pid = host.state(f"on {host.name}", "pid").strip()
            assert host.run(f"kill -0 {pid}").status == 0
        assert copied(controller.fastrr("--transport", transport)) == [0, 0]
