"""The whole command under the lists of algorithms that a system sets for everyone."""

from __future__ import annotations

import pytest
from conftest import Controller
from testbed import TestHost
from testbed.trust import RHEL

LARGE_BYTES = 50 << 20
"""Enough for a second connection, by ssh itself."""

CONFIG = """
c = Component(name='main', executable='/bin/true', host='host1', start_index=1, wait=True)
c.base_dir = 'work'
c.files = {'small': 'small', 'large': 'large'}
config.add_component(c)
"""


def test_a_host_is_deployed_to_under_rhel_s_policy(
    controller: Controller, hosts: list[TestHost]
) -> None:
    assert controller.bed is not None
    policy = "".join(f"  {line}\n" for line in RHEL)
    ssh_config = controller.write("rhel", controller.bed.ssh_config.read_text() + policy)
    controller.write("small", "some text\n")
    with (controller.directory / "large").open("wb") as large:
        large.truncate(LARGE_BYTES)
    controller.config(CONFIG)
    result = controller.fastrr("-F", ssh_config)
    assert result.status == 0, result
    assert "WARNING" not in result.output
    host = hosts[0]
    assert host.sh(f"cat {host.home}/work/small") == "some text\n"
    assert host.sh(f"wc -c <{host.home}/work/large").strip() == str(LARGE_BYTES)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("RevokedHostKeys /missing", "which RevokedHostKeys in ssh's configuration names"),
        ("Ciphers 3des-cbc", "no acceptable ciphers"),
    ],
)
def test_what_ssh_refuses_changes_nothing_and_names_the_option(
    controller: Controller, hosts: list[TestHost], line: str, said: str
) -> None:
    assert controller.bed is not None
    text = controller.bed.ssh_config.read_text() + f"  {line}\n"
    ssh_config = controller.write("ssh_config", text)
    controller.write("small", "some text\n")
    controller.write("large", "more\n")
    controller.config(CONFIG)
    result = controller.fastrr("-F", ssh_config)
    assert result.status == 3, result
    assert "ERROR: host1: " in result.stderr
    assert said in result.stderr
    assert not hosts[0].exists(f"{hosts[0].home}/work")
