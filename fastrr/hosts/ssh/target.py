"""What ``ssh HOST`` would do: the settings of one connection, as ssh_config(5) resolves them.

``ssh -G HOST`` prints them with Include, Match and defaults applied; where there is no ``ssh``
program, paramiko's own parser stands in (no Include there).
"""

from __future__ import annotations

import contextlib
import os
import pwd
import re
import shlex
import shutil
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from fastrr.errors import ConnectionFailed
from fastrr.hosts.process import kill
from fastrr.hosts.ssh import algorithms
from fastrr.hosts.ssh.algorithms import Algorithms
from fastrr.model import HostKeyPolicy, SshSettings

DEFAULT_KEYS = ("id_ed25519", "id_ecdsa", "id_rsa")
"""Tried where ssh's configuration names none (the manual's id_dsa is beyond what sshd accepts)."""


METHODS = ("publickey", "password", "keyboard-interactive")
"""Ways to log in that we have, in the order to try them in unless ssh's configuration has one."""

SMALLEST_RSA_BITS = 1024
"""ssh_config(5), RequiredRSASize."""

NOBODY = "host.invalid"
"""A host that no configuration is about (RFC 2606)."""

NO_SETTINGS = SshSettings(config_file="none")

SSH_G_TIMEOUT_S = 30.0
"""``ssh -G`` may run commands (``Match exec``), and look names up (``CanonicalizeHostname``)."""


class Address(NamedTuple):
    """A host as a config writes it: ``[user@]host[:port]``, IPv6 addresses in brackets or bare."""

    host: str
    user: str | None = None
    port: int | None = None

    @classmethod
    def parse(cls, text: str) -> Address:
        """:raises ValueError: with the reason, when ``text`` is no such address."""
        rest = text.removeprefix("ssh://")
        user, at, host = rest.rpartition("@")
        match = re.fullmatch(r"\[([^\]]+)\](?::(\d+))?|([^:\[\]]*)(?::(\d+))?", host, re.ASCII)
        if match:
            name, port = match[1] or match[3], match[2] or match[4]
        elif _is_ipv6(host):
            name, port = host, None
        else:
            raise ValueError(f"{text!r} is no host: write [user@]host[:port]")
        if not name or name.startswith("-") or re.search(r"[\s\0]", name):
            raise ValueError(f"{text!r} names no host: write [user@]host[:port]")
        if at and (not user or user.startswith("-") or "\0" in user):
            raise ValueError(f"{text!r} has no user name before the @")
        if port is not None and not 0 < int(port) < 65536:
            raise ValueError(f"{text!r}: port {port} is not between 1 and 65535")
        return cls(name, user or None, int(port) if port else None)


def _is_ipv6(text: str) -> bool:
    import ipaddress  # hardly ever needed

    try:
        ipaddress.IPv6Address(text)
    except ValueError:
        return False
    return True


class SshTarget(NamedTuple):
    """Everything needed to connect to one host."""

    hostname: str
    port: int
    user: str
    alias: str
    """The name its key is filed under in known_hosts."""
    identity_files: tuple[str, ...] = ()
    identities_only: bool = False
    agent: str | None = None
    """Path of the agent's socket."""
    user_known_hosts: tuple[str, ...] = ()
    global_known_hosts: tuple[str, ...] = ()
    hash_known_hosts: bool = False
    host_keys: HostKeyPolicy = HostKeyPolicy.ACCEPT_NEW
    host_keys_forced: bool = False
    """The policy was given on the command line, not by ssh's configuration."""
    proxy_command: str | None = None
    proxy_jump: tuple[str, ...] = ()
    connect_timeout_s: float | None = None
    alive_interval_s: float | None = None
    """ServerAliveInterval, where ssh's configuration sets one."""
    compression: bool = False
    algorithms: Algorithms = Algorithms()
    revoked_host_keys: tuple[str, ...] = ()
    """Files with keys that no host may show."""
    known_hosts_command: str | None = None
    methods: tuple[str, ...] = METHODS
    """Ways to log in that are allowed, in the order to try them in."""
    smallest_rsa_bits: int = SMALLEST_RSA_BITS

    def __str__(self) -> str:
        port = "" if self.port == 22 else f":{self.port}"
        return f"{self.user}@{self.hostname}{port}"


def home() -> str:
    """The home directory ssh uses: that of the password database, not of ``$HOME``."""
    return pwd.getpwuid(os.getuid()).pw_dir


def local_user() -> str:
    """The name of the account fastrr runs as, as ssh sees it."""
    return pwd.getpwuid(os.getuid()).pw_name


def resolve(name: str, settings: SshSettings) -> SshTarget:
    """Return how to connect to ``name``.

    :raises ConnectionFailed: when ssh's configuration can't be read or the name is no host.
    """
    try:
        address = Address.parse(name)
    except ValueError as error:
        raise ConnectionFailed(str(error)) from None
    ssh = shutil.which("ssh")
    defaults = _defaults(ssh) if ssh else _DEFAULTS_WITHOUT_SSH
    return target_from(address, _values(ssh, address, settings), settings, defaults)


def _values(ssh: str | None, address: Address, settings: SshSettings) -> dict[str, list[str]]:
    if ssh:
        return _parse(_run_ssh_g(ssh, address, settings))
    return _paramiko_lookup(address, settings)


def default_user(config_file: str | None) -> str:
    """Return who logs in to a host that ssh's configuration says nothing special about."""
    try:
        values = _values(shutil.which("ssh"), Address(NOBODY), SshSettings(config_file=config_file))
    except ConnectionFailed:
        return local_user()
    return values.get("user", [local_user()])[0]


AHEAD = 16
"""Hosts whose configuration is read while this process is busy with something else."""
AHEAD_PATIENCE_S = 0.3

_read_ahead: dict[tuple[str, ...], subprocess.CompletedProcess[str]] = {}
"""By command: what `read_ahead` has found, for whoever asks first."""


@contextlib.contextmanager
def read_ahead(names: Sequence[str], settings: SshSettings) -> Iterator[None]:
    """Have ``ssh -G`` run for the first hosts, for `resolve`, while what is inside is done.

    What goes wrong, or takes longer, is left to `resolve`.
    """
    running: dict[tuple[str, ...], subprocess.Popen[str]] = {}
    if ssh := shutil.which("ssh"):
        asked = [(name, settings) for name in names[:AHEAD]]
        for name, with_settings in (*asked, (NOBODY, NO_SETTINGS)):
            with contextlib.suppress(ValueError, OSError):
                command = _ssh_g(ssh, Address.parse(name), with_settings)
                running[tuple(command)] = subprocess.Popen(
                    command, start_new_session=True, **_SSH_G
                )
    try:
        yield
        deadline = time.monotonic() + AHEAD_PATIENCE_S
        for words, process in running.items():
            with contextlib.suppress(subprocess.TimeoutExpired):
                left_s = deadline - time.monotonic()
                ended = process.poll() is not None
                said = process.communicate(timeout=None if ended else max(0.0, left_s))
                _read_ahead[words] = subprocess.CompletedProcess(words, process.returncode, *said)
    finally:
        for process in running.values():
            if process.returncode is None:
                kill(process)  # with what it runs for `Match exec`
                process.communicate()


_SSH_G: dict[str, Any] = {
    "stdin": subprocess.DEVNULL,
    "stdout": subprocess.PIPE,
    "stderr": subprocess.PIPE,
    "text": True,
    "errors": "surrogateescape",
}


def _ssh_g(ssh: str, address: Address, settings: SshSettings) -> list[str]:
    command = [ssh, "-G"]
    if settings.config_file:
        command += ["-F", settings.config_file]
    if user := address.user or settings.user:
        command += ["-l", user]
    if address.port:
        command += ["-p", str(address.port)]
    return [*command, "--", address.host]


def _run_ssh_g(ssh: str, address: Address, settings: SshSettings) -> str:
    command = _ssh_g(ssh, address, settings)
    try:
        completed = _read_ahead.pop(tuple(command), None) or _completed(command)
    except subprocess.TimeoutExpired as error:
        raise ConnectionFailed(
            f"`{' '.join(command)}` did not come to an end within "
            f"{SSH_G_TIMEOUT_S:g} s: does a `Match exec` in ssh's configuration hang?"
        ) from error
    if completed.returncode != 0:
        said = "; ".join(line for line in map(str.strip, completed.stderr.splitlines()) if line)
        raise ConnectionFailed(f"ssh's configuration can't be used: {said or 'no reason given'}")
    return completed.stdout


_default_values: dict[str, dict[str, list[str]]] = {}
"""By ssh program: what it prints of a host without any configuration. The same for all hosts."""
_asking_for_defaults = threading.Lock()


def _defaults(ssh: str) -> dict[str, list[str]]:
    with _asking_for_defaults:
        if ssh not in _default_values:
            try:
                printed = _run_ssh_g(ssh, Address(NOBODY), NO_SETTINGS)
            except ConnectionFailed:
                printed = ""  # then all that is printed of a host counts as set
            _default_values[ssh] = _parse(printed)
        return _default_values[ssh]


_DEFAULTS_WITHOUT_SSH = {
    option.lower(): [",".join(names)] for option, names in algorithms.DEFAULTS.items()
}


def _completed(command: list[str]) -> subprocess.CompletedProcess[str]:
    with subprocess.Popen(command, start_new_session=True, **_SSH_G) as process:
        try:
            said = process.communicate(timeout=SSH_G_TIMEOUT_S)
        except BaseException:
            kill(process)  # with what it runs for `Match exec`
            raise
    return subprocess.CompletedProcess(command, process.returncode, *said)


def _parse(printed: str) -> dict[str, list[str]]:
    """Parse ``ssh -G``: keyword, space, value on each line; a keyword may come several times."""
    values: dict[str, list[str]] = {}
    for line in printed.splitlines():
        keyword, _, value = line.partition(" ")
        values.setdefault(keyword.lower(), []).append(value)
    return values


def _paramiko_lookup(address: Address, settings: SshSettings) -> dict[str, list[str]]:
    import paramiko

    config = paramiko.SSHConfig()
    path = settings.config_file or os.path.join(home(), ".ssh", "config")
    if path != "none" and (settings.config_file or os.path.exists(path)):
        try:
            config = paramiko.SSHConfig.from_path(path)
        except (OSError, paramiko.ConfigParseError) as error:
            raise ConnectionFailed(f"{path} can't be used: {error}") from error
    values: dict[str, list[str]] = {
        "hostname": [address.host],
        "port": ["22"],
        "user": [local_user()],
        "userknownhostsfile": ["~/.ssh/known_hosts ~/.ssh/known_hosts2"],
        "globalknownhostsfile": ["/etc/ssh/ssh_known_hosts /etc/ssh/ssh_known_hosts2"],
        "stricthostkeychecking": ["ask"],
    }
    for keyword, value in config.lookup(address.host).items():
        # A ProxyCommand of none is None here; values keep the quotes they have in the file.
        values[keyword] = value if isinstance(value, list) else [value or "none"]
    for keyword in ("userknownhostsfile", "globalknownhostsfile", "revokedhostkeys"):
        if keyword in values:
            values[keyword] = [" ".join(shlex.split(values[keyword][0]))]
    if user := address.user or settings.user:
        values["user"] = [user]
    if address.port:
        values["port"] = [str(address.port)]
    return values | _assembled_lists(values)


def _assembled_lists(values: Mapping[str, Sequence[str]]) -> dict[str, list[str]]:
    """Return the lists of algorithms in full, as ``ssh -G`` prints them."""
    import paramiko

    tables = ("_kex_info", "_cipher_info", "_mac_info", "_key_info")
    possible = [name for table in tables for name in getattr(paramiko.Transport, table)]
    lists = {}
    for option, default in algorithms.DEFAULTS.items():
        for keyword in (option.lower(), algorithms.FORMER_NAMES.get(option, "")):
            if keyword in values:
                text = values[keyword][0].strip('" ')
                names = algorithms.assembled(text, default, possible)
                lists[option.lower()] = [",".join(names)]
                break
    return lists


_POLICIES = {
    "yes": HostKeyPolicy.STRICT,
    "true": HostKeyPolicy.STRICT,
    "no": HostKeyPolicy.OFF,
    "false": HostKeyPolicy.OFF,
    "off": HostKeyPolicy.OFF,
}


def target_from(
    address: Address,
    values: Mapping[str, Sequence[str]],
    settings: SshSettings,
    defaults: Mapping[str, Sequence[str]],
) -> SshTarget:
    """Return the connection settings that ``values`` (as `_parse` gives them) describe.

    ``defaults`` are what the same source says where nothing is configured.
    """

    def first(keyword: str, default: str = "") -> str:
        return values.get(keyword, [default])[0]

    def option(keyword: str) -> str | None:
        value = first(keyword)
        return None if value.lower() in ("", "none") else value

    hostname, user, port = first("hostname", address.host), first("user"), int(first("port", "22"))
    tokens = {
        "%": "%", "d": home(), "h": hostname, "i": str(os.getuid()), "n": address.host,
        "p": str(port), "r": user, "u": local_user(), "l": os.uname().nodename,
        "k": option("hostkeyalias") or address.host, "L": os.uname().nodename.partition(".")[0],
    }  # fmt: skip

    def expand_tokens(text: str) -> str:
        return re.sub(r"%(.)", lambda match: tokens.get(match[1], match[0]), text)

    def expand(text: str) -> str:
        # All at once, as ssh does: what a variable holds is not looked at again.
        return re.sub(
            r"^~(?=/|$)|\$\{(\w+)\}|%.",
            lambda match: (
                home() if match[0] == "~"
                else os.environ.get(match[1], "") if match[1]
                else expand_tokens(match[0])
            ),
            text,
        )  # fmt: skip

    default_keys = [f"~/.ssh/{key}" for key in DEFAULT_KEYS]
    forced = settings.host_keys is not HostKeyPolicy.FROM_SSH_CONFIG
    policy = _POLICIES.get(first("stricthostkeychecking").lower(), HostKeyPolicy.ACCEPT_NEW)
    jump, proxy = option("proxyjump"), option("proxycommand")
    return SshTarget(
        hostname=hostname,
        port=port,
        user=user,
        alias=option("hostkeyalias") or _known_hosts_name(hostname, port),
        identity_files=tuple(
            expand(path)
            for path in values.get("identityfile", default_keys)
            if path.lower() != "none"
        ),
        identities_only=first("identitiesonly") == "yes",
        agent=_agent(first("identityagent"), expand),
        user_known_hosts=_paths(first("userknownhostsfile"), expand),
        global_known_hosts=_paths(first("globalknownhostsfile"), expand),
        hash_known_hosts=first("hashknownhosts") == "yes",
        host_keys=settings.host_keys if forced else policy,
        host_keys_forced=forced,
        proxy_command=expand_tokens(proxy) if proxy and not jump else None,
        proxy_jump=tuple(jump.split(",")) if jump else (),
        connect_timeout_s=float(timeout) if (timeout := option("connecttimeout")) else None,
        alive_interval_s=float(first("serveraliveinterval", "0")) or None,
        compression=first("compression") == "yes",
        algorithms=algorithms.read(values, defaults),
        revoked_host_keys=_paths(first("revokedhostkeys"), expand),
        known_hosts_command=option("knownhostscommand"),
        methods=_methods(values),
        smallest_rsa_bits=int(first("requiredrsasize", str(SMALLEST_RSA_BITS))),
    )


_SWITCHES = {
    "publickey": ("pubkeyauthentication",),
    "password": ("passwordauthentication",),
    # The second was its name before OpenSSH 8.7.
    "keyboard-interactive": ("kbdinteractiveauthentication", "challengeresponseauthentication"),
}
"""Options that forbid a way to log in by saying no."""


def _methods(values: Mapping[str, Sequence[str]]) -> tuple[str, ...]:
    """Return the ways to log in that are allowed, in the order of PreferredAuthentications."""
    preferred = values.get("preferredauthentications", [""])[0].strip('"')
    order = [name.strip() for name in preferred.split(",")] if preferred else METHODS
    return tuple(
        method
        for method in dict.fromkeys(order)
        if method in METHODS
        and not any(
            values.get(option, ["yes"])[0].strip('"').lower() in ("no", "false")
            for option in _SWITCHES[method]
        )
    )


def _known_hosts_name(hostname: str, port: int) -> str:
    return hostname if port == 22 else f"[{hostname}]:{port}"


def _agent(value: str, expand: Callable[[str], str]) -> str | None:
    if value.lower() == "none":
        return None
    if variable := re.fullmatch(r"\$(\w+)", value):
        return os.environ.get(variable[1])
    if value in ("", "SSH_AUTH_SOCK"):
        return os.environ.get("SSH_AUTH_SOCK")
    return expand(value)


def _paths(value: str, expand: Callable[[str], str]) -> tuple[str, ...]:
    """Split ssh's list of files. It prints names with spaces unquoted: a piece that does not look
    like the start of a path belongs to the piece before it.
    """
    paths: list[str] = []
    for piece in value.split(" "):
        if paths and not piece.startswith(("/", "~", "%", "$")):
            paths[-1] += f" {piece}"
        elif piece:
            paths.append(piece)
    return tuple(expand(path) for path in paths if path.lower() != "none")
