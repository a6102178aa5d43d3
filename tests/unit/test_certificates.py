"""Certificates of hosts, whole and broken: what a host shows is its own invention."""

from __future__ import annotations

import pytest

from fastrr.hosts.ssh.certificates import authority, kind_of, plain

SIGNER = b"\0\0\0\x0bssh-ed25519\0\0\0\x04\1\2\3\4"


def field(data: bytes) -> bytes:
    return len(data).to_bytes(4, "big") + data


def certificate(kind: str, key_fields: int, signer: bytes = SIGNER) -> bytes:
    """As PROTOCOL.certkeys has it, without the signature."""
    parts = [field(kind.encode()), field(b"nonce"), *([field(b"some number")] * key_fields)]
    parts += [bytes(8), (2).to_bytes(4, "big"), field(b"the id"), field(field(b"a.example.org"))]
    parts += [bytes(8), b"\xff" * 8, field(b""), field(b""), field(b""), field(signer)]
    return b"".join(parts)


@pytest.mark.parametrize(
    ("kind", "key_fields"),
    [("ssh-ed25519", 1), ("ssh-rsa", 2), ("ecdsa-sha2-nistp256", 2), ("ecdsa-sha2-nistp521", 2)],
)
def test_who_has_signed(kind: str, key_fields: int) -> None:
    blob = certificate(f"{kind}-cert-v01@openssh.com", key_fields)
    assert authority(blob) == SIGNER
    assert plain(kind_of(blob)) == kind


def test_a_certificate_that_ends_early_is_none() -> None:
    blob = certificate("ssh-ed25519-cert-v01@openssh.com", 1)
    for end in range(len(blob)):
        with pytest.raises(ValueError, match="certificate"):
            authority(blob[:end])


@pytest.mark.parametrize("signer", [b"", b"\0\0\0\0"])
def test_a_certificate_that_nobody_has_signed_is_none(signer: bytes) -> None:
    with pytest.raises(ValueError, match="who has signed it"):
        authority(certificate("ssh-ed25519-cert-v01@openssh.com", 1, signer))


def test_a_field_that_says_it_is_longer_than_all_is_none() -> None:
    with pytest.raises(ValueError, match="cut short"):
        kind_of(b"\xff\xff\xff\xffssh-rsa")
