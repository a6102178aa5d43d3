"""The ``fastrr`` command. What a run needs is imported when it is clear that there will be one."""

from __future__ import annotations

import gc
import sys
from collections.abc import Sequence

from fastrr.cli.arguments import parse

COLLECT_AFTER = 100_000
"""New objects after which Python looks for cycles among them (`gc.set_threshold`), instead of 700:
ten thousand files are many objects, none of them part of a cycle."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command with ``argv`` (default: the process's arguments); return its exit status."""
    gc.set_threshold(COLLECT_AFTER)
    try:
        options = parse(sys.argv[1:] if argv is None else argv)
    except Exception as error:  # noqa: BLE001 (told, whatever it is)
        from fastrr.cli.run import tell

        return tell(error)
    from fastrr.cli.run import execute

    return execute(options)
