"""The kinds of `Host` there are to test: the controller, sshds on loopback, Docker containers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from fastrr.hosts.base import Host
from fastrr.hosts.local import LocalHost
from fastrr.hosts.ssh.host import SshHost
from fastrr.model import SshSettings
from testbed.bed import BARE, FULL, Bed, TestHost

CONNECT_TIMEOUT_S = 10.0

PLAIN = ("local", "loopback", "bed")
WITH_OTHER_SHELLS = ("csh-user", "fish-user", "busybox-user")
"""Users of the Docker hosts: what they have instead of bash, or of GNU's utilities."""
ALL = (*PLAIN, BARE, *WITH_OTHER_SHELLS)


@dataclass(frozen=True)
class Kind:
    """A kind of host: how to make one that is not connected yet, and a look behind its back."""

    name: str
    make: Callable[[], Host]
    behind: TestHost | None = None
    user: str | None = None


def local_kind() -> Kind:
    return Kind("local", lambda: LocalHost("localhost"))


def ssh_kind(name: str, bed: Bed, user: str | None = None) -> Kind:
    (behind,) = bed.need(1, BARE if name == BARE else FULL)
    settings = SshSettings(config_file=str(bed.ssh_config))
    address = f"{user}@{behind.name}" if user else behind.name
    return Kind(name, lambda: SshHost(address, settings, CONNECT_TIMEOUT_S), behind, user)
