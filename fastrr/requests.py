"""What the coordinator asks of a host, and what it gets back. Frozen values; see `hostsession`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from fastrr.model import Algorithm


@dataclass(frozen=True, slots=True)
class Check:
    """Connect and look: → `Checked`."""

    always_copy: bool


@dataclass(frozen=True, slots=True)
class Checked:
    """A host that can take part in the run."""

    account: tuple[str, ...]
    sessions_to_end: tuple[str, ...]
    """``pid.name`` of the earlier sessions of the run's name; none with ``--no-kill``."""
    unsettled: tuple[str, ...] = ()
    """Sources whose SHA-1 decides whether they are copied."""
    contents: str = ""
    """Of all files of the plan, where they are known to be as they were: see `delta.contents`.
    Then all sources are unsettled, if theirs are not the same."""
    problems: tuple[str, ...] = ()
    """What stops the copies that are needed in any case."""


@dataclass(frozen=True, slots=True)
class Decide:
    """Say what to copy: → `Decided`."""

    digests: Mapping[str, str]
    """SHA-1 of the unsettled sources."""
    all_unchanged: bool = False
    """The contents are the same: no digests are needed."""


@dataclass(frozen=True, slots=True)
class Decided:
    """What is to be done; the host's worker keeps the particulars."""

    unchanged: int = 0
    wanted: Mapping[Algorithm, tuple[str, ...]] = field(default_factory=dict)
    """The sources of all copies, by the algorithm that verifies them."""
    to_do: bool = False
    """There is something to be made or copied."""
    problems: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class EndSessions:
    """End the earlier sessions of the run's name: → None."""


@dataclass(frozen=True, slots=True)
class CopyFiles:
    """Make directories and copy what was decided: → `CopyReport`."""

    digests: Mapping[Algorithm, Mapping[str, str]]
    """Of the wanted sources, by the algorithm that verifies them there."""


@dataclass(frozen=True, slots=True)
class CopyReport:
    """What became of a host's copies."""

    copied: int
    bytes: int
    """Sent for them; content wanted at several places counts once, what rsync found there not."""
    failures: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class StartStage:
    """Start the components of one stage: → tuple of `Started` and `NotStarted`."""

    start_index: float


@dataclass(frozen=True, slots=True)
class Watch:
    """Wait for the host's waited components: → None, and a `ComponentEnded` event for each."""


@dataclass(frozen=True, slots=True)
class Glance:
    """See which other components have ended already: → None, and an event for each."""


@dataclass(frozen=True, slots=True)
class Discard:
    """Remove the temporary base_dirs: the run ends before anything was started. → None."""


ONLY_WAITING = (Check, StartStage, Watch, Glance)
"""Requests that leave nothing to clean up: when cancelled, their connection may be cut."""

Request = Check | Decide | EndSessions | CopyFiles | StartStage | Watch | Glance | Discard
