"""Hosts and files that fail: everything is told, nothing is half done."""

from __future__ import annotations

from conftest import Controller
from testbed import TestHost

TWO_HOSTS = """
c = Component(name='main', executable='/bin/sleep', args=['60'], start_index=1)
c.base_dir, c.files = 'work', {'f': 'f'}
for c.host in ('host1', 'host2'):
    config.add_component(c)
"""


def test_nothing_changes_anywhere_unless_every_host_passes(
    controller: Controller, hosts: list[TestHost]
) -> None:
    controller.write("f", "old")
    controller.config(TWO_HOSTS)
    assert controller.fastrr().status == 0
    sessions = hosts[0].sessions()
    controller.write("f", "new")
    controller.config(TWO_HOSTS + "c.host = 'me@127.0.0.1:1'\nconfig.add_component(c)\n")
    result = controller.fastrr()
    assert result.status == 3
    assert "ERROR: me@127.0.0.1:1: connection refused by 127.0.0.1 port 1" in result.stderr
    assert "Traceback" not in result.output
    assert hosts[0].sessions() == sessions
    assert hosts[0].sh("cat work/f") == "old"


def test_all_hosts_failures_are_told_together(
    controller: Controller, hosts: list[TestHost]
) -> None:
    controller.write("f", "x")
    controller.config(
        TWO_HOSTS
        + "for c.host in ('127.0.0.1:1', 'no.such.host.invalid'):\n    config.add_component(c)\n"
    )
    hosts[0].sh("mkdir -p work/f")
    result = controller.fastrr()
    assert result.status == 3
    for words in (
        "ERROR: 127.0.0.1:1: connection refused",
        "ERROR: no.such.host.invalid: the name 'no.such.host.invalid' can't be resolved",
        "ERROR: host1: ./work/f is a directory",
    ):
        assert words in result.stderr
    assert result.stdout.count("  FAILED: ") == 3
    assert not hosts[1].exists("work")


def test_keep_going_leaves_out_hosts_that_fail(
    controller: Controller, hosts: list[TestHost]
) -> None:
    controller.write("f", "x")
    controller.config(TWO_HOSTS + "c.host = '127.0.0.1:1'\nconfig.add_component(c)\n")
    result = controller.fastrr("--keep-going")
    assert result.status == 3
    for host in hosts:
        assert host.sh("cat work/f") == "x"
        assert len(host.sessions()) == 1


def test_two_names_for_one_account_are_refused(
    controller: Controller, hosts: list[TestHost]
) -> None:
    controller.write("f", "x")
    address = f"{hosts[0].user}@{hosts[0].address}:{hosts[0].port}"
    controller.config(TWO_HOSTS + f"c.host = '{address}'\nconfig.add_component(c)\n")
    result = controller.fastrr()
    assert result.status == 3
    assert f"{address}: it is the same account of the same machine as 'host1'" in result.stderr
    assert not hosts[0].exists("work")


def test_a_host_without_screen_says_how_to_mend_it(
    controller: Controller, containers: list[TestHost]
) -> None:
    controller.write("f", "x")
    controller.config(TWO_HOSTS)
    with containers[1].without("screen"):
        result = controller.fastrr()
    assert result.status == 3
    assert "ERROR: host2: the host has no screen" in result.stderr
    assert "apt-get install screen" in result.stderr
    assert not containers[0].exists("work")


def test_an_unusable_socket_directory_is_found_in_check(
    controller: Controller, containers: list[TestHost]
) -> None:
    controller.write("f", "x")
    controller.config(TWO_HOSTS)
    containers[1].sh("chmod 755 /run/screen; rm -rf /run/screen/S-tester", user="root")
    try:
        result = controller.fastrr()
    finally:
        containers[1].sh("chmod 1777 /run/screen", user="root")
    assert result.status == 3
    assert "ERROR: host2: screen can't use its socket directory there" in result.stderr
    assert "SCREENDIR" in result.stderr


def test_a_source_that_a_muddler_removes_is_an_error(
    controller: Controller, hosts: list[TestHost]
) -> None:
    controller.write("f", "x")
    controller.write("m.py", "import os\ndef muddle(config):\n    os.unlink('f')\n")
    controller.config(TWO_HOSTS)
    result = controller.fastrr("-m", "m.py")
    assert result.status == 2
    assert "files['f']" in result.stderr
    assert "No such file" in result.stderr
