"""Files over SFTP, many requests under way at once: works where the host has no tar."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence

from fastrr.files.transports.base import Item
from fastrr.hosts.base import Host


class SftpTransport:
    """See `fastrr.files.transports.base.Transport`."""

    name = "sftp"
    sets_modes = False
    wire_bytes: int | None = None

    def send(
        self, host: Host, items: Sequence[Item], sent: Callable[[int], None]
    ) -> dict[int, str]:
        if not items:
            return {}
        with contextlib.closing(host.open_sender()) as sender:
            return sender.send([(item.source, item.destination) for item in items], sent)
