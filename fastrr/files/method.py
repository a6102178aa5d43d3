"""Which transport takes which file. Pure.

The rule of ``--transport auto``:

1. A file that replaces another goes by **rsync** where both have `DELTA_FROM_BYTES` or more, both
   ends have rsync and this one has the OpenSSH client. Below that size sending all of it is as
   quick, even at 100 Mbit/s, as rsync's own connection and its looking for what is the same
   (docs/benchmarks.md).
2. Everything else goes by **stream**: one tar stream, where the host has tar.
3. Where it has none: **sftp**.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import NamedTuple

from fastrr.files.transports.base import Item

AUTO = "auto"
DELTA_FROM_BYTES = 8 << 20


class Share(NamedTuple):
    """The files that go by one transport."""

    transport: str
    numbers: tuple[int, ...]
    """Places in the list of items, in order."""
    why: str
    fallback: str | None = None
    """The transport to be tried where this one does not work after all."""


def choose(
    wanted: str, items: Sequence[Item], here: Collection[str], there: Collection[str]
) -> tuple[Share, ...]:
    """Share out ``items`` among transports.

    ``wanted`` is ``auto`` or a transport's name; ``here`` and ``there`` have the names of the
    programs that this machine and the host have. What was asked for is not doubted; see `unusable`.
    """
    everything = tuple(range(len(items)))
    if not items:
        return ()
    if wanted != AUTO:
        return (Share(wanted, everything, "it was asked for"),)
    rest_by, why = "stream", "new and small files, in one stream"
    if reason := unusable("stream", here, there):
        rest_by, why = "sftp", reason
    delta = (
        () if unusable("rsync", here, there) else tuple(n for n in everything if _pays(items[n]))
    )
    rest = tuple(n for n in everything if n not in set(delta))
    shares = (
        Share("rsync", delta, "large files that replace others, and both ends have rsync", rest_by),
        Share(rest_by, rest, why),
    )
    return tuple(share for share in shares if share.numbers)


def unusable(transport: str, here: Collection[str], there: Collection[str]) -> str:
    """Say why a transport can't be used; empty: it can."""
    if transport == "stream" and "tar" not in there:
        return "the host has no tar"
    if transport == "rsync":
        if "rsync" not in there:
            return "the host has no rsync"
        for program in ("rsync", "ssh"):
            if program not in here:
                return f"this machine has no {program}"
    return ""


def _pays(item: Item) -> bool:
    """Whether the delta of a file is worth looking for."""
    return item.basis is not None and min(item.size, item.basis.size) >= DELTA_FROM_BYTES
