"""Hosts with no more than fastrr asks for, and with less."""

from __future__ import annotations

import hashlib
import os
import re

import pytest
from conftest import Controller
from testbed import Bed, TestHost
from testbed.bed import BARE, Result

from fastrr.files.algorithms import GMAC_FROM_BYTES
from fastrr.hosts.facts import REQUIRED_TOOLS

CONFIG = """
c = Component(name='main', executable='prog.sh', host='bare1', start_index=1)
c.base_dir = 'work'
c.files = {'prog.sh': 'prog.sh', 'large': 'd/large', 'small': 'd/small'}
config.add_component(c)
"""

COUNTING_OPENSSL = """\
#!/bin/sh
echo "$*" >>/tmp/calls
exec /usr/bin/openssl.away "$@"
"""


@pytest.fixture
def host(bed: Bed) -> TestHost:
    """A clean host without rsync and xxhsum."""
    if bed.kind != "docker":
        pytest.skip("a loopback host has all that this machine has")
    (host,) = bed.need(1, BARE)
    assert host.run("command -v rsync || command -v xxhsum").stdout == ""
    return host


@pytest.fixture(autouse=True)
def config(controller: Controller) -> None:
    """Have a config with a program, a large file and a small one."""
    controller.config(CONFIG)
    controller.write("prog.sh", "#!/bin/sh\nsleep 60\n", 0o755)
    (controller.directory / "large").write_bytes(os.urandom(GMAC_FROM_BYTES))
    controller.write("small", "small")


def row(result: Result) -> tuple[int, int]:
    """Files copied and unchanged, as the table says."""
    match = re.search(r"^bare1 +(\d+) +(\d+) ", result.stdout, re.MULTILINE)
    assert match, result
    return int(match[1]), int(match[2])


def assert_deployed(controller: Controller, host: TestHost) -> None:
    """All files are there, and nothing else, and the program runs."""
    ours = [(controller.directory / name).read_bytes() for name in ("large", "small", "prog.sh")]
    found = host.sh("cd work && find . -type f | sort | xargs sha1sum | tr '\\n' ' '").split()
    assert found[1::2] == ["./d/large", "./d/small", "./prog.sh"]
    assert found[::2] == [hashlib.sha1(content).hexdigest() for content in ours]
    assert host.run(f"kill -0 {host.state('main', 'pid').strip()}").status == 0


def assert_copies_what_changed(controller: Controller, host: TestHost, *options: str) -> Result:
    """Deploy, change one file, deploy again; return the first result."""
    first = controller.fastrr(*options)
    assert first.status == 0, first
    assert row(first) == (3, 0)
    assert_deployed(controller, host)
    controller.write("small", "other")
    assert row(controller.fastrr(*options)) == (1, 2)
    assert_deployed(controller, host)
    return first


def test_openssl_verifies_where_there_is_no_xxhsum(controller: Controller, host: TestHost) -> None:
    with host.without("openssl"):
        try:
            host.sh(
                f"cat >/usr/bin/openssl <<'E'\n{COUNTING_OPENSSL}E\n"
                "chmod 755 /usr/bin/openssl; install -m 666 /dev/null /tmp/calls",
                user="root",
            )
            assert_copies_what_changed(controller, host)
            calls = host.sh("cat /tmp/calls")
        finally:
            host.sh("rm /usr/bin/openssl", user="root")
    assert len(re.findall(r"^mac .*/large GMAC$", calls, re.MULTILINE)) == 1
    assert re.search(r"^dgst -sha1 .*/small$", calls, re.MULTILINE)


def test_without_tar_files_go_by_sftp(controller: Controller, host: TestHost) -> None:
    with host.without("tar"):
        result = assert_copies_what_changed(controller, host, "-l", "DEBUG")
    assert re.search(r"by sftp: .*the host has no tar", result.stderr), result


def test_without_openssl_sha1sum_verifies(controller: Controller, host: TestHost) -> None:
    with host.without("openssl"):
        assert_copies_what_changed(controller, host, "--rehash")


def test_without_openssl_and_sha1sum_nothing_is_done(
    controller: Controller, host: TestHost
) -> None:
    with host.without("openssl", "sha1sum"):
        result = controller.fastrr()
    assert result.status == 3, result
    assert "ERROR: bare1: the host has neither openssl nor sha1sum: install openssl" in (
        result.stderr
    )
    assert not host.exists("work")


@pytest.mark.parametrize("tool", REQUIRED_TOOLS)
def test_a_tool_that_cannot_be_done_without_is_named(
    controller: Controller, host: TestHost, tool: str
) -> None:
    with host.without(tool):
        result = controller.fastrr()
    assert result.status == 3, result
    assert f"ERROR: bare1: the host has no {tool}: install what is missing" in result.stderr
    assert not host.exists("work")
