"""Machines and the ways to reach them."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module

from fastrr.hosts.base import Host
from fastrr.hosts.local import LocalHost
from fastrr.model import LOCALHOST, SshSettings


def make_host(name: str, settings: SshSettings, connect_timeout_s: float) -> Host:
    """Return the way to reach ``name``: the one place that tells localhost from other hosts."""
    if name == LOCALHOST:
        return LocalHost(name)
    _import_all()
    from fastrr.hosts.ssh.host import SshHost

    return SshHost(name, settings, connect_timeout_s)


def warm_up(names: Sequence[str], settings: SshSettings) -> None:
    """Do what all connections take, before workers are forked: once.

    While this imports what SSH takes, a tenth of a second's worth, ssh's configuration is read by
    processes beside it.
    """
    if far := [name for name in names if name != LOCALHOST]:
        from fastrr.hosts.ssh.target import read_ahead

        with read_ahead(far, settings):
            _import_all()


def _import_all() -> None:
    for module in ("lean_paramiko", "host"):  # in this order: the others import paramiko whole
        import_module(f"fastrr.hosts.ssh.{module}")
