"""Ways to move file content to a host, behind one Protocol; see `choice` for which is when."""

from fastrr.files.method import Share, choose, unusable
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
    "Share",
    "StreamTransport",
    "Transport",
    "choose",
    "make_transport",
    "programs_here",
    "unusable",
]


def make_transport(name: str) -> Transport:
    """Return the transport of this name."""
    for transport in (StreamTransport, RsyncTransport, SftpTransport):
        if transport.name == name:
            return transport()
    raise ValueError(name)
