"""What a run came to: the coordinator's record of each host."""

from __future__ import annotations

from dataclasses import dataclass, field

from fastrr.errors import FastrrError
from fastrr.exitcodes import ExitCode


@dataclass(slots=True)
class HostReport:
    """What a run came to on one host; a row of the final table."""

    host: str
    copied: int = 0
    unchanged: int = 0
    bytes: int = 0
    started: int = 0
    seconds: float = 0.0
    failures: list[str] = field(default_factory=list)
    unfinished: str | None = None
    """The step that it had not come to the end of when the run was stopped."""


@dataclass(slots=True)
class RunReport:
    """What a run came to."""

    hosts: dict[str, HostReport]
    ended_badly: bool = False
    """A waited component exited non-zero or was killed."""
    stopped_by: FastrrError | None = None
    """An interrupt or a time limit."""

    @property
    def exit_code(self) -> ExitCode:
        if self.stopped_by is not None:
            return self.stopped_by.exit_code
        if any(host.failures for host in self.hosts.values()):
            return ExitCode.HOST_FAILED
        return ExitCode.COMPONENT_FAILED if self.ended_badly else ExitCode.OK
