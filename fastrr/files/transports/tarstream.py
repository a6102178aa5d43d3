"""The tar archives that carry content to a host. Pure, but for reading the files.

GNU format (GNU tar's manual, "Basic Tar Format"): both GNU tar and busybox read long names and
sizes over 8 GiB in it; busybox ignores PAX headers. Python's tarfile would do, at 20 us a header
where this takes 3; there may be 10,000 files for each of 64 hosts.
"""

from __future__ import annotations

from functools import lru_cache

BLOCK_BYTES = 512
END = bytes(2 * BLOCK_BYTES)

_NAME_BYTES = 100
_AFTER_CHECKSUM_BYTES = 356
_LARGEST_OCTAL = 8**11 - 1
_MAGIC = b"ustar  \0"


def header(name: bytes, size: int, mode: int = 0o600) -> bytes:
    """Return what precedes the content of a regular file of ``size`` bytes in an archive.

    ``name`` is a path without a leading slash; any bytes but NUL.
    """
    return _entry(name, size, mode, b"0")


def directory_header(name: bytes, mode: int) -> bytes:
    """Return the entry of a directory, which has no content."""
    return _entry(name + b"/", 0, mode, b"5")


def _entry(name: bytes, size: int, mode: int, kind: bytes) -> bytes:
    if len(name) <= _NAME_BYTES:
        return _block(name, size, mode, kind)
    long_name = name + b"\0"
    return (
        _block(b"././@LongLink", len(long_name), 0, b"L")
        + long_name
        + padding(len(long_name))
        + _block(name[:_NAME_BYTES], size, mode, kind)
    )


def padding(size: int) -> bytes:
    """Return what fills up the last block of ``size`` bytes of content."""
    return bytes(-size % BLOCK_BYTES)


def _block(name: bytes, size: int, mode: int, kind: bytes) -> bytes:
    before, after, sum_ = _all_but_the_name(size, mode, kind)
    # All but the name is the same for many files: so is most of the sum of all bytes.
    return b"%b%b%06o\0 %b" % (name.ljust(_NAME_BYTES, b"\0"), before, sum_ + sum(name), after)


@lru_cache(maxsize=256)
def _all_but_the_name(size: int, mode: int, kind: bytes) -> tuple[bytes, bytes, int]:
    """Return what is between name and checksum, what is after it, and the sum of all that."""
    before = b"".join(
        (
            b"%07o\0" % mode,
            b"0000000\0" * 2,  # owner and group: the account's own
            _number(size),
            b"00000000000\0",  # time: of the extraction
        )
    )
    after = b"".join((kind, bytes(100), _MAGIC)).ljust(_AFTER_CHECKSUM_BYTES, b"\0")
    checksum = b" " * 8  # it counts as spaces
    return before, after, sum(before) + sum(checksum) + sum(after)


def _number(value: int) -> bytes:
    if value <= _LARGEST_OCTAL:
        return b"%011o\0" % value
    return b"\x80" + value.to_bytes(11, "big")
