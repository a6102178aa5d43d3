"""One SSH connection: socket, key exchange, host key, login. Measured facts in the comments."""

from __future__ import annotations

import contextlib
import logging
import os
import random
import signal
import socket
import subprocess
import tempfile
import threading
import time
import zlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import IO, Any

import paramiko
from paramiko.packet import Packetizer

from fastrr.errors import ConnectionFailed
from fastrr.hosts.ssh import pacing, patience, trust
from fastrr.hosts.ssh.credentials import Credential, log_in
from fastrr.hosts.ssh.negotiation import Transport
from fastrr.hosts.ssh.patience import PatientStream
from fastrr.hosts.ssh.target import SshTarget, resolve
from fastrr.model import SshSettings

logger = logging.getLogger(__name__)

MAX_JUMPS = 5

REKEY_BYTES = 2**35
"""paramiko asks for new keys after 512 MiB and can deadlock doing so (its issue 822)."""

LONGEST_GREETING_BYTES = 1 << 16
LONGEST_PACKET_BYTES = 1 << 18
"""OpenSSH's own limit (packet.c); the protocol's is 35,000 bytes (RFC 4253, 6.1)."""
_CHANNEL_DATA = frozenset((94, 95))
"""SSH_MSG_CHANNEL_DATA and SSH_MSG_CHANNEL_EXTENDED_DATA (RFC 4250, 4.1.2)."""

_first_hops: dict[tuple[str, int], threading.BoundedSemaphore] = {}
_first_hops_lock = threading.Lock()


class _Packetizer(Packetizer):
    """Remembers when the other side was last heard, so that a frozen host can be told.

    It also holds a host to the protocol's limits, which paramiko does not: a host could fill the
    memory before it has even shown who it is.
    """

    def __init__(self, sock: Any) -> None:
        super().__init__(sock)
        self.heard_at = time.monotonic()
        self._greeting_bytes = 0
        self.channel: Callable[[int], paramiko.Channel | None] = lambda _number: None
        """Finds an open channel by its number."""

    def read_message(self) -> Any:
        kind, message = super().read_message()
        self.heard_at = time.monotonic()
        if kind in _CHANNEL_DATA:
            self._check_window(message)
        return kind, message

    def _check_window(self, message: paramiko.Message) -> None:
        """See that what came for a channel is no more than it was allowed (RFC 4254, 5.2)."""
        number = int.from_bytes(message.asbytes()[:4], "big")
        if (channel := self.channel(number)) is None:
            return
        unread = len(channel.in_buffer) + len(channel.in_stderr_buffer)
        if unread > channel.in_window_size:
            raise paramiko.SSHException("it sends more than it was allowed to")

    def _read_timeout(self, timeout: float) -> bytes:
        """Read what comes before the first packet: the version, perhaps other lines before it."""
        piece: bytes = super()._read_timeout(timeout)  # type: ignore[misc]
        self._greeting_bytes += len(piece)
        if self._greeting_bytes > LONGEST_GREETING_BYTES:
            raise paramiko.SSHException(
                f": it sends more than {LONGEST_GREETING_BYTES} bytes before its version"
            )
        return piece

    def read_all(self, n: int, check_rekey: bool = False) -> bytes:
        if n > LONGEST_PACKET_BYTES:
            raise paramiko.SSHException(f"it sends a packet of {n} bytes")
        return super().read_all(n, check_rekey)

    def set_inbound_compressor(self, compressor: object) -> None:
        del compressor  # it makes any amount of a small packet
        super().set_inbound_compressor(_Decompressor())  # type: ignore[arg-type]


class _Decompressor:
    """Decompresses packets (RFC 4253, 6.2), none to more than a packet may have."""

    def __init__(self) -> None:
        self._stream = zlib.decompressobj()

    def __call__(self, data: bytes) -> bytes:
        packet = self._stream.decompress(data, LONGEST_PACKET_BYTES)
        if self._stream.unconsumed_tail:
            raise paramiko.SSHException("it sends a packet that grows when it is decompressed")
        return packet


class _DroppedBeforeBanner(Exception):
    """The server hung up before it introduced itself: too many connections at once."""


_PROXY_SAID_BYTES = 2000


@dataclass(slots=True)
class _Proxy:
    """A ProxyCommand that runs."""

    command: str
    process: subprocess.Popen[bytes]
    said: IO[bytes]
    """What it wrote to standard error."""

    def failure(self) -> str | None:
        """Say how it failed, if it has ended and did."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(1.0)
        if not self.process.returncode:
            return None
        self.said.seek(-min(_PROXY_SAID_BYTES, self.said.seek(0, os.SEEK_END)), os.SEEK_END)
        words = " | ".join(self.said.read().decode(errors="replace").split("\n")[-4:]).strip(" |")
        return (
            f"the ProxyCommand {self.command!r} ended with status {self.process.returncode}: "
            f"{words or 'it said nothing'}"
        )

    def close(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        self.said.close()


@dataclass(slots=True)
class _Way:
    """The byte stream to a host, and what it runs through."""

    socket: Any
    jump: Connection | None = None
    proxy: _Proxy | None = None

    def round_trip_s(self) -> float | None:
        """The shortest round trip of its packets, where the system knows it."""
        return pacing.round_trip_s(self.socket)

    def close(self) -> None:
        self.socket.close()
        if self.jump:
            self.jump.close()
        if self.proxy:
            self.proxy.close()


@dataclass(slots=True)
class Connection:
    """An authenticated connection, with what it is tunnelled through."""

    transport: paramiko.Transport
    target: SshTarget
    way: _Way
    credential: Credential

    @property
    def host_key(self) -> paramiko.PKey:
        """The verified key of the host."""
        return self.transport.get_remote_server_key()

    def silent_s(self) -> float:
        """Seconds since the other side was last heard."""
        packetizer = self.transport.packetizer
        assert isinstance(packetizer, _Packetizer)
        return time.monotonic() - packetizer.heard_at

    def ask_for_a_sign(self) -> None:
        """Send a keepalive that wants an answer (OpenSSH's PROTOCOL file; paramiko's own does not).

        A server that does not know the request must answer that it failed (RFC 4254, section 4).
        """
        message = paramiko.Message()
        message.add_byte(paramiko.common.cMSG_GLOBAL_REQUEST)
        message.add_string("keepalive@openssh.com")
        message.add_boolean(True)
        self.transport._send_user_message(message)  # type: ignore[attr-defined] # noqa: SLF001

    def close(self) -> None:
        self.transport.close()
        self.way.close()


def connect(
    name: str,
    settings: SshSettings,
    timeout_s: float,
    depth: int = 0,
    jumps: tuple[str, ...] | None = None,
) -> Connection:
    """Connect to ``name`` as ``ssh NAME`` would, and log in.

    ``jumps`` overrides the ProxyJump of ssh's configuration where it is not empty.

    :raises ConnectionFailed: with the address, what was seen, and what to do.
    """
    target = resolve(name, settings)
    if jumps:
        target = target._replace(proxy_jump=jumps, proxy_command=None)
    trust.refuse_what_we_can_not_ask(target)
    timeout_s = target.connect_timeout_s or timeout_s
    deadline = time.monotonic() + timeout_s
    pause_s = 0.2
    while True:
        try:
            return _connect_once(target, settings, timeout_s, depth)
        except _DroppedBeforeBanner as dropped:
            if time.monotonic() + pause_s > deadline:
                raise ConnectionFailed(
                    f"{target} hangs up before saying it is an SSH server ({dropped}): is it one, "
                    "and does its MaxStartups or PerSourcePenalties allow this many connections?"
                ) from dropped
            time.sleep(pause_s * random.uniform(0.5, 1.5))  # noqa: S311
            pause_s = min(pause_s * 2, 2.0)


def _connect_once(
    target: SshTarget, settings: SshSettings, timeout_s: float, depth: int
) -> Connection:
    with contextlib.ExitStack() as undo, _turn(target, settings.handshakes_at_once):
        way = _open_way(target, settings, timeout_s, depth)
        undo.callback(way.close)
        try:
            transport = _handshake(way.socket, target, timeout_s)
        except _DroppedBeforeBanner as dropped:
            if way.proxy and (failure := way.proxy.failure()):
                raise ConnectionFailed(failure) from dropped
            raise
        undo.callback(transport.close)
        trusted = trust.verify(transport, target)
        password = settings.password if trusted else None
        credential = log_in(transport, target, password, trusted=trusted)
        # A host that waits while others are busy is dropped by firewalls that hear nothing of it.
        transport.set_keepalive(round(target.alive_interval_s or patience.SIGN_OF_LIFE_AFTER_S))
        undo.pop_all()
    return Connection(transport, target, way, credential)


def _turn(target: SshTarget, at_once: int) -> contextlib.AbstractContextManager[object]:
    """Wait for one of the handshakes that a first hop takes at once.

    A target behind a jump host has none of its own: the connection to the jump host had.
    """
    if target.proxy_jump or target.proxy_command:
        return contextlib.nullcontext()
    with _first_hops_lock:
        return _first_hops.setdefault(
            (target.hostname, target.port), threading.BoundedSemaphore(at_once)
        )


def _open_way(target: SshTarget, settings: SshSettings, timeout_s: float, depth: int) -> _Way:
    if target.proxy_jump:
        return _through_jump(target, settings, timeout_s, depth)
    if target.proxy_command:
        return _through_command(target.proxy_command)
    return _Way(_socket(target, timeout_s))


def _looked_up(name: str) -> Any:
    """Return what the system is asked for: bytes where that will do.

    A str, plain as it may be, has every worker import the tables of IDNA.
    """
    labels = name.removesuffix(".").split(".")
    plain = name.isascii() and all(0 < len(label) < _LABEL_BYTES for label in labels)
    return name.encode() if plain else name


_LABEL_BYTES = 64
"""Too long for a part of a name (RFC 1035, 2.3.4)."""


def _socket(target: SshTarget, timeout_s: float) -> socket.socket:
    where = f"{target.hostname} port {target.port}"
    try:
        sock = socket.create_connection((_looked_up(target.hostname), target.port), timeout_s)
    except socket.gaierror as error:
        raise ConnectionFailed(
            f"the name {target.hostname!r} can't be resolved ({error.strerror}): is it spelled "
            "right, or does it need a HostName in ssh's configuration?"
        ) from error
    except TimeoutError as error:
        raise ConnectionFailed(
            f"no answer from {where} within {timeout_s:g} s: is the machine up, "
            "and does a firewall let SSH through?"
        ) from error
    except ConnectionRefusedError as error:
        raise ConnectionFailed(
            f"connection refused by {where}: is an SSH server running there?"
        ) from error
    except UnicodeError as error:  # of IDNA: a label that is empty or too long
        raise ConnectionFailed(f"{target.hostname!r} is no name of a host: {error}") from error
    except OSError as error:
        raise ConnectionFailed(f"can't connect to {where}: {error.strerror or error}") from error
    # An exec over paramiko takes 47 ms with Nagle's algorithm, 3 ms without (loopback).
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    return sock


def _through_jump(target: SshTarget, settings: SshSettings, timeout_s: float, depth: int) -> _Way:
    """Tunnel through the last ProxyJump, which itself goes through those before it."""
    if depth >= MAX_JUMPS:
        raise ConnectionFailed(f"more than {MAX_JUMPS} ProxyJumps in a row: do they form a loop?")
    *before, last = target.proxy_jump
    # As for ssh -l, the user is that of the host, not of those on the way to it.
    settings = replace(settings, user=None)
    try:
        jump = connect(last, settings, timeout_s, depth + 1, tuple(before))
    except ConnectionFailed as error:
        raise ConnectionFailed(f"by way of the jump host {last}: {error}") from error
    try:
        channel = jump.transport.open_channel(
            "direct-tcpip", (target.hostname, target.port), ("127.0.0.1", 0), timeout=timeout_s
        )
    except (paramiko.SSHException, EOFError, OSError) as error:
        jump.close()
        raise ConnectionFailed(
            f"the jump host {last} can't reach {target.hostname} port {target.port}: {error}"
        ) from error
    return _Way(channel, jump)


def _through_command(command: str) -> _Way:
    """Run a ProxyCommand with a socket as its input and output (ssh_config(5))."""
    ours, theirs = socket.socketpair()
    said = tempfile.TemporaryFile()  # noqa: SIM115 (closed with the proxy)
    with theirs:
        process = subprocess.Popen(
            ["/bin/sh", "-c", f"exec {command}"],
            stdin=theirs.fileno(),
            stdout=theirs.fileno(),
            stderr=said,
            start_new_session=True,
        )
    return _Way(ours, None, _Proxy(command, process, said))


def _handshake(sock: Any, target: SshTarget, timeout_s: float) -> paramiko.Transport:
    stream: Any = PatientStream(sock)
    transport = Transport(stream, packetizer_class=_Packetizer)
    transport.packetizer.channel = transport._channels.get  # type: ignore[attr-defined] # noqa: SLF001
    transport.daemon = True
    transport.banner_timeout = transport.handshake_timeout = transport.auth_timeout = timeout_s
    transport.packetizer.REKEY_BYTES = transport.packetizer.REKEY_PACKETS = REKEY_BYTES
    if target.compression:
        transport.use_compression()
    transport.restrict(target, trust.look_up(target).key_types)
    try:
        transport.start_client(timeout=timeout_s)
    except (paramiko.SSHException, EOFError, OSError) as error:
        _hang_up(transport)
        # paramiko's error about the banner does not say what was wrong, but why it was raised does.
        if isinstance(error.__context__, TimeoutError):
            raise _silent(transport, target, timeout_s) from error
        gone = isinstance(error, (EOFError, ConnectionError)) or "banner" in str(error)
        if gone and not transport.remote_version:
            raise _DroppedBeforeBanner(str(error.__context__ or error) or "end of file") from error
        raise ConnectionFailed(
            f"no SSH session with {target} could be agreed: {transport.explanation(error, target)}"
        ) from error
    if not transport.initial_kex_done:
        _hang_up(transport)
        raise _silent(transport, target, timeout_s)
    return transport


def _hang_up(transport: paramiko.Transport) -> None:
    transport.close()
    transport.packetizer.complete_handshake()  # a timer, which would wait on for its time


def _silent(transport: paramiko.Transport, target: SshTarget, timeout_s: float) -> ConnectionFailed:
    if transport.remote_version:
        return ConnectionFailed(
            f"{target} did not complete the key exchange within {timeout_s:g} s: "
            "is the machine overloaded, or does the network lose large packets (MTU)?"
        )
    return ConnectionFailed(
        f"{target} accepts connections, but said nothing within {timeout_s:g} s: "
        "is it an SSH server, and is the machine frozen or overloaded?"
    )
