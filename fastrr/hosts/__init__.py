"""Machines and the ways to reach them."""

from __future__ import annotations

from importlib import import_module

from fastrr.hosts.base import Host
from fastrr.hosts.local import LocalHost
from fastrr.model import LOCALHOST, SshSettings


def make_host(name: str, settings: SshSettings, connect_timeout_s: float) -> Host:
    """Return the way to reach ``name``: the one place that tells localhost from other hosts."""
    if name == LOCALHOST:
        return LocalHost(name)
    warm_up()
    from fastrr.hosts.ssh.host import SshHost

    return SshHost(name, settings, connect_timeout_s)


def warm_up() -> None:
    """Import what SSH takes, a tenth of a second's worth: once, before workers are forked."""
    for module in ("lean_paramiko", "host"):  # in this order: the others import paramiko whole
        import_module(f"fastrr.hosts.ssh.{module}")
