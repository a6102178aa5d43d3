"""Second connections, by the OpenSSH client: they go where the first one went, or not at all.

Whatever stands in their way, the first connection does what they should have done.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import shutil
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from conftest import Controller
from testbed import Bed, TestHost
from testbed.bed import PASSWORD, end
from testbed.clients import (
    PASSPHRASE,
    Agent,
    Client,
    Server,
    address,
    second_sshd,
    sshd,
)
from testbed.docker_bed import DockerHost
from testbed.needs import lack, need
from testbed.shells import NOBODY, eventually, runs

from fastrr.errors import CommandFailed, ConnectionLost
from fastrr.files.transports import Item, StreamTransport
from fastrr.hosts.base import Completed, Feed
from fastrr.hosts.ssh import openssh
from fastrr.hosts.ssh.credentials import Credential
from fastrr.hosts.ssh.host import SshHost
from fastrr.hosts.ssh.target import SshTarget
from fastrr.model import HostKeyPolicy

pytestmark = [
    pytest.mark.usefixtures("ssh", "nothing_left", "no_key_remembered", "temporary"),
]

DATA = os.urandom(3_000_000)
"""More than the pipe to ssh holds: writing it takes a connection."""


@pytest.fixture
def temporary(session_bed: Bed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Where temporary files are made; there are none after the test."""
    session_bed.need(2)  # whose files outlive the test, as pytest's own (tmp_path) do
    with tempfile.TemporaryDirectory(prefix="fr-", dir="/tmp") as directory:  # short, for a socket
        monkeypatch.setattr(tempfile, "tempdir", directory)
        yield Path(directory)
        assert os.listdir(directory) == []


def echo(feed: Feed) -> None:
    feed.write(DATA)


def nothing(_feed: Feed) -> None:
    """There is nothing to write."""


def bulk(host: SshHost, command: str = "cat", write: Callable[[Feed], None] = echo) -> Completed:
    """Run a command by a second connection, and by no other."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(host, "_execute", None)
        return host.stream(command, write, bulk=True, answer_bytes=len(DATA))


def assert_works(client: Client, name: str) -> None:
    with client.connected(name) as host:
        completed = bulk(host)
    assert completed.status == 0, completed.stderr
    assert completed.stdout == DATA
    assert completed.stderr == b""


def assert_done_without(client: Client, name: str, log: pytest.LogCaptureFixture) -> str:
    """The first connection does it; returns what is said about the second."""
    with client.connected(name) as host, log.at_level(logging.DEBUG, "fastrr.hosts.ssh.host"):
        completed = host.stream("cat", echo, bulk=True, answer_bytes=len(DATA))
    assert (completed.status, completed.stdout) == (0, DATA)
    records = [record.getMessage() for record in log.records if record.name.endswith("ssh.host")]
    assert len(records) == 1
    assert PASSWORD not in log.text
    return records[0]


# Credentials


@pytest.mark.parametrize("kind", ["ed25519", "rsa", "ecdsa"])
def test_a_key_file(client: Client, server: Server, kind: str) -> None:
    key = client.key(kind=kind)
    server.authorize(key)
    client.configure(f"IdentityFile {key}")
    assert_works(client, server.name)
    assert server.log.read_text().count("Accepted publickey") == 2


@pytest.mark.parametrize("name", ["#two words, 100%h %% it's tilde~", "$HOME"])
def test_a_key_file_of_an_odd_name(client: Client, server: Server, name: str) -> None:
    key = client.key(name)
    server.authorize(key)
    client.configure('IdentityFile "{}"'.format(str(key).replace("%", "%%")))
    assert_works(client, server.name)


def test_only_the_key_that_was_accepted_is_offered(client: Client, tmp_path: Path) -> None:
    """Each one refused counts, and gets clients banned (sshd_config(5), PerSourcePenalties)."""
    keys = [client.key(name) for name in "abcd"]
    with sshd(tmp_path / "sshd", "LogLevel VERBOSE") as server:
        server.authorize(keys[3])
        client.configure(*(f"IdentityFile {key}" for key in keys))
        with client.connected(server.name) as host:
            before = server.log.read_text().count("Failed publickey")
            assert bulk(host).stdout == DATA
            assert server.log.read_text().count("Failed publickey") == before == 3


@pytest.mark.parametrize("options", [[], ["-m", "PEM"]], ids=["new", "old"])
@pytest.mark.parametrize("public", ["beside it", "missing"])
def test_an_encrypted_key(client: Client, server: Server, options: list[str], public: str) -> None:
    key = client.directory / "key"
    words = ["ssh-keygen", "-q", "-t", "rsa", "-b", "2048", *options, "-N", PASSPHRASE]
    subprocess.run([*words, "-f", key], check=True)
    server.authorize(key)
    if public == "missing":
        key.with_suffix(".pub").unlink()
    client.configure(f"IdentityFile {key}", password=PASSPHRASE)
    assert_works(client, server.name)


def test_a_key_that_needs_none_of_the_password_that_is_given(
    client: Client, server: Server
) -> None:
    server.authorize(client.key())
    client.configure(f"IdentityFile {client.directory}/key", password="for others")
    assert_works(client, server.name)


@pytest.mark.parametrize("kind", ["ed25519", "rsa"])
@pytest.mark.parametrize("where", ["agent", "agent of 100% odd name"])
def test_an_agent(client: Client, server: Server, agent: Agent, kind: str, where: str) -> None:
    keys = [client.key(name, kind=kind) for name in ("other", "key")]
    agent.add(*keys)
    for key in keys:
        key.unlink()
    server.authorize(keys[1])
    path = agent.socket.rename(agent.socket.with_name(where))
    client.configure('IdentityAgent "{}"'.format(str(path).replace("%", "%%")))
    assert_works(client, server.name)
    client.configure(f'IdentityAgent "{str(path).replace("%", "%%")}"', password="for others")
    assert_works(client, server.name)


def test_the_agent_of_the_environment(
    client: Client, server: Server, agent: Agent, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = client.key()
    agent.add(key)
    key.unlink()
    server.authorize(key)
    monkeypatch.setenv("SSH_AUTH_SOCK", str(agent.socket))
    client.configure("IdentityAgent SSH_AUTH_SOCK")
    assert_works(client, server.name)


def test_a_password(client: Client, docker_host: DockerHost) -> None:
    client.configure(password=PASSWORD)
    assert_works(client, address(docker_host))
    client.configure("PreferredAuthentications password", "BatchMode yes", password=PASSWORD)
    assert_works(client, address(docker_host))


def test_a_password_after_a_key_that_is_refused(client: Client, docker_host: DockerHost) -> None:
    client.configure(f"IdentityFile {client.key()}", password=PASSWORD)
    assert_works(client, address(docker_host))


@pytest.mark.parametrize(
    "password", [b"  'o\"$(id) \\n%s`  ", "ö 日本".encode(), b"no UTF-8: \xff"]
)
def test_a_password_of_odd_characters(
    client: Client, docker_host: DockerHost, password: bytes
) -> None:
    octal = "".join(f"\\{byte:03o}" for byte in password)
    docker_host.sh("useradd -m odd-user", "root")
    try:
        docker_host.sh(f"printf 'odd-user:{octal}\\n' | chpasswd", "root")
        client.configure(password=os.fsdecode(password))
        assert_works(client, f"odd-user@{docker_host.address}")
    finally:
        docker_host.sh("pkill -KILL -u odd-user; userdel -r odd-user 2>/dev/null", "root")


def test_an_account_that_asks_for_nothing(client: Client, docker_host: DockerHost) -> None:
    docker_host.sh("useradd -m open-user && passwd -d open-user", "root")
    try:
        with second_sshd(docker_host, "PermitEmptyPasswords=yes") as where:
            assert_works(client, f"open-user@{where}")
    finally:
        docker_host.sh("pkill -KILL -u open-user; userdel -r open-user 2>/dev/null", "root")


def test_where_a_key_and_a_password_are_asked_for_the_first_connection_does_it(
    client: Client, docker_host: DockerHost, session_bed: Bed, caplog: pytest.LogCaptureFixture
) -> None:
    with second_sshd(docker_host, "AuthenticationMethods=publickey,password") as where:
        client.configure(f"IdentityFile {session_bed.key}", password=PASSWORD)
        said = assert_done_without(client, f"tester@{where}", caplog)
    assert "Permission denied" in said


# Ways through


def test_the_user_and_the_port_are_those_of_the_first(
    client: Client, docker_host: DockerHost
) -> None:
    with second_sshd(docker_host) as where:
        client.configure(user="csh-user", password=PASSWORD)
        with client.connected(where) as host:
            assert bulk(host, "id -un", nothing).stdout == b"csh-user\n"
            seen = bulk(host, "printenv SSH_CONNECTION", nothing).stdout.split()
    assert seen[3] == b"2222"


def test_a_host_of_the_configuration(client: Client, ready: Server) -> None:
    client.configure(
        f"Host farm\n  HostName 127.0.0.1\n  Port {ready.port}",
        f"  IdentityFile {client.directory}/key",
    )
    assert_works(client, "farm")


def test_a_proxy_jump(client: Client, session_bed: Bed) -> None:
    gate, inner = session_bed.need(2)
    client.configure(
        f"IdentityFile {session_bed.key}",
        f"Host gate\n  HostName {gate.address}\n  Port {gate.port}\n  User {gate.user}",
        f"Host inner\n  HostName {inner.address}\n  Port {inner.port}\n  ProxyJump gate",
        user=inner.user,
    )
    with client.connected("inner") as host:
        seen = bulk(host, "printenv SSH_CONNECTION", nothing).stdout.decode().split()
        assert bulk(host).stdout == DATA
    assert seen[0] == gate.address


def through_itself(host: DockerHost) -> tuple[str, str]:
    """A jump host with a user of its own, and the host behind it, which is the same."""
    return (
        f"Host gate\n  HostName {host.address}\n  User fish-user",
        "Host inner\n  HostName 127.0.0.1\n  ProxyJump gate",
    )


def test_a_proxy_jump_by_passwords(client: Client, docker_host: DockerHost) -> None:
    client.configure(*through_itself(docker_host), user="csh-user", password=PASSWORD)
    with client.connected("inner") as host:
        assert bulk(host, "id -un", nothing).stdout == b"csh-user\n"
        assert bulk(host).stdout == DATA


def test_a_password_is_no_answer_to_other_questions(
    client: Client, docker_host: DockerHost, caplog: pytest.LogCaptureFixture
) -> None:
    """The ssh that leads to the jump host asks about its key, which nobody has filed."""
    client.configure(
        *through_itself(docker_host),
        user="csh-user",
        password=PASSWORD,
        host_keys=HostKeyPolicy.OFF,
    )
    began = time.monotonic()
    assert_done_without(client, "inner", caplog)
    assert time.monotonic() - began < 30


def test_two_jumps_in_a_row(client: Client, ready: Server) -> None:
    client.configure(
        f"IdentityFile {client.directory}/key",
        f"Host a b c\n  HostName 127.0.0.1\n  Port {ready.port}",
        "Host c\n  ProxyJump a,b",
    )
    assert_works(client, "c")
    assert ready.log.read_text().count("Accepted publickey") == 6


def test_a_proxy_command(client: Client, ready: Server) -> None:
    nc = need("nc")
    client.configure(
        f"IdentityFile {client.directory}/key",
        f"Host farm\n  HostName 127.0.0.1\n  Port {ready.port}\n  ProxyCommand {nc} %h %p",
    )
    assert_works(client, "farm")


# Host keys


@pytest.mark.parametrize("policy", HostKeyPolicy)
def test_the_key_that_was_verified_is_the_only_one_accepted(
    client: Client, tmp_path: Path, policy: HostKeyPolicy, caplog: pytest.LogCaptureFixture
) -> None:
    """Whatever known_hosts says by then. Another server takes the place of the first."""
    key = client.key()
    with sshd(tmp_path / "first") as first:
        first.authorize(key)
        client.configure(f"IdentityFile {key}")
        client.connects(first.name)  # so that it is on file
        client.configure(f"IdentityFile {key}", host_keys=policy)
        with contextlib.ExitStack() as stack:
            host = stack.enter_context(client.connected(first.name))
            end(first.process)
            second = stack.enter_context(sshd(tmp_path / "second", port=first.port))
            second.authorize(key)
            kind, blob = second.host_key.with_suffix(".pub").read_text().split()[:2]
            with client.known_hosts.open("a") as file:
                file.write(f"{second.alias} {kind} {blob}\n")
            with caplog.at_level(logging.DEBUG, "fastrr.hosts.ssh.host"):
                completed = host.stream("cat", echo, bulk=True, answer_bytes=len(DATA))
            assert (completed.status, completed.stdout) == (0, DATA)  # by the first connection
            assert "no bulk connection" in caplog.text
            assert "Connection from 127.0.0.1" in second.log.read_text()
            assert "Accepted" not in second.log.read_text()


def test_no_password_is_sent_to_another_server_in_its_place(
    client: Client, docker_host: DockerHost, caplog: pytest.LogCaptureFixture
) -> None:
    """Not even where nobody cares for host keys."""
    client.configure(password=PASSWORD, host_keys=HostKeyPolicy.OFF)
    docker_host.sh("ssh-keygen -q -t ed25519 -N '' -f /tmp/other_key", "root")
    try:
        options = ("LogLevel=DEBUG", "HostKey=/tmp/other_key")
        with (
            second_sshd(docker_host) as where,
            client.connected(f"tester@{where}") as host,
            second_sshd(docker_host, *options, log="/tmp/other_log"),
            caplog.at_level(logging.DEBUG, "fastrr.hosts.ssh.host"),
        ):
            docker_host.sh("echo >/tmp/other_log", "root")
            completed = host.stream("cat", echo, bulk=True, answer_bytes=len(DATA))
            assert (completed.status, completed.stdout) == (0, DATA)  # by the first connection
        log = docker_host.sh("cat /tmp/other_log", "root")
    finally:
        docker_host.sh("rm -f /tmp/other_key* /tmp/other_log", "root")
    assert "Connection from" in log
    assert "userauth" not in log
    assert "no bulk connection" in caplog.text


# The user's own settings


@pytest.mark.parametrize(
    "lines",
    [
        ["ControlMaster auto", "ControlPath {}/master", "ControlPersist 60"],
        ["RemoteCommand echo instead", "RequestTTY force", "StdinNull yes"],
        ["PermitLocalCommand yes", "LocalCommand touch {}/local-command"],
        ["SessionType none", "IgnoreUnknown UseKeychain", "UseKeychain yes"],
        ["LogLevel DEBUG3", "VisualHostKey yes"],
        ["Compression yes", "Ciphers aes256-ctr", "MACs hmac-sha2-256"],
        [
            *("PreferredAuthentications password,publickey", "BatchMode no"),
            *("NumberOfPasswordPrompts 3", "GSSAPIAuthentication yes"),
        ],
        ["ForwardAgent yes", "ForwardX11 yes", "LocalForward 127.0.0.1:1 127.0.0.1:1"],
        ["HostKeyAlias somebody.else", "CheckHostIP yes", "VerifyHostKeyDNS yes"],
        [
            *("HashKnownHosts yes", "UpdateHostKeys ask"),
            "NoHostAuthenticationForLocalhost yes",
        ],
        ["CanonicalizeHostname always", "CanonicalDomains example.org"],
        [
            *("AddKeysToAgent yes", "IdentitiesOnly yes", "ServerAliveInterval 1"),
            *("TCPKeepAlive no", "ConnectTimeout 5"),
        ],
    ],
    ids=lambda lines: lines[0].split()[0],
)
def test_settings_that_are_for_people_do_not_matter(
    client: Client, ready: Server, lines: list[str]
) -> None:
    lines = [line.format(client.directory) for line in lines]
    client.configure(f"IdentityFile {client.directory}/key", *lines)
    assert_works(client, ready.name)
    assert not (client.directory / "local-command").exists()
    assert not (client.directory / "master").exists()


@pytest.mark.parametrize(
    ("lines", "ciphers"),
    [
        (["Ciphers aes256-ctr,aes128-gcm@openssh.com"], "aes256-ctr,aes128-gcm@openssh.com"),
        (["Ciphers aes256-ctr"], "aes256-ctr"),
    ],
)
def test_the_ciphers_are_those_of_the_configuration(
    client: Client, ready: Server, ssh: str, lines: list[str], ciphers: str
) -> None:
    assert settings_of_bulk(client, ready, ssh, *lines)["ciphers"] == ciphers


def test_the_fastest_ciphers_come_first_where_the_order_is_the_default(
    client: Client, ready: Server, ssh: str
) -> None:
    by_default = settings_of_bulk(client, ready, ssh)["ciphers"].split(",")
    assert by_default[:2] == ["aes128-gcm@openssh.com", "aes256-gcm@openssh.com"]
    without = settings_of_bulk(client, ready, ssh, "Ciphers -chacha20-poly1305@openssh.com")
    assert without["ciphers"].split(",") == [x for x in by_default if "chacha20" not in x]


@pytest.mark.parametrize(
    ("line", "allowed"),
    [
        ("KbdInteractiveAuthentication no", {"password"}),
        ("PasswordAuthentication no", {"keyboard-interactive"}),
        ("PreferredAuthentications password,publickey", {"password"}),
    ],
)
def test_a_password_goes_by_ways_that_the_configuration_allows(
    client: Client, ready: Server, ssh: str, line: str, allowed: set[str]
) -> None:
    """The second connection's own options don't bring back what was forbidden."""
    found = settings_of_bulk(client, ready, ssh, line, credential=Credential(password=True))
    assert set(found["preferredauthentications"].split(",")) == allowed
    assert (found["passwordauthentication"] == "yes") == ("password" in allowed)
    assert (found["kbdinteractiveauthentication"] == "yes") == ("keyboard-interactive" in allowed)


def settings_of_bulk(
    client: Client, server: Server, ssh: str, *lines: str, credential: Credential | None = None
) -> dict[str, str]:
    """Return what ``ssh -G`` makes of the options for the second connection."""
    client.configure(f"IdentityFile {client.directory}/key", *lines)
    with client.connected(server.name) as host:
        described = host._bulk_settings()
    if credential is not None:
        described = replace(described, credential=credential)
    words = [ssh, "-G", *openssh.options(described, str(client.directory))]
    printed = subprocess.run(words, stdout=subprocess.PIPE, text=True, check=True).stdout
    return {keyword: value for keyword, _, value in (x.partition(" ") for x in printed.split("\n"))}


def test_nobody_is_asked_anything(
    client: Client, ready: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    asker = client.directory / "asker"
    asker.write_text(f"#!/bin/sh\ntouch {client.directory}/asked\n")
    asker.chmod(0o755)
    monkeypatch.setenv("SSH_ASKPASS", str(asker))
    monkeypatch.setenv("SSH_ASKPASS_REQUIRE", "force")
    monkeypatch.setenv("DISPLAY", ":0")
    with client.connected(ready.name) as host:
        ready.authorize()  # what was accepted is not any more
        assert bulk_status(host) == 255
    assert not (client.directory / "asked").exists()


def bulk_status(host: SshHost) -> int:
    """What the second connection comes to, when the first may not stand in for it."""
    ssh = openssh.client()
    assert ssh is not None
    return host._stream_by(ssh, "cat", nothing, None).status


# The password stays out of sight


@pytest.fixture
def unheard_of(docker_host: DockerHost) -> Iterator[str]:
    """A password that occurs nowhere else on this machine, where others' tests may run, too."""
    password = os.urandom(8).hex()
    docker_host.sh(f"echo tester:{password} | chpasswd", "root")
    yield password
    docker_host.sh(f"echo tester:'{PASSWORD}' | chpasswd", "root")


def all_processes() -> Iterator[bytes]:
    """Command lines and environments of all processes of this machine."""
    for pid in filter(str.isdigit, os.listdir("/proc")):
        for name in ("cmdline", "environ"):
            with contextlib.suppress(OSError):
                yield Path("/proc", pid, name).read_bytes()


def test_ps_and_files_show_nothing_of_the_password(
    client: Client,
    docker_host: DockerHost,
    unheard_of: str,
    temporary: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # Else it is over before it is looked at.
    monkeypatch.setattr(openssh, "_ASKPASS", f"import time; time.sleep(0.5)\n{openssh._ASKPASS}")
    client.configure(password=unheard_of)
    seen: set[bytes] = set()
    files: dict[str, bytes] = {}
    over = threading.Event()

    def watch() -> None:
        while not over.wait(0.02):
            seen.update(all_processes())
            for path in temporary.rglob("*"):
                with contextlib.suppress(OSError):
                    files[path.name] = path.read_bytes()

    def write(feed: Feed) -> None:
        feed.write(DATA)
        there = docker_host.run("ps -ef; cat /proc/[0-9]*/environ", "root").stdout
        assert "sshd: tester" in there
        assert unheard_of not in there

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        with client.connected(address(docker_host)) as host:
            assert bulk(host, write=write).stdout == DATA
    finally:
        over.set()
        watcher.join()
    for what in (openssh.ALIAS, "ask.py", "SSH_ASKPASS="):
        assert any(what.encode() in content for content in seen), what
    assert {"known_hosts", "ask", "ask.py"} <= set(files)
    assert not any(unheard_of.encode() in content for content in (*seen, *files.values()))


def test_what_describes_the_connection_does_not_show_the_password() -> None:
    target = SshTarget("h", 22, "u", "h")
    described = openssh.Bulk("h", None, target, "key", Credential(password=True), PASSWORD)
    assert PASSWORD not in repr(described)
    assert not any(PASSWORD in word for word in openssh.options(described, "/tmp/x"))


def test_the_socket_is_in_a_directory_of_our_own(
    client: Client, docker_host: DockerHost, temporary: Path
) -> None:
    client.configure(password=PASSWORD)
    modes: list[int] = []

    def write(feed: Feed) -> None:
        feed.write(DATA)
        (directory,) = temporary.iterdir()
        assert (directory / "secret").is_socket()
        modes.append(directory.stat().st_mode & 0o777)

    old = os.umask(0)
    try:
        with client.connected(address(docker_host)) as host:
            assert bulk(host, write=write).stdout == DATA
    finally:
        os.umask(old)
    assert modes == [0o700]


ASK = """
import socket, sys
with socket.socket(socket.AF_UNIX) as connection:
    connection.settimeout(5)
    connection.connect(sys.argv[1])
    print(connection.makefile("rb").read())
"""


def test_the_secret_is_told_to_our_own_user_only(tmp_path: Path) -> None:
    """Even if the directory were open to all."""
    if os.getuid() != 0:
        pytest.skip("takes root")
    python = shutil.which("python3", path="/usr/bin:/bin") or lack("no python3 for everybody")
    told = {}
    with tempfile.TemporaryDirectory(dir="/tmp") as directory:
        Path(directory).chmod(0o755)
        with openssh._askpass(directory, PASSWORD):
            Path(directory, "secret").chmod(0o777)
            for user in (NOBODY, 0, NOBODY):
                told[user] = subprocess.run(
                    [python, "-c", ASK, f"{directory}/secret"],
                    user=user,
                    cwd="/",
                    capture_output=True,
                    text=True,
                    check=True,
                ).stdout.strip()
    assert told == {NOBODY: "b''", 0: repr(PASSWORD.encode())}


# Ends. That nothing temporary and no thread is left, the fixtures see to.


@pytest.fixture
def host(client: Client, docker_host: DockerHost) -> Iterator[SshHost]:
    """Connected by a password, so that all there is for a second connection is needed."""
    client.configure(password=PASSWORD)
    with client.connected(address(docker_host)) as host:
        yield host
        assert host._bulk is None
        assert second_connections() == []


def second_connections() -> list[str]:
    """Clients that this process has started, and not the tests of somebody else."""
    words = ["pgrep", "-P", str(os.getpid()), "-f", "--", openssh.ALIAS]
    return subprocess.run(words, capture_output=True, text=True, check=False).stdout.split()


def test_a_command_that_fails_has_its_status_and_its_words(host: SshHost) -> None:
    assert bulk(host, "false", nothing).status == 1
    completed = bulk(host, "ls /none", nothing)
    assert completed.status == 2
    assert b"No such file" in completed.stderr


def test_a_command_that_ends_early_is_no_failure_of_the_connection(host: SshHost) -> None:
    completed = bulk(host, "head -c 3")
    assert (completed.status, completed.stdout) == (0, DATA[:3])


class Stop(Exception):
    """Raised by who writes."""


def test_what_the_writer_raises_comes_back(host: SshHost) -> None:
    def write(feed: Feed) -> None:
        feed.write(DATA)
        raise Stop

    with pytest.raises(Stop):
        bulk(host, write=write)
    assert second_connections() == []
    assert bulk(host).stdout == DATA


def test_an_interrupt_ends_it(client: Client, docker_host: DockerHost, temporary: Path) -> None:
    client.configure(password=PASSWORD)
    with client.connected(address(docker_host)) as host:
        timer = threading.Timer(0.5, host.interrupt)
        timer.start()
        began = time.monotonic()
        with pytest.raises(ConnectionLost, match="interrupted"):
            bulk(host, "sleep 60", lambda feed: feed.write(bytes(50_000_000)))
        timer.join()
        assert time.monotonic() - began < 30
        assert host._bulk is None
    assert second_connections() == []


def test_a_transfer_that_is_stuck_can_be_ended_and_the_connection_is_still_good(
    host: SshHost,
) -> None:
    timers: list[threading.Timer] = []

    def write(feed: Feed) -> None:
        if timers:
            raise Stop
        timers.append(threading.Timer(0.5, host.end_transfer))
        timers[0].start()
        feed.write(bytes(50_000_000))

    with pytest.raises(Stop):
        host.stream("sleep 60", write, bulk=True)
    timers[0].join()
    host.end_transfer()  # there is none any more
    assert bulk(host).stdout == DATA


def test_an_interrupt_long_after_it_ends_nobody_else(host: SshHost) -> None:
    """The number of the ssh that was may be another process's by then."""
    ended: list[int] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "killpg", lambda group, _signal: ended.append(group))
        assert bulk(host).stdout == DATA
        with pytest.raises(Stop):
            bulk(host, write=stop)
        ended.clear()  # the second one was ended, of course
        host.interrupt()
    assert ended == []


def stop(_feed: Feed) -> None:
    raise Stop


def test_a_password_that_is_refused_by_now(
    host: SshHost, docker_host: DockerHost, caplog: pytest.LogCaptureFixture
) -> None:
    docker_host.sh("echo tester:another | chpasswd", "root")
    try:
        with caplog.at_level(logging.DEBUG, "fastrr.hosts.ssh.host"):
            assert host.stream("cat", echo, bulk=True, answer_bytes=len(DATA)).stdout == DATA
        assert "no bulk connection: " in caplog.text
        assert "Permission denied" in caplog.text
    finally:
        docker_host.sh(f"echo tester:'{PASSWORD}' | chpasswd", "root")


# What is here, or is not


@pytest.fixture(params=["key", "agent", "password"])
def by_each(
    request: pytest.FixtureRequest, client: Client, server: Server, agent: Agent
) -> Callable[[], None]:
    """Makes second connections by each kind of credential."""
    key = client.key()
    server.authorize(key)
    name = server.name
    if request.param == "key":
        client.configure(f"IdentityFile {key}")
    elif request.param == "agent":
        agent.add(key)
        key.unlink()
        client.configure(f"IdentityAgent {agent.socket}")
    else:
        name = address(request.getfixturevalue("docker_host"))
        client.configure(password=PASSWORD)
    return lambda: assert_works(client, name)


def test_a_temporary_directory_of_an_odd_name(
    by_each: Callable[[], None], temporary: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = "#two words, 100%h %% it's ~"
    (temporary / name).mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(temporary / name))
    by_each()
    (temporary / name).rmdir()


def test_a_temporary_directory_of_a_name_that_ssh_can_t_read(
    client: Client, ready: Server, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with tempfile.TemporaryDirectory(prefix='a"b') as directory:
        monkeypatch.setattr(tempfile, "tempdir", directory)
        assert "no bulk connection: " in assert_done_without(client, ready.name, caplog)


def test_a_temporary_directory_of_a_long_name(
    client: Client, docker_host: DockerHost, temporary: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A socket's path has no more than 108 bytes (unix(7))."""
    directory = temporary / ("long" * 30)
    directory.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(directory))
    client.configure(password=PASSWORD)
    assert_works(client, address(docker_host))
    directory.rmdir()


@pytest.mark.parametrize("directory", ["/proc", "/none"])
def test_no_place_for_temporary_files(
    client: Client,
    ready: Server,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    directory: str,
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", directory)
    said = assert_done_without(client, ready.name, caplog)
    assert "no second connection to the host can be prepared: [Errno 2] No such file" in said
    assert f": '{directory}/fastrr-" in said


def test_no_ssh(client: Client, ready: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(openssh, "client", lambda: None)
    with client.connected(ready.name) as host:
        assert host.stream("cat", echo, bulk=True, answer_bytes=len(DATA)).stdout == DATA
        with pytest.raises(CommandFailed, match="there is no ssh on this machine"):
            host.run_here(["true"], lambda _piece: None)


SSHS = {
    "that fails": "echo Bad configuration option >&2; exit 255",
    "that fails late": "head -c 1000000 >/dev/null; echo Broken pipe >&2; exit 255",
    "that fails at the end": "cat >/dev/null; echo Connection closed >&2; exit 255",
    "that is killed": "kill -KILL $$",
}


@pytest.mark.parametrize("kind", SSHS)
def test_with_an_ssh_that_does_not_do_it_all_files_arrive(
    client: Client, ready: Server, monkeypatch: pytest.MonkeyPatch, kind: str, tmp_path: Path
) -> None:
    program = tmp_path / "ssh"
    program.write_text(f"#!/bin/sh\n{SSHS[kind]}\n")
    program.chmod(0o755)
    monkeypatch.setattr(openssh, "client", lambda: str(program))
    source, there = tmp_path / "source", tmp_path / "there"
    source.write_bytes(DATA)
    there.mkdir()
    items = [Item(str(source), str(there / name), len(DATA)) for name in ("a", "b")]
    transport = StreamTransport(bulk_from_bytes=0, keep_up_to_bytes=0)
    with client.connected(ready.name) as host:
        assert transport.send(host, items, lambda _count: None) == {}
    assert [(there / name).read_bytes() for name in ("a", "b")] == [DATA, DATA]


@pytest.mark.parametrize("program", ["/none/ssh", "/etc/passwd", "/"])
def test_an_ssh_that_can_t_be_started(
    client: Client,
    ready: Server,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    program: str,
) -> None:
    monkeypatch.setattr(openssh, "client", lambda: program)
    assert "can be prepared" in assert_done_without(client, ready.name, caplog)


# The whole command


BIG = """
c = Component(name='main', executable='/bin/true', host='host1', start_index=1)
c.base_dir, c.files = 'work', {'big': 'big'}
config.add_component(c)
"""


@dataclass
class Run:
    """fastrr copies a file large enough for a second connection, with a password."""

    controller: Controller
    host: TestHost
    command: list[str]
    environment: dict[str, str]
    mark: Path
    """What the ssh of this run writes to."""

    @property
    def temporary(self) -> list[str]:
        return os.listdir(self.environment["TMPDIR"])

    def with_ssh(self, script: str) -> None:
        """Put a script in place of ssh, but for looking at the configuration."""
        real = shutil.which("ssh")
        program = self.controller.directory / "bin" / "ssh"
        program.parent.mkdir()
        program.write_text(
            f'#!/bin/sh\ncase " $* " in *" -G "*) exec {real} "$@" ;; esac\n'
            + script.format(mark=self.mark, real=real)
        )
        program.chmod(0o755)
        self.environment["PATH"] = f"{program.parent}:{self.environment['PATH']}"

    def start(self) -> subprocess.Popen[str]:
        return subprocess.Popen(
            self.command,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )


@pytest.fixture
def run(controller: Controller, hosts: list[TestHost]) -> Iterator[Run]:
    if not isinstance(hosts[0], DockerHost):
        pytest.skip("only Docker's hosts have a password")
    assert controller.bed is not None
    lines = controller.bed.ssh_config.read_text().splitlines(keepends=True)
    config = controller.write("ssh_config", "")
    config.write_text("".join(line for line in lines if "IdentityFile" not in line))
    controller.config(BIG)
    (controller.directory / "big").write_bytes(os.urandom(1 << 20) * 50)
    command = [*controller.command()[:3], "-F", str(config), "-l", "DEBUG", "--copy-only"]
    command += ["-c", str(controller.directory / "config.py")]
    with tempfile.TemporaryDirectory(prefix="fr-", dir="/tmp") as directory:
        environment = controller.environment | {"FASTRR_PASS": PASSWORD, "TMPDIR": directory}
        yield Run(controller, hosts[0], command, environment, controller.directory / "mark")


def test_the_command_hands_the_password_to_no_process(run: Run) -> None:
    run.with_ssh('cat /proc/$$/environ /proc/$$/cmdline >>{mark}\nexec {real} "$@"\n')
    process = run.start()
    output = process.communicate(timeout=120)[0]
    assert process.returncode == 0, output
    seen = run.mark.read_bytes()
    assert b"SSH_ASKPASS=" in seen
    assert openssh.ALIAS.encode() in seen
    assert PASSWORD.encode() not in seen
    assert PASSWORD not in output
    assert "no bulk connection" not in output
    assert run.temporary == []
    ours = hashlib.sha1((run.controller.directory / "big").read_bytes()).hexdigest()
    assert run.host.sh("sha1sum <work/big").split()[0] == ours


@pytest.mark.parametrize("by", [signal.SIGINT, signal.SIGTERM])
def test_the_command_is_interrupted_meanwhile(run: Run, by: signal.Signals) -> None:
    sleep = f"sleep {60 + os.getpid()}.5"
    run.with_ssh(f"cat /proc/$$/environ >{{mark}}; echo >>{{mark}}\nexec {sleep}\n")
    process = run.start()
    eventually(lambda: run.mark.exists() and run.mark.read_bytes().endswith(b"\n"), 30)
    (directory,) = run.temporary
    assert f"SSH_ASKPASS={run.environment['TMPDIR']}/{directory}/ask".encode() in (
        run.mark.read_bytes()
    )
    began = time.monotonic()
    process.send_signal(by)
    output = process.communicate(timeout=50)[0]
    assert process.returncode == 130, output
    assert time.monotonic() - began < 30
    assert run.temporary == []
    eventually(lambda: not runs(sleep))
    assert not run.host.exists("work/big")
    assert run.host.sh("find . -name '.fastrr*'") == ""
