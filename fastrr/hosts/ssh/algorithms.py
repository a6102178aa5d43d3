"""Which algorithms a connection may use: those that ssh's configuration allows, in its order.

``ssh -G`` prints every list in full, whether somebody has set it or not. Where it is the default,
or the default with names added to (``+``) or taken from it (``-``), the order is nobody's wish,
and a faster cipher may be preferred, or a host key that is known. ssh does the latter itself.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import NamedTuple

from fastrr.hosts.ssh.certificates import SUFFIX

FAST_CIPHERS = ("aes128-gcm@openssh.com", "aes256-gcm@openssh.com")
"""A GCM in C instead of CTR plus an HMAC in Python is 2.4 times as fast (SFTP of 1 GiB: 123 -> 300
MB/s); with the OpenSSH client they are the fastest, too."""

_HOST_KEYS = (
    *("ssh-ed25519", "ecdsa-sha2-nistp256", "ecdsa-sha2-nistp384", "ecdsa-sha2-nistp521"),
    *("rsa-sha2-512", "rsa-sha2-256"),
)

DEFAULTS: dict[str, tuple[str, ...]] = {
    "KexAlgorithms": (
        *("mlkem768x25519-sha256", "curve25519-sha256", "curve25519-sha256@libssh.org"),
        *("ecdh-sha2-nistp256", "ecdh-sha2-nistp384", "ecdh-sha2-nistp521"),
        *("diffie-hellman-group-exchange-sha256", "diffie-hellman-group16-sha512"),
        "diffie-hellman-group14-sha256",
    ),
    "Ciphers": (*FAST_CIPHERS, "aes128-ctr", "aes192-ctr", "aes256-ctr"),
    "MACs": (
        *("hmac-sha2-256-etm@openssh.com", "hmac-sha2-512-etm@openssh.com"),
        *("hmac-sha2-256", "hmac-sha2-512", "hmac-sha1"),
    ),
    "HostKeyAlgorithms": (*(f"{name}{SUFFIX}" for name in _HOST_KEYS), *_HOST_KEYS),
    "PubkeyAcceptedAlgorithms": (*(f"{name}{SUFFIX}" for name in _HOST_KEYS), *_HOST_KEYS),
}
"""By option: what ssh_config(5) has as its default, as far as it is of use here. It counts where
there is no ssh program that knows better."""

FORMER_NAMES = {"PubkeyAcceptedAlgorithms": "pubkeyacceptedkeytypes"}
"""Before OpenSSH 8.5."""


class Allowed(NamedTuple):
    """One list of ssh's configuration."""

    option: str
    """As ssh_config(5) spells it, for messages."""
    names: tuple[str, ...]
    """The first is preferred."""
    ordered: bool = False
    """The order is somebody's wish, not that of the defaults."""

    def within(self, possible: Collection[str]) -> list[str]:
        """Return those that are possible, too, in this list's order."""
        return [name for name in dict.fromkeys(self.names) if name in possible]


class Algorithms(NamedTuple):
    """All lists of one connection."""

    key_exchange: Allowed = Allowed("KexAlgorithms", DEFAULTS["KexAlgorithms"])
    ciphers: Allowed = Allowed("Ciphers", DEFAULTS["Ciphers"])
    macs: Allowed = Allowed("MACs", DEFAULTS["MACs"])
    host_keys: Allowed = Allowed("HostKeyAlgorithms", DEFAULTS["HostKeyAlgorithms"])
    public_keys: Allowed = Allowed("PubkeyAcceptedAlgorithms", DEFAULTS["PubkeyAcceptedAlgorithms"])


def read(values: Mapping[str, Sequence[str]], defaults: Mapping[str, Sequence[str]]) -> Algorithms:
    """Return the lists in ``values``; ``defaults`` has what they are where nobody sets them.

    Both are by keyword, in lower case, as ``ssh -G`` prints them. Where ``defaults`` lacks a list,
    the order in ``values`` is taken to be somebody's wish.
    """
    return Algorithms(*(_allowed(option, values, defaults) for option in DEFAULTS))


def _allowed(
    option: str, values: Mapping[str, Sequence[str]], defaults: Mapping[str, Sequence[str]]
) -> Allowed:
    names = _names(option, values)
    if names is None:
        return Allowed(option, DEFAULTS[option])
    return Allowed(option, names, not _derived(names, _names(option, defaults) or ()))


def _names(option: str, values: Mapping[str, Sequence[str]]) -> tuple[str, ...] | None:
    for keyword in (option.lower(), FORMER_NAMES.get(option, "")):
        if keyword in values:
            return tuple(name for name in values[keyword][0].split(",") if name)
    return None


def _derived(names: tuple[str, ...], default: tuple[str, ...]) -> bool:
    """Tell whether this is the default list, or what ``+`` or ``-`` has made of it.

    What ``-`` leaves can't be told from a list that somebody has written in the same order; but
    nobody writes down most of the default.
    """
    if not default:
        return False
    left = tuple(name for name in default if name in names)
    return names[: len(default)] == default or (names == left and 2 * len(left) > len(default))


def assembled(text: str, default: Sequence[str], possible: Iterable[str]) -> tuple[str, ...]:
    """Return the list that an option's text stands for (ssh_config(5), Ciphers).

    ``+`` appends to the default, ``-`` removes from it, ``^`` puts first; names may be patterns.
    """
    sign = text[:1] if text[:1] in ("+", "-", "^") else ""
    known = (*default, *possible)
    named: list[str] = []
    for pattern in text.removeprefix(sign).split(","):
        found = [name for name in known if fnmatchcase(name, pattern.strip())]
        named += found or [pattern.strip()]
    whole = {
        "": named,
        "+": [*default, *named],
        "-": [name for name in default if name not in named],
        "^": [*named, *default],
    }
    return tuple(dict.fromkeys(name for name in whole[sign] if name))


def fast_first(ciphers: Allowed, names: Iterable[str]) -> list[str]:
    """Return names of ``ciphers``, the fastest first where nobody has wished for another order."""
    if ciphers.ordered:
        return list(names)
    return sorted(names, key=lambda name: name not in FAST_CIPHERS)


def of_key(key_type: str) -> tuple[str, ...]:
    """Return the signature algorithms of a type of key: RSA keys sign with SHA-2 (RFC 8332)."""
    kind, rsa, rest = key_type.partition("ssh-rsa")
    if kind or not rsa:
        return (key_type,)
    return (f"rsa-sha2-512{rest}", f"rsa-sha2-256{rest}")
