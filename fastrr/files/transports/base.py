"""The seam between deciding what to copy and moving it.

A transport puts the content of local files under temporary names on a host, and nothing more.
Around it, the same for all transports, `install` makes the directories before and verifies,
sets permissions and renames afterwards. So a transport need not be trusted: what it got wrong is
found by its digest and never becomes a destination.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

from fastrr.hosts.base import Host


class Basis(NamedTuple):
    """A file on the host that is probably much like the one to be sent there."""

    path: str
    size: int


class Item(NamedTuple):
    """One file to be sent."""

    source: str
    """Absolute local path."""
    destination: str
    """Absolute temporary path on the host; its directory exists."""
    size: int
    basis: Basis | None = None
    """The file that it will replace, if there is one; it is left as it is."""
    mode: int = 0o600
    """Its permissions, from a transport that ``sets_modes``; others let nobody else read it."""


class Transport(Protocol):
    """A way to move file content to one host."""

    name: str
    sets_modes: bool
    wire_bytes: int | None
    """What the last `send` put on the wire, where that is not just all content."""

    def send(
        self, host: Host, items: Sequence[Item], sent: Callable[[int], None]
    ) -> dict[int, str]:
        """Write each item's content to its destination; return what failed, by number, and why.

        A file that fails stops no other. ``sent`` is called with byte counts as they go out, and
        may raise to stop everything.

        :raises HostError: when the host or the connection failed, not a file.
        """
