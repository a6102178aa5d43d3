"""The ``fastrr`` command. What a run needs is imported when it is clear that there will be one."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from fastrr.arguments import parse


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command with ``argv`` (default: the process's arguments); return its exit status."""
    try:
        options = parse(sys.argv[1:] if argv is None else argv)
    except Exception as error:  # noqa: BLE001 (told, whatever it is)
        from fastrr.command import tell

        return tell(error)
    from fastrr.command import execute

    return execute(options)
