"""Connecting to real SSH servers: keys, agents, passwords, host keys, ways through, failures.

Every failure must say what was seen and what to do, and never the password.
"""

from __future__ import annotations

import contextlib
import logging
import os
import shlex
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import paramiko
import pytest
from testbed import Bed, loopback_bed
from testbed.bed import PASSWORD
from testbed.clients import PASSPHRASE, Agent, Client, Server, address, second_sshd, sshd
from testbed.docker_bed import DockerHost
from testbed.shells import eventually, runs

from fastrr.errors import CommandFailed, ConnectionFailed, ConnectionLost
from fastrr.hosts.shell import Script
from fastrr.hosts.ssh import connection, patience
from fastrr.hosts.ssh.host import SshHost, _Attempt
from fastrr.hosts.ssh.target import local_user
from fastrr.model import HostKeyPolicy

pytestmark = pytest.mark.usefixtures("nothing_left", "no_key_remembered")

# Key files


@pytest.mark.parametrize("kind", ["ed25519", "rsa", "ecdsa"])
def test_login_with_a_key_file(client: Client, server: Server, kind: str) -> None:
    key = client.key(kind=kind)
    server.authorize(key)
    client.configure(f"IdentityFile {key}")
    client.connects(server.name)


def test_the_first_key_that_fits_is_taken(client: Client, server: Server) -> None:
    wrong, right = client.key("wrong"), client.key("right")
    server.authorize(right)
    client.configure("IdentityFile /missing", f"IdentityFile {wrong}", f"IdentityFile {right}")
    client.connects(server.name)


def test_a_wrong_key_is_named(client: Client, server: Server) -> None:
    key = client.key()
    client.configure(f"IdentityFile {key}", "IdentityFile /missing")
    message = client.refusal(server.name)
    assert f"tried: {key} (refused); the host accepts: publickey;" in message
    assert "add a key to ssh-agent or authorized_keys" in message
    assert "--ask-pass" not in message  # the host would take no password
    assert "--user" in message


def test_nothing_to_try_is_said(client: Client, server: Server) -> None:
    assert "tried: nothing: there is no agent, no key and no password" in client.refusal(
        server.name
    )


def test_a_key_that_is_in_two_files_is_offered_once(client: Client, server: Server) -> None:
    key = client.key()
    (client.directory / "copy").write_bytes(key.read_bytes())
    (client.directory / "copy").chmod(0o600)
    client.configure(f"IdentityFile {key}", f"IdentityFile {client.directory}/copy")
    assert client.refusal(server.name).count("(refused)") == 1


def test_a_login_that_was_refused_is_not_repeated(client: Client, server: Server) -> None:
    client.configure(f"IdentityFile {client.key()}")
    client.refusal(server.name)
    assert server.log.read_text().count("Connection from") == 1


@pytest.mark.parametrize("kind", ["ed25519", "rsa"])
def test_an_encrypted_key_and_its_passphrase(client: Client, server: Server, kind: str) -> None:
    key = client.key("key", PASSPHRASE, kind)
    server.authorize(key)
    client.configure(f"IdentityFile {key}", password=PASSPHRASE)
    client.connects(server.name)


def test_an_encrypted_key_in_the_old_format(client: Client, server: Server) -> None:
    key = client.directory / "key"
    words = ["ssh-keygen", "-q", "-t", "rsa", "-b", "2048", "-m", "PEM", "-N", PASSPHRASE]
    subprocess.run([*words, "-f", key], check=True)
    server.authorize(key)
    client.configure(f"IdentityFile {key}", password=PASSPHRASE)
    client.connects(server.name)


@pytest.mark.parametrize(
    ("passphrase", "said"),
    [
        ("wrong", "(encrypted, and the password given does not open it)"),
        (None, "(encrypted: give its passphrase with --ask-pass, or add it to ssh-agent)"),
    ],
)
def test_an_encrypted_key_that_stays_closed(
    client: Client, server: Server, passphrase: str | None, said: str
) -> None:
    key = client.key("key", PASSPHRASE)
    server.authorize(key)
    client.configure(f"IdentityFile {key}", password=passphrase)
    assert f"{key} {said}" in client.refusal(server.name)


def test_an_unencrypted_key_is_used_whatever_password_is_given(
    client: Client, server: Server
) -> None:
    server.authorize(client.key())
    client.configure(f"IdentityFile {client.directory}/key", password="for others")
    client.connects(server.name)


@pytest.mark.parametrize("content", ["", "nonsense", "-----BEGIN OPENSSH PRIVATE KEY-----\nx\n"])
def test_a_file_that_is_no_key_is_named(client: Client, server: Server, content: str) -> None:
    key = client.directory / "key"
    key.write_text(content)
    client.configure(f"IdentityFile {key}")
    assert f"{key} (not a usable key" in client.refusal(server.name)


@pytest.mark.parametrize("options", [[], ["-m", "PEM"]], ids=["new", "old"])
def test_a_dsa_key_gets_a_word_of_explanation(
    client: Client, server: Server, options: list[str]
) -> None:
    key = client.directory / "id_dsa"
    words = ["ssh-keygen", "-q", "-t", "dsa", *options, "-N", "", "-f", str(key)]
    if subprocess.run(words, check=False).returncode != 0:
        pytest.skip("this ssh-keygen makes no DSA keys any more")
    client.configure(f"IdentityFile {key}")
    message = client.refusal(server.name)
    assert f"{key} (DSA keys are no longer supported: make one with ssh-keygen -t ed25519)" in (
        message
    )


def test_a_directory_in_place_of_a_key_is_named(client: Client, server: Server) -> None:
    client.configure(f"IdentityFile {client.directory}")
    assert f"{client.directory} (Is a directory)" in client.refusal(server.name)


# Agents


@pytest.mark.parametrize("kind", ["ed25519", "rsa"])
def test_login_with_an_agent(client: Client, server: Server, agent: Agent, kind: str) -> None:
    key = client.key(kind=kind)
    agent.add(key)
    server.authorize(key)
    key.unlink()
    client.configure(f"IdentityAgent {agent.socket}")
    client.connects(server.name)


def test_the_agent_opens_what_is_encrypted_here(
    client: Client, server: Server, agent: Agent
) -> None:
    key = client.key()
    agent.add(key)
    server.authorize(key)
    subprocess.run(
        ["ssh-keygen", "-q", "-p", "-P", "", "-N", PASSPHRASE, "-f", key],
        check=True,
        stdout=subprocess.DEVNULL,
    )
    client.configure(f"IdentityAgent {agent.socket}", f"IdentityFile {key}")
    client.connects(server.name)


def test_an_agent_that_is_gone_is_no_obstacle(client: Client, ready: Server) -> None:
    dead = client.directory / "dead"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(dead))
    client.configure(f"IdentityAgent {dead}", f"IdentityFile {client.directory}/key")
    client.connects(ready.name)
    client.configure(f"IdentityAgent {dead}")
    assert f"agent at {dead} ([Errno 111] Connection refused)" in client.refusal(ready.name)


def test_with_identities_only_the_agent_s_other_keys_are_kept_back(
    client: Client, server: Server, agent: Agent
) -> None:
    keys = [client.key(name) for name in ("one", "two")]
    agent.add(*keys)
    server.authorize(*keys)
    for key in keys:
        key.unlink()
    client.configure(f"IdentityAgent {agent.socket}", "IdentitiesOnly yes")
    assert "tried: nothing" in client.refusal(server.name)
    client.configure(
        f"IdentityAgent {agent.socket}", "IdentitiesOnly yes", f"IdentityFile {keys[1]}"
    )
    client.connects(server.name)


def test_many_agent_keys_do_not_use_up_the_server_s_patience(
    client: Client, server: Server, agent: Agent
) -> None:
    keys = [client.key(f"key{number}") for number in range(8)]
    agent.add(*keys)
    server.authorize(keys[7])
    client.configure(f"IdentityAgent {agent.socket}")
    message = client.refusal(server.name)
    assert message.count("agent key fastrr test") <= 6

    # As with ssh, a key that is also an identity file comes first.
    client.configure(f"IdentityAgent {agent.socket}", f"IdentityFile {keys[7]}")
    client.connects(server.name)


def test_a_server_that_allows_few_tries_is_named_as_the_reason(
    client: Client, tmp_path: Path
) -> None:
    with sshd(tmp_path / "sshd", "MaxAuthTries 2") as server:
        client.configure(*(f"IdentityFile {client.key(name)}" for name in "abcd"))
        message = client.refusal(server.name)
    assert f"{tmp_path}/a (refused)" in message
    assert "the host ended the connection" in message


# Passwords


def test_login_with_a_password(client: Client, docker_host: DockerHost) -> None:
    client.configure(password=PASSWORD)
    client.connects(address(docker_host))


def test_a_wrong_password_is_refused_and_not_shown(client: Client, docker_host: DockerHost) -> None:
    client.configure(password="not this one")
    message = client.refusal(address(docker_host))
    assert "login as 'tester' was refused; tried: password (refused)" in message
    assert "--ask-pass" not in message
    assert "add a key to ssh-agent or authorized_keys" in message


def test_the_user_of_the_settings_logs_in(client: Client, docker_host: DockerHost) -> None:
    client.configure(user="csh-user", password=PASSWORD)
    with client.connected(docker_host.address) as host:
        assert host.run(Script("id -un\n", "")).stdout == b"csh-user\n"


def test_the_last_try_is_kept_for_the_password(
    client: Client, docker_host: DockerHost, agent: Agent
) -> None:
    agent.add(*(client.key(f"key{number}") for number in range(8)))
    client.configure(f"IdentityAgent {agent.socket}", password=PASSWORD)
    client.connects(address(docker_host))


def test_a_password_is_no_use_where_only_keys_are_accepted(client: Client, server: Server) -> None:
    client.configure(password=PASSWORD)
    message = client.refusal(server.name)
    assert "password (not allowed); the host accepts: publickey" in message


def test_keys_leave_a_try_for_the_password(client: Client, asking: Server) -> None:
    keys = [client.key(f"key{number}") for number in range(7)]
    client.configure(*(f"IdentityFile {key}" for key in keys), password=PASSWORD)
    message = client.refusal(asking.name)
    assert message.count("(refused)") == 5
    assert "further keys not offered: the host allows few tries" in message
    assert "Failed password for" in asking.log.read_text()
    client.configure(*(f"IdentityFile {key}" for key in keys))
    assert client.refusal(asking.name).count("(refused)") >= 5  # the sixth may end it


def test_a_refused_key_and_then_a_password(client: Client, docker_host: DockerHost) -> None:
    client.configure(f"IdentityFile {client.key()}", password=PASSWORD)
    client.connects(address(docker_host))
    client.configure(f"IdentityFile {client.directory}/key", password="wrong")
    message = client.refusal(address(docker_host))
    assert "key (refused), password (refused); the host accepts: publickey, password, " in message


def test_an_account_that_asks_for_nothing(client: Client, docker_host: DockerHost) -> None:
    docker_host.sh("useradd -m open-user && passwd -d open-user", "root")
    try:
        with second_sshd(docker_host, "PermitEmptyPasswords=yes") as where:
            client.connects(f"open-user@{where}")
    finally:
        docker_host.sh("pkill -KILL -u open-user; userdel -r open-user 2>/dev/null", "root")


def test_a_password_where_no_key_is_accepted(client: Client, docker_host: DockerHost) -> None:
    with second_sshd(docker_host, "PubkeyAuthentication=no") as where:
        client.configure(f"IdentityFile {client.key()}", password=PASSWORD)
        client.connects(f"tester@{where}")


def test_a_key_and_a_password_where_both_are_asked_for(
    client: Client, docker_host: DockerHost, session_bed: Bed
) -> None:
    with second_sshd(docker_host, "AuthenticationMethods=publickey,password") as where:
        client.configure(f"IdentityFile {session_bed.key}", password=PASSWORD)
        client.connects(f"tester@{where}")
        client.configure(f"IdentityFile {session_bed.key}")
        assert "the host accepts: password;" in client.refusal(f"tester@{where}")


def test_a_key_alone_does_not_do_where_a_password_is_asked_for_too(
    client: Client, tmp_path: Path
) -> None:
    both = ("AuthenticationMethods publickey,password", "PasswordAuthentication yes")
    with sshd(tmp_path / "sshd", *both) as server:
        server.authorize(client.key())
        client.configure(f"IdentityFile {client.directory}/key", password=PASSWORD)
        message = client.refusal(server.name)
        assert "tried: password (refused); the host accepts: password;" in message
        assert "Partial publickey" in server.log.read_text()


# Host keys


def file_key(client: Client, server: Server, key: Path, marker: str = "") -> None:
    kind, blob = key.with_suffix(".pub").read_text().split()[:2]
    with client.known_hosts.open("a") as file:
        file.write(f"{marker} {server.alias} {kind} {blob}\n".lstrip())


def with_key(client: Client, *lines: str, policy: HostKeyPolicy | None = None) -> None:
    client.configure(
        f"IdentityFile {client.directory}/key",
        *lines,
        host_keys=policy or HostKeyPolicy.FROM_SSH_CONFIG,
    )


def test_an_unknown_host_key_is_refused_where_checking_is_strict(
    client: Client, ready: Server
) -> None:
    with_key(client, "StrictHostKeyChecking yes")
    message = client.refusal(ready.name)
    assert "ssh-ed25519 SHA256:" in message
    assert "is not in known_hosts and host key checking is strict: connect once with ssh" in message
    assert not client.known_hosts.exists()


@pytest.mark.parametrize("hashed", ["no", "yes"])
def test_an_unknown_host_key_is_filed_and_then_known(
    client: Client, ready: Server, hashed: str, caplog: pytest.LogCaptureFixture
) -> None:
    with_key(client, f"HashKnownHosts {hashed}")
    with caplog.at_level(logging.INFO):
        client.connects(ready.name)
    assert "is new, and now in" in caplog.text
    assert (ready.alias in client.known_hosts.read_text()) == (hashed == "no")
    before = client.known_hosts.read_text()
    with_key(client, "StrictHostKeyChecking yes")
    client.connects(ready.name)
    assert client.known_hosts.read_text() == before


def test_ssh_itself_accepts_what_was_filed(client: Client, ready: Server) -> None:
    with_key(client, "HashKnownHosts yes")
    client.connects(ready.name)
    config = client.settings.config_file
    assert config is not None
    options = ["-F", config, "-p", str(ready.port), "-o", "StrictHostKeyChecking=yes"]
    completed = subprocess.run(
        ["ssh", *options, "-o", "BatchMode=yes", "127.0.0.1", "true"],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=False,
    )
    assert completed.returncode == 0, completed.stderr


@pytest.mark.parametrize("way", ["no", "--host-keys off"])
def test_with_checking_off_an_unknown_key_is_neither_refused_nor_filed(
    client: Client, ready: Server, way: str
) -> None:
    if way == "no":
        with_key(client, "StrictHostKeyChecking no")
    else:
        with_key(client, "StrictHostKeyChecking yes", policy=HostKeyPolicy.OFF)
    client.connects(ready.name)
    assert not client.known_hosts.exists()


def test_a_known_hosts_file_that_can_t_be_written_is_only_a_warning(
    client: Client, ready: Server, caplog: pytest.LogCaptureFixture
) -> None:
    client.known_hosts.mkdir()
    client.connects(ready.name)
    assert f"can't be added to {client.known_hosts}: " in caplog.text


@pytest.mark.parametrize("policy", [HostKeyPolicy.STRICT, HostKeyPolicy.ACCEPT_NEW])
def test_a_changed_host_key_is_refused(
    client: Client, ready: Server, policy: HostKeyPolicy
) -> None:
    file_key(client, ready, client.key("other"))
    with_key(client, policy=policy)
    message = client.refusal(ready.name)
    assert "its host key has CHANGED: it shows ssh-ed25519 SHA256:" in message
    assert f"{client.known_hosts}:1 has another for {ready.alias}" in message
    assert f"ssh-keygen -R '{ready.alias}'" in message


def test_a_changed_host_key_is_a_warning_where_checking_is_off(
    client: Client, ready: Server, caplog: pytest.LogCaptureFixture
) -> None:
    file_key(client, ready, client.key("other"))
    with_key(client, policy=HostKeyPolicy.OFF)
    client.connects(ready.name)
    assert "its host key has CHANGED" in caplog.text


def test_no_password_is_sent_to_a_host_with_a_changed_key_unless_asked_for_by_name(
    client: Client, docker_host: DockerHost
) -> None:
    kind, blob = client.key("other").with_suffix(".pub").read_text().split()[:2]
    client.known_hosts.write_text(f"{docker_host.address} {kind} {blob}\n")
    client.configure("StrictHostKeyChecking no", password=PASSWORD)
    message = client.refusal(address(docker_host))
    assert "no password (none is sent to a host whose key has changed)" in message
    assert "--ask-pass" not in message
    client.configure(password=PASSWORD, host_keys=HostKeyPolicy.OFF)
    client.connects(address(docker_host))


def test_no_password_goes_to_a_server_whose_key_has_changed_unless_asked_for_by_name(
    client: Client, asking: Server
) -> None:
    file_key(client, asking, client.key("other"))
    client.configure("StrictHostKeyChecking no", password=PASSWORD)
    message = client.refusal(asking.name)
    assert "no password (none is sent to a host whose key has changed)" in message
    assert "password" not in asking.log.read_text()
    client.configure(password=PASSWORD, host_keys=HostKeyPolicy.OFF)
    assert "tried: password (refused)" in client.refusal(asking.name)
    assert "Failed password for" in asking.log.read_text()


def test_a_revoked_host_key_is_refused_even_with_checking_off(
    client: Client, ready: Server
) -> None:
    file_key(client, ready, ready.host_key)
    file_key(client, ready, ready.host_key, "@revoked")
    with_key(client, policy=HostKeyPolicy.OFF)
    assert "is marked @revoked in known_hosts" in client.refusal(ready.name)


def test_a_host_is_asked_for_the_kind_of_key_that_is_on_file(client: Client, ready: Server) -> None:
    file_key(client, ready, ready.host_key.with_name("key_rsa"))
    with_key(client, "StrictHostKeyChecking yes")
    client.connects(ready.name)


def test_a_key_filed_without_a_port_and_one_filed_under_an_alias(
    client: Client, ready: Server
) -> None:
    kind, blob = ready.host_key.with_suffix(".pub").read_text().split()[:2]
    with_key(client, "StrictHostKeyChecking yes")
    client.known_hosts.write_text(f"127.0.0.1 {kind} {blob}\n")
    client.connects(ready.name)
    client.known_hosts.write_text(f"farm {kind} {blob}\n")
    with_key(client, "StrictHostKeyChecking yes", "HostKeyAlias farm")
    client.connects(ready.name)


def test_a_connection_is_known_by_its_user_and_by_the_key_of_the_host(
    client: Client, ready: Server, asking: Server
) -> None:
    """It is what the ledger goes by. Another user: see the contract of hosts."""
    asking.authorize(client.directory / "key")
    identities = []
    for server in (ready, asking, ready):
        with client.connected(server.name) as host:
            identities.append(host.identity)
    assert identities[0] == identities[2] != identities[1]
    assert all(local_user() in identity.split() for identity in identities)


# Ways through


def test_a_proxy_jump_leads_to_hosts_one_can_t_reach(client: Client, session_bed: Bed) -> None:
    gate, inner = session_bed.need(2)
    client.configure(
        f"IdentityFile {session_bed.key}",
        "Host gate",
        f"  HostName {gate.address}\n  Port {gate.port}\n  User {gate.user}",
        "Host inner",
        f"  HostName {inner.address}\n  Port {inner.port}\n  ProxyJump gate",
        user=inner.user,
    )
    with client.connected("inner") as host:
        peer = host.run(Script("echo ${SSH_CLIENT%% *}\n", "")).stdout.decode().strip()
    assert peer == gate.address
    assert len(client.known_hosts.read_text().splitlines()) == 2


def test_a_jump_host_has_a_user_of_its_own(client: Client, docker_host: DockerHost) -> None:
    """As with ssh -l, which is about the host and not about those on the way to it."""
    client.configure(
        "Host gate",
        f"  HostName {docker_host.address}\n  User fish-user",
        "Host inner",
        "  HostName 127.0.0.1\n  ProxyJump gate",
        user="csh-user",
        password=PASSWORD,
    )
    with client.connected("inner") as host:
        assert host.run(Script("id -un\n", "")).stdout == b"csh-user\n"
    log = docker_host.container.logs().decode()
    assert "Accepted password for fish-user" in log


def test_the_user_of_the_settings_is_not_that_of_a_jump_host(client: Client, ready: Server) -> None:
    client.configure(
        f"IdentityFile {client.directory}/key",
        f"Host gate\n  HostName 127.0.0.1\n  Port {ready.port}\n  User somebody-else",
        f"Host inner\n  HostName 127.0.0.1\n  Port {ready.port}\n  ProxyJump gate",
        user=local_user(),
    )
    message = client.refusal("inner")
    assert "by way of the jump host gate: login as 'somebody-else' was refused" in message


def test_two_jumps_in_a_row(client: Client, ready: Server) -> None:
    client.configure(
        f"IdentityFile {client.directory}/key",
        f"Host a b c\n  HostName 127.0.0.1\n  Port {ready.port}",
        "Host c\n  ProxyJump a,b",
    )
    client.connects("c")
    assert ready.log.read_text().count("Accepted publickey") == 3


def test_a_loop_of_jumps_ends(client: Client) -> None:
    client.configure("Host a\n  ProxyJump b", "Host b\n  ProxyJump a")
    assert "more than 5 ProxyJumps in a row: do they form a loop?" in client.refusal("a")


def test_a_jump_host_that_fails_is_named(client: Client, ready: Server) -> None:
    client.configure(
        "Host a\n  ProxyJump gate", f"Host gate\n  HostName 127.0.0.1\n  Port {port()}"
    )
    assert "by way of the jump host gate: connection refused by 127.0.0.1" in client.refusal("a")
    client.configure(
        f"IdentityFile {client.directory}/key",
        f"Host a\n  HostName 127.0.0.1\n  Port {port()}\n  ProxyJump gate",
        f"Host gate\n  HostName 127.0.0.1\n  Port {ready.port}",
    )
    message = client.refusal("a")
    assert "the jump host gate can't reach 127.0.0.1 port" in message
    assert "onnect" in message


FORWARDER = """
import os, select, socket, sys
peer = socket.create_connection((sys.argv[1], int(sys.argv[2])))
while True:
    for end in select.select([0, peer], [], [])[0]:
        data = os.read(0, 65536) if end == 0 else peer.recv(65536)
        if not data:
            sys.exit()
        (peer.sendall if end == 0 else lambda d: os.write(1, d))(data)
"""


def test_a_proxy_command(client: Client, ready: Server) -> None:
    forwarder = client.directory / "forwarder.py"
    forwarder.write_text(FORWARDER)
    client.configure(
        f"IdentityFile {client.directory}/key",
        f"Host farm\n  HostName 127.0.0.1\n  Port {ready.port}",
        f"  ProxyCommand {sys.executable} {forwarder} %h %p",
    )
    client.connects("farm")


def test_a_proxy_command_that_fails_is_quoted_with_its_last_words(client: Client) -> None:
    client.configure("Host a\n  ProxyCommand sh -c 'echo no way to %h >&2; exit 3'")
    began = time.monotonic()
    assert client.refusal("a", 60) == (
        "the ProxyCommand \"sh -c 'echo no way to a >&2; exit 3'\" ended with status 3: no way to a"
    )
    assert time.monotonic() - began < 20


def test_a_proxy_command_that_hangs_is_ended_with_all_its_children(client: Client) -> None:
    mark = f"{60 + os.getpid()}.25"
    client.configure(f"Host a\n  ProxyCommand sleep {mark} | cat")
    assert "said nothing within 0.5 s" in client.refusal("a", 0.5)
    eventually(lambda: not runs(f"sleep {mark}"))  # what is killed may take a moment to be gone


# Servers that do not serve


def port() -> int:
    """A port nobody listens on."""
    return loopback_bed.free_port()


def test_a_refused_connection(client: Client) -> None:
    unused = port()
    message = client.refusal(f"127.0.0.1:{unused}")
    assert message == (
        f"connection refused by 127.0.0.1 port {unused}: is an SSH server running there?"
    )


def test_a_name_that_does_not_resolve(client: Client) -> None:
    message = client.refusal("fe80::1%nosuch")
    assert "the name 'fe80::1%nosuch' can't be resolved" in message
    assert "is it spelled right, or does it need a HostName in ssh's configuration?" in message


def test_a_name_that_is_none(client: Client) -> None:
    name = "x" * 64
    assert f"'{name}' is no name of a host" in client.refusal(name)


def test_an_address_that_does_not_answer(client: Client) -> None:
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.socket())
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        # One connection fills the queue; the kernel then drops further requests.
        for _ in range(2):
            filler = stack.enter_context(socket.socket())
            filler.setblocking(False)
            filler.connect_ex(listener.getsockname())
        number = listener.getsockname()[1]
        message = client.refusal(f"127.0.0.1:{number}", 0.5)
    assert message == (
        f"no answer from 127.0.0.1 port {number} within 0.5 s: is the machine up, "
        "and does a firewall let SSH through?"
    )


def test_a_server_that_never_speaks(client: Client) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        began = time.monotonic()
        message = client.refusal(f"joe@127.0.0.1:{listener.getsockname()[1]}", 0.5)
    assert time.monotonic() - began < 10
    assert "accepts connections, but said nothing within 0.5 s" in message
    assert message.startswith("joe@127.0.0.1:")


def test_the_timeout_of_ssh_s_configuration_counts(client: Client) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        client.configure("ConnectTimeout 1")
        assert "within 1 s" in client.refusal(f"127.0.0.1:{listener.getsockname()[1]}", 8.0)


def test_an_interrupt_does_not_wait_for_a_silent_server(client: Client) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        host = SshHost(f"127.0.0.1:{listener.getsockname()[1]}", client.settings, 60.0)
        timer = threading.Timer(0.2, host.interrupt)
        timer.start()
        began = time.monotonic()
        with pytest.raises(ConnectionFailed, match="interrupted"):
            host.connect()
        assert time.monotonic() - began < 20
        with pytest.raises(ConnectionFailed, match="interrupted"):
            host.connect()
        timer.join()


def test_a_connection_that_comes_too_late_is_closed(client: Client, ready: Server) -> None:
    attempt = _Attempt(lambda: connection.connect(ready.name, client.settings, 5.0))
    attempt.abandon()
    with pytest.raises(ConnectionFailed, match="interrupted"):
        attempt.result()
    eventually(lambda: "Accepted publickey" in ready.log.read_text())
    ends = ("Connection closed by 127.0.0.1", "Read error from remote host 127.0.0.1")
    eventually(lambda: any(end in ready.log.read_text() for end in ends))


OTHER_PROTOCOL = b"HTTP/1.1 400 Bad Request\r\n" * 200


class Doorman(threading.Thread):
    """Accepts connections and does with each what it is told: hang up, speak, or pass it on."""

    def __init__(self, orders: Sequence[bytes | None], then: Server | None = None) -> None:
        super().__init__(daemon=True)
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.name_there = f"127.0.0.1:{self.listener.getsockname()[1]}"
        self.accepted = 0
        self._orders, self._then = list(orders), then
        self._passing: list[threading.Thread] = []

    def run(self) -> None:
        while True:
            try:
                ours, _ = self.listener.accept()
            except OSError:
                return
            self.accepted += 1
            order = self._orders.pop(0) if self._orders else None
            if order is not None or self._then is None:
                with ours, contextlib.suppress(OSError):
                    ours.sendall(order or b"")
            else:
                theirs = socket.create_connection(("127.0.0.1", self._then.port))
                self._pass_on(ours, theirs)

    def _pass_on(self, *ends: socket.socket) -> None:
        def copy(source: socket.socket, sink: socket.socket) -> None:
            with contextlib.suppress(OSError):
                while data := source.recv(65536):
                    sink.sendall(data)
            for end in ends:
                with contextlib.suppress(OSError):
                    end.shutdown(socket.SHUT_RDWR)

        def both() -> None:
            back = threading.Thread(target=copy, args=ends[::-1], daemon=True)
            back.start()
            copy(*ends)
            back.join()
            for end in ends:
                end.close()

        self._passing.append(threading.Thread(target=both, daemon=True))
        self._passing[-1].start()

    def __enter__(self) -> Doorman:  # noqa: PYI034 (typing.Self came with 3.11)
        self.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        self.join()
        for thread in self._passing:
            thread.join()


@pytest.mark.parametrize("last_words", [b"", b"Exceeded MaxStartups\r\n"])
def test_a_server_that_hangs_up_at_first_is_tried_again(
    client: Client, ready: Server, last_words: bytes
) -> None:
    with Doorman([last_words, last_words], ready) as doorman:
        client.connects(doorman.name_there)
        assert doorman.accepted == 3


def test_a_server_that_always_hangs_up_is_given_up(client: Client) -> None:
    with Doorman([b""] * 100) as doorman:
        message = client.refusal(doorman.name_there, 1.5)
        assert 2 <= doorman.accepted <= 6
    assert "hangs up before saying it is an SSH server" in message
    assert "MaxStartups" in message


def test_a_server_of_another_protocol_is_not_asked_twice(client: Client) -> None:
    with Doorman([OTHER_PROTOCOL]) as doorman:
        message = client.refusal(doorman.name_there)
        assert doorman.accepted == 1
    assert 'Indecipherable protocol version "HTTP/1.1 400 Bad Request"' in message


def test_a_server_that_hangs_up_after_its_banner(client: Client) -> None:
    with Doorman([b"SSH-2.0-odd\r\n"]) as doorman:
        message = client.refusal(doorman.name_there)
    assert "no SSH session with" in message
    assert "could be agreed: " in message


def test_a_server_with_nothing_in_common(client: Client, tmp_path: Path) -> None:
    with sshd(tmp_path / "sshd", "Ciphers chacha20-poly1305@openssh.com") as server:
        message = client.refusal(server.name)
    assert "no SSH session with" in message
    assert "no acceptable ciphers" in message


def test_a_server_without_sftp_says_so(client: Client, tmp_path: Path) -> None:
    with sshd(tmp_path / "sshd", "Subsystem none /bin/false") as server:
        server.authorize(client.key())
        with_key(client)
        with client.connected(server.name) as host:
            with pytest.raises(CommandFailed, match="is a Subsystem sftp set in its sshd_config"):
                host.open_sender()
            assert host.run(Script("echo still here\n", "")).stdout == b"still here\n"


def test_no_more_connect_to_a_server_at_once_than_it_takes(client: Client) -> None:
    """Each of them may be one too many (MaxStartups): sshd then drops some at random."""
    client.settings = replace(client.settings, handshakes_at_once=2)
    with contextlib.ExitStack() as stack, socket.create_server(("127.0.0.1", 0)) as listener:
        name = f"127.0.0.1:{listener.getsockname()[1]}"
        for _ in range(4):
            thread = threading.Thread(target=client.refusal, args=(name, 12))
            thread.start()
            stack.callback(thread.join)
        for _ in range(2):
            listener.settimeout(10)
            two = [listener.accept()[0] for _ in range(2)]
            listener.settimeout(0.3)
            with pytest.raises(TimeoutError):
                listener.accept()
            for end in two:
                with end:
                    end.sendall(OTHER_PROTOCOL)


def test_a_connection_that_is_at_rest_is_heard_of(client: Client, tmp_path: Path) -> None:
    """Firewalls forget connections in which nothing moves."""
    with sshd(tmp_path / "sshd", "LogLevel DEBUG") as server:
        server.authorize(client.key())
        with_key(client, "ServerAliveInterval 1")
        with client.connected(server.name):
            eventually(lambda: "keepalive" in server.log.read_text())


def test_more_hosts_at_once_than_a_server_takes_unauthenticated(
    client: Client, tmp_path: Path
) -> None:
    with sshd(tmp_path / "sshd", "MaxStartups 2:100:2") as server:
        server.authorize(client.key())
        with_key(client)
        results: list[bool] = []

        def connect() -> None:
            client.connects(server.name, 45)
            results.append(True)

        threads = [threading.Thread(target=connect) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert results == [True] * 8


# Hosts that freeze


@pytest.fixture(params=["an sshd", "a container"])
def freezing(
    request: pytest.FixtureRequest, client: Client, lose_patience: Callable[[], None]
) -> Iterator[tuple[str, Callable[[], None]]]:
    """A host that can be logged in to, and what freezes it until the end of the test."""
    name, frozen = (_sshd if request.param == "an sshd" else _container)(request, client)

    def freeze() -> None:
        lose_patience()
        stack.enter_context(frozen())

    with contextlib.ExitStack() as stack:
        yield name, freeze


Freezing = tuple[str, Callable[[], contextlib.AbstractContextManager[None]]]


def _sshd(request: pytest.FixtureRequest, client: Client) -> Freezing:
    ready: Server = request.getfixturevalue("ready")
    return ready.name, lambda: loopback_bed.frozen(ready.process.pid)


def _container(request: pytest.FixtureRequest, client: Client) -> Freezing:
    host: DockerHost = request.getfixturevalue("docker_host")
    client.configure(password=PASSWORD)
    return address(host), host.frozen


@pytest.fixture
def lose_patience(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """For once there is a connection: a busy machine may need more for that."""

    def lose_patience() -> None:
        monkeypatch.setattr(patience, "SIGN_OF_LIFE_AFTER_S", 0.2)
        monkeypatch.setattr(patience, "GIVE_UP_AFTER_S", 0.8)

    return lose_patience


def test_a_host_that_freezes_during_a_run_is_given_up(
    client: Client, freezing: tuple[str, Callable[[], None]]
) -> None:
    name, freeze = freezing
    with client.connected(name) as host:
        with pytest.raises(ConnectionLost, match=r"not a word from the host for 0\.8 s"):
            host.run(Script("echo frozen; sleep 10\n", ""), lambda _line: freeze(), limit_s=8)
        patience.GIVE_UP_AFTER_S = 20  # which the fixture undoes
        began = time.monotonic()
        with pytest.raises(ConnectionLost):  # at once: nobody waits a second time
            host.run(Script("echo never\n", ""))
        assert time.monotonic() - began < 10


def test_a_host_that_froze_between_runs_is_given_up(
    client: Client, freezing: tuple[str, Callable[[], None]]
) -> None:
    name, freeze = freezing
    with client.connected(name) as host:
        freeze()
        with pytest.raises(ConnectionLost):
            host.run(Script("echo never\n", ""), limit_s=8)


def test_a_frozen_host_can_t_be_connected_to(
    client: Client, freezing: tuple[str, Callable[[], None]]
) -> None:
    name, freeze = freezing
    freeze()
    assert "is the machine frozen or overloaded?" in client.refusal(name, 0.5)


def test_a_quiet_host_that_answers_is_not_given_up(
    client: Client, ready: Server, lose_patience: Callable[[], None]
) -> None:
    with client.connected(ready.name) as host:
        lose_patience()
        assert host.run(Script("sleep 1.5; echo done\n", "")).stdout == b"done\n"


def test_a_long_wait_for_the_hidden_channel_ends(
    client: Client, ready: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server that is stopped between opening a channel and running the command."""
    with client.connected(ready.name) as host:
        pid = int(host.run(Script("echo $PPID\n", "")).stdout)
        ours = host._connection
        assert ours is not None
        channel = ours.transport.open_session()
        monkeypatch.setattr(patience, "GIVE_UP_AFTER_S", 0.3)
        gone = (paramiko.SSHException, EOFError, OSError)  # whichever notices first
        raised: list[BaseException] = []

        def execute() -> None:
            try:
                with patience.or_else(ours.close):
                    channel.exec_command(shlex.join(["true"]))
            except gone as error:
                raised.append(error)

        thread = threading.Thread(target=execute)
        os.kill(pid, signal.SIGSTOP)
        try:
            thread.start()
            thread.join(10)
            assert raised
        finally:
            os.kill(pid, signal.SIGCONT)
            thread.join()
