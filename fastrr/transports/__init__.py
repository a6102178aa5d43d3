"""Ways to move file content to a host, behind one Protocol."""

from fastrr.transports.base import Item, Transport
from fastrr.transports.sftp import SftpTransport
from fastrr.transports.stream import StreamTransport

__all__ = ["Item", "SftpTransport", "StreamTransport", "Transport"]
