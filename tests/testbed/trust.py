"""ssh and fastrr side by side: the same configuration, the same host, whom they trust.

``PYTHONPATH=tests:. python -m testbed.trust`` prints the table.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from fastrr.errors import ConnectionFailed
from fastrr.hosts.ssh import credentials
from fastrr.hosts.ssh.host import SshHost
from testbed.bed import PASSWORD, make_key
from testbed.clients import Client, Server, sshd

CONNECTS, REFUSES = "connects", "refuses"
SENT, NOT_SENT = "refused, password sent", "refused, no password sent"

_RHEL_KEYS = (
    *("ecdsa-sha2-nistp256", "ecdsa-sha2-nistp256-cert-v01@openssh.com"),
    *("ecdsa-sha2-nistp384", "ecdsa-sha2-nistp384-cert-v01@openssh.com"),
    *("ecdsa-sha2-nistp521", "ecdsa-sha2-nistp521-cert-v01@openssh.com"),
    *("ssh-ed25519", "ssh-ed25519-cert-v01@openssh.com"),
    *("rsa-sha2-256", "rsa-sha2-256-cert-v01@openssh.com"),
    *("rsa-sha2-512", "rsa-sha2-512-cert-v01@openssh.com"),
)
_RHEL_LISTS = {
    "Ciphers": (
        *("aes256-gcm@openssh.com", "chacha20-poly1305@openssh.com", "aes256-ctr"),
        *("aes128-gcm@openssh.com", "aes128-ctr"),
    ),
    "MACs": (
        *("hmac-sha2-256-etm@openssh.com", "hmac-sha1-etm@openssh.com"),
        *("umac-128-etm@openssh.com", "hmac-sha2-512-etm@openssh.com", "hmac-sha2-256"),
        *("hmac-sha1", "umac-128@openssh.com", "hmac-sha2-512"),
    ),
    "KexAlgorithms": (
        *("curve25519-sha256", "curve25519-sha256@libssh.org", "ecdh-sha2-nistp256"),
        *("ecdh-sha2-nistp384", "ecdh-sha2-nistp521", "diffie-hellman-group-exchange-sha256"),
        *("diffie-hellman-group14-sha256", "diffie-hellman-group16-sha512"),
        "diffie-hellman-group18-sha512",
    ),
    "HostKeyAlgorithms": _RHEL_KEYS,
    "PubkeyAcceptedAlgorithms": _RHEL_KEYS,
}
RHEL = tuple(f"{option} {','.join(names)}" for option, names in _RHEL_LISTS.items())
"""What RHEL 9's policy DEFAULT sets for everyone (crypto-policies, openssh.txt)."""

SERVERS = {
    "plain": (),
    "narrow": (
        *("KexAlgorithms ecdh-sha2-nistp256", "Ciphers aes128-ctr", "MACs hmac-sha2-256"),
        *("HostKeyAlgorithms ssh-ed25519", "PubkeyAcceptedAlgorithms ssh-ed25519,rsa-sha2-256"),
    ),
    "curve": ("KexAlgorithms curve25519-sha256",),
    "ecdsa": ("HostKey {dir}/host_ecdsa",),
    "certified": ("HostKey {dir}/host_certified", "HostCertificate {dir}/host_certified-cert.pub"),
    "asking": ("PasswordAuthentication yes",),
}
"""By name: options of an sshd before the usual ones."""

OWN, OWN_RSA = "{alias} {host_ed25519}", "{alias} {host_rsa}"
CERTIFIED = "@cert-authority {alias} {authority}"
OFF, ASK, ACCEPT, STRICT = (
    f"StrictHostKeyChecking {value}" for value in ("no", "ask", "accept-new", "yes")
)


class Row(NamedTuple):
    """One configuration, and what comes of it. Braces: see `Bench.words`."""

    title: str
    lines: tuple[str, ...]
    ssh: str
    fastrr: str = ""
    """As ssh's, unless told."""
    says: str = ""
    """Part of what fastrr says when it refuses."""
    server: str = "plain"
    known_hosts: tuple[str, ...] = (OWN,)
    password: bool = False
    by_jump: bool = False
    """The configuration is that of a jump host, and the host behind it is the plain one."""


ROWS = (
    Row("nothing set", (), CONNECTS),
    Row("RHEL 9's lists", RHEL, CONNECTS),
    Row("RHEL 9's lists, host has an ecdsa key", RHEL, CONNECTS, server="ecdsa",
        known_hosts=("{alias} {host_ecdsa}", OWN)),
    Row("RHEL 9's lists, its ecdsa key not on file", RHEL, REFUSES, server="ecdsa",
        says="HostKeyAlgorithms"),
    # Revoked keys
    Row("RevokedHostKeys: a list with the key", ("RevokedHostKeys {dir}/list",), REFUSES,
        says="RevokedHostKeys"),
    Row("RevokedHostKeys: the list, checking off", ("RevokedHostKeys {dir}/list", OFF), REFUSES,
        says="RevokedHostKeys"),
    Row("RevokedHostKeys: the list, for a jump host", ("RevokedHostKeys {dir}/list",), REFUSES,
        says="RevokedHostKeys", by_jump=True),
    Row("RevokedHostKeys: a list without it", ("RevokedHostKeys {dir}/list_of_others",), CONNECTS),
    Row("RevokedHostKeys: a KRL with the key", ("RevokedHostKeys {dir}/krl",), REFUSES,
        says="RevokedHostKeys"),
    Row("RevokedHostKeys: a KRL without it", ("RevokedHostKeys {dir}/krl_of_others",), CONNECTS),
    Row("RevokedHostKeys: no such file", ("RevokedHostKeys {dir}/missing",), REFUSES,
        says="RevokedHostKeys"),
    Row("RevokedHostKeys: no such file, checking off", ("RevokedHostKeys {dir}/missing", OFF),
        REFUSES, says="RevokedHostKeys"),
    Row("RevokedHostKeys: a broken list", ("RevokedHostKeys {dir}/broken",), REFUSES,
        says="line 1 is not a public key"),
    Row("RevokedHostKeys: a broken KRL", ("RevokedHostKeys {dir}/broken_krl",), REFUSES,
        says="ssh-keygen exited"),
    Row("RevokedHostKeys none", ("RevokedHostKeys none",), CONNECTS),
    Row("@revoked in known_hosts", (), REFUSES, known_hosts=(OWN, "@revoked * {host_ed25519}"),
        says="@revoked"),
    Row("@revoked in known_hosts, checking off", (OFF,), CONNECTS, REFUSES,
        known_hosts=("@revoked * {host_ed25519}",), says="@revoked"),
    # Certificate authorities, and a host that has no certificate: an impostor
    *(
        Row(f"@cert-authority, no certificate, {policy.split()[1]}", (policy,), ssh, fastrr,
            known_hosts=(CERTIFIED,), says="@cert-authority")
        for policy, ssh, fastrr in (
            (STRICT, REFUSES, ""), (ASK, REFUSES, ""), (ACCEPT, CONNECTS, REFUSES),
            (OFF, CONNECTS, ""),
        )
    ),
    Row("@cert-authority, no certificate, plain key on file", (), CONNECTS,
        known_hosts=(CERTIFIED, OWN)),
    Row("@cert-authority of other hosts, accept-new", (ACCEPT,), CONNECTS,
        known_hosts=("@cert-authority *.example.org {authority}",)),
    Row("@cert-authority, a certificate", (), CONNECTS, REFUSES, server="certified",
        known_hosts=(CERTIFIED,), says="@cert-authority"),
    Row("@cert-authority, a certificate, plain key on file", (), CONNECTS, server="certified",
        known_hosts=(CERTIFIED, "{alias} {host_certified}")),
    # Certificates, and those who sign them: the host's own key is on file
    *(
        Row(f"{title}, a certificate, plain key on file", lines, outcome, server="certified",
            known_hosts=("{alias} {host_certified}", *more), says=says)
        for title, lines, more, outcome, says in (
            ("RevokedHostKeys: a list with who signed",
             ("RevokedHostKeys {dir}/list_of_authority",), (), REFUSES, "RevokedHostKeys"),
            ("RevokedHostKeys: a KRL with who signed", ("RevokedHostKeys {dir}/krl_of_authority",),
             (), REFUSES, "RevokedHostKeys"),
            ("RevokedHostKeys: a KRL with the certificate",
             ("RevokedHostKeys {dir}/krl_of_certificate",), (), REFUSES, "RevokedHostKeys"),
            ("RevokedHostKeys: the KRL, certificates not wanted",
             ("RevokedHostKeys {dir}/krl_of_certificate", "HostKeyAlgorithms ssh-ed25519"), (),
             CONNECTS, ""),
            ("RevokedHostKeys: a KRL of others", ("RevokedHostKeys {dir}/krl_of_others",), (),
             CONNECTS, ""),
            ("@revoked: who signed", (), ("@revoked * {authority}",), REFUSES, "@revoked"),
            ("@revoked: who signed, nothing but certificates",
             ("HostKeyAlgorithms ssh-ed25519-cert-v01@openssh.com",), ("@revoked * {authority}",),
             REFUSES, "@revoked"),
            ("nothing but certificates", ("HostKeyAlgorithms ssh-ed25519-cert-v01@openssh.com",),
             (), CONNECTS, ""),
        )
    ),
    Row("KnownHostsCommand", ("KnownHostsCommand /bin/echo {alias} {host_ed25519}",), CONNECTS,
        REFUSES, known_hosts=(), says="KnownHostsCommand"),
    # Algorithms
    *(
        Row(f"{line.split()[0]}: not the host's", (line,), REFUSES, server="narrow",
            says=line.split()[0])
        for line in (
            "KexAlgorithms diffie-hellman-group16-sha512", "Ciphers aes256-ctr",
            "MACs hmac-sha2-512", "HostKeyAlgorithms rsa-sha2-512",
        )
    ),
    *(
        Row(f"{line.split()[0]}: not the jump host's", (line,), REFUSES, server="narrow",
            by_jump=True, says=line.split()[0])
        for line in (
            "KexAlgorithms diffie-hellman-group16-sha512", "Ciphers aes256-ctr",
            "MACs hmac-sha2-512", "HostKeyAlgorithms rsa-sha2-512",
        )
    ),
    Row("all four: the host's", (
        *("KexAlgorithms ecdh-sha2-nistp384,ecdh-sha2-nistp256", "Ciphers aes256-ctr,aes128-ctr"),
        *("MACs hmac-sha2-512,hmac-sha2-256", "HostKeyAlgorithms ssh-ed25519"),
    ), CONNECTS, server="narrow"),
    Row("all four: the jump host's", (
        *("KexAlgorithms ecdh-sha2-nistp384,ecdh-sha2-nistp256", "Ciphers aes256-ctr,aes128-ctr"),
        *("MACs hmac-sha2-512,hmac-sha2-256", "HostKeyAlgorithms ssh-ed25519"),
    ), CONNECTS, server="narrow", by_jump=True),
    Row("KexAlgorithms of the host: curve25519-sha256 alone", (), CONNECTS, server="curve"),
    Row("KexAlgorithms curve25519-sha256", ("KexAlgorithms curve25519-sha256",), CONNECTS),
    Row("MACs: not the host's, ciphers have their own", ("MACs hmac-md5-96",), CONNECTS),
    Row("MACs fastrr lacks, ciphers have their own", ("MACs umac-64@openssh.com",), CONNECTS),
    *(
        Row(f"{lines[0].split()[0]} fastrr lacks", lines, CONNECTS, REFUSES,
            says=lines[0].split()[0])
        for lines in (
            ("KexAlgorithms sntrup761x25519-sha512@openssh.com",),
            ("Ciphers chacha20-poly1305@openssh.com",),
            ("MACs umac-64@openssh.com", "Ciphers aes128-ctr"),
        )
    ),
    Row("HostKeyAlgorithms: another key first", ("HostKeyAlgorithms rsa-sha2-512,ssh-ed25519",),
        REFUSES, says="HostKeyAlgorithms"),
    Row("HostKeyAlgorithms -: without that of the key on file",
        ("HostKeyAlgorithms -ssh-ed25519*",), REFUSES, says="HostKeyAlgorithms in ssh's"),
    Row("HostKeyAlgorithms +: the key on file first", ("HostKeyAlgorithms +ssh-rsa",), CONNECTS,
        known_hosts=(OWN_RSA,)),
    Row("HostKeyAlgorithms not set: the key on file first", (), CONNECTS, known_hosts=(OWN_RSA,)),
    Row("RequiredRSASize: the host's key is shorter",
        ("RequiredRSASize 4096", "HostKeyAlgorithms rsa-sha2-512"), REFUSES,
        known_hosts=(OWN_RSA,), says="RequiredRSASize"),
    # Keys
    Row("PubkeyAcceptedAlgorithms without the key's", ("PubkeyAcceptedAlgorithms rsa-sha2-512",),
        REFUSES, says="PubkeyAcceptedAlgorithms"),
    Row("PubkeyAcceptedAlgorithms with the key's", ("PubkeyAcceptedAlgorithms ssh-ed25519",),
        CONNECTS),
    Row("PubkeyAcceptedAlgorithms: RSA as the host has it",
        ("PubkeyAcceptedAlgorithms rsa-sha2-256", "IdentityFile {dir}/rsa"), CONNECTS,
        server="narrow"),
    Row("PubkeyAcceptedAlgorithms: RSA, not the host's",
        ("PubkeyAcceptedAlgorithms rsa-sha2-512", "IdentityFile {dir}/rsa"), REFUSES,
        server="narrow", says="{dir}/rsa"),
    Row("RequiredRSASize: the user's key is shorter",
        ("RequiredRSASize 4096", "IdentityFile {dir}/rsa", "PubkeyAcceptedAlgorithms rsa-sha2-512"),
        REFUSES, says="RequiredRSASize"),
    Row("PubkeyAuthentication no", ("PubkeyAuthentication no",), REFUSES,
        says="PubkeyAuthentication"),
    Row("PreferredAuthentications password", ("PreferredAuthentications password",), REFUSES,
        says="PreferredAuthentications"),
    # Passwords
    *(
        Row(f"a password, {title}", ("PubkeyAuthentication no", *lines), outcome, password=True,
            server="asking", says=says)
        for title, lines, outcome, says in (
            ("nothing forbids it", (), SENT, "password (refused)"),
            ("PasswordAuthentication no", ("PasswordAuthentication no",), NOT_SENT,
             "PasswordAuthentication"),
            ("PreferredAuthentications publickey", ("PreferredAuthentications publickey",),
             NOT_SENT, "PreferredAuthentications"),
            ("PreferredAuthentications keyboard-interactive",
             ("PreferredAuthentications keyboard-interactive",), NOT_SENT, "keyboard-interactive"),
            ("KbdInteractiveAuthentication no", ("KbdInteractiveAuthentication no",), SENT,
             "password (refused)"),
        )
    ),
)  # fmt: skip


@dataclass
class Bench:
    """Servers and keys for all rows; servers are started when they are needed."""

    directory: Path
    stack: contextlib.ExitStack
    servers: dict[str, Server] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in ("user", "authority", "other", "host_certified"):
            make_key(self.directory / name)
        make_key(self.directory / "rsa", kind="rsa")
        make_key(self.directory / "host_ecdsa", kind="ecdsa")
        keygen = ["ssh-keygen", "-q", "-s", "authority", "-I", "host", "-h", "host_certified.pub"]
        subprocess.run(keygen, cwd=self.directory, check=True)

    def server(self, name: str) -> Server:
        if name not in self.servers:
            options = (option.format(dir=self.directory) for option in SERVERS[name])
            server = self.stack.enter_context(sshd(self.directory / f"sshd-{name}", *options))
            server.authorize(self.directory / "user", self.directory / "rsa")
            self.servers[name] = server
        return self.servers[name]

    def words(self, server: Server) -> dict[str, str]:
        """What may stand in braces: the bench's directory, the host's name, keys."""
        keys = {
            "host_ed25519": server.host_key,
            "host_rsa": server.host_key.with_name("key_rsa"),
            **{x: self.directory / x for x in ("host_ecdsa", "host_certified", "authority")},
        }
        return {
            "dir": str(self.directory),
            "alias": server.alias,
            **{name: _public(path) for name, path in keys.items()},
        }

    def revoke(self, server: Server) -> None:
        """Write the files that RevokedHostKeys may name."""
        own, other = server.host_key.with_suffix(".pub"), self.directory / "other.pub"
        for name, key in (("list", own), ("list_of_others", other)):
            (self.directory / name).write_text(f"# stolen\n\n  {key.read_text()}")
        authority = self.directory / "authority.pub"
        certificate = self.directory / "host_certified-cert.pub"
        (self.directory / "list_of_authority").write_text(authority.read_text())
        for name, key in (
            *(("krl", own), ("krl_of_others", other)),
            *(("krl_of_authority", authority), ("krl_of_certificate", certificate)),
        ):
            command = ["ssh-keygen", "-q", "-k", "-f", str(self.directory / name), str(key)]
            subprocess.run(command, check=True)
        (self.directory / "broken").write_text("what is this\n")
        krl = (self.directory / "krl").read_bytes()
        (self.directory / "broken_krl").write_bytes(krl[:60])

    def prepare(self, row: Row) -> tuple[Client, Server]:
        """Write the configuration; return it, and the server that the client is to connect to."""
        server = self.server(row.server)
        words = self.words(server)
        self.revoke(server)
        client = Client(self.directory)
        lines = [line.format_map(words) for line in row.lines]
        target = server
        known_hosts = [line.format_map(words) for line in row.known_hosts]
        if row.by_jump:
            target = self.server("ecdsa")
            known_hosts.append(f"{target.alias} {self.words(target)['host_ed25519']}")
            known_hosts.append(f"{target.alias} {self.words(target)['host_ecdsa']}")
            gate = ["Host gate", "HostName 127.0.0.1", f"Port {server.port}"]
            lines = [*gate, *lines, "Host 127.0.0.1", "ProxyJump gate"]
        client.known_hosts.write_text("".join(f"{line}\n" for line in known_hosts))
        own_key = any(line.startswith("IdentityFile") for line in row.lines)
        identity = () if own_key else (f"IdentityFile {self.directory}/user",)
        client.configure(
            *(*lines, "Match all", *identity, STRICT, "NumberOfPasswordPrompts 1"),
            password=PASSWORD if row.password else None,
        )
        return client, target

    def by_ssh(self, row: Row) -> tuple[str, str]:
        """Return what comes of ssh, and what it says."""
        client, server = self.prepare(row)
        asker = self.directory / "asker"
        asker.write_text(f"#!/bin/sh\necho '{PASSWORD}'\n")
        asker.chmod(0o700)
        asking = {"SSH_ASKPASS": str(asker), "SSH_ASKPASS_REQUIRE": "force", "DISPLAY": ":0"}
        interactive = [] if row.password else ["-o", "BatchMode=yes"]
        began = server.log.stat().st_size
        completed = subprocess.run(
            [
                *("ssh", "-F", str(client.settings.config_file), *interactive),
                *("-p", str(server.port), "127.0.0.1", "true"),
            ],
            env=os.environ | asking,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        return _outcome(completed.returncode == 0, row, server, began), completed.stderr

    def by_fastrr(self, row: Row) -> tuple[str, str]:
        """Return what comes of fastrr, and what it says."""
        client, server = self.prepare(row)
        began = server.log.stat().st_size
        credentials._loaded.clear()  # kept for the life of a process
        host = SshHost(server.name, client.settings, 10.0)
        try:
            host.connect()
        except ConnectionFailed as error:
            return _outcome(False, row, server, began), str(error)
        host.close()
        return _outcome(True, row, server, began), ""


def _public(path: Path) -> str:
    return " ".join(path.with_suffix(".pub").read_text().split()[:2])


def _outcome(connected: bool, row: Row, server: Server, began: int) -> str:
    if connected:
        return CONNECTS
    if not row.password:
        return REFUSES
    with server.log.open("rb") as log:
        log.seek(began)
        return SENT if b"Failed password" in log.read() else NOT_SENT


@contextlib.contextmanager
def open_bench(directory: Path) -> Iterator[Bench]:
    """Open one; its servers end with it."""
    with contextlib.ExitStack() as stack:
        yield Bench(directory, stack)


def main() -> None:
    """Print the table."""
    print("| configuration | ssh | fastrr | what fastrr says |\n| --- | --- | --- | --- |")
    with tempfile.TemporaryDirectory() as directory, open_bench(Path(directory)) as bench:
        for row in ROWS:
            by_ssh, _ = bench.by_ssh(row)
            by_fastrr, said = bench.by_fastrr(row)
            print(f"| {row.title} | {by_ssh} | {by_fastrr} | {said.replace(directory, '')} |")


if __name__ == "__main__":
    main()
