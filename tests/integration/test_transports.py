"""How content is sent: the choice, each transport by name, and what is done when one fails."""

from __future__ import annotations

import hashlib
import os
import re

import pytest
from conftest import Controller
from testbed import TestHost
from testbed.bed import Result

CONFIG = """
c = Component(name='main', executable='/bin/true', host='host1', start_index=1)
c.base_dir = 'work'
c.files = {'large': 'd/large', 'small': 'd/small'}
config.add_component(c)
"""
SIZE = 20_000_000


@pytest.fixture
def host(hosts: list[TestHost]) -> TestHost:
    return hosts[0]


@pytest.fixture
def large(controller: Controller) -> bytes:
    """Have a large and a small file; return the content of the large one."""
    controller.config(CONFIG)
    content = os.urandom(SIZE)
    (controller.directory / "large").write_bytes(content)
    (controller.directory / "small").write_bytes(b"small")
    return content


def deploy(controller: Controller, *options: str) -> Result:
    return controller.fastrr("--copy-only", "-l", "DEBUG", *options)


def by(result: Result) -> list[str]:
    """Which transports took files, and how many."""
    lines = [line for line in result.stderr.splitlines() if " MB, by " in line]
    return [f"{line.split()[2]} {line.partition(' by ')[2].partition(':')[0]}" for line in lines]


def assert_there(host: TestHost, controller: Controller) -> None:
    ours = [(controller.directory / name).read_bytes() for name in ("large", "small")]
    digests = [hashlib.sha1(content).hexdigest() for content in ours]
    lines = host.sh("cd work/d && sha1sum large small").splitlines()
    assert [line.split()[0] for line in lines] == digests
    assert host.sh("find work -name '.fastrr*'") == ""


def test_a_change_in_a_large_file_goes_by_rsync_and_the_old_file_is_left_whole(
    controller: Controller, host: TestHost, large: bytes
) -> None:
    first = deploy(controller)
    assert first.status == 0, first
    assert by(first) == ["2 stream"]
    assert_there(host, controller)

    host.sh("ln work/d/large kept")
    changed = large[:5_000_000] + b"another" + large[5_000_007:]
    (controller.directory / "large").write_bytes(changed)
    (controller.directory / "small").write_bytes(b"SMALL")
    second = deploy(controller)
    assert second.status == 0, second
    assert by(second) == ["1 rsync", "1 stream"]
    assert_there(host, controller)
    # What is told to have been sent is what went out, not what the files amount to.
    assert re.search(r"^host1 +2 +0 +\d+(\.\d+)? kB ", second.stdout, re.MULTILINE)
    # Whoever had the old file open, or another name for it, still has it as it was.
    assert host.sh("stat -c %h kept work/d/large").split() == ["1", "1"]
    assert host.run("cmp kept work/d/large").status == 1
    assert by(deploy(controller)) == []


@pytest.mark.parametrize("name", ["stream", "rsync", "sftp"])
def test_each_transport_by_name(
    controller: Controller, host: TestHost, large: bytes, name: str
) -> None:
    for content in (large, large[:-1] + b"!", large + b"more", large[:1000]):
        (controller.directory / "large").write_bytes(content)
        result = deploy(controller, "--transport", name)
        assert result.status == 0, result
        assert {line.partition(" ")[2] for line in by(result)} == {name}
        assert_there(host, controller)


def test_a_destination_behind_symbolic_links_can_be_changed_by_rsync(
    controller: Controller, host: TestHost, large: bytes
) -> None:
    host.sh("mkdir -p real/d && ln -s real work && ln -s elsewhere real/d/large")
    host.sh("head -c 20000000 /dev/zero >real/d/elsewhere")
    result = deploy(controller)
    assert result.status == 0, result
    assert by(result) == ["1 rsync", "1 stream"]
    assert_there(host, controller)
    assert host.sh("readlink work/d/large").strip() == "elsewhere"


def test_what_rsync_can_t_do_the_stream_does(
    controller: Controller, containers: list[TestHost], large: bytes
) -> None:
    host = containers[0]
    deploy(controller)
    (controller.directory / "large").write_bytes(large[:-1] + b"!")
    path = host.sh("command -v rsync").strip()
    host.run(f"mv {path} {path}.away && printf '#!/bin/sh\\nexit 9\\n' >{path} && chmod +x {path}",
             user="root")  # fmt: skip
    try:
        result = deploy(controller)
        asked_for = deploy(controller, "--transport", "rsync", "--always-copy")
    finally:
        host.run(f"mv {path}.away {path}", user="root")
    assert result.status == 0, result
    assert "WARNING: host1: rsync failed" in result.stderr
    assert "sending all of the files by stream" in result.stderr
    assert_there(host, controller)
    assert asked_for.status == 3
    assert "ERROR: host1: rsync failed" in asked_for.stderr
    assert_there(host, controller)


def test_a_transport_that_is_not_there_is_refused_before_anything_is_done(
    controller: Controller, containers: list[TestHost], large: bytes
) -> None:
    host = containers[0]
    with host.without("rsync"):
        result = deploy(controller, "--transport", "rsync")
    assert result.status == 3
    assert "ERROR: host1: --transport rsync: the host has no rsync" in result.stderr
    assert not host.exists("work")
