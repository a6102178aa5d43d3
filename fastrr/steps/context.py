"""What all steps of one host share."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

from fastrr.events import Event, Logged, Span
from fastrr.hosts.base import Host
from fastrr.model import HostPlan, RunSettings, SourceFile
from fastrr.steps.room import Room


@dataclass(frozen=True, slots=True)
class Context:
    """One host, what is wanted of it, and how the run goes about it."""

    host: Host
    plan: HostPlan
    sources: Mapping[str, SourceFile]
    settings: RunSettings
    emit: Callable[[Event], None]
    number: int = 0
    """The host's place in the deployment."""
    room: Room = field(default_factory=Room)
    """Shared by all hosts of a worker."""
    cancelled: threading.Event = field(default_factory=threading.Event)

    @property
    def run_id(self) -> str:
        """Distinguishes this host's temporary names: hosts may share a file system."""
        return f"{self.settings.run_id}-{self.number}"

    @contextlib.contextmanager
    def timed(self, activity: str, detail: str = "") -> Iterator[None]:
        """Tell how long what is done inside takes, whatever comes of it."""
        began = time.monotonic()
        try:
            yield
        finally:
            self.emit(Span(self.host.name, activity, began, time.monotonic(), detail))

    def log(self, level: int, message: str) -> None:
        """Tell a person something about this host."""
        self.emit(Logged(level, f"{self.host.name}: {message}"))
