"""Where it is measured: hosts, files to copy, and commands run by the clock."""

from __future__ import annotations

import contextlib
import io
import os
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from testbed import Bed, TestHost, open_bed
from testbed.bed import FULL
from testbed.docker_bed import DockerBed, DockerHost, built

import docker
from benchmark.network import PATH, own_network

REPOSITORY = Path(__file__).resolve().parents[2]
LIMIT_S = 1800.0
KIB = 1 << 10
MIB = 1 << 20
IN_MEMORY = "memory/"
"""A directory of every host's home that is in memory; see `Copying.in_memory`."""

DIGEST_OF_TREE = "find . -type f | LC_ALL=C sort | xargs sha1sum | sha1sum"
"""Names and contents of the files below a directory, as one digest. (The names are plain.)"""


class Failed(Exception):
    """A command failed, or did not do what it should have: no measurement."""


class TooSlow(Exception):
    """A command was stopped at its time limit."""


@dataclass(frozen=True)
class Done:
    """A command that has ended well."""

    seconds: float
    stdout: str
    stderr: str


@dataclass(frozen=True)
class Reach:
    """Some hosts, and the ssh configuration they are reached by."""

    hosts: tuple[TestHost, ...]
    ssh_config: Path

    @property
    def names(self) -> list[str]:
        return [host.name for host in self.hosts]

    @property
    def ssh(self) -> str:
        return f"ssh -F {self.ssh_config}"

    def for_each(self, command: str) -> str:
        """A shell command that runs one for all hosts at once: $1 is the host, $2 its home."""
        pairs = shlex.join(word for host in self.hosts for word in (host.name, host.home))
        each = f"xargs -P {len(self.hosts)} -L 1 sh -c {shlex.quote(command)} sh"
        return f"printf '%s %s\\n' {pairs} | {each}"

    def on_all(self, command: str) -> list[str]:
        """Run a command that must succeed on all hosts, without SSH; return what each prints."""
        with ThreadPoolExecutor(8) as pool:
            return list(pool.map(lambda host: host.sh(command), self.hosts))


@dataclass
class Lab:
    """The hosts, the files to be copied, and a clean environment to measure in."""

    bed: Bed
    bridge: str | None
    """The network interface of the hosts' own network, if they have one."""
    work: Path
    environment: dict[str, str]
    failures: list[str] = field(default_factory=list)
    """What did not do what it should."""
    _known: set[str] = field(default_factory=set)

    def reach(self, count: int) -> Reach:
        """The first ``count`` hosts, whose keys are in known_hosts."""
        for number in range(1, count + 1):
            with _signals_held_back():  # one that is half started would not be removed
                hosts = self.bed.need(number)
        reach = Reach(tuple(hosts), self.bed.ssh_config)
        new = Reach(tuple(h for h in hosts if h.name not in self._known), reach.ssh_config)
        self.meet(new)
        self._known.update(new.names)
        return reach

    def fail(self, what: str) -> None:
        """Tell of a failure that does not end the benchmark."""
        self.failures.append(what)
        print(f"FAILED: {what}", file=sys.stderr, flush=True)

    def meet(self, reach: Reach) -> None:
        """Take the hosts' keys for known."""
        if reach.hosts:
            self.run(reach.for_each(f"{reach.ssh} -o StrictHostKeyChecking=accept-new $1 true"))

    def run(self, command: str, limit_s: float = LIMIT_S) -> Done:
        """Run a shell command and take its time.

        :raises Failed: when its exit status is not 0.
        :raises TooSlow: when it took longer than ``limit_s``, and was killed.
        """
        late = threading.Event()
        began = time.monotonic()
        with self.started(command) as process:

            def stop() -> None:
                late.set()
                end_group(process)

            alarm = threading.Timer(limit_s, stop)
            alarm.start()
            try:
                process.wait()  # without its own time limit, which would make it poll
            finally:
                seconds = time.monotonic() - began
                alarm.cancel()
        if late.is_set():
            raise TooSlow(f"stopped after {limit_s:.0f} s: {command}")
        return self.ended(command, process, seconds)

    @contextlib.contextmanager
    def started(self, command: str) -> Iterator[subprocess.Popen[bytes]]:
        """Start a shell command as a process group, which is ended with what is inside."""
        with (self.work / "stdout").open("wb") as out, (self.work / "stderr").open("wb") as err:
            process = subprocess.Popen(
                ["sh", "-c", command],
                cwd=self.work,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=out,  # files: background processes may keep these open
                stderr=err,
                start_new_session=True,
            )
            try:
                yield process
            finally:
                if process.poll() is None:
                    end_group(process)
                process.wait()

    def ended(self, command: str, process: subprocess.Popen[bytes], seconds: float) -> Done:
        """What came of a command that has ended.

        :raises Failed: when its exit status is not 0.
        """
        stdout, stderr = (
            (self.work / name).read_text(errors="replace") for name in ("stdout", "stderr")
        )
        if process.returncode != 0:
            raise Failed(
                f"exit status {process.returncode} of: {command}\n"
                f"{stdout[-2000:]}{stderr[-2000:]}".strip()
            )
        return Done(seconds, stdout, stderr)

    def tree(self, count: int, size: int, name: str = "") -> str:
        """Make a directory of random files; return it, relative to where commands run."""
        directory = f"{name}{count}x{size}"
        top = self.work / directory
        if not top.exists():
            for number in range(count):
                path = top / f"{number // 100:02d}" / f"{number:05d}"
                path.parent.mkdir(parents=True, exist_ok=True)
                with path.open("wb") as file:
                    for start in range(0, size, MIB):
                        file.write(os.urandom(min(MIB, size - start)))
        return directory

    def verify(self, tree: str, directory: str, reach: Reach) -> None:
        """Compare the checksums of all files on the hosts with those here.

        :raises Failed: when a host has something else.
        """
        here = subprocess.run(
            ["sh", "-c", DIGEST_OF_TREE],
            cwd=self.work / tree,
            check=True,
            capture_output=True,
            text=True,
        ).stdout
        for host, there in zip(
            reach.hosts, reach.on_all(f"cd {directory} && {DIGEST_OF_TREE}"), strict=True
        ):
            if there != here:
                raise Failed(f"{host.name}: the files in {directory} are not those sent")

    @cached_property
    def host_python(self) -> bool:
        """Whether the hosts have Python, which ansible needs there."""
        return self.reach(1).hosts[0].run("command -v python3").status == 0


def _image_with_python() -> str:
    """Return the name of an image of test hosts that have Python, too; it is built only once.

    Where it can't be built, the hosts have to do without.
    """
    base = built(FULL)
    name = base.replace("fastrr-test", "fastrr-bench")
    client = docker.from_env()
    if not client.images.list(name=name):
        install = "apt-get install -y --no-install-recommends python3"
        lines = f"FROM {base}\nRUN apt-get update && {install} && rm -rf /var/lib/apt/lists/*\n"
        dockerfile = io.BytesIO(lines.encode())
        try:
            client.images.build(fileobj=dockerfile, tag=name, rm=True, forcerm=True)
        except docker.errors.DockerException as error:
            print(f"no image with Python: {error}", file=sys.stderr, flush=True)
            return base
    return name


def end_group(process: subprocess.Popen[bytes], patience_s: float = 5.0) -> None:
    """End a command with all its children: politely, then by force."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGTERM)
        deadline = time.monotonic() + patience_s
        while time.monotonic() < deadline:
            with contextlib.suppress(ChildProcessError):
                if process.poll() is not None:
                    break
            time.sleep(0.05)
        os.killpg(process.pid, signal.SIGKILL)


@contextlib.contextmanager
def open_lab() -> Iterator[Lab]:
    """Open the lab; at the end, everything made for it is removed but Docker images."""
    with (
        _removed_directory("fr-", None) as screens,  # short: the path of a socket has a limit
        _removed_directory("fastrr-bench-", "/var/tmp") as work,  # /tmp may be in memory
        open_bed() as bed,
        own_network(bed) as bridge,
    ):
        lab = Lab(bed, bridge, work, _environment(work, screens))
        if isinstance(bed, DockerBed):
            # The root of containers may be a file system whose times fastrr does not trust.
            bed.options["mounts"] = [docker.types.Mount(DockerHost.home, None)]  # a new one each
            bed.options["tmpfs"] = {f"{DockerHost.home}/{IN_MEMORY}": "mode=1777"}
            if shutil.which("ansible", path=PATH):
                bed.options["image"] = _image_with_python()
        try:
            yield lab
        except BaseException:
            print("cleaning up ...", file=sys.stderr, flush=True)
            raise
        finally:
            # Who presses Ctrl-C twice must not stop this.
            signal.signal(signal.SIGINT, signal.SIG_IGN)
            signal.signal(signal.SIGTERM, signal.SIG_IGN)


@contextlib.contextmanager
def _removed_directory(prefix: str, parent: str | None) -> Iterator[Path]:
    usable = parent if parent and os.access(parent, os.W_OK) else None
    directory = tempfile.mkdtemp(prefix=prefix, dir=usable)
    try:
        yield Path(directory)
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def _environment(work: Path, screens: Path) -> dict[str, str]:
    """A copy of ours in which no tool finds what earlier runs, or the user, left behind."""
    environment = {
        **os.environ,
        "PATH": PATH,
        "LC_ALL": "C.UTF-8",
        "SCREENDIR": str(screens),
        "XDG_CACHE_HOME": str(work / "cache"),
        "XDG_STATE_HOME": str(work / "state"),
        "ANSIBLE_HOME": str(work / "ansible"),
    }
    for name in ("SSH_AUTH_SOCK", "PYTHONPATH", "PYTHONDONTWRITEBYTECODE", "FASTRR_PASS"):
        environment.pop(name, None)
    return environment


@contextlib.contextmanager
def _signals_held_back() -> Iterator[None]:
    """Interrupt what is inside when it is done."""
    heard: list[int] = []
    signals = (signal.SIGINT, signal.SIGTERM)

    def hold(number: int, _: object) -> None:
        heard.append(number)

    handlers = [signal.signal(number, hold) for number in signals]
    try:
        yield
    finally:
        for number, handler in zip(signals, handlers, strict=True):
            signal.signal(number, handler)
    for late in heard:
        signal.raise_signal(late)
