"""What all steps of one host share."""

from __future__ import annotations

import contextlib
import secrets
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

from fastrr.events import Event, Logged, Span
from fastrr.hosts.base import Host
from fastrr.hosts.budget import Room
from fastrr.model import HostPlan, RunSettings, SourceFile


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

    new_token: Callable[[], str] = lambda: secrets.token_hex(6)

    def new_name(self) -> str:
        """Return part of a temporary name: nobody can foresee it, and no other host has it."""
        return f"{self.new_token()}-{self.number}"

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
