"""How much may be under way: little next door, everything far away, whoever is busy."""

from __future__ import annotations

import socket
import struct

import pytest

from fastrr.hosts.ssh.pacing import EVERYTHING, NEAR_BYTES, allowance, round_trip_s

MS = 1e-3


@pytest.mark.parametrize(
    ("answered_s", "packets_s", "expected"),
    [
        (1 * MS, 0.1 * MS, NEAR_BYTES),
        (20 * MS, 0.1 * MS, NEAR_BYTES),  # a busy machine
        (11 * MS, 10 * MS, 5 * NEAR_BYTES),
        (51 * MS, 50 * MS, EVERYTHING),
        (51 * MS, 0.1 * MS, EVERYTHING),  # through a proxy next door
        (1 * MS, None, NEAR_BYTES),
        (20 * MS, None, 10 * NEAR_BYTES),
        (60 * MS, None, EVERYTHING),
        (float("inf"), None, EVERYTHING),
    ],
)
def test_it_goes_by_the_way(answered_s: float, packets_s: float | None, expected: int) -> None:
    assert allowance(answered_s, packets_s) == pytest.approx(expected)


def test_the_system_knows_the_round_trip_of_a_connection() -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as server,
        socket.create_connection(server.getsockname()) as here,
        server.accept()[0] as there,
    ):
        for _ in range(3):
            here.sendall(b"x")
            there.recv(1)
            there.sendall(b"y")
            here.recv(1)
        found = round_trip_s(here)
    assert found is not None
    assert 0 < found < 0.1


def test_of_what_is_no_connection_it_is_not_known() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        assert round_trip_s(ours) is None
    assert round_trip_s(object()) is None


def test_it_is_the_one_that_the_system_tells(monkeypatch: pytest.MonkeyPatch) -> None:
    """Microseconds, at its place in struct tcp_info, beside which other numbers stand."""
    info = bytearray(b"\x7f" * 256)
    struct.pack_into("=I", info, 148, 3_000_000_000)

    class Told(socket.socket):
        def getsockopt(self, *_arguments: object) -> bytes:  # type: ignore[override]
            return bytes(info)

    with Told() as told:
        assert round_trip_s(told) == 3000.0
