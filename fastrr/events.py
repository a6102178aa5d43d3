"""What happens during a run, as it happens. One frozen class per event.

Workers tell the coordinator; the coordinator adds its own and passes all on to whoever shows them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple


class Span(NamedTuple):
    """Something that took its time has come to an end, well or not.

    Times are seconds of the monotonic clock, which all processes of a machine share
    (clock_gettime(2), CLOCK_MONOTONIC).
    """

    host: str
    """Empty: the controller."""
    activity: str
    began_s: float
    ended_s: float
    detail: str = ""

    @property
    def seconds(self) -> float:
        return self.ended_s - self.began_s


class Sent(NamedTuple):
    """More bytes of file content went out to a host."""

    host: str
    bytes: int


class ComponentEnded(NamedTuple):
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


class Logged(NamedTuple):
    """Something a worker wants a person to know; ``level`` as in `logging`."""

    level: int
    message: str


class StepBegan(NamedTuple):
    """A step of the run begins: ``total`` units (``hosts``, ``B``, ``components``) to do."""

    name: str
    total: int
    unit: str


@dataclass(frozen=True, slots=True)
class Advanced:
    """So many units more of the step are done."""

    count: int


class StepEnded:
    """The step that began last is done."""


Event = Span | Sent | ComponentEnded | Logged | StepBegan | Advanced | StepEnded
