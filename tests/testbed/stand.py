"""A stand: a host in a box, without SSH, on which the steps of a run are really done.

stand.wants("f", "content")            # a local file, and where the plan has it go
assert stand.deploy() == (1, 0)        # check, decide, copy: how many were copied, how many not
stand.component("main", "exit 3", wait=True)
run = stand.run()
run.check()
run.decide()
run.start()
run.watch()
assert stand.ended() == {"main": 3}
"""

from __future__ import annotations

import logging
import os
import secrets
import shutil
import stat
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from fastrr.components.launch import NotStarted, Started
from fastrr.components.screen import AskSessions, Sessions
from fastrr.components.settings import SessionSettings
from fastrr.components.start import EndSessions, StartStage
from fastrr.components.watch import Glance, Watch
from fastrr.events import ComponentEnded, Event, Logged
from fastrr.files import compare
from fastrr.files.check import Check, Checked, Decide, Decided
from fastrr.files.copy import CopyFiles, CopyReport, Discard
from fastrr.files.digests import digest
from fastrr.files.ledger import TRUSTED_FILE_SYSTEMS, Ledger, Mounts, RemoteEntry
from fastrr.files.settings import FileSettings
from fastrr.files.transports import stream
from fastrr.hosts.base import Completed
from fastrr.hosts.context import Context
from fastrr.hosts.local import LocalHost
from fastrr.hosts.process import hear_out, start
from fastrr.hosts.shell import join, quote
from fastrr.model import (
    Algorithm,
    ComponentPlan,
    FileTarget,
    HostPlan,
    Signature,
    SourceFile,
)
from testbed.shells import NOBODY, Box

NAME = "box"
NO_PLAN = HostPlan(NAME)
FILES = FileSettings(temporary_prefix="fastrr-stand")
SESSION = SessionSettings(name="stand", start_timeout_s=20)
T = TypeVar("T")


class BoxHost(LocalHost):
    """The controller as a host, but with the home, the shell and the utilities of a box."""

    def __init__(
        self, box: Box, *, nobody: bool = False, umask: str = "022", noise: str = ""
    ) -> None:
        super().__init__(NAME)
        self._box = box
        self._umask = umask
        self._noise = noise
        self._nobody = nobody and os.getuid() == 0

    def _start(self, command: str) -> subprocess.Popen[bytes]:
        login = f"printf %s {quote(self._noise)}; umask {self._umask}"
        return super()._start(f"{login}; exec {join(self._words)} {quote(command)}")

    @property
    def _words(self) -> list[str]:
        account = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"]
        return [
            *("env", "-i", f"--chdir={self._box.home}"),
            *(f"{name}={value}" for name, value in self._box.environment.items()),
            *(account if self._nobody else ()),
            *("sh", "-c"),
        ]

    def run_here(self, command: Sequence[str], hear: Callable[[bytes], None]) -> Completed:
        """The remote shell runs what it is given in the box, whatever host it is for."""
        shell = self._box.root / "remote-shell"
        shell.write_text(f'#!/bin/sh\nshift\nexec {join(self._words)} "$*"\n')
        shell.chmod(0o700)
        process = start(list(command), os.environ | {"RSYNC_RSH": str(shell), "LC_ALL": "C.UTF-8"})
        stderr = hear_out(process, hear)
        return Completed(process.returncode, b"", stderr)


@dataclass
class Run:
    """One run's requests to its host, as the coordinator makes them."""

    stand: Stand
    context: Context
    files: FileSettings
    session: SessionSettings
    copy_only: bool = False
    checked: Checked | None = None
    decided: Decided | None = None

    def check(self, *, always_copy: bool = False) -> Checked:
        also = () if self.copy_only else (AskSessions(),)
        self.checked = Check(always_copy, also, self.files).handle(self.context)
        return self.checked

    @property
    def earlier_sessions(self) -> tuple[str, ...]:
        """After `check`: what the coordinator would have ended."""
        assert self.checked is not None
        answers = [one for one in self.checked.also if isinstance(one, Sessions)]
        return tuple(name for one in answers for name in one.called(self.session.name))

    def decide(self) -> Decided:
        """After `check`: with the digests of the sources, as the coordinator has them."""
        assert self.checked is not None
        files = self.context.plan.files
        sha1 = {source: self.stand.sha1(source) for source in self.context.sources}
        same = self.checked.contents == compare.contents(sha1[target.source] for target in files)
        self.decided = Decide({} if same else sha1, same, self.files).handle(self.context)
        return self.decided

    def copy(self) -> CopyReport:
        """After `decide`; a run that has nothing to do does not come here."""
        return self.copy_request().handle(self.context)

    def copy_request(self) -> CopyFiles:
        """What `copy` asks for, with the digests that the sources have now."""
        assert self.decided is not None
        assert self.decided.to_do
        return CopyFiles(
            {
                by: {source: self._digest(source, by) for source in sources}
                for by, sources in self.decided.wanted.items()
            },
            self.files,
        )

    def start(self, start_index: float = 1) -> tuple[Started | NotStarted, ...]:
        return StartStage(start_index, self.session).handle(self.context)

    def end_sessions(self) -> None:
        EndSessions(self.session).handle(self.context)

    def watch(self) -> None:
        Watch(self.session).handle(self.context)

    def glance(self) -> None:
        Glance(self.session).handle(self.context)

    def discard(self) -> None:
        Discard().handle(self.context)

    def _digest(self, source: str, algorithm: Algorithm) -> str:
        return digest(source, algorithm, self.files.gmac_key)[0]


@dataclass
class Stand:
    """A host in a box, what is wanted of it, and a controller that remembers."""

    box: Box
    local: Path
    """Where the sources are; the ledger is here, too."""
    files: FileSettings = FILES
    session: SessionSettings = SESSION
    copy_only: bool = False
    plan: HostPlan = NO_PLAN
    events: list[Event] = field(default_factory=list)
    """Of all runs."""
    on_event: Callable[[Event], object] = id
    nobody: bool = False
    """Steps are done as a user that permissions apply to, where the tests run as root."""
    umask: str = "022"
    """The account's on the host."""
    noise: str = ""
    """What its login files print there."""
    runs: int = 0
    new_token: Callable[[], str] = lambda: secrets.token_hex(6)
    """Makes the part of temporary names that nobody can foresee."""

    def __post_init__(self) -> None:
        self.there.mkdir()
        (self.local / "sources").mkdir()
        self.set(ledger=str(self.local / "ledger.sqlite"))
        if Mounts().file_system_of(str(self.there)) not in TRUSTED_FILE_SYSTEMS:
            self.file_system("ext4")

    # What is wanted

    @property
    def there(self) -> Path:
        """The directory on the host that things go to."""
        return self.box.home / "there"

    def source(self, name: str) -> Path:
        return self.local / "sources" / name

    def wants(self, name: str, content: str | bytes, mode: int = 0o644, to: str = "") -> Path:
        """Have a local file, and a plan that says it goes to `there`, or where ``to`` says.

        Returns its destination.
        """
        path = self.source(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        path.chmod(mode)
        target = FileTarget(str(path), to or str(self.there / name))
        others = [t for t in self.plan.files if t.destination != target.destination]
        self.plan = self.plan._replace(files=(*others, target))
        return self.there / name if not to else Path(self.box.home, to)

    def component(
        self, name: str, script: str, *, wait: bool = False, start_index: float = 1
    ) -> ComponentPlan:
        """Have a program on the host, and a plan that starts it."""
        program = self.there / name
        program.write_text(f"#!/bin/sh\n{script}\n")
        program.chmod(0o755)
        plan = ComponentPlan(name, NAME, str(program), (), str(self.there), start_index, wait)
        self.plan = self.plan._replace(components=(*self.plan.components, plan))
        return plan

    def set(self, **settings: object) -> None:
        """Change settings of the runs to come."""
        for name, value in settings.items():
            if name == "copy_only":
                self.copy_only = bool(value)
            elif name in FileSettings._fields:
                self.files = self.files._replace(**{name: value})  # type: ignore[arg-type]
            else:
                self.session = self.session._replace(**{name: value})  # type: ignore[arg-type]

    # Runs

    def run(self, number: int | None = None) -> Run:
        """Begin a run, on a connection of its own.

        ``number``: the host's place among those of the one run that all with a number are of.
        """
        self.runs += 1
        stream._kept = stream._Kept()  # it lives as long as a run's worker
        session = self.session._replace(run_id=f"{self.runs if number is None else 0:012x}")
        if self.nobody and os.getuid() == 0:
            for path in (self.box.root, *self.box.root.iterdir(), self.there):
                os.chown(path, NOBODY, NOBODY)
        host = BoxHost(self.box, nobody=self.nobody, umask=self.umask, noise=self.noise)
        return Run(
            self,
            Context(
                host,
                self.plan,
                self.sources(),
                self._hear,
                number or 0,
                new_token=self.new_token,
            ),
            self.files,
            session,
            self.copy_only,
        )

    def deploy(self, *, always_copy: bool = False) -> tuple[int, int]:
        """Check, decide, copy; return how many were copied, and how many were as they should be.

        Nothing may fail.
        """
        run = self.run()
        assert run.check(always_copy=always_copy).problems == ()
        decided = run.decide()
        assert decided.problems == ()
        report = run.copy() if decided.to_do else CopyReport(0, 0)
        assert report.failures == ()
        return report.copied, decided.unchanged

    def sources(self) -> Mapping[str, SourceFile]:
        paths = [*self.plan.files, *(target for fresh in self.plan.fresh for target in fresh.files)]
        return {t.source: SourceFile.at(t.source, os.stat(t.source)) for t in paths}

    def sha1(self, path: str | Path) -> str:
        return digest(str(path), Algorithm.SHA1, b"")[0]

    def _hear(self, event: Event) -> None:
        self.events.append(event)
        self.on_event(event)

    # What came of it

    def logged(self, level: int = logging.INFO) -> list[str]:
        """What a person was told who wants to know of this much."""
        told = [event for event in self.events if isinstance(event, Logged)]
        return [event.message for event in told if event.level >= level]

    def ended(self) -> dict[str, int | None]:
        """The exit statuses of components whose end was told."""
        told = [event for event in self.events if isinstance(event, ComponentEnded)]
        statuses = {event.component: event.exit_status for event in told}
        assert len(statuses) == len(told), "an end was told twice"
        return statuses

    def left_over(self) -> list[str]:
        """Temporary names at the destination, at any depth, and in the host's temporary place."""
        inside = [path for path in self.box.home.rglob("*") if path.name.startswith(".fastrr-")]
        return [str(path) for path in (*inside, *(self.box.root / "tmp").iterdir())]

    # The ledger

    @property
    def ledger(self) -> Ledger:
        return Ledger(self.files.ledger)

    def remembered(self) -> dict[str, RemoteEntry]:
        """What the ledger has of the host's files, by destination."""
        return self.ledger.remote(NAME)

    def remember(self) -> None:
        """Have all files copied, then hashed there once: the ledger knows them all."""
        self.deploy()
        assert self.deploy() == (0, len(self.plan.files))
        assert set(self.remembered()) == {target.destination for target in self.plan.files}

    # The host

    def program(self, name: str, text: str) -> None:
        """Put a script in place of a utility of the host; ``{real}`` is the one it replaces."""
        real = shutil.which(name, path=self.box.environment["PATH"])
        path = self.box.bin / name
        path.write_text(f"#!/bin/sh\n{text.replace('{real}', str(real))}\n")
        path.chmod(0o755)

    def file_system(self, kind: str) -> None:
        """Have ``df`` say of everything that it is on a file system of this type."""
        typed = 'NR == 1 { typed = $2 == "Type" } '
        awk = quote(f'{typed}NR > 1 && typed {{ $2 = "{kind}" }} {{ print }}')
        self.program("df", f'{{real}} "$@" | awk {awk}')


def signature(path: Path) -> Signature:
    """What ``stat`` says of a file."""
    return Signature.of(path.stat())


def mode(path: Path) -> int:
    """The permissions of a file."""
    return stat.S_IMODE(path.stat().st_mode)


def alter(path: Path, content: str) -> None:
    """Change a file's content, but neither its size nor its mtime: only its ctime tells."""
    before = path.stat()
    assert len(content) == before.st_size
    path.write_text(content)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
