"""A second connection, by the OpenSSH client, for much content: four times as fast a core.

It goes where the first one went and trusts what that one has verified: the settings are those of
the first connection, the only host key it accepts is the one that was verified, and the only
credential it offers is the one that was accepted. A password reaches it through ``SSH_ASKPASS``
and a private socket, never through an argument or the environment.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import struct
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from fastrr.errors import CommandFailed
from fastrr.hosts.process import start
from fastrr.hosts.shell import join, quote, to_bytes
from fastrr.hosts.ssh import patience
from fastrr.hosts.ssh.algorithms import fast_first, of_key
from fastrr.hosts.ssh.credentials import Credential
from fastrr.hosts.ssh.target import Address, SshTarget

ALIAS = "fastrr-verified-host"
"""The name of the host in the known_hosts file that is made for the connection."""

_ASKPASS = """\
import socket, sys
with socket.socket(socket.AF_UNIX) as connection:
    connection.connect(sys.argv[1])
    sys.stdout.buffer.write(connection.makefile("rb").read() + b"\\n")
"""


@dataclass(frozen=True, slots=True)
class Bulk:
    """What the OpenSSH client needs to know."""

    name: str
    """The host as the config writes it."""
    config_file: str | None
    target: SshTarget
    host_key: str
    """Type and Base64 of the verified key."""
    credential: Credential
    password: str | None = field(default=None, repr=False)


class Unprepared(CommandFailed):
    """What the client needs could not be made or started here."""


def client() -> str | None:
    """Return the path of the ``ssh`` program, if there is one."""
    return shutil.which("ssh")


def options(bulk: Bulk, directory: str) -> list[str]:
    """Return the client's command line up to the host; files it names are in ``directory``."""
    target = bulk.target
    settings = {
        # KnownHostsCommand came with OpenSSH 8.5; and what the user's configuration has ignored
        # is not any more when this is set here.
        "IgnoreUnknown": "*",
        "HostName": target.hostname,
        "HostKeyAlias": ALIAS,
        "UserKnownHostsFile": _quoted(os.path.join(directory, "known_hosts")),
        "GlobalKnownHostsFile": "none",
        "KnownHostsCommand": "none",
        "StrictHostKeyChecking": "yes",
        "UpdateHostKeys": "no",
        "VerifyHostKeyDNS": "no",
        **_algorithm_settings(bulk),
        "Compression": "yes" if target.compression else "no",
        "ControlMaster": "no",
        "ControlPath": "none",
        "ClearAllForwardings": "yes",
        "ForwardAgent": "no",
        "ForwardX11": "no",
        "PermitLocalCommand": "no",
        "RemoteCommand": "none",
        "RequestTTY": "no",
        "SessionType": "default",
        "StdinNull": "no",
        "LogLevel": "ERROR",
        "ConnectTimeout": _seconds(min(target.connect_timeout_s or 20, patience.GIVE_UP_AFTER_S)),
        "ServerAliveInterval": _seconds(patience.SIGN_OF_LIFE_AFTER_S),
        "ServerAliveCountMax": _seconds(patience.GIVE_UP_AFTER_S / patience.SIGN_OF_LIFE_AFTER_S),
        **_credential_settings(bulk, directory),
    }
    words = ["-T", "-l", target.user, "-p", str(target.port)]
    if bulk.config_file:
        words += ["-F", bulk.config_file]
    for keyword, value in settings.items():
        words += ["-o", f"{keyword}={value}"]
    return [*words, "--", Address.parse(bulk.name).host]


def _algorithm_settings(bulk: Bulk) -> dict[str, str]:
    """What stands on the command line replaces the configuration's: nothing may be added to that.

    The fastest cipher comes first where nobody has wished for another order. Only the kind of key
    that was verified is asked for, whichever the client would like best.
    """
    allowed = bulk.target.algorithms
    key_type = bulk.host_key.partition(" ")[0]
    host_keys = [name for name in of_key(key_type) if name in allowed.host_keys.names]
    settings = {"Ciphers": ",".join(fast_first(allowed.ciphers, allowed.ciphers.names))}
    return settings | ({"HostKeyAlgorithms": ",".join(host_keys)} if host_keys else {})


def _credential_settings(bulk: Bulk, directory: str) -> dict[str, str]:
    settings = {
        "GSSAPIAuthentication": "no",
        "HostbasedAuthentication": "no",
        "NumberOfPasswordPrompts": "1",
        "BatchMode": "yes" if bulk.password is None else "no",
    }
    credential = bulk.credential
    if credential.password:
        methods = [method for method in bulk.target.methods if method != "publickey"]
        return settings | {
            "PubkeyAuthentication": "no",
            "PasswordAuthentication": "yes" if "password" in methods else "no",
            "KbdInteractiveAuthentication": "yes" if "keyboard-interactive" in methods else "no",
            "PreferredAuthentications": ",".join(methods),
        }
    settings |= {
        "PubkeyAuthentication": "yes",
        "PreferredAuthentications": "publickey",
        "IdentitiesOnly": "yes",
    }
    if credential.key_file is not None:
        return settings | {"IdentityFile": _quoted(credential.key_file), "IdentityAgent": "none"}
    if credential.public_key is not None:
        return settings | {
            "IdentityFile": _quoted(os.path.join(directory, "agent_key.pub")),
            "IdentityAgent": _quoted(bulk.target.agent or "SSH_AUTH_SOCK"),
        }
    return settings | {"PreferredAuthentications": "none"}


def _seconds(amount: float) -> str:
    return str(max(1, round(amount)))


def _quoted(path: str) -> str:
    """Write a path as ssh_config(5) has it: quoted, and tokens taken literally."""
    return '"{}"'.format(path.replace("%", "%%"))


@contextlib.contextmanager
def connecting(ssh: str, bulk: Bulk, command: str) -> Iterator[subprocess.Popen[bytes]]:
    """Run ``command`` on the host through the client ``ssh`` for the time inside.

    :raises Unprepared: where that can't even be tried.
    """
    with _client(ssh, bulk) as (words, environment, _):
        yield _started([*words, command], environment)


@contextlib.contextmanager
def leading(
    ssh: str, bulk: Bulk, command: Sequence[str], proof: str = ""
) -> Iterator[subprocess.Popen[bytes]]:
    """Run ``command`` here for the time inside; its RSYNC_RSH (rsync(1)) leads to the host.

    There ``proof`` is run before what the shell was asked for.

    :raises Unprepared: where that can't even be tried.
    """
    with _client(ssh, bulk) as (words, environment, directory):
        shell = os.path.join(directory, "shell")
        # Its first argument is the host's name, which we know better.
        begin = quote(f"exec sh -c '{proof}exec \"$@\"' sh")
        with _preparing():
            Path(shell).write_text(f'shift\nexec {join(words)} {begin} "$@"\n', encoding="utf-8")
        quoted = "'{}'".format(shell.replace("'", "''"))
        yield _started([*command], environment | {"RSYNC_RSH": f"/bin/sh {quoted}"})


@contextlib.contextmanager
def _preparing() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise Unprepared(f"no second connection to the host can be prepared: {error}") from error


def _started(command: list[str], environment: dict[str, str]) -> subprocess.Popen[bytes]:
    with _preparing():
        return start(command, environment)


@contextlib.contextmanager
def _client(ssh: str, bulk: Bulk) -> Iterator[tuple[list[str], dict[str, str], str]]:
    """Yield the client's command line, its environment, and a private directory.

    The client's private files, and the server that tells it the password, are there for this time.
    """
    with contextlib.ExitStack() as stack:
        with _preparing():
            directory = stack.enter_context(_private_directory())
            Path(directory, "known_hosts").write_text(f"{ALIAS} {bulk.host_key}\n")
            if bulk.credential.public_key is not None:
                Path(directory, "agent_key.pub").write_text(f"{bulk.credential.public_key}\n")
            environment = {**os.environ, "LC_ALL": "C"}
            if bulk.password is not None:
                environment |= stack.enter_context(_askpass(directory, bulk.password))
        yield [ssh, *options(bulk, directory)], environment, directory


LONGEST_SOCKET_BYTES = 100
"""108 on Linux, 104 elsewhere (unix(7), sockaddr_un)."""


def _private_directory() -> tempfile.TemporaryDirectory[str]:
    """Make one for our own user only, by a path short enough for that of a socket in it."""
    length = len(os.fsencode(tempfile.gettempdir())) + len("/fastrr-12345678/secret")
    where = "/tmp" if length > LONGEST_SOCKET_BYTES else None  # noqa: S108 (mkdtemp knows what to do)
    return tempfile.TemporaryDirectory(prefix="fastrr-", dir=where)


@contextlib.contextmanager
def _askpass(directory: str, password: str) -> Iterator[dict[str, str]]:
    """Tell ``password``, on a socket, to processes of our own user; yield what makes ssh ask.

    The ssh that leads to a jump host may also ask whether to trust its key, again and again until
    it hears yes or no: that is not for us to say.

    ssh closes all inherited descriptors before it starts the program that asks, so the secret can't
    come by one.
    """
    path, script, program = (os.path.join(directory, name) for name in ("secret", "ask", "ask.py"))
    Path(program).write_text(_ASKPASS)
    tell = join([sys.executable, "-IS", program, path])
    Path(script).write_text(f"#!/bin/sh\ncase $1 in *yes/no*) exit 1 ;; esac\nexec {tell}\n")
    Path(script).chmod(0o700)
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(path)
        server.listen()
        threading.Thread(target=_serve, args=(server, to_bytes(password)), daemon=True).start()
        try:
            yield {
                "SSH_ASKPASS": script,
                "SSH_ASKPASS_REQUIRE": "force",
                "DISPLAY": os.environ.get("DISPLAY", ":0"),  # before OpenSSH 8.4 it needs one
            }
        finally:
            with contextlib.suppress(OSError):
                server.shutdown(socket.SHUT_RDWR)  # wakes up the thread


def _serve(server: socket.socket, secret: bytes) -> None:
    while True:
        try:
            connection, _ = server.accept()
        except OSError:
            return
        with connection, contextlib.suppress(OSError):
            if _user_of(connection) == os.getuid():
                connection.sendall(secret)


def _user_of(connection: socket.socket) -> int:
    """Who is at the other end (unix(7), SO_PEERCRED); elsewhere the directory's mode must do."""
    if not hasattr(socket, "SO_PEERCRED"):
        return os.getuid()
    credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
    user: int = struct.unpack("3i", credentials)[1]
    return user
