"""What all test beds have in common, and the choice of one."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import tempfile
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

REQUIRE = "FASTRR_REQUIRE"
PASSWORD = "open sesame"
FULL, BARE = "full", "bare"
"""What is installed on a host: see docker/Dockerfile, whose targets these are."""
REPOSITORY = Path(__file__).resolve().parents[2]
LIMIT_S = 60
"""How long a command of a test bed may take; it is ended then, and the test fails."""


@dataclass(slots=True)
class Result:
    """What a command on a host, or on the controller, came to."""

    status: int
    stdout: str
    stderr: str = ""

    @property
    def output(self) -> str:
        return self.stdout + self.stderr


class TestHost(ABC):
    """One SSH host: its name in the bed's ssh config, and ways to look at it behind SSH's back."""

    __test__ = False  # no test class, whatever its name

    own_machine = False
    """Root may do what it likes there: nobody else uses it."""

    name: str
    image: str = FULL
    address: str
    port: int
    user: str
    home: str

    @abstractmethod
    def run(self, command: str, user: str | None = None) -> Result:
        """Run a shell command on the host without SSH, as the login user unless told.

        :raises TimeoutError: when it has not ended after `LIMIT_S`; it is killed.
        """

    def sh(self, command: str, user: str | None = None) -> str:
        """Run a command that must succeed; return what it prints."""
        result = self.run(command, user)
        assert result.status == 0, f"{self.name}: {command}: {result}"
        return result.stdout

    def exists(self, path: str) -> bool:
        return self.run(f"test -e '{path}'").status == 0

    def sessions(self) -> list[str]:
        """All ``pid.name`` of the login user's screen sessions."""
        lines = self.run("screen -ls").stdout.splitlines()
        return [line.split("\t")[1] for line in lines if line.startswith("\t")]

    def state(self, component: str, file: str, session: str = "runner") -> str:
        """The content of a file in a component's state directory; empty if there is none."""
        root = f"{self.home}/.local/state/fastrr/$(uname -n)/{session}"
        return self.run(f"cat {root}/'{component}'/{file} 2>/dev/null").stdout

    def pids(self, program: str) -> list[int]:
        """The login user's processes of a program; not other hosts', where all are one machine."""
        own = 'grep -sqzx "HOME=$HOME" /proc/$pid/environ && echo $pid'
        found = self.sh(f"for pid in $(pgrep -x '{program}'); do {own}; done; true")
        return [int(pid) for pid in found.split()]

    @contextlib.contextmanager
    def without(self, *commands: str) -> Iterator[None]:
        """Take commands away from the host for a while."""
        assert self.own_machine, "others need them"
        # Not mv(1): it may be the one that goes.
        move = 'perl -e \'rename "/usr/bin/$_{}", "/usr/bin/$_{}" or die for @ARGV\' '
        self.sh(move.format("", ".away") + " ".join(commands), user="root")
        try:
            yield
        finally:
            self.sh(move.format(".away", "") + " ".join(commands), user="root")

    def wait_until_up(self, seconds: float = 20.0) -> None:
        """Wait for the SSH banner: an open port alone does not mean a server."""
        wait_for_banner(self.address, self.port, seconds)

    @abstractmethod
    def cut_connections(self) -> None:
        """End all SSH connections, as if their servers had crashed."""

    @abstractmethod
    def frozen(self) -> contextlib.AbstractContextManager[None]:
        """Have the host's SSH server stand still for the time inside, as if the machine did."""

    @abstractmethod
    def reset(self) -> None:
        """End all sessions and remove everything tests may have left."""

    @abstractmethod
    def close(self) -> None:
        """Stop the host and remove it."""


@dataclass(slots=True)
class Bed(ABC):
    """Some hosts, a key that opens them, and an ssh config that knows them."""

    directory: Path
    hosts: list[TestHost] = field(default_factory=list)

    kind = "?"

    def __post_init__(self) -> None:
        if not self.key.exists():
            make_key(self.key)

    @property
    def key(self) -> Path:
        return self.directory / "id_ed25519"

    @property
    def known_hosts(self) -> Path:
        return self.directory / "known_hosts"

    @property
    def ssh_config(self) -> Path:
        return self.directory / "ssh_config"

    def need(self, count: int, image: str = FULL) -> list[TestHost]:
        """Return the first ``count`` hosts made from an image, starting what is missing, all clean.

        They are called host1, host2, ...; those of other images by the image's name.
        """
        there = [host for host in self.hosts if host.image == image]
        stem = "host" if image == FULL else image
        new = [self.start(f"{stem}{n}", image) for n in range(len(there) + 1, count + 1)]
        self.hosts.extend(new)
        for host in new:
            host.wait_until_up()
        self.write_ssh_config()
        return [*there, *new][:count]

    def write_ssh_config(self) -> None:
        lines = []
        for host in self.hosts:
            lines += [f"Host {host.name}", f"  HostName {host.address}", f"  Port {host.port}"]
            lines += [f"  User {host.user}"]
        lines += ["Host *", f"  IdentityFile {self.key}", "  IdentityAgent none"]
        lines += [f"  UserKnownHostsFile {self.known_hosts}", "  GlobalKnownHostsFile none"]
        self.ssh_config.write_text("".join(f"{line}\n" for line in lines))

    @property
    @abstractmethod
    def shared(self) -> str:
        """A directory that all hosts have in common, and where all may write."""

    @abstractmethod
    def start(self, name: str, image: str) -> TestHost:
        """Start one more host."""

    def close(self) -> None:
        for host in self.hosts:
            host.close()
        self.hosts.clear()


def wait_for_banner(address: str, port: int, seconds: float = 20.0) -> None:
    """Wait until an SSH server introduces itself.

    :raises TimeoutError: when it does not in time.
    """
    deadline = time.monotonic() + seconds
    while True:
        with (
            contextlib.suppress(OSError),
            socket.create_connection((address, port), 1.0) as connection,
        ):
            connection.settimeout(2.0)
            if connection.recv(4) == b"SSH-":
                return
        if time.monotonic() > deadline:
            raise TimeoutError(f"{address}:{port} shows no SSH banner")
        time.sleep(0.02)


def end(process: subprocess.Popen[Any], seconds: float = 10.0) -> None:
    """Have a process end; kill it if it does not in time."""
    process.terminate()
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait(seconds)


def make_key(path: Path, passphrase: str = "", kind: str = "ed25519") -> None:
    bits = ["-b", "2048"] if kind == "rsa" else []  # what it takes unless told takes a second
    subprocess.run(
        ["ssh-keygen", "-q", "-t", kind, *bits, "-N", passphrase, "-C", "fastrr test", "-f", path],
        check=True,
        timeout=LIMIT_S,
    )


def prepare() -> None:
    """Do what `open_bed` needs done once for ever: it may take minutes."""
    from testbed import docker_bed

    if os.environ.get(REQUIRE) != "loopback" and docker_bed.unavailable() is None:
        docker_bed.built(FULL)
        docker_bed.built(BARE)


@contextlib.contextmanager
def open_bed(kind: str | None = None) -> Iterator[Bed]:
    """Open a Docker bed, or where there is no Docker engine one of sshds on loopback.

    ``kind`` insists on ``docker`` or ``loopback``; so does the environment variable
    FASTRR_REQUIRE. Everything is removed at the end.
    """
    from testbed import docker_bed, loopback_bed

    wanted = kind or os.environ.get(REQUIRE)
    if wanted not in {None, "", "docker", "loopback"}:
        raise RuntimeError(f"{REQUIRE}={wanted}: it is docker or loopback, or not set")
    directory = Path(tempfile.mkdtemp(prefix="fastrr-bed-"))
    bed: Bed
    try:
        reason = docker_bed.unavailable() if wanted != "loopback" else "not wanted"
        if reason is None:
            bed = docker_bed.DockerBed(directory)
        elif wanted == "docker":
            raise RuntimeError(f"Docker is required, and can't be used: {reason}")
        elif reason := loopback_bed.unavailable():
            raise RuntimeError(f"neither Docker nor a local sshd can be used: {reason}")
        else:
            bed = loopback_bed.LoopbackBed(directory)
        try:
            yield bed
        finally:
            bed.close()
    finally:
        shutil.rmtree(directory, ignore_errors=True)
