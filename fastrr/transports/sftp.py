"""One file after the other over SFTP: works wherever SSH does, at some round trips a file."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence

from fastrr.hosts.base import Host
from fastrr.transports.base import Item


class SftpTransport:
    """See `fastrr.transports.base.Transport`."""

    name = "sftp"

    def send(
        self, host: Host, items: Sequence[Item], sent: Callable[[int], None]
    ) -> dict[int, str]:
        if not items:
            return {}
        failures: dict[int, str] = {}
        with contextlib.closing(host.open_sender()) as sender:
            for number, item in enumerate(items):
                try:
                    sender.send(item.source, item.destination, sent)
                except OSError as error:
                    failures[number] = error.strerror or str(error)
        return failures
