"""Whether the key that a host shows is that host's: known_hosts, revoked keys, the policy.

Never weaker than ssh. What ssh decides by means that we lack (certificates of hosts, a
KnownHostsCommand) is refused.
"""

from __future__ import annotations

import logging

import paramiko

from fastrr.errors import LoginRefused
from fastrr.hosts.shell import quote
from fastrr.hosts.ssh import known_hosts, revoked
from fastrr.hosts.ssh.algorithms import of_key
from fastrr.hosts.ssh.certificates import Shown
from fastrr.hosts.ssh.target import SshTarget
from fastrr.model import HostKeyPolicy

logger = logging.getLogger(__name__)


def refuse_what_we_can_not_ask(target: SshTarget) -> None:
    """Refuse a host whose keys are known to a command only.

    :raises LoginRefused: with the option.
    """
    if target.known_hosts_command is not None:
        raise LoginRefused(
            f"KnownHostsCommand is set for {target} in ssh's configuration "
            f"({target.known_hosts_command}), and fastrr does not run it: put the host's key in "
            "known_hosts, and set KnownHostsCommand none for this host, or in a configuration for "
            "fastrr alone (-F)"
        )


def look_up(target: SshTarget) -> known_hosts.OnFile:
    """Return what known_hosts says about a host."""
    entries = known_hosts.read((*target.user_known_hosts, *target.global_known_hosts))
    return known_hosts.look_up(entries, target.alias)


def verify(transport: paramiko.Transport, target: SshTarget) -> bool:
    """Check the key the host has shown; file it where the policy says so.

    Returns whether a password may be sent: like ssh, not to a host whose key has changed, unless
    ``--host-keys off`` was asked for by name.

    :raises LoginRefused: for a changed, revoked, short or (with ``strict``) unknown key, and for
        one that should have a certificate.
    """
    key = transport.get_remote_server_key()
    blob, fingerprint = key.asbytes(), f"{key.get_name()} {key.fingerprint}"
    _refuse_short(key, fingerprint, target)
    try:
        shown = Shown.of(key)
    except ValueError as error:
        raise LoginRefused(f"the host key {fingerprint} can't be trusted: {error}") from error
    # Whatever the policy is, as in ssh.
    revoked.refuse(target.revoked_host_keys, shown, fingerprint)
    on_file = look_up(target)
    for entry in on_file.revoked:
        if entry.key in (shown.key, shown.authority):
            whose = "" if entry.key == shown.key else "who has signed the certificate of "
            raise LoginRefused(
                f"{whose}the host key {fingerprint} is marked @revoked in known_hosts "
                f"({entry.place})"
            )
    if on_file.has(blob):
        return True
    if on_file.keys:
        if target.host_keys is HostKeyPolicy.OFF:
            sent = target.host_keys_forced
            kept = "" if sent else "; no password is sent to it"
            logger.warning("%s: its host key has CHANGED to %s%s", target, fingerprint, kept)
            return sent
        raise LoginRefused(_changed(on_file, key, fingerprint, target))
    if on_file.authorities:
        _heed_authorities(on_file.authorities, fingerprint, target)
    if target.host_keys is HostKeyPolicy.STRICT:
        raise LoginRefused(
            f"its host key {fingerprint} is not in known_hosts and host key checking is strict: "
            f"connect once with ssh, or use --host-keys accept-new"
        )
    if target.host_keys is HostKeyPolicy.ACCEPT_NEW:
        _file_key(target, key, fingerprint)
    return True


def _refuse_short(key: paramiko.PKey, fingerprint: str, target: SshTarget) -> None:
    if isinstance(key, paramiko.RSAKey) and key.get_bits() < target.smallest_rsa_bits:
        raise LoginRefused(
            f"the host key {fingerprint} has {key.get_bits()} bits, and RequiredRSASize in ssh's "
            f"configuration asks for {target.smallest_rsa_bits}: give the host a longer key, or "
            "one of ed25519"
        )


def _changed(
    on_file: known_hosts.OnFile, key: paramiko.PKey, fingerprint: str, target: SshTarget
) -> str:
    others = " and ".join(on_file.key_types)
    place, allowed = on_file.keys[0].place, target.algorithms.host_keys
    excluded = not allowed.within([name for kind in on_file.key_types for name in of_key(kind)])
    if key.get_name() not in on_file.key_types and (allowed.ordered or excluded):
        wish = "allows no key of that type" if excluded else "asks for another first"
        return (
            f"it shows its host key {fingerprint}, but {place} has {others} for {target.alias}, "
            f"and HostKeyAlgorithms in ssh's configuration {wish}: put that key of the host in "
            f"known_hosts, too, or set HostKeyAlgorithms ^{of_key(on_file.key_types[0])[0]} for "
            "this host"
        )
    file = place.rpartition(":")[0]
    return (
        f"its host key has CHANGED: it shows {fingerprint}, but {place} has another for "
        f"{target.alias}. Someone may be listening in, or the host was installed anew; if you know "
        f"that it was, run: ssh-keygen -R '{target.alias}' -f {quote(file)}"
    )


def _heed_authorities(
    authorities: tuple[known_hosts.Entry, ...], fingerprint: str, target: SshTarget
) -> None:
    if target.host_keys is HostKeyPolicy.OFF:
        logger.warning(
            "%s: its host key %s is not checked, though %s has a @cert-authority for it",
            *(target, fingerprint, authorities[0].place),
        )
        return
    raise LoginRefused(
        f"{authorities[0].place} has a @cert-authority for {target.alias}, so the host has to show "
        f"a certificate, which fastrr can't check; it shows {fingerprint}. Put the host's own key "
        f"in known_hosts, in a line of its own, from a source you trust (on the host: "
        f"/etc/ssh/ssh_host_*_key.pub)"
    )


def _file_key(target: SshTarget, key: paramiko.PKey, fingerprint: str) -> None:
    if not target.user_known_hosts:
        return
    path = target.user_known_hosts[0]
    try:
        known_hosts.add(path, target.alias, key.get_name(), key.asbytes(), target.hash_known_hosts)
        logger.info("%s: its host key %s is new, and now in %s", target, fingerprint, path)
    except OSError as error:
        logger.warning("%s: its host key can't be added to %s: %s", target, path, error)
