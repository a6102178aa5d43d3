"""Logging in: agent, then key files, then password, in the manual's order.

ssh's configuration may forbid some of that, and ask for another order (PreferredAuthentications).

Every key offered counts against the server's MaxAuthTries (6 unless told), and OpenSSH 9.8 bans
addresses that fail too often. So the order is ssh's own (agent keys that are also identity files
come first), no key is offered twice, the last try is kept for a password that was given, and a
login that was refused is not tried again.
"""

from __future__ import annotations

import base64
import contextlib
import os
import socket
import threading
import warnings
from collections.abc import Generator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import paramiko
from paramiko.agent import AgentSSH

from fastrr.errors import LoginRefused
from fastrr.hosts.shell import to_bytes
from fastrr.hosts.ssh.algorithms import of_key
from fastrr.hosts.ssh.target import SshTarget

MAX_TRIES = 6
"""sshd_config(5), MaxAuthTries."""


class Credential(NamedTuple):
    """What a host has accepted, for other connections to offer nothing else."""

    key_file: str | None = None
    public_key: str | None = None
    """Type and Base64 of a key that an agent holds."""
    password: bool = False
    """The password itself; keys were not accepted."""


@dataclass(slots=True)
class Tried:
    """What has been tried on one connection, for the message when nothing worked."""

    notes: list[str] = field(default_factory=list)
    offers: int = 0
    password_sent: bool = False
    allowed: list[str] = field(default_factory=list)
    """The methods the host accepts, once it has said so."""
    accepted: Credential = field(default_factory=Credential)


def log_in(
    transport: paramiko.Transport,
    target: SshTarget,
    password: str | None,
    *,
    trusted: bool = True,
) -> Credential:
    """Authenticate on a connection whose host key has been verified; return what was accepted.

    :raises LoginRefused: with everything that was tried and what the host accepts.
    """
    tried = Tried()
    try:
        if _logged_in(transport, target, password, tried):
            return tried.accepted
    except (paramiko.SSHException, OSError, EOFError) as error:
        tried.notes.append(f"the host ended the connection ({error})")
    if not trusted:
        tried.notes.append("no password (none is sent to a host whose key has changed)")
    raise LoginRefused(_refusal(target, tried, wants_password=trusted and password is None))


def _logged_in(
    transport: paramiko.Transport, target: SshTarget, password: str | None, tried: Tried
) -> bool:
    """Go through what the configuration allows, and the host as far as it has said."""
    left = list(target.methods)
    for _ in range(2 * len(left)):  # each once more at most, whatever a host says it allows
        method = next((x for x in left if not tried.allowed or x in tried.allowed), None)
        if method is None:
            break
        try:
            if method == "publickey":
                if _key_accepted(transport, target, password, tried):
                    return True
            elif (
                password is not None
                and not tried.password_sent
                and _password_accepted(transport, target.user, password, method, tried)
            ):
                tried.accepted = Credential(password=True)
                return True
        except _MoreWanted as more:
            tried.allowed = more.methods
        except paramiko.BadAuthenticationType as error:
            tried.allowed = list(error.allowed_types)
            if tried.allowed and method not in tried.allowed:
                continue  # its turn may come when the host has seen another
        left.remove(method)
    tried.allowed = tried.allowed or _ask_allowed(transport, target.user)
    tried.notes += _kept_back(target, password, tried)
    return transport.is_authenticated()


class _MoreWanted(Exception):
    """The host has accepted this, and wants one of other methods, too."""

    def __init__(self, methods: Sequence[str]) -> None:
        super().__init__("further factors")
        self.methods = list(methods)


def _kept_back(target: SshTarget, password: str | None, tried: Tried) -> list[str]:
    """Return what was not tried, and why: the options of ssh's configuration, or the host."""
    notes = []
    if "publickey" not in target.methods:
        notes.append("no key (PubkeyAuthentication or PreferredAuthentications forbids it)")
    if password is None or any(note.startswith("password (") for note in tried.notes):
        return notes
    if not _by_password(target.methods):
        notes.append(
            "no password (PasswordAuthentication and KbdInteractiveAuthentication, or "
            "PreferredAuthentications, forbid it)"
        )
    elif not _by_password(tried.allowed):
        notes.append("password (not allowed)")
    else:
        notes.append(
            f"no password (the host takes one by {' or '.join(_by_password(tried.allowed))}; "
            "PasswordAuthentication, KbdInteractiveAuthentication and PreferredAuthentications "
            f"allow {' or '.join(_by_password(target.methods))})"
        )
    return notes


def _by_password(methods: Sequence[str]) -> list[str]:
    return [method for method in methods if method in ("password", "keyboard-interactive")]


def _key_accepted(
    transport: paramiko.Transport, target: SshTarget, password: str | None, tried: Tried
) -> bool:
    kept_for_password = int(password is not None and bool(_by_password(target.methods)))
    with contextlib.closing(_keys(target, password, tried)) as keys:
        for key, label, path in keys:
            if reason := _not_allowed(key, target):
                tried.notes.append(f"{label} ({reason})")
                continue
            if tried.offers >= MAX_TRIES - kept_for_password:
                tried.notes.append("further keys not offered: the host allows few tries")
                return False
            if _accepted(transport, target.user, key, label, tried):
                public = None if path else f"{key.get_name()} {key.get_base64()}"
                tried.accepted = Credential(path, public)
                return True
    return False


def _not_allowed(key: paramiko.PKey, target: SshTarget) -> str | None:
    """Return why ssh's configuration keeps a key from being offered."""
    certificate = getattr(key, "public_blob", None)
    kind: str = certificate.key_type if certificate else key.get_name()
    if not set(of_key(kind)) & set(target.algorithms.public_keys.names):
        return f"{target.algorithms.public_keys.option} allows no {' or '.join(of_key(kind))}"
    inner = getattr(key, "inner_key", None) or key  # of an agent's key
    if isinstance(inner, paramiko.RSAKey) and inner.get_bits() < target.smallest_rsa_bits:
        return f"{inner.get_bits()} bits, RequiredRSASize is {target.smallest_rsa_bits}"
    return None


def _ask_allowed(transport: paramiko.Transport, user: str) -> list[str]:
    """Return what the host accepts: paramiko forgets it when a key is refused."""
    try:
        transport.auth_none(user)  # which logs in where nothing is asked for (RFC 4252, 5.2)
    except paramiko.BadAuthenticationType as error:
        return list(error.allowed_types)
    except (paramiko.SSHException, OSError, EOFError):
        pass
    return []


def _accepted(
    transport: paramiko.Transport, user: str, key: paramiko.PKey, label: str, tried: Tried
) -> bool:
    tried.offers += 1
    try:
        further = transport.auth_publickey(user, key)
    except paramiko.BadAuthenticationType:
        raise
    except paramiko.AuthenticationException as error:
        _raise_unless_refused(transport, error)
        tried.notes.append(f"{label} (refused)")
        return False
    if further:
        raise _MoreWanted(further)
    return True


def _password_accepted(
    transport: paramiko.Transport, user: str, password: str, method: str, tried: Tried
) -> bool:
    secret: Any = to_bytes(password)  # its annotation says str, which may be no UTF-8

    def answer(_title: str, _instructions: str, questions: Sequence[object]) -> list[Any]:
        if len(questions) > 1:
            raise paramiko.AuthenticationException("it asks for more than a password")
        tried.password_sent |= bool(questions)  # some ask for nothing
        return [secret for _ in questions]

    try:
        if method == "password":
            further = transport.auth_password(user, secret, fallback=False)
            tried.password_sent = True
        else:
            further = transport.auth_interactive(user, answer)
    except paramiko.BadAuthenticationType:
        raise
    except paramiko.AuthenticationException as error:
        _raise_unless_refused(transport, error)
        tried.password_sent |= method == "password"
        refused = "refused" if tried.password_sent else f"{method} did not ask for it"
        tried.notes.append(f"password ({refused})")
        return False
    if further:
        raise _MoreWanted(further)
    return True


def _raise_unless_refused(transport: paramiko.Transport, error: Exception) -> None:
    """Paramiko says the same of a refusal, of a silent host and of one that has hung up."""
    if "timeout" in str(error) or not transport.is_active():
        raise error


def _refusal(target: SshTarget, tried: Tried, *, wants_password: bool) -> str:
    what = ", ".join(tried.notes) or "nothing: there is no agent, no key and no password"
    by_key = "publickey" in target.methods
    by_password = _by_password(target.methods)
    if tried.allowed:
        by_password = [method for method in by_password if method in tried.allowed]
    advice = [
        "add a key to ssh-agent or authorized_keys" if by_key else None,
        "allow the key: set PubkeyAuthentication yes, and publickey among PreferredAuthentications"
        if not by_key and "publickey" in tried.allowed
        else None,
        "give a password with --ask-pass or FASTRR_PASS"
        if wants_password and by_password
        else None,
        "check the user with --user",
    ]
    return (
        f"login as {target.user!r} was refused; tried: {what}; "
        f"the host accepts: {', '.join(tried.allowed) or 'it does not say'}; "
        f"{', or '.join(a for a in advice if a)}"
    )


def _keys(
    target: SshTarget, password: str | None, tried: Tried
) -> Generator[tuple[paramiko.PKey, str, str | None], None, None]:
    """Yield each key once, with a name for messages, and its file unless an agent has it.

    Files are read only when it is their turn.
    """
    seen: set[bytes] = set()
    with contextlib.closing(_Agent()) as agent:
        for key in _chosen(_agent_keys(agent, target, tried), target):
            if key.asbytes() not in seen:
                seen.add(key.asbytes())
                yield key, f"agent key {key.comment or key.get_name()}", None
        for path in target.identity_files:
            if _public_blob(path) in seen:
                continue
            loaded = load_key(path, password)
            if isinstance(loaded, str):
                tried.notes.append(loaded)
            elif loaded is not None and loaded.asbytes() not in seen:
                seen.add(loaded.asbytes())
                yield loaded, path, path


def _chosen(keys: Sequence[paramiko.AgentKey], target: SshTarget) -> list[paramiko.AgentKey]:
    """The agent's keys to offer, in ssh's order: first those that are identity files too."""
    wanted = {_public_blob(path) for path in target.identity_files}
    preferred = [key for key in keys if key.asbytes() in wanted]
    others = [key for key in keys if key.asbytes() not in wanted]
    return preferred if target.identities_only else preferred + others


class _Agent(AgentSSH):
    """An ssh-agent at a given socket; paramiko's own only looks at ``SSH_AUTH_SOCK``."""

    def connect(self, path: str) -> None:
        connection = socket.socket(socket.AF_UNIX)
        connection.settimeout(10)
        try:
            connection.connect(path)
        except OSError:
            connection.close()
            raise
        self._connect(connection)  # type: ignore[attr-defined]

    def close(self) -> None:
        self._close()  # type: ignore[attr-defined]


def _agent_keys(agent: _Agent, target: SshTarget, tried: Tried) -> list[paramiko.AgentKey]:
    if not target.agent or not os.path.exists(target.agent):
        return []
    try:
        agent.connect(target.agent)
        return list(agent.get_keys())
    except (OSError, paramiko.SSHException) as error:
        tried.notes.append(f"agent at {target.agent} ({error})")
        return []


def _public_blob(path: str) -> bytes | None:
    """The public half of an identity file, from the ``.pub`` beside it."""
    try:
        with open(f"{path}.pub", encoding="utf-8", errors="replace") as file:
            fields = file.read().split()
        return base64.b64decode(fields[1]) if len(fields) > 1 else None
    except (OSError, ValueError):
        return None


_loaded: dict[tuple[str, str | None], paramiko.PKey | str | None] = {}
_loading = threading.Lock()


def load_key(path: str, password: str | None) -> paramiko.PKey | str | None:
    """Return the private key at ``path``, why it can't be used, or None where there is no file.

    Kept for the life of the process: opening an encrypted key takes a tenth of a second, and all
    hosts use the same few.
    """
    with _loading:
        if (path, password) not in _loaded:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # what cryptography thinks of old keys
                _loaded[path, password] = _load(path, password)
        return _loaded[path, password]


def _load(path: str, password: str | None) -> paramiko.PKey | str | None:
    if not os.path.exists(path):
        return None
    try:
        return paramiko.PKey.from_path(path)
    except (TypeError, paramiko.PasswordRequiredException):
        return _load_encrypted(path, password)
    except OSError as error:
        return f"{path} ({error.strerror})"
    except Exception as error:  # noqa: BLE001 (whatever a parser may say of whatever is in a file)
        return _unusable(path, error)


def _load_encrypted(path: str, password: str | None) -> paramiko.PKey | str:
    if password is None:
        return f"{path} (encrypted: give its passphrase with --ask-pass, or add it to ssh-agent)"
    secret: Any = to_bytes(password)  # its annotation says str, but that it can't decrypt with
    try:
        return paramiko.PKey.from_path(path, secret)
    except ValueError:
        return f"{path} (encrypted, and the password given does not open it)"
    except Exception as error:  # noqa: BLE001
        return _unusable(path, error)


def _unusable(path: str, error: Exception) -> str:
    kind = str(getattr(error, "key_type", ""))
    if "DSA" in kind or "DSA" in _first_line(path):
        return f"{path} (DSA keys are no longer supported: make one with ssh-keygen -t ed25519)"
    return f"{path} (not a usable key: {error})"


def _first_line(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.readline()
    except OSError:
        return ""
