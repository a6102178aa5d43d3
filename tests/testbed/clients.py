"""SSH servers, agents and clients' configurations of many kinds, for tests of connections."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from fastrr.errors import ConnectionFailed
from fastrr.hosts.shell import Script
from fastrr.hosts.ssh.host import SshHost
from fastrr.model import HostKeyPolicy, SshSettings
from testbed import loopback_bed
from testbed.bed import PASSWORD, TestHost, end, make_key, wait_for_banner
from testbed.docker_bed import DockerHost
from testbed.needs import lack
from testbed.shells import eventually

PASSPHRASE = "correct horse battery"


@dataclass
class Client:
    """An ssh configuration of its own: no key, no agent, its own known_hosts."""

    directory: Path
    settings: SshSettings = field(default_factory=SshSettings)

    @property
    def known_hosts(self) -> Path:
        return self.directory / "known_hosts"

    def key(self, name: str = "key", passphrase: str = "", kind: str = "ed25519") -> Path:
        """Make a key."""
        path = self.directory / name
        make_key(path, passphrase, kind)
        return path

    def configure(
        self,
        *lines: str,
        user: str | None = None,
        password: str | None = None,
        host_keys: HostKeyPolicy = HostKeyPolicy.FROM_SSH_CONFIG,
    ) -> None:
        """Write the configuration: ``lines`` first, so that they win over the defaults."""
        config = self.directory / "ssh_config"
        defaults = (
            "Match all",
            "IdentityAgent none",
            "IdentityFile none",
            f"UserKnownHostsFile {self.known_hosts}",
            "GlobalKnownHostsFile none",
        )
        config.write_text("".join(f"{line}\n" for line in (*lines, *defaults)))
        self.settings = SshSettings(user, password, str(config), host_keys)

    @contextlib.contextmanager
    def connected(self, name: str, timeout_s: float = 10.0) -> Iterator[SshHost]:
        host = SshHost(name, self.settings, timeout_s)
        host.connect()
        try:
            assert host.run(Script("echo it works\n", "")).stdout == b"it works\n"
            yield host
        finally:
            host.close()

    def connects(self, name: str, timeout_s: float = 10.0) -> None:
        """Connect, and find that it works."""
        with self.connected(name, timeout_s):
            pass

    def refusal(self, name: str, timeout_s: float = 10.0) -> str:
        """Fail to connect; return what is said about it."""
        with pytest.raises(ConnectionFailed) as caught:
            SshHost(name, self.settings, timeout_s).connect()
        message = str(caught.value)
        for secret in (PASSWORD, PASSPHRASE, self.settings.password):
            assert secret is None or secret not in message
        return message


@dataclass
class Server:
    """An sshd on loopback, and who may log in."""

    port: int
    authorized: Path
    host_key: Path
    log: Path
    process: subprocess.Popen[bytes]

    @property
    def name(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def alias(self) -> str:
        return f"[127.0.0.1]:{self.port}"

    def authorize(self, *keys: Path) -> None:
        public = "".join(key.with_suffix(".pub").read_text() for key in keys)
        self.authorized.write_text(public)


@contextlib.contextmanager
def sshd(directory: Path, *options: str, port: int | None = None) -> Iterator[Server]:
    """Run an sshd with options of its own; the first value of an option counts."""
    if reason := loopback_bed.unavailable():
        lack(reason)
    directory.mkdir()
    for name in ("key_ed25519", "key_rsa"):
        make_key(directory / name, kind=name.removeprefix("key_"))
    port = port or loopback_bed.free_port()
    authorized, log, home = directory / "authorized", directory / "log", directory / "home"
    authorized.touch()
    home.mkdir()
    (directory / "config").write_text(
        "".join(f"{option}\n" for option in options)
        + f"ListenAddress 127.0.0.1:{port}\n"
        + f"HostKey {directory}/key_ed25519\nHostKey {directory}/key_rsa\n"
        + f"PidFile none\nAuthorizedKeysFile {authorized}\n"
        + "StrictModes no\nUsePAM no\nPasswordAuthentication no\nPermitRootLogin yes\n"
        + "KbdInteractiveAuthentication no\n"
        + f"SetEnv HOME={home}\n"  # our own has start-up files, which may be slow, or say something
        + "LogLevel VERBOSE\n"
    )
    process = loopback_bed.start_sshd(directory / "config", log)
    try:
        eventually(lambda: b"listening" in log.read_bytes())
        yield Server(port, authorized, directory / "key_ed25519", log, process)
    finally:
        end(process)


@dataclass
class Agent:
    """A real ssh-agent."""

    socket: Path

    def add(self, *keys: Path) -> None:
        environment = os.environ | {"SSH_AUTH_SOCK": str(self.socket)}
        subprocess.run(["ssh-add", "-q", *keys], env=environment, check=True, capture_output=True)


def address(host: TestHost) -> str:
    return f"{host.user}@{host.address}"


@contextlib.contextmanager
def second_sshd(host: DockerHost, *options: str, log: str = "/dev/null") -> Iterator[str]:
    """Run one more sshd in the container, with options; yields its address.

    In place of one that is there already, whose connections stay.
    """
    end_second_sshd(host)
    words = " ".join(f"-o {option}" for option in (*options, "Port=2222", "PidFile=none"))
    host.sh(f"/usr/sbin/sshd -E {log} {words}", "root")
    try:
        wait_for_banner(host.address, 2222)
        yield f"{host.address}:2222"
    finally:
        end_second_sshd(host)


def end_second_sshd(host: DockerHost) -> None:
    """End the one that listens; no other can take its place before that."""
    host.sh("while pkill -f '[P]ort=2222'; do sleep 0.02; done", "root")


def peer(descriptor: int) -> object:
    with socket.socket(fileno=os.dup(descriptor)) as duplicate, contextlib.suppress(OSError):
        return duplicate.getpeername()
    return None


def open_files() -> set[object]:
    """Our open descriptors and what they are, but for connections to the Docker engine."""
    found: set[object] = set()
    for number in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):
            what = os.readlink(f"/proc/self/fd/{number}")
            if what.startswith("socket:"):
                what = f"{peer(int(number))} {number}"
            if "docker" not in what:
                found.add(what)
    return found
