"""The error tree; each class carries the exit code of a run that ends with it.

::

    FastrrError                     3
    ├── UsageError                  2   nothing was touched
    │   └── ConfigError             2   a list of Problems, each with file and line
    ├── HostError                   3   something on one host did not work
    │   ├── ConnectionFailed        3   not reached
    │   │   └── LoginRefused        3   login or host key refused
    │   ├── ConnectionLost          3   the connection ended while it was needed
    │   └── CommandFailed           3   a command on the host failed or answered nonsense
    ├── TimeLimitPassed             4
    └── Interrupted                 130

A run collects the failures of all hosts and reports them together, so most of these never
travel up a call stack further than one host's thread: they end up as `model.Failure` values.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from fastrr.exitcodes import ExitCode


class FastrrError(Exception):
    """Root of everything fastrr raises on purpose; ``str()`` of it is fit for a user."""

    exit_code: ExitCode = ExitCode.HOST_FAILED


class UsageError(FastrrError):
    """What the user asked for can't be done as it was asked; nothing was touched."""

    exit_code = ExitCode.USAGE


class Problem(NamedTuple):
    """One thing wrong with what the user wrote.

    ``file`` and ``line`` (from 1) say where; either may be missing when the place is a command
    line option. ``component`` is the component's name when one is meant.
    """

    message: str
    file: str | None = None
    line: int | None = None
    component: str | None = None

    def __str__(self) -> str:
        where = f"{self.file}:{self.line}: " if self.line else f"{self.file}: " if self.file else ""
        which = f"component {self.component!r}: " if self.component else ""
        return f"{where}{which}{self.message}"


class ConfigError(UsageError):
    """All problems found in the user's files, in the order they were found."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        super().__init__("\n".join(str(problem) for problem in problems))
        self.problems = tuple(problems)


class HostError(FastrrError):
    """Something did not work on one host. The message does not repeat the host's name."""


class ConnectionFailed(HostError):
    """The host could not be reached, its key was refused, or it refused our credentials."""


class LoginRefused(ConnectionFailed):
    """The host was reached, but does not let us in, or is not the one it should be.

    Not to be tried again: OpenSSH 9.8 bans addresses that fail to log in too often.
    """


class ConnectionLost(HostError):
    """The connection to the host ended while it was still needed."""


class CommandFailed(HostError):
    """A command on the host ended with an unexpected status or an unreadable answer."""


class TimeLimitPassed(FastrrError):
    """The time given with ``--timeout`` is over."""

    exit_code = ExitCode.TIME_LIMIT


class Interrupted(FastrrError):
    """SIGINT or SIGTERM arrived."""

    exit_code = ExitCode.INTERRUPTED
