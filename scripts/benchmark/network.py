"""The network between here and the hosts: one of their own, slower, or farther away."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import subprocess
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from testbed import Bed
from testbed.docker_bed import DockerBed

import docker
from benchmark.results import Skipped

PATH = f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin"
LABEL = "fastrr.bench.process"


@contextlib.contextmanager
def own_network(bed: Bed) -> Iterator[str | None]:
    """Have the bed start its hosts in a network that is removed at the end, and they with it.

    Yields the network interface of its bridge; None: the bed is not of Docker.
    """
    if not isinstance(bed, DockerBed):
        yield None
        return
    client = docker.from_env()
    for abandoned in client.networks.list(filters={"label": LABEL}):
        if not os.path.exists(f"/proc/{abandoned.attrs['Labels'][LABEL]}"):
            _remove(client, abandoned)
    network = client.networks.create(
        f"fastrr-bench-{os.getpid()}", labels={LABEL: str(os.getpid())}
    )
    try:
        bed.options["network"] = network.name
        yield f"br-{network.id[:12]}"
    finally:
        bed.hosts.clear()
        _remove(client, network)


def _remove(client: Any, network: Any) -> None:
    """Remove a network with all containers in it."""
    containers = client.containers.list(all=True, filters={"network": network.id})
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda container: container.remove(force=True, v=True), containers))
    network.remove()


def install(package: str, command: str) -> bool:
    """Have a command that a Debian package brings; tell whether it is there."""
    if shutil.which(command, path=PATH) is None:
        program = Path(__file__).resolve().parents[1] / "system-packages"
        # Its verdict is not asked for: it looks for a command of the package's name.
        subprocess.run([program, package], capture_output=True, check=False)
    return shutil.which(command, path=PATH) is not None


@contextlib.contextmanager
def rate_limit(bridge: str | None, mbit: int) -> Iterator[None]:
    """Limit what this machine can send through a bridge, to all hosts together.

    :raises Skipped: where that can't be done.
    """
    if bridge is None:
        raise Skipped("it needs hosts in a network of their own, that is, Docker")
    if os.getuid() != 0:
        raise Skipped("only root can limit the rate of a network")
    if not install("iproute2", "tc"):
        raise Skipped("there is no tc (Debian's package iproute2)")
    device = ["dev", bridge, "root"]
    limit = ["tbf", "rate", f"{mbit}mbit", "burst", "512k", "latency", "100ms"]
    added = _tc("add", *device, *limit)
    if added.returncode != 0:
        raise Skipped(f"tc can't limit the rate: {added.stderr.strip()}")
    try:
        yield
    finally:
        _tc("del", *device)


def _tc(verb: str, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [shutil.which("tc", path=PATH) or "tc", "qdisc", verb, *words],
        capture_output=True, text=True, check=False,
    )  # fmt: skip


@contextlib.contextmanager
def far_away(targets: Sequence[tuple[str, int]], delay_s: float) -> Iterator[DelayingProxy]:
    """Have a `DelayingProxy` for a while, in a thread of its own."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    proxy = DelayingProxy(loop, delay_s)
    try:
        asyncio.run_coroutine_threadsafe(proxy.listen(targets), loop).result()
        yield proxy
    finally:
        asyncio.run_coroutine_threadsafe(proxy.close(), loop).result()
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


class DelayingProxy:
    """Puts hosts farther away: what is sent arrives ``delay_s`` later, either way.

    Only time passes: the rate is not limited, nothing is lost, and there is no slow start as TCP
    has it. Connecting takes one round trip.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, delay_s: float) -> None:
        self.ports: list[int] = []
        """On 127.0.0.1, one for each target."""
        self._loop = loop
        self._delay_s = delay_s
        self._servers: list[asyncio.Server] = []
        self._lines: list[_Line] = []
        self._counted = 0
        """How many of the lines take_round_trips has seen."""

    def take_round_trips(self) -> float:
        """Return the most round trips of one of the connections since this was last asked.

        It is the longest chain of pieces that each were sent after the one before had arrived. Not
        all of them had to wait for it, so this is an upper bound of the round trips waited for.
        """
        new = self._lines[self._counted :]
        self._counted += len(new)
        return max((max(line.chain) / 2 for line in new), default=0.0)

    async def listen(self, targets: Sequence[tuple[str, int]]) -> None:
        """Take connections for ``targets`` (addresses and ports)."""
        for target in targets:

            def accepted(target: tuple[str, int] = target) -> _End:
                line = _Line(self._loop, self._delay_s, target)
                self._lines.append(line)
                return line.ends[0]

            server = await self._loop.create_server(accepted, "127.0.0.1", 0)
            self._servers.append(server)
            self.ports.append(server.sockets[0].getsockname()[1])

    async def close(self) -> None:
        """Drop all connections and take no more."""
        for server in self._servers:
            server.close()
        for line in self._lines:
            line.drop()
        await asyncio.sleep(0)  # transports close in the loop's next turn


class _End(asyncio.Protocol):
    """One end of a connection: its socket, and what becomes of what comes out of it."""

    def __init__(self, line: _Line, number: int) -> None:
        self._line = line
        self._number = number
        self.transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self._line.opened(self._number)

    def data_received(self, data: bytes) -> None:
        self._line.carry(self._number, data)

    def eof_received(self) -> bool:
        self._line.carry(self._number, b"")
        return True  # the other direction stays open

    def connection_lost(self, _: Exception | None) -> None:
        self._line.carry(self._number, None)

    def take(self, data: bytes | None) -> None:
        """Give what has arrived to the socket: bytes, none for the end of these, None to close."""
        if self.transport is None or self.transport.is_closing():
            return
        if data is None:
            self.transport.close()
        elif data:
            self.transport.write(data)
        else:
            with contextlib.suppress(OSError):  # it may have ended by itself
                self.transport.write_eof()


class _Line:
    """One connection, with its delay."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, delay_s: float, target: tuple[str, int]
    ) -> None:
        self.ends = (_End(self, 0), _End(self, 1))
        self.chain = [0, 0]
        """Of the pieces that have arrived at each end, the length of the longest chain."""
        self._loop = loop
        self._delay_s = delay_s
        self._target = target
        self._due = [0.0, 0.0]
        self._connecting: asyncio.Task[None] | None = None

    def opened(self, number: int) -> None:
        """Once somebody has connected, connect to the target."""
        if number == 0:
            assert self.ends[0].transport is not None
            self.ends[0].transport.pause_reading()
            self._connecting = self._loop.create_task(self._connect())

    async def _connect(self) -> None:
        await asyncio.sleep(2 * self._delay_s)
        here = self.ends[0].transport
        assert here is not None
        try:
            await self._loop.create_connection(lambda: self.ends[1], *self._target)
        except OSError:
            here.close()
        if here.is_closing():
            self.ends[1].take(None)
        else:
            here.resume_reading()

    def carry(self, sender: int, data: bytes | None) -> None:
        """Let the other end have ``data`` later, in the order in which it was sent."""
        due = max(self._loop.time() + self._delay_s, self._due[sender] + 1e-6)
        self._due[sender] = due
        self._loop.call_at(due, self._arrive, 1 - sender, data, self.chain[sender] + 1)

    def _arrive(self, receiver: int, data: bytes | None, chain: int) -> None:
        self.chain[receiver] = max(self.chain[receiver], chain)
        self.ends[receiver].take(data)

    def drop(self) -> None:
        if self._connecting is not None:
            self._connecting.cancel()
        for end in self.ends:
            if end.transport is not None:
                end.transport.abort()
