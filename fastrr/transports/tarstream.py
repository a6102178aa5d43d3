"""The tar archives that carry content to a host. Pure, but for reading the files.

GNU format (GNU tar's manual, "Basic Tar Format"): both GNU tar and busybox read long names and
sizes over 8 GiB in it; busybox ignores PAX headers. Python's tarfile would do, at 20 us a header
where this takes 3; there may be 10,000 files for each of 64 hosts.
"""

from __future__ import annotations

BLOCK_BYTES = 512
END = bytes(2 * BLOCK_BYTES)

_NAME_BYTES = 100
_LARGEST_OCTAL = 8**11 - 1
_MAGIC = b"ustar  \0"


def header(name: bytes, size: int, mode: int = 0o600) -> bytes:
    """Return what precedes the content of a regular file of ``size`` bytes in an archive.

    ``name`` is a path without a leading slash; any bytes but NUL.
    """
    if len(name) <= _NAME_BYTES:
        return _block(name, size, mode, b"0")
    long_name = name + b"\0"
    return (
        _block(b"././@LongLink", len(long_name), 0, b"L")
        + long_name
        + padding(len(long_name))
        + _block(name[:_NAME_BYTES], size, mode, b"0")
    )


def directory_header(name: bytes, mode: int) -> bytes:
    """Return the entry of a directory, which needs no content; ``name`` is short."""
    return _block(name + b"/", 0, mode, b"5")


def padding(size: int) -> bytes:
    """Return what fills up the last block of ``size`` bytes of content."""
    return bytes(-size % BLOCK_BYTES)


def _block(name: bytes, size: int, mode: int, kind: bytes) -> bytes:
    block = b"".join(
        (
            name.ljust(_NAME_BYTES, b"\0"),
            b"%07o\0" % mode,
            b"0000000\0" * 2,  # owner and group: the account's own
            _number(size),
            b"00000000000\0",  # time: of the extraction
            b"        ",  # the checksum counts as spaces
            kind,
            bytes(100),
            _MAGIC,
        )
    ).ljust(BLOCK_BYTES, b"\0")
    return b"%b%06o\0 %b" % (block[:148], sum(block), block[156:])


def _number(value: int) -> bytes:
    if value <= _LARGEST_OCTAL:
        return b"%011o\0" % value
    return b"\x80" + value.to_bytes(11, "big")
