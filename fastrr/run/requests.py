"""What the coordinator asks of a host, and what it gets back. Frozen values; see `hostsession`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from fastrr.model import Algorithm


class Check(NamedTuple):
    """Connect and look: → `Checked`."""

    always_copy: bool


class Checked(NamedTuple):
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


class Decide(NamedTuple):
    """Say what to copy: → `Decided`."""

    digests: Mapping[str, str]
    """SHA-1 of the unsettled sources."""
    all_unchanged: bool = False
    """The contents are the same: no digests are needed."""


class Decided(NamedTuple):
    """What is to be done; the host's worker keeps the particulars."""

    unchanged: int = 0
    wanted: Mapping[Algorithm, tuple[str, ...]] = {}
    """The sources of all copies, by the algorithm that verifies them."""
    to_do: bool = False
    """There is something to be made or copied."""
    problems: tuple[str, ...] = ()


class EndSessions:
    """End the earlier sessions of the run's name: → None."""


class CopyFiles(NamedTuple):
    """Make directories and copy what was decided: → `CopyReport`."""

    digests: Mapping[Algorithm, Mapping[str, str]]
    """Of the wanted sources, by the algorithm that verifies them there."""


class CopyReport(NamedTuple):
    """What became of a host's copies."""

    copied: int
    bytes: int
    """Sent for them; content wanted at several places counts once, what rsync found there not."""
    failures: tuple[str, ...] = ()


class StartStage(NamedTuple):
    """Start the components of one stage: → tuple of `Started` and `NotStarted`."""

    start_index: float


class Watch:
    """Wait for the host's waited components: → None, and a `ComponentEnded` event for each."""


class Glance:
    """See which other components have ended already: → None, and an event for each."""


class Discard:
    """Remove the temporary base_dirs: the run ends before anything was started. → None."""


ONLY_WAITING = (Check, StartStage, Watch, Glance)
"""Requests that leave nothing to clean up: when cancelled, their connection may be cut."""

Request = Check | Decide | EndSessions | CopyFiles | StartStage | Watch | Glance | Discard
