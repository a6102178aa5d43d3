"""How much may be under way to a command on a host: enough to keep the way there full, and no more.

sshd collects the up to 2 MiB that it takes from each channel in one buffer, which it makes larger,
and copies, packet by packet (OpenSSH's sshbuf.c). Where ``tar`` was slower than what it was fed,
that was half of all the time of hosts that got 2000 files of 4 KiB.
"""

from __future__ import annotations

import socket
import struct
from typing import Any

NEAR_BYTES = 1 << 18
"""Enough for a host next door; sshd reports at once what it has passed on, but from 96 KiB on only
(channels.c)."""
NEAR_S = 0.002
"""Round trip for which that is enough: 128 MB/s."""
EVERYTHING = 1 << 31
"""All that the host allows."""
FAR_S = 0.03
"""An answer that takes so long comes from afar, and not just from a machine that is busy."""
_MIN_RTT_AT = 148
"""Offset of ``tcpi_min_rtt`` in ``struct tcp_info`` (linux/tcp.h, since 4.6)."""


def allowance(answered_s: float, round_trip_s: float | None) -> int:
    """Return how many bytes may be under way.

    ``answered_s``: the shortest time in which the host has answered, which may be long because
    either machine is busy. ``round_trip_s``: that of the connection's packets, where the system
    knows it; at its other end may be a proxy.
    """
    if answered_s > FAR_S:
        return EVERYTHING
    known_s = answered_s if round_trip_s is None else round_trip_s
    return round(NEAR_BYTES * max(1.0, known_s / NEAR_S))


def round_trip_s(sock: Any) -> float | None:
    """Return the shortest round trip of a socket's packets; None where it is not known.

    It is measured by the system (tcp(7), TCP_INFO): how busy the programs are does not matter.
    """
    if not (isinstance(sock, socket.socket) and hasattr(socket, "TCP_INFO")):
        return None
    try:
        info = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 256)
        (microseconds,) = struct.unpack_from("=I", info, _MIN_RTT_AT)
    except (OSError, struct.error):
        return None
    return float(microseconds) / 1e6
