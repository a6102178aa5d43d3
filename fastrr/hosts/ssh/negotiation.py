"""A paramiko transport that agrees on nothing that ssh's configuration does not allow."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from typing import Any, ClassVar

import paramiko

from fastrr.errors import ConnectionFailed
from fastrr.hosts.ssh.algorithms import DEFAULTS, Allowed, fast_first, of_key
from fastrr.hosts.ssh.certificates import SUFFIX, plain
from fastrr.hosts.ssh.target import SshTarget

_LACKS = {
    # What paramiko says: which list was meant, in our configuration and in the host's proposal.
    "kex": ("key_exchange", "kex_algo_list"),
    "host key": ("host_keys", "server_key_algo_list"),
    "ciphers": ("ciphers", "client_encrypt_algo_list"),
    "macs": ("macs", "client_mac_algo_list"),
}
_SHOWN_NAMES = 20


def _with_standard_name(methods: dict[str, Any]) -> dict[str, Any]:
    """RFC 8731 has made libssh's method a standard; hosts may know it by the new name only."""
    method = methods.get("curve25519-sha256@libssh.org")
    return methods | ({"curve25519-sha256": method} if method else {})


class Transport(paramiko.Transport):
    """paramiko's, with its lists taken literally, and one key exchange by its standard name."""

    _kex_info: ClassVar[dict[str, Any]] = _with_standard_name(
        paramiko.Transport._kex_info  # type: ignore[attr-defined] # noqa: SLF001
    )

    def __init__(self, *arguments: Any, **keywords: Any) -> None:
        super().__init__(*arguments, **keywords)
        self.offered: dict[str, list[str]] = {}
        """The host's lists, by paramiko's names for them."""

    @property
    def preferred_keys(self) -> tuple[str, ...]:
        """Exactly those: paramiko adds the certificate variant of each, allowed or not."""
        return tuple(self._filter_algorithm("keys"))  # type: ignore[attr-defined]

    @property
    def preferred_macs(self) -> tuple[str, ...]:
        """As in ssh, any will do where the ciphers agreed on bring their own: none is used."""
        agreed = (self.local_cipher, self.remote_cipher)  # type: ignore[attr-defined]
        if all(cipher in self.with_own_mac() for cipher in agreed):
            return tuple(self._mac_info)  # type: ignore[attr-defined]
        return tuple(self._filter_algorithm("macs"))  # type: ignore[attr-defined]

    @classmethod
    def with_own_mac(cls) -> set[str]:
        """Return the ciphers that need no MAC beside them."""
        ciphers = cls._cipher_info.items()  # type: ignore[attr-defined]
        return {name for name, about in ciphers if about.get("is_aead")}

    def _really_parse_kex_init(self, message: Any, ignore_first_byte: bool = False) -> Any:
        parsed = super()._really_parse_kex_init(  # type: ignore[misc]
            message, ignore_first_byte
        )
        if not ignore_first_byte:  # what we sent ourselves begins with its type
            self.offered = {k: list(v) for k, v in parsed.items() if isinstance(v, list)}
        return parsed

    def restrict(self, target: SshTarget, key_types_on_file: Iterable[str]) -> None:
        """Offer what the configuration of ``target`` allows, in its order.

        Where nobody has chosen another order, the host keys on file come first, as in ssh: a host
        known by its RSA key would show its ed25519 key, and look changed.

        :raises ConnectionFailed: where it allows nothing that we can do.
        """
        algorithms, options = target.algorithms, self.get_security_options()
        options.kex = _common(algorithms.key_exchange, self._kex_info)
        ciphers = _common(algorithms.ciphers, self._cipher_info)  # type: ignore[attr-defined]
        macs = algorithms.macs.within(self._mac_info)  # type: ignore[attr-defined]
        if not macs:
            ciphers = [name for name in ciphers if name in self.with_own_mac()]
            if not ciphers:
                raise _nothing_left(algorithms.macs, self._mac_info)  # type: ignore[attr-defined]
        options.ciphers = fast_first(algorithms.ciphers, ciphers)
        options.digests = macs or list(self._mac_info)  # type: ignore[attr-defined]
        options.key_types = self._host_keys(algorithms.host_keys, key_types_on_file)
        self._preferred_pubkeys = tuple(
            algorithms.public_keys.within(self._key_info)  # type: ignore[attr-defined]
        )

    def _host_keys(self, allowed: Allowed, key_types_on_file: Iterable[str]) -> list[str]:
        names = _common(allowed, self._key_info)  # type: ignore[attr-defined]
        known = [name for key_type in key_types_on_file for name in of_key(key_type)]
        if not allowed.ordered:
            names.sort(key=lambda name: plain(name) not in known)
        return names

    def explanation(self, error: Exception, target: SshTarget) -> str:
        """Return what kept us from agreeing, and the option it depends on where there is one."""
        said = str(error)
        lack = re.search(rf"\(no acceptable ({'|'.join(_LACKS)})\b", said)
        if not isinstance(error, paramiko.SSHException) or lack is None:
            return said or "it hung up"
        ours, theirs = _LACKS[lack[1]]
        allowed: Allowed = getattr(target.algorithms, ours)
        offered = [name for name in self.offered.get(theirs, []) if not _is_extension(name)]
        possible = self._possible(ours)
        return (
            f"no acceptable {lack[1]}: the host has {_named(offered)}, and of those that "
            f"{allowed.option} in ssh's configuration allows, fastrr has "
            f"{_named(allowed.within(possible))}; {_advice(allowed, possible, offered)}"
        )

    def _possible(self, which: str) -> Collection[str]:
        tables = {
            "key_exchange": "_kex_info",
            "host_keys": "_key_info",
            "ciphers": "_cipher_info",
            "macs": "_mac_info",
        }
        possible: Collection[str] = getattr(self, tables[which])
        return possible


def _common(allowed: Allowed, possible: Collection[str]) -> list[str]:
    if names := allowed.within(possible):
        return names
    raise _nothing_left(allowed, possible)


def _nothing_left(allowed: Allowed, possible: Collection[str]) -> ConnectionFailed:
    return ConnectionFailed(
        f"{allowed.option} in ssh's configuration allows {_named(allowed.names)}, none of which "
        f"fastrr has; allow one of these for this host: {_recommended(allowed, possible)}"
    )


def _advice(allowed: Allowed, possible: Collection[str], offered: list[str]) -> str:
    if common := [name for name in offered if name in possible]:
        return f"allow one of these by {allowed.option}: {_named(common)}"
    return f"have its sshd_config allow one of these: {_recommended(allowed, possible)}"


def _recommended(allowed: Allowed, possible: Collection[str]) -> str:
    """Name what helps: no certificates, and nothing that an older ssh would not take as a name."""
    return _named(
        name
        for name in DEFAULTS[allowed.option]
        if name in possible and not name.endswith(SUFFIX) and not name.startswith("mlkem")
    )


def _is_extension(name: str) -> bool:
    """Tell what stands among the key exchanges, but is none (RFC 8308, and OpenSSH's PROTOCOL)."""
    return name.startswith(("ext-info-", "kex-strict-"))


def _named(names: Iterable[str]) -> str:
    """Name algorithms in a message; what is no such name (RFC 4251, section 6) is left out."""
    fit = [name for name in names if re.fullmatch(r"[!-~]{1,64}", name)]
    more = f" and {len(fit) - _SHOWN_NAMES} more" if len(fit) > _SHOWN_NAMES else ""
    return f"{', '.join(fit[:_SHOWN_NAMES]) or 'none'}{more}"
