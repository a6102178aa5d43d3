"""A host that lies: a real sshd on loopback, where whatever is asked is answered by a script."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from testbed.bed import REPOSITORY
from testbed.clients import Server, sshd
from testbed.shells import eventually

_RESPONDER = """\
import os, re, subprocess, sys, time

command = os.environ.get("SSH_ORIGINAL_COMMAND", "")

def begun(data):
    '''The line that a script's answer begins with, and the one that it ends with.'''
    nonce = re.search(rb"@fastrr ([0-9a-f]+) begin", data)[1]
    return b"@fastrr %s begin\\n" % nonce, b"\\n@fastrr %s end 0\\n" % nonce

def asked():
    '''All of what is asked, where it is a script for sh; nothing of a stream of files.'''
    return sys.stdin.buffer.read() if "eval" in command else b""

def truth(data):
    '''What the command really prints; its standard error is passed on.'''
    if data:
        return subprocess.run(["sh", "-c", command], input=data, stdout=subprocess.PIPE).stdout
    os.execvp("sh", ["sh", "-c", command])  # a stream: it goes both ways

def say(data):
    sys.stdout.buffer.write(data)
    sys.stdout.buffer.flush()

def flood(piece, fd=1):
    while True:
        os.write(fd, piece)

"""


@dataclass
class HostileHost:
    """What ``ssh`` and fastrr need to reach it, and what it answers."""

    server: Server
    directory: Path
    config: Path
    home: Path

    def lies(self, code: str) -> None:
        """Have all commands answered by Python ``code``: see `_RESPONDER` for what it may use."""
        (self.directory / "responder.py").write_text(_RESPONDER + code)


@contextlib.contextmanager
def hostile_host(directory: Path, key: Path) -> Iterator[HostileHost]:
    """Run one, called ``liar`` in its ssh configuration; it tells the truth until told to lie."""
    responder = directory / "responder.py"
    banner = directory / "banner"
    banner.write_text("hello\n")
    force = f"ForceCommand exec {sys.executable} -IS {responder}"
    # Below /tmp itself: the path of a screen socket may have 108 bytes.
    screens = tempfile.mkdtemp(prefix="fr-")
    environment = {"HOME": str(directory / "sshd" / "home"), "SCREENDIR": screens}
    setenv = "SetEnv " + " ".join(f"{name}={value}" for name, value in environment.items())
    options = (force, setenv, f"Banner {banner}", "MaxStartups 50")
    with contextlib.ExitStack() as stack:
        stack.callback(shutil.rmtree, screens)
        # A session removes its socket when it has ended, a moment after it was told to.
        stack.callback(eventually, lambda: not os.listdir(screens))
        stack.callback(_end_sessions, environment)
        stack.callback(_end_answers, responder)
        server = stack.enter_context(sshd(directory / "sshd", *options))
        server.authorize(key)
        config = directory / "ssh_config"
        write_config(config, {"liar": server.port}, key)
        host = HostileHost(server, directory, config, directory / "sshd" / "home")
        host.lies("say(truth(asked()))\n")
        yield host


def _end_answers(responder: Path) -> None:
    """End what still answers to nobody: who reads slowly has much to read yet."""
    found = subprocess.run(["pgrep", "-f", str(responder)], stdout=subprocess.PIPE, check=False)
    for pid in map(int, found.stdout.split()):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def _end_sessions(environment: dict[str, str]) -> None:
    environment = os.environ | environment
    listed = subprocess.run(
        ["screen", "-ls"], env=environment, stdout=subprocess.PIPE, text=True, check=False
    )
    for line in listed.stdout.splitlines():
        if line.startswith("\t"):
            command = ["screen", "-S", line.split("\t")[1], "-X", "quit"]
            subprocess.run(command, env=environment, stdout=subprocess.DEVNULL, check=False)


def write_config(path: Path, ports: dict[str, int], key: Path, *options: str) -> None:
    """Write an ssh configuration for servers of this machine."""
    lines = []
    for name, port in ports.items():
        lines += [f"Host {name}", "  HostName 127.0.0.1", f"  Port {port}"]
    lines += ["Host *", *options, f"  IdentityFile {key}", "  IdentityAgent none"]
    lines += [f"  UserKnownHostsFile {path}.known", "  GlobalKnownHostsFile none"]
    path.write_text("".join(f"{line}\n" for line in lines))


@dataclass
class Outcome:
    """What a run of fastrr came to."""

    status: int
    output: bytes
    seconds: float
    peak_mb: float
    """Of that of its processes which had the most memory."""


ENOUGH_MB = 1500
"""Whoever takes more is ended: there are others on this machine."""


def run_fastrr(directory: Path, ssh_config: Path, *words: str, limit_s: float = 100) -> Outcome:
    """Run fastrr on the ``config.py`` in a directory, and look at the memory that it takes."""
    for name in ("home", "tmp"):
        (directory / name).mkdir(exist_ok=True)
    environment = {
        "PATH": os.environ["PATH"],
        "LANG": "C.UTF-8",
        "HOME": str(directory / "home"),
        "TMPDIR": str(directory / "tmp"),
        "PYTHONPATH": str(REPOSITORY),
    }
    command = [sys.executable, "-m", "fastrr", "-F", str(ssh_config), "-c", "config.py", *words]
    began = time.monotonic()
    peak_mb = 0.0
    with (directory / "output").open("w+b") as output:
        process = subprocess.Popen(
            command,
            cwd=directory,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
        while process.poll() is None:
            if time.monotonic() - began > limit_s or peak_mb > ENOUGH_MB:
                process.kill()
            peak_mb = max([peak_mb, *map(_peak_mb, _family(process.pid))])
            time.sleep(0.02)
        seconds = time.monotonic() - began
        output.seek(0)
        return Outcome(process.returncode, output.read(), seconds, peak_mb)


def _family(pid: int) -> list[int]:
    found = [pid]
    for one in found:
        with contextlib.suppress(OSError):
            for thread in Path(f"/proc/{one}/task").iterdir():
                found += map(int, (thread / "children").read_text().split())
    return found


def _peak_mb(pid: int) -> float:
    with contextlib.suppress(OSError, StopIteration):
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
        return int(next(x for x in lines if x.startswith("VmHWM")).split()[1]) / 1000
    return 0.0
