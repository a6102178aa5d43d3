"""SSH servers that do not keep to the protocol, as no real sshd can be made to."""

from __future__ import annotations

import contextlib
import os
import socket
import struct
import subprocess
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import paramiko

VERSION = b"SSH-2.0-rogue\r\n"
PIECE = b"y" * 30_000


@dataclass(frozen=True)
class Rogue:
    """What a server does, and what is said about it."""

    says: str
    instead: Callable[[socket.socket], None] | None = None
    """What it does with a connection instead of speaking SSH."""
    on_command: Callable[[paramiko.Channel], None] | None = None
    """What it does instead of starting a command; unless it is there, commands are run."""
    on_sftp: Callable[[paramiko.Channel], None] | None = None
    options: tuple[str, ...] = ()
    """Of the ssh configuration."""
    words: tuple[str, ...] = ()
    """Of fastrr's command line."""


def _without_end(beginning: bytes, piece: bytes) -> Callable[[socket.socket], None]:
    def instead(connection: socket.socket) -> None:
        connection.sendall(beginning)
        while True:
            connection.sendall(piece)

    return instead


def _transport(channel: paramiko.Channel) -> Any:
    return channel.get_transport()


def _data(channel: paramiko.Channel, data: bytes, extended: bool = False) -> None:
    """Send data, whatever the window says."""
    message = paramiko.Message()
    message.add_byte(bytes([95 if extended else 94]))
    message.add_int(channel.remote_chanid)
    if extended:
        message.add_int(1)
    message.add_string(data)
    _transport(channel)._send_user_message(message)


def _overrun(extended: bool) -> Callable[[paramiko.Channel], None]:
    def on_command(channel: paramiko.Channel) -> None:
        while _transport(channel).is_active():
            _data(channel, PIECE, extended)

    return on_command


def _bomb(channel: paramiko.Channel) -> None:
    message = paramiko.Message()
    message.add_byte(b"\x02")  # SSH_MSG_IGNORE
    message.add_string(bytes(100_000_000))
    _transport(channel)._send_message(message)


def _sftp(answers: Callable[[paramiko.Channel], None]) -> Callable[[paramiko.Channel], None]:
    def on_sftp(channel: paramiko.Channel) -> None:
        channel.recv(1000)
        channel.sendall(struct.pack(">IBI", 5, 2, 3))  # SSH_FXP_VERSION
        channel.recv(1000)
        while True:
            answers(channel)

    return on_sftp


ROGUES = {
    "a greeting without end": Rogue("before its version", _without_end(b"", PIECE)),
    "lines before the greeting": Rogue("liar: ", _without_end(b"", b"y" * 1000 + b"\r\n")),
    "an endless version": Rogue("before its version", _without_end(b"SSH-2.0-", PIECE)),
    "a packet of a gigabyte": Rogue(
        "a packet of 1[0-9]+ bytes", _without_end(VERSION + struct.pack(">I", (1 << 30) + 4), PIECE)
    ),
    "more than the window": Rogue("the connection was lost", on_command=_overrun(False)),
    "more errors than the window": Rogue("the connection was lost", on_command=_overrun(True)),
    "a packet that grows": Rogue(
        "the connection was lost", on_command=_bomb, options=("Compression yes",)
    ),
    "an SFTP answer of 16 MB": Rogue(
        "it answers with [0-9]+ bytes",
        on_sftp=_sftp(lambda channel: channel.sendall(struct.pack(">I", 0xFFFF00) + PIECE)),
        words=("--transport", "sftp"),
    ),
    "SFTP answers to no question": Rogue(
        "it answers what was not asked",
        on_sftp=_sftp(lambda channel: channel.sendall(struct.pack(">IBI", 5, 102, 99) * 1000)),
        words=("--transport", "sftp"),
    ),
}


class _Door(paramiko.ServerInterface):
    """Lets everybody in."""

    def __init__(self, one: Rogue, home: Path) -> None:
        self._one, self._home = one, home

    def get_allowed_auths(self, _username: str) -> str:
        return "publickey"

    def check_auth_publickey(self, _username: str, _key: paramiko.PKey) -> int:
        return paramiko.common.AUTH_SUCCESSFUL

    def check_channel_request(self, _kind: str, _chanid: int) -> int:
        return paramiko.common.OPEN_SUCCEEDED

    def check_channel_exec_request(self, channel: paramiko.Channel, command: bytes) -> bool:
        if on_command := self._one.on_command:
            _ending_quietly(lambda: on_command(channel))
            return False
        _in_thread(lambda: self._run(channel, command))
        return True

    def check_channel_subsystem_request(self, channel: paramiko.Channel, _name: str) -> bool:
        if self._one.on_sftp is None:
            return False
        threading.Thread(
            target=_ending_quietly,
            args=(lambda: self._one.on_sftp(channel),),
            daemon=True,
        ).start()
        return True

    def _run(self, channel: paramiko.Channel, command: bytes) -> None:
        with channel.makefile("rb") as sent:
            data = sent.read()
        done = subprocess.run(
            ["sh", "-c", command],
            input=data,
            capture_output=True,
            check=False,
            env={"PATH": os.environ["PATH"], "HOME": str(self._home)},
        )
        channel.sendall(done.stdout)
        channel.sendall_stderr(done.stderr)
        channel.send_exit_status(done.returncode)
        channel.close()


def _ending_quietly(work: Callable[[], None]) -> None:
    with contextlib.suppress(OSError, EOFError, paramiko.SSHException):
        work()


def _in_thread(work: Callable[[], None]) -> None:
    threading.Thread(target=_ending_quietly, args=(work,), daemon=True).start()


@contextlib.contextmanager
def rogue(one: Rogue, home: Path) -> Iterator[int]:
    """Run such a server; yield its port."""
    key = paramiko.RSAKey.generate(2048)
    transports: list[paramiko.Transport] = []

    def speak(connection: socket.socket) -> None:
        transport = paramiko.Transport(connection)
        transports.append(transport)
        transport.use_compression()
        transport.get_security_options().compression = ("zlib@openssh.com", "none")
        transport.add_server_key(key)
        transport.start_server(server=_Door(one, home))

    def serve() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            work = one.instead or speak
            _in_thread(partial(work, connection))

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        try:
            yield listener.getsockname()[1]
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join()
            for transport in transports:
                transport.close()
