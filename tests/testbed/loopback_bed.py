"""Test hosts as real sshds on loopback: a port, a HOME and a SCREENDIR each, our own account."""

from __future__ import annotations

import contextlib
import getpass
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

from testbed.bed import FULL, LIMIT_S, Bed, Result, TestHost, end, make_key

SSHD = shutil.which("sshd") or "/usr/sbin/sshd"


def unavailable() -> str | None:
    """Say what is missing for this bed; None: nothing."""
    if not os.access(SSHD, os.X_OK):
        return "there is no sshd (apt-get install openssh-server)"
    return None if shutil.which("screen") else "there is no screen (apt-get install screen)"


def start_sshd(config: Path, log: Path) -> subprocess.Popen[bytes]:
    """Start an sshd of our own."""
    if os.getuid() == 0:
        Path("/run/sshd").mkdir(exist_ok=True)  # Debian's service makes it; we start none
    with log.open("wb") as file:
        return subprocess.Popen(
            [SSHD, "-D", "-e", "-f", config], stdout=file, stderr=file, start_new_session=True
        )


class LoopbackHost(TestHost):
    """An sshd that this process started."""

    address = "127.0.0.1"

    def __init__(self, name: str, directory: Path, key: Path) -> None:
        self.name = name
        self.user = getpass.getuser()
        # Below /tmp itself: the path of a screen socket may have 108 bytes.
        self._short = Path(tempfile.mkdtemp(prefix="fr-"))
        self._home = self._short / "home"
        self.home = str(self._home)
        self._environment = {
            "HOME": self.home,
            "SCREENDIR": str(self._short / "screens"),
            "TMPDIR": str(self._short / "tmp"),
        }
        self.port = free_port()
        directory.mkdir()
        self._start(directory, key)
        self.reset()

    def _start(self, directory: Path, key: Path) -> None:
        make_key(directory / "host_key")
        authorized = directory / "authorized_keys"
        authorized.write_text(key.with_suffix(".pub").read_text())
        config = directory / "sshd_config"
        setenv = " ".join(f"{name}={value}" for name, value in self._environment.items())
        config.write_text(
            f"ListenAddress 127.0.0.1:{self.port}\n"
            f"HostKey {directory / 'host_key'}\n"
            f"PidFile {directory / 'pid'}\n"
            f"AuthorizedKeysFile {authorized}\n"
            f"SetEnv {setenv}\n"
            "StrictModes no\nUsePAM no\nPasswordAuthentication no\nPermitRootLogin yes\n"
            "Subsystem sftp internal-sftp\n"
        )
        self._process = start_sshd(config, directory / "log")

    def run(self, command: str, user: str | None = None) -> Result:
        if user is not None:
            pytest.skip("would be done to this machine")
        with subprocess.Popen(
            ["sh", "-c", command],
            cwd=self._home,
            env={"PATH": os.environ["PATH"], "LANG": "C.UTF-8", **self._environment},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            start_new_session=True,
        ) as process:
            try:
                stdout, stderr = process.communicate(timeout=LIMIT_S)
            except subprocess.TimeoutExpired as error:
                os.killpg(process.pid, signal.SIGKILL)
                raise TimeoutError(
                    f"{self.name}: {command}: not over in {error.timeout} s"
                ) from error
        return Result(process.returncode, stdout, stderr)

    def cut_connections(self) -> None:
        _signal(servers(self._process.pid)[1:], signal.SIGKILL)

    @contextlib.contextmanager
    def frozen(self) -> Iterator[None]:
        with frozen(self._process.pid):
            yield

    def reset(self) -> None:
        if self._home.exists():
            self._end_processes()
        for name in ("home", "screens", "tmp"):
            shutil.rmtree(self._short / name, ignore_errors=True)
            (self._short / name).mkdir(mode=0o700)

    def _end_processes(self) -> None:
        """Kill all that runs with this host's home, until nothing does."""
        ours = f"HOME={self.home}\0".encode()
        deadline = time.monotonic() + 10
        while found := [pid for pid in _processes() if ours in _environment_of(pid)]:
            _signal(found, signal.SIGKILL)
            assert time.monotonic() < deadline, f"{found} can't be killed"
            time.sleep(0.01)

    def close(self) -> None:
        self.reset()
        end(self._process)
        shutil.rmtree(self._short, ignore_errors=True)


def servers(pid: int) -> list[int]:
    """Return an sshd's process and those that serve its connections."""
    found, new = [], [pid]
    while new:
        found += new
        command = ["pgrep", "-x", "sshd.*", "-P", ",".join(map(str, new))]
        new = [
            int(x)
            for x in subprocess.run(command, stdout=subprocess.PIPE, check=False).stdout.split()
        ]
    return found


@contextlib.contextmanager
def frozen(pid: int) -> Iterator[None]:
    """Have an sshd and all that serves its connections stand still for the time inside."""
    stopped: list[int] = []
    while (found := servers(pid)) != stopped:  # meanwhile one more may have been started
        _signal(found, signal.SIGSTOP)
        stopped = found
    try:
        yield
    finally:
        _signal(stopped, signal.SIGCONT)


def _signal(pids: Iterable[int], number: signal.Signals) -> None:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)


def _processes() -> list[int]:
    return [int(name) for name in os.listdir("/proc") if name.isdigit()]


def _environment_of(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/environ").read_bytes()
    except OSError:  # it has ended, or is somebody else's
        return b""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
        assert isinstance(port, int)
        return port


class LoopbackBed(Bed):
    """Sshds of this machine. One account, one file system, one host name."""

    kind = "loopback"

    @property
    def shared(self) -> str:
        directory = self.directory / "shared"
        directory.mkdir(exist_ok=True)
        return str(directory)

    def start(self, name: str, image: str) -> LoopbackHost:
        assert image == FULL, "a loopback host has what this machine has"
        return LoopbackHost(name, self.directory / name, self.key)
