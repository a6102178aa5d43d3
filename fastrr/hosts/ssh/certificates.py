"""Certificates that hosts show in place of their keys (OpenSSH's PROTOCOL.certkeys).

They are not what a host is trusted for, its key is. But a certificate may be revoked, or who has
signed it, and then ssh does not trust the host.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:  # what only deals with names of algorithms does without a tenth of a second
    import paramiko

SUFFIX = "-cert-v01@openssh.com"

_KEY_FIELDS = {"ssh-rsa": 2, "ssh-ed25519": 1}
"""How many fields the key itself has; one of ECDSA has two."""
_SERIAL_AND_TYPE_BYTES = 8 + 4
_VALIDITY_BYTES = 8 + 8


class Shown(NamedTuple):
    """What a host has shown, each in wire format (RFC 4253, section 6.6)."""

    key: bytes
    certificate: bytes = b""
    """Empty where it has shown the key only."""
    authority: bytes = b""
    """The key that has signed the certificate."""

    @classmethod
    def of(cls, key: paramiko.PKey) -> Shown:
        """Return what paramiko has received.

        :raises ValueError: for a certificate that can't be read.
        """
        blob = key.public_blob.key_blob if key.public_blob is not None else b""
        if not kind_of(blob).endswith(SUFFIX):
            return cls(key.asbytes())
        return cls(key.asbytes(), blob, authority(blob))


def plain(algorithm: str) -> str:
    """Return the algorithm of the key that a certificate's algorithm is about."""
    return algorithm.removesuffix(SUFFIX)


def kind_of(blob: bytes) -> str:
    """Return the type that a key or certificate in wire format begins with."""
    return _field(blob, 0)[0].decode("ascii", "replace") if blob else ""


def authority(certificate: bytes) -> bytes:
    """Return the key that has signed a certificate.

    :raises ValueError: for what is none.
    """
    kind, at = _field(certificate, 0)
    fields = _KEY_FIELDS.get(plain(kind.decode("ascii", "replace")), 2)
    for _ in range(1 + fields):  # the nonce, the key
        _, at = _field(certificate, at)
    at += _SERIAL_AND_TYPE_BYTES
    for _ in range(2):  # the id, the principals
        _, at = _field(certificate, at)
    at += _VALIDITY_BYTES
    for _ in range(3):  # critical options, extensions, what is reserved
        _, at = _field(certificate, at)
    key, _ = _field(certificate, at)
    if not kind_of(key):
        raise ValueError("its certificate does not say who has signed it")
    return key


def _field(data: bytes, at: int) -> tuple[bytes, int]:
    """Return the string (RFC 4251, section 5) that is at a place, and where the next one is."""
    start = at + 4
    end = start + int.from_bytes(data[at:start], "big")
    if start > len(data) or end > len(data):
        raise ValueError("its certificate is cut short")
    return data[start:end], end
