"""Exit statuses of the ``fastrr`` command, and what they mean."""

from __future__ import annotations

from enum import IntEnum


class ExitCode(IntEnum):
    """Exit statuses of the ``fastrr`` command."""

    OK = 0
    COMPONENT_FAILED = 1
    USAGE = 2
    HOST_FAILED = 3
    TIME_LIMIT = 4
    INTERRUPTED = 130


EXIT_CODE_MEANINGS: dict[ExitCode, str] = {
    ExitCode.OK: "everything was deployed and started (and every waited component exited 0)",
    ExitCode.COMPONENT_FAILED: "a waited component exited non-zero or was killed",
    ExitCode.USAGE: "usage, config or muddler error: nothing was touched",
    ExitCode.HOST_FAILED: (
        "one or more hosts or components could not be reached, checked, copied to or started"
    ),
    ExitCode.TIME_LIMIT: "a time limit passed",
    ExitCode.INTERRUPTED: "interrupted",
}
