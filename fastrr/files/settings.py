"""What a user has said about files."""

from __future__ import annotations

from typing import NamedTuple


class FileSettings(NamedTuple):
    """How files are compared, copied and verified. Never holds a secret."""

    transport: str = "auto"
    """How content is sent; see `fastrr.files.method`."""
    allow_shared: tuple[str, ...] = ()
    """Directories on hosts that everybody may write to, and that are written to all the same."""
    rehash: bool = False
    """Compute all digests anew, whatever the ledger remembers."""
    ledger: str | None = None
    """Path of the ledger; None: remember nothing."""
    gmac_key: bytes = bytes(16)
    """Fresh for each run; the hosts get to know it."""
    temporary_prefix: str = "fastrr-runner"
    """What names of temporary base_dirs begin with."""
