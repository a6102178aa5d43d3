"""Local shells that stand in for hosts: scripts really run, by every shell that is installed.

A `Box` is a directory with a home, a place for screen's sockets and a ``PATH`` whose ``sh`` is the
shell under test. Nothing of the developer's own home, sessions or start-up files takes part.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import tempfile
import time
import timeit
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import cache, partial
from pathlib import Path

import pytest

from fastrr.hosts.shell import Script

NOBODY = 65534
MARK = "FASTRR_TEST_BOX"
"""Every process of a box inherits this variable: leftovers are found by it."""

UTILITIES = (
    *("awk", "cat", "chmod", "cut", "df", "id", "ls", "mkdir", "mktemp", "mv", "readlink", "rm"),
    *("rmdir", "sed", "sha1sum", "sleep", "stat", "tail", "tee", "tr", "uname", "wc", "xargs"),
)
"""What the scripts call, but for openssl and screen."""


@dataclass(frozen=True, slots=True)
class Shell:
    """A way to have ``sh``: the command that runs scripts, and where the utilities come from."""

    name: str
    words: tuple[str, ...]
    applets: bool = False
    """Put busybox's own utilities first in PATH."""

    @property
    def installed(self) -> bool:
        return shutil.which(self.words[0]) is not None


SHELLS = (
    Shell("dash", ("dash",)),
    Shell("bash", ("bash",)),
    Shell("bash-posix", ("bash", "--posix")),
    Shell("ash", ("busybox", "sh")),
    Shell("busybox", ("busybox", "sh"), applets=True),
)

gnu_and_busybox = pytest.mark.parametrize(
    "box", [SHELLS[0], SHELLS[-1]], ids=lambda shell: shell.name, indirect=True
)
"""Of a test with a ``box``: whose utilities there are makes a difference, which shell does not."""


@cache
def _program(name: str) -> str:
    path = shutil.which(name)
    assert path is not None, f"{name} is not installed"
    return path


def install_applets(directory: Path) -> None:
    """Make links to busybox, where it is installed, for all the utilities it has."""
    if busybox := shutil.which("busybox"):
        subprocess.run([busybox, "--install", "-s", str(directory)], check=True)


@dataclass
class Box:
    """A host made of a directory and a shell."""

    shell: Shell
    root: Path
    applets: Path
    """Where `install_applets` has put busybox's utilities."""
    environment: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in ("home", "screens", "tmp", "bin"):
            (self.root / name).mkdir(mode=0o700)
        (self.bin / "sh").symlink_to(_program(self.shell.words[0]))
        utilities = f"{self.applets}:" if self.shell.applets else ""
        self.environment = {
            "PATH": f"{self.bin}:{utilities}{os.environ['PATH']}",
            "LANG": "C.UTF-8",
            "HOME": str(self.home),
            "SCREENDIR": str(self.root / "screens"),
            "TMPDIR": str(self.root / "tmp"),
            MARK: str(self.root),
        }

    @property
    def home(self) -> Path:
        return self.root / "home"

    @property
    def bin(self) -> Path:
        return self.root / "bin"

    def run(
        self, script: Script, *, nobody: bool = False, timeout: float = 30
    ) -> subprocess.CompletedProcess[bytes]:
        """Run a script as the remote side of `fastrr.hosts.shell.SHELL_COMMAND` does.

        ``nobody``: as a user that permissions apply to, where the tests run as root.
        """
        account = NOBODY if nobody and os.getuid() == 0 else None
        if account is not None:
            for path in (self.root, *self.root.iterdir()):
                os.chown(path, account, account)
        return subprocess.run(
            [_program(self.shell.words[0]), *self.shell.words[1:], "-c", 'eval "$(cat)"'],
            input=script.data,
            env=self.environment,
            cwd=self.home,
            capture_output=True,
            timeout=timeout,
            check=False,
            user=account,
            group=account,
            extra_groups=None if account is None else [],
        )

    def ask(self, script: Script, *, nobody: bool = False, timeout: float = 30) -> bytes:
        """Run a script that must succeed; return what it printed between its marks."""
        done = self.run(script, nobody=nobody, timeout=timeout)
        answer = script.body_of(done.stdout)
        assert answer is not None, (done.returncode, done.stdout[-500:], done.stderr[-500:])
        body, status = answer
        assert status == 0, (status, body[-500:], done.stderr[-500:])
        return body

    def only(self, *names: str) -> None:
        """Leave nothing in PATH but ``sh``, the `UTILITIES` and ``names``."""
        for name in (*UTILITIES, *names):
            path = shutil.which(name, path=self.environment["PATH"])
            assert path is not None, f"{name} is not installed"
            (self.bin / name).symlink_to(path)
        self.environment["PATH"] = str(self.bin)

    def count_calls(self, names: Iterable[str]) -> Callable[[], list[str]]:
        """Put a counter before each of these programs; return a function that lists the calls."""
        counters, log = self.root / "counters", self.root / "calls"
        counters.mkdir()
        log.touch()
        for name in names:
            real = shutil.which(name, path=self.environment["PATH"])
            assert real is not None
            (counters / name).write_text(f'#!/bin/sh\necho {name} >>{log}\nexec {real} "$@"\n')
            (counters / name).chmod(0o755)
        self.environment["PATH"] = f"{counters}:{self.environment['PATH']}"
        return lambda: log.read_text().split()

    def screen(self, *arguments: str) -> str:
        """Run screen in this box; a second of patience, since ``-Q`` may hang."""
        done = subprocess.run(
            ["screen", *arguments],
            env=self.environment | {"LC_ALL": "C.UTF-8"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="surrogateescape",
            timeout=5,
            check=False,
        )
        return done.stdout

    def sessions(self) -> list[str]:
        """All ``pid.name`` that there are."""
        return [x.split("\t")[1] for x in self.screen("-ls").splitlines() if x.startswith("\t")]

    def processes(self) -> list[int]:
        """The processes of this box, by the mark they inherit."""
        mark = f"{MARK}={self.root}".encode()
        found = []
        for entry in os.listdir("/proc"):
            with suppress(OSError):
                if entry.isdigit() and mark in Path("/proc", entry, "environ").read_bytes():
                    found.append(int(entry))
        return found

    def close(self) -> list[int]:
        """End the sessions and remove the box; return processes that did not end by themselves."""
        for session in self.sessions() if any((self.root / "screens").iterdir()) else ():
            self.screen("-S", session, "-X", "quit")
        left = self.processes()
        if left:
            with suppress(TimeoutError):
                eventually(lambda: not self.processes())
            left = self.processes()
        for pid in left:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        shutil.rmtree(os.fsencode(self.root))
        return left


def eventually(condition: Callable[[], object], seconds: float = 10) -> None:
    """Wait until ``condition`` holds.

    :raises TimeoutError: when it does not in time.
    """
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError(f"still not so after {seconds:g} s")
        time.sleep(0.01)


def runs(command: str) -> bool:
    """Whether a process of this machine has this in its command line (pgrep(1))."""
    return subprocess.run(["pgrep", "-f", re.escape(command)], check=False).returncode == 0


def executed(process: subprocess.Popen[bytes]) -> subprocess.Popen[bytes]:
    """Wait until a process that was just made has its arguments (proc_pid_cmdline(5)).

    `subprocess.Popen` returns a moment before: when the program is found to be executable.
    """
    eventually(Path(f"/proc/{process.pid}/cmdline").read_bytes)
    return process


@contextmanager
def open_box(shell: Shell, applets: Path) -> Iterator[Box]:
    """A fresh box; leaving it fails when a process outlives its session."""
    # Short: a socket's path is cut at 108 bytes.
    root = Path(tempfile.mkdtemp(prefix="fr-", dir="/tmp"))
    box = Box(shell, root, applets)
    left: list[int] = []
    try:
        yield box
    finally:
        left = box.close()
    assert not left, f"processes left behind: {left}"


def time_ratio(work: Callable[[int], object], size: int) -> float:
    """Return how much longer ``work`` takes for four times as much: 4, or 16 if it is quadratic.

    It is this thread's own time; of several tries the quickest counts: the machine may be busy.
    """
    small, large = (
        min(timeit.repeat(partial(work, count), timer=time.thread_time, number=1, repeat=5))
        for count in (size, 4 * size)
    )
    return large / max(small, 0.002)  # shorter times tell nothing
