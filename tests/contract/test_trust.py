"""Whom fastrr trusts, and what it tells a host: never more than ssh with the same configuration."""

from __future__ import annotations

import base64
import contextlib
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import paramiko
import pytest
from testbed import Bed
from testbed.bed import PASSWORD
from testbed.clients import Client, Server, second_sshd
from testbed.docker_bed import DockerHost
from testbed.trust import CONNECTS, RHEL, ROWS, Bench, Row, open_bench

from fastrr.errors import LoginRefused
from fastrr.hosts.ssh import negotiation, revoked
from fastrr.hosts.ssh.certificates import Shown
from fastrr.hosts.ssh.connection import connect
from fastrr.hosts.ssh.credentials import log_in
from fastrr.hosts.ssh.target import SshTarget

PASSWORD_ONLY = "PreferredAuthentications password"


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    with open_bench(tmp_path_factory.mktemp("bench")) as bench:
        yield bench


@pytest.mark.usefixtures("ssh")
@pytest.mark.parametrize("row", ROWS, ids=[row.title for row in ROWS])
def test_fastrr_does_as_ssh_does_or_says_why_it_does_less(bench: Bench, row: Row) -> None:
    assert bench.by_ssh(row)[0] == row.ssh
    outcome, said = bench.by_fastrr(row)
    assert outcome == (row.fastrr or row.ssh), said
    if outcome != CONNECTS:
        assert row.says.format(dir=bench.directory) in said


def test_no_row_expects_more_than_ssh_does() -> None:
    assert not [row for row in ROWS if row.fastrr == CONNECTS != row.ssh]


# Which algorithm comes first


@pytest.mark.usefixtures("ssh")
@pytest.mark.parametrize(
    ("lines", "cipher"),
    [
        ((), "aes128-gcm@openssh.com"),
        (("Ciphers -chacha20-poly1305@openssh.com",), "aes128-gcm@openssh.com"),
        (("Ciphers +aes128-cbc",), "aes128-gcm@openssh.com"),
        (("Ciphers aes256-ctr,aes128-gcm@openssh.com",), "aes256-ctr"),
        (("Ciphers aes256-gcm@openssh.com,aes128-gcm@openssh.com",), "aes256-gcm@openssh.com"),
        (("Ciphers ^aes192-ctr",), "aes192-ctr"),
        (RHEL, "aes256-gcm@openssh.com"),
    ],
    ids=str,
)
def test_the_fastest_cipher_is_used_unless_another_is_asked_for(
    client: Client, ready: Server, lines: tuple[str, ...], cipher: str
) -> None:
    client.configure(f"IdentityFile {client.directory}/key", *lines)
    with contextlib.closing(connect(ready.name, client.settings, 10.0)) as connection:
        assert connection.transport.local_cipher == cipher
        assert connection.transport.remote_cipher == cipher  # type: ignore[attr-defined]


def test_lists_count_where_there_is_no_ssh_program(
    client: Client, ready: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(client.directory))
    key = f"IdentityFile {client.directory}/key"
    client.configure(key, "Ciphers ^aes192-ctr", "KexAlgorithms -ecdh-*")
    with contextlib.closing(connect(ready.name, client.settings, 10.0)) as connection:
        assert connection.transport.local_cipher == "aes192-ctr"
    client.configure(key, "Ciphers chacha20-poly1305@openssh.com")
    assert "Ciphers in ssh's configuration allows chacha20-poly1305" in client.refusal(ready.name)
    client.configure(key, "PubkeyAcceptedAlgorithms -ssh-ed25519")
    assert "PubkeyAcceptedAlgorithms allows no ssh-ed25519" in client.refusal(ready.name)


# What a password may be told by


@pytest.fixture
def prompting(docker_host: DockerHost) -> Iterator[str]:
    """The address of an sshd that takes passwords by keyboard-interactive alone."""
    options = ("UsePAM=yes", "PasswordAuthentication=no", "KbdInteractiveAuthentication=yes")
    with second_sshd(docker_host, *options) as where:
        yield f"{docker_host.user}@{where}"


@pytest.mark.parametrize(
    "line",
    [
        "PasswordAuthentication no",
        "PreferredAuthentications keyboard-interactive",
        "PreferredAuthentications keyboard-interactive,password",
        "# nothing set",
    ],
)
def test_a_password_is_told_to_a_host_that_prompts_for_it(
    client: Client, prompting: str, line: str
) -> None:
    client.configure(line, password=PASSWORD)
    client.connects(prompting)
    client.configure(line, password="wrong")
    assert "password (refused)" in client.refusal(prompting)


@pytest.mark.parametrize("line", ["KbdInteractiveAuthentication no", PASSWORD_ONLY])
def test_a_password_is_not_told_to_a_prompt_where_that_is_forbidden(
    client: Client, prompting: str, line: str
) -> None:
    client.configure(line, password=PASSWORD)
    message = client.refusal(prompting)
    assert "no password (the host takes one by keyboard-interactive; " in message
    assert "KbdInteractiveAuthentication and PreferredAuthentications allow password)" in message


def test_the_password_is_tried_first_where_that_is_preferred(
    client: Client, ready: Server, asking: Server
) -> None:
    asking.authorize(client.directory / "key")
    client.configure(
        *("PreferredAuthentications password,publickey", f"IdentityFile {client.directory}/key"),
        password=PASSWORD,
    )
    client.connects(asking.name)
    log = asking.log.read_text()
    assert 0 < log.index("Failed password") < log.index("Accepted publickey")
    client.connects(ready.name)  # which takes no password


@pytest.mark.parametrize("methods", ["password,publickey", "publickey,password"])
@pytest.mark.parametrize("line", ["# nothing set", "PreferredAuthentications password,publickey"])
def test_a_host_that_wants_a_password_and_a_key_gets_them_in_its_own_order(
    client: Client, docker_host: DockerHost, session_bed: Bed, methods: str, line: str
) -> None:
    client.configure(f"IdentityFile {session_bed.key}", line, password=PASSWORD)
    with second_sshd(docker_host, f"AuthenticationMethods={methods}") as where:
        client.connects(f"{docker_host.user}@{where}")


class Fickle(paramiko.ServerInterface):
    """Accepts nothing, and always says that it would accept something else."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def get_allowed_auths(self, _username: str) -> str:
        return "password" if self.asked[-1:] == ["publickey"] else "publickey"

    def check_auth_publickey(self, _username: str, _key: paramiko.PKey) -> int:
        self.asked.append("publickey")
        return paramiko.common.AUTH_FAILED

    def check_auth_password(self, _username: str, _password: str) -> int:
        self.asked.append("password")
        return paramiko.common.AUTH_FAILED


def test_a_host_that_changes_its_mind_without_end_is_given_up(client: Client) -> None:
    host_key, fickle = client.key("host"), Fickle()
    ours, theirs = socket.socketpair()
    with ours, theirs, contextlib.closing(paramiko.Transport(theirs)) as server:
        server.add_server_key(paramiko.Ed25519Key.from_private_key_file(str(host_key)))
        server.start_server(event=threading.Event(), server=fickle)
        with contextlib.closing(negotiation.Transport(ours)) as transport:
            transport.start_client(timeout=10)
            target = SshTarget("h", 22, "u", "h", (str(client.key()),))
            with pytest.raises(LoginRefused):
                log_in(transport, target, "a password")
    assert len(fickle.asked) <= 7


# Revoked keys, without a server


ED25519 = "ssh-ed25519"


def revoked_as(tmp_path: Path, content: str | bytes) -> str | None:
    """Return what is said of a host whose key is `KEY`, if it is refused."""
    path = tmp_path / "revoked"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    try:
        revoked.refuse([str(path)], Shown(KEY), "the one")
    except LoginRefused as error:
        return str(error)
    return None


KEY, OTHER_KEY = (b"\0\0\0\x0bssh-ed25519\0\0\0\x20" + byte * 32 for byte in (b"k", b"o"))
LINE, OTHER_LINE = (
    f"{ED25519} {base64.b64encode(key).decode()} comment" for key in (KEY, OTHER_KEY)
)


@pytest.mark.parametrize(
    ("content", "refused"),
    [
        ("", False),
        ("# a comment\n\n", False),
        (f"{OTHER_LINE}\n", False),
        (f"{OTHER_LINE}\r\n  {LINE}\r\n", True),
        (LINE, True),
        (f"#{LINE}\n", False),
    ],
)
def test_a_list_of_revoked_keys(tmp_path: Path, content: str, refused: bool) -> None:
    said = revoked_as(tmp_path, content)
    assert (said is not None) == refused
    assert said is None or "the host key the one is revoked" in said


@pytest.mark.parametrize(
    "line",
    [
        "nonsense",
        f"* {LINE}",
        f"ssh-rsa {LINE.split()[1]}",
        f"{ED25519} not*base64",
        "ssh-ed25519-cert-v01@openssh.com "
        + base64.b64encode(b"\0\0\0\x20ssh-ed25519-cert-v01@openssh.com...").decode(),
        b"\xff\xfe\0",
    ],
)
def test_a_list_with_a_line_that_is_no_key_lets_no_host_pass(
    tmp_path: Path, line: str | bytes
) -> None:
    line = line if isinstance(line, bytes) else line.encode()
    said = revoked_as(tmp_path, b"%s\n%s\n" % (OTHER_LINE.encode(), line))
    assert said is not None
    assert "line 2 is " in said
    assert "RevokedHostKeys" in said


def test_a_krl_can_t_be_read_where_there_is_no_ssh_keygen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    said = revoked_as(tmp_path, revoked.KRL_MAGIC + b"...")
    assert said is not None
    assert "there is no ssh-keygen on this machine" in said


def test_all_files_count(tmp_path: Path) -> None:
    (tmp_path / "one").write_text(OTHER_LINE)
    (tmp_path / "two").write_text(LINE)
    with pytest.raises(LoginRefused, match=f"{tmp_path}/two"):
        revoked.refuse([f"{tmp_path}/one", f"{tmp_path}/two"], Shown(KEY), "the one")


# What a host may say


def test_names_of_algorithms_that_a_host_makes_up_are_not_shown() -> None:
    shown = negotiation._named(["good@example.org", "\x1b[31mred", "x" * 65, "", "a b"])
    assert shown == "good@example.org"
    assert len(negotiation._named(["x" * 64] * 1000)) < 2000
