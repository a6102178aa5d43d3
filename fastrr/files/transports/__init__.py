"""Ways to move file content to a host, behind one Protocol; `fastrr.files.method` chooses."""

from fastrr.files.transports.base import Basis, Item, Transport
from fastrr.files.transports.rsync import RsyncTransport, programs_here
from fastrr.files.transports.sftp import SftpTransport
from fastrr.files.transports.stream import NOT_MADE, UNKNOWN, StreamTransport

__all__ = [
    "NOT_MADE",
    "UNKNOWN",
    "Basis",
    "Item",
    "RsyncTransport",
    "SftpTransport",
    "StreamTransport",
    "Transport",
    "make_transport",
    "programs_here",
]


def make_transport(name: str) -> Transport:
    """Return the transport of this name."""
    for transport in (StreamTransport, RsyncTransport, SftpTransport):
        if transport.name == name:
            return transport()
    raise ValueError(name)
