"""Fixtures: real hosts, a controller's home of its own, and the fastrr command."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
import textwrap
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from testbed import Bed, TestHost, open_bed, prepare
from testbed.bed import REPOSITORY, Result
from testbed.shells import runs


def pytest_collection_finish(session: pytest.Session) -> None:
    """Build what hosts are made from before any test: no test's time limit is for that."""
    if any("session_bed" in getattr(item, "fixturenames", ()) for item in session.items):
        # What goes wrong is told by whoever opens a bed.
        with contextlib.suppress(Exception):
            prepare()


@pytest.fixture(scope="session")
def session_bed() -> Iterator[Bed]:
    """Hosts that live as long as the test session; use `bed`, which cleans them."""
    with open_bed() as bed:
        yield bed


@pytest.fixture
def bed(session_bed: Bed) -> Bed:
    """Hosts without a trace of earlier tests."""
    for host in session_bed.hosts:
        host.reset()
    session_bed.write_ssh_config()
    return session_bed


@pytest.fixture
def hosts(bed: Bed) -> list[TestHost]:
    """Two clean hosts."""
    return bed.need(2)


@pytest.fixture
def containers(hosts: list[TestHost]) -> list[TestHost]:
    """Two clean hosts that are nobody else's: root may take away what they need."""
    if not all(host.own_machine for host in hosts):
        pytest.skip("would be done to this machine")
    return hosts


@dataclass
class Controller:
    """The machine fastrr runs on: a directory for configs, and a home nobody else uses."""

    directory: Path
    bed: Bed | None
    environment: dict[str, str]
    runs: list[Result] = field(default_factory=list)

    def write(self, name: str, text: str, mode: int | None = None) -> Path:
        """Write a file relative to the config's directory."""
        path = self.directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(text))
        if mode is not None:
            path.chmod(mode)
        return path

    def command(self, *arguments: str | Path) -> list[str]:
        command = [sys.executable, "-m", "fastrr"]
        if self.bed is not None:
            command += ["-F", str(self.bed.ssh_config)]
        return [*command, *map(str, arguments)]

    def fastrr(
        self,
        *arguments: str | Path,
        cwd: Path | None = None,
        env: dict[str, str] | None = None,
        timeout: float = 120,
    ) -> Result:
        """Run fastrr on ``config.py`` (unless a -c is given); no terminal anywhere."""
        words = [str(argument) for argument in arguments]
        if "-c" not in words:
            words = ["-c", str(self.directory / "config.py"), *words]
        completed = subprocess.run(
            self.command(*words),
            cwd=cwd or self.directory,
            env=self.environment | (env or {}),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="surrogateescape",
            timeout=timeout,
            check=False,
        )
        return Result(completed.returncode, completed.stdout, completed.stderr)

    def config(self, text: str) -> None:
        """Write ``config.py``."""
        self.write("config.py", text)

    def local_sessions(self) -> list[str]:
        listing = subprocess.run(
            ["screen", "-ls"], env=self.environment, capture_output=True, text=True, check=False
        )
        return [x.split("\t")[1] for x in listing.stdout.splitlines() if x.startswith("\t")]


def _controller(tmp_path: Path, bed: Bed | None) -> Iterator[Controller]:
    short = Path(tempfile.mkdtemp(prefix="fr-"))
    for name in ("home", "screens", "tmp"):
        (short / name).mkdir(mode=0o700)
    environment = {
        "PATH": os.environ["PATH"],
        "LANG": "C.UTF-8",
        "HOME": str(short / "home"),
        "SCREENDIR": str(short / "screens"),
        "TMPDIR": str(short / "tmp"),
        "PYTHONPATH": str(REPOSITORY),
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    directory = tmp_path / "controller"
    directory.mkdir()
    controller = Controller(directory, bed, environment)
    yield controller
    for session in controller.local_sessions():
        subprocess.run(["screen", "-S", session, "-X", "quit"], env=environment, check=False)
    # Launchers write down how their programs ended, in the home that is to be removed.
    deadline = time.monotonic() + 10
    while runs(f"{short}/") and time.monotonic() < deadline:
        time.sleep(0.02)
    shutil.rmtree(short, ignore_errors=True)


@pytest.fixture
def controller(tmp_path: Path, bed: Bed) -> Iterator[Controller]:
    """A controller that knows the bed's hosts."""
    yield from _controller(tmp_path, bed)


@pytest.fixture
def lone_controller(tmp_path: Path) -> Iterator[Controller]:
    """A controller without any hosts."""
    yield from _controller(tmp_path, None)
