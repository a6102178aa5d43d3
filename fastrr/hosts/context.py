"""One host for the whole run: what all that is asked of it shares."""

from __future__ import annotations

import contextlib
import secrets
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Protocol, TypeVar

from fastrr.events import Event, Logged, Span
from fastrr.hosts.base import Host
from fastrr.hosts.budget import Room
from fastrr.hosts.facts import HostFacts
from fastrr.model import HostPlan, SourceFile

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)


@dataclass(slots=True)
class Context:
    """One host, what is wanted of it, and what is known of it by now. Used by one thread."""

    host: Host
    plan: HostPlan
    sources: Mapping[str, SourceFile]
    emit: Callable[[Event], None]
    number: int = 0
    """The host's place in the deployment."""
    room: Room = field(default_factory=Room)
    """Shared by all hosts of a worker."""
    cancelled: threading.Event = field(default_factory=threading.Event)

    new_token: Callable[[], str] = lambda: secrets.token_hex(6)

    base_dirs: Mapping[str, str] = field(default_factory=dict)
    """Of components that have a temporary one: its path, by the component's name."""
    _facts: HostFacts | None = None
    _kept: dict[type, object] = field(default_factory=dict)

    @property
    def facts(self) -> HostFacts:
        """What the check has found out."""
        assert self._facts is not None
        return self._facts

    @facts.setter
    def facts(self, facts: HostFacts) -> None:
        self._facts = facts

    def keep(self, value: object) -> None:
        """Keep a value, in place of an earlier one of its type, for requests to come."""
        self._kept[type(value)] = value

    def kept(self, kind: type[T]) -> T | None:
        """Return what an earlier request has kept, of this type."""
        value = self._kept.get(kind)
        assert value is None or isinstance(value, kind)
        return value

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

    def cancel(self, *, cut: bool) -> None:
        """Make what is under way end soon; called from another thread.

        ``cut``: by cutting the connection, since there is nothing to clean up.
        """
        self.cancelled.set()
        if cut:
            self.host.interrupt()
        else:
            self.host.end_transfer()  # which would not notice while it is stuck


class Request(Protocol[T_co]):
    """Something that is asked of one host: a picklable value, which carries its own settings."""

    @property
    def only_waits(self) -> bool:
        """Whether it leaves nothing to clean up: when cancelled, its connection may be cut."""

    def handle(self, context: Context) -> T_co:
        """Do it on the host; return a picklable value.

        :raises HostError: when it can't be done.
        :raises Interrupted: when the run was cancelled.
        """
