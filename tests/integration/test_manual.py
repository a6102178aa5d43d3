"""The manual's own example runs as printed, but for hosts and its missing parenthesis."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from conftest import Controller
from testbed import TestHost
from testbed.bed import REPOSITORY
from testbed.shells import eventually

EXAMPLE = """\
main = Component()
main.name = 'My main'

# If base_dir is not set a temporary directory on the host will be created for
# this component.
main.base_dir = '{base}/me/subdir'

# The path to the executable on the remote host relative to base_dir. If this
# path starts with a '/' it's an absolute path on the remote host.
main.executable = 'executable'
# The arguments that executable should be called with
main.args = ['-a', 'something', '-b', 'more']

# Move all files in /path/to/d and it's subdirectories to base_dir
main.files = util.recursive_files_dict('{path}/to/d', '.')

# Also move all files in /path/to/other/d to /abs/dest
main.files.update(util.recursive_files_dict('{path}/to/other/d', '{base}/abs/dest'))

# The executable isn't automatically transferred. If it needs to be transferred
main.files['path/to/executable'] = 'executable'

# This is where we want this component to be run.
main.host = 'host1'

# This component should be started first
main.start_index = 1

config.add_component(main)

# other is just like main. Since it has the same start_index it can be started
# at the same time as main
other = main
other.name = 'My other'
other.host = 'host2'

config.add_component(other)

local = other
local.host = localhost
local.args = ['I run locally',]

# This has a larger start_index than main or other and so will be started after
# they are started.
local.start_index = 5
local.name = 'Local thing'

# Local components can't ask to have any files transferred!
local.files = {{}}

config.add_component(local)
"""


def test_the_manuals_example(controller: Controller, hosts: list[TestHost], tmp_path: Path) -> None:
    program = '#!/bin/sh\necho "$PWD:" "$@"\nsleep 60\n'
    controller.write("path/to/executable", program, 0o755)
    controller.write("executable", program, 0o755)  # the local component's, beside the config
    for name in ("to/d/one", "to/d/sub/two", "to/other/d/three"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    base = tmp_path / "base"
    controller.config(EXAMPLE.format(base=base, path=tmp_path))
    result = controller.fastrr()
    assert result.status == 0, result
    for host, component in zip(hosts, ("My main", "My other"), strict=True):
        assert re.search(rf"^{host.name} +4 +0 .* 1 +\d", result.stdout, re.MULTILINE)
        assert host.sh(
            f"cat {base}/me/subdir/one {base}/me/subdir/sub/two {base}/abs/dest/three"
        ) == ("to/d/oneto/d/sub/twoto/other/d/three")
        host.sh(f"kill -0 {host.state(component, 'pid').strip()}")
        eventually(lambda h=host, c=component: "more" in h.state(c, "log"))  # type: ignore[misc]
        said = host.state(component, "log").strip()
        assert said == f"{base}/me/subdir: -a something -b more"
    assert len(controller.local_sessions()) == 1


def test_the_example_directory(controller: Controller, hosts: list[TestHost]) -> None:
    config = REPOSITORY / "example" / "config.py"
    result = controller.fastrr("-c", config, "-X", "hosts=host[1-2]")
    assert result.status == 0, result
    muddled = controller.fastrr(
        "-c", config, "-X", "hosts=host[1-2]", "-m", REPOSITORY / "example" / "verbose_muddler.py"
    )
    assert muddled.status == 0, muddled
    for host in hosts:
        assert re.search(rf"^{host.name} +0 +5 +0 B +3 ", muddled.stdout, re.MULTILINE)
        # Not the traces of commands in a pipeline: chance decides how these are mixed.
        log = traced(host, "client light")
        assert log[0] == "+ set -eu"
        assert log[log.index("counted 18 words") - 1] == "+ echo counted 18 words"
        assert host.sh("cat fastrr-example/results/*") == "18\n18\n"


def traced(host: TestHost, component: str) -> list[str]:
    """The log of an example's client; screen may still be writing it when the client has ended."""
    lines: list[str] = []

    def complete() -> bool:
        lines[:] = host.state(component, "log").replace("\r\n", "\n").splitlines()
        return "counted 18 words" in lines

    eventually(complete)
    return lines


@pytest.mark.parametrize("jobs", ["1", "2", "9"])
def test_any_number_of_jobs(controller: Controller, hosts: list[TestHost], jobs: str) -> None:
    controller.config(
        """
        c = Component(name='a', executable='/bin/true', base_dir='/tmp', start_index=1, wait=True)
        for c.host in ('host1', 'host2', localhost):
            config.add_component(c)
        """
    )
    assert controller.fastrr("--jobs", jobs).status == 0
