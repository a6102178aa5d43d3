"""What happens during a run, as it happens. One frozen class per event.

Workers tell the coordinator; the coordinator adds its own and passes all on to whoever shows them.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Connected:
    """A host was reached and has let us in."""

    host: str
    seconds: float


@dataclass(frozen=True, slots=True)
class Sent:
    """More bytes of file content went out to a host."""

    host: str
    bytes: int


@dataclass(frozen=True, slots=True)
class ComponentEnded:
    """A component has ended."""

    host: str
    component: str
    exit_status: int | None
    """None: it vanished without one."""
    waited: bool
    log_file: str
    """Path on the host."""
    last_lines: tuple[str, ...] = ()
    """What its window showed last, where it did not end well."""


@dataclass(frozen=True, slots=True)
class Logged:
    """Something a worker wants a person to know; ``level`` as in `logging`."""

    level: int
    message: str


@dataclass(frozen=True, slots=True)
class StepBegan:
    """A step of the run begins: ``total`` units (``hosts``, ``B``, ``components``) to do."""

    name: str
    total: int
    unit: str


@dataclass(frozen=True, slots=True)
class Advanced:
    """So many units more of the step are done."""

    count: int


@dataclass(frozen=True, slots=True)
class StepEnded:
    """The step that began last is done."""


Event = Connected | Sent | ComponentEnded | Logged | StepBegan | Advanced | StepEnded
