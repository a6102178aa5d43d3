"""What a config's host name and ssh's own configuration come to."""

from __future__ import annotations

import os
import re
import select
import time
from pathlib import Path

import pytest
from testbed.needs import need

from fastrr.errors import ConnectionFailed
from fastrr.hosts.ssh import target
from fastrr.hosts.ssh.target import (
    Address,
    SshTarget,
    home,
    local_user,
    read_ahead,
    resolve,
    target_from,
)
from fastrr.model import HostKeyPolicy, SshSettings

RECORDED = """\
host web
user joe
hostname web.example.org
port 2200
addressfamily any
compression no
hashknownhosts yes
identitiesonly no
stricthostkeychecking ask
identityagent ${XDG_RUNTIME_DIR}/agent.sock
identityfile ~/.ssh/%r@%h-%p
identityfile /keys/%n%%
globalknownhostsfile /etc/ssh/ssh_known_hosts /etc/ssh/ssh_known_hosts2
userknownhostsfile /srv/with space/known hosts /root/two
connecttimeout 60
proxyjump joe@[gate]:2200,inner
"""
"""Lines of what OpenSSH 9.2's ``ssh -G web`` printed."""


def target_of(*lines: str, name: str = "web", settings: SshSettings | None = None) -> SshTarget:
    """The target for recorded output, with some lines in place of those recorded."""
    keywords = {line.split(" ")[0] for line in lines}
    kept = [line for line in RECORDED.splitlines() if line.split(" ")[0] not in keywords]
    values = target._parse("\n".join((*kept, *lines)))
    return target_from(Address.parse(name), values, settings or SshSettings(), {})


# Address


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("web", Address("web")),
        ("joe@web", Address("web", "joe")),
        ("web:2200", Address("web", None, 2200)),
        ("joe@web:2200", Address("web", "joe", 2200)),
        ("joe@corp@web", Address("web", "joe@corp")),
        ("ssh://joe@web:2200", Address("web", "joe", 2200)),
        ("192.0.2.7:22", Address("192.0.2.7", None, 22)),
        ("::1", Address("::1")),
        ("fe80::1%eth0", Address("fe80::1%eth0")),
        ("joe@2001:db8::7", Address("2001:db8::7", "joe")),
        ("[2001:db8::7]:2200", Address("2001:db8::7", None, 2200)),
        ("joe@[::1]", Address("::1", "joe")),
        ("ssh://[::1]:22", Address("::1", None, 22)),
        ("[web]:22", Address("web", None, 22)),
    ],
)
def test_addresses(text: str, address: Address) -> None:
    assert Address.parse(text) == address


NO_ADDRESSES = (
    *("", "ssh://", "@web", "joe@", "joe@-web", "-l@web", "-oProxyCommand=true"),
    *(":22", "web:", "web:x", "web:0", "web:65536", "web:22:33", "web:\u0663"),
    *("[]", "[]:22", "[::1", "[::1]x", "we b", "web\n", "web\0", "j\0@web"),
)


@pytest.mark.parametrize("text", NO_ADDRESSES)
def test_bad_addresses_are_refused_and_quoted(text: str) -> None:
    with pytest.raises(ValueError, match=re.escape(repr(text))):
        Address.parse(text)


# Recorded output of ssh -G


def test_recorded_output_becomes_a_target(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", "/run/user/1")
    assert target_of() == SshTarget(
        hostname="web.example.org",
        port=2200,
        user="joe",
        alias="[web.example.org]:2200",
        identity_files=(f"{home()}/.ssh/joe@web.example.org-2200", "/keys/web%"),
        agent="/run/user/1/agent.sock",
        user_known_hosts=("/srv/with space/known hosts", "/root/two"),
        global_known_hosts=("/etc/ssh/ssh_known_hosts", "/etc/ssh/ssh_known_hosts2"),
        hash_known_hosts=True,
        proxy_jump=("joe@[gate]:2200", "inner"),
        connect_timeout_s=60.0,
    )


def test_a_target_is_named_as_a_person_would_name_it() -> None:
    assert str(target_of()) == "joe@web.example.org:2200"
    assert str(target_of("port 22")) == "joe@web.example.org"


def test_a_key_is_filed_without_a_port_at_port_22_and_under_the_alias() -> None:
    assert target_of("port 22").alias == "web.example.org"
    assert target_of("hostkeyalias farm").alias == "farm"
    assert target_of("hostkeyalias none").alias == "[web.example.org]:2200"


@pytest.mark.parametrize(
    ("file", "expanded"),
    [
        ("~/.ssh/id", f"{home()}/.ssh/id"),
        ("~other/id", "~other/id"),
        ("%d/%u", f"{home()}/{local_user()}"),
        ("/%i/%n/%h/%p/%r", f"/{os.getuid()}/web/web.example.org/2200/joe"),
        ("/%l/%L", f"/{os.uname().nodename}/{os.uname().nodename.partition('.')[0]}"),
        ("/%k", "/web"),
        ("/100%%h", "/100%h"),
        ("/%Z", "/%Z"),
        ("/${FASTRR_TEST}/id", "/%h ~/id"),
        ("/${FASTRR_TEST_UNSET}id", "/id"),
    ],
)
def test_tokens_of_identity_files(
    file: str, expanded: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FASTRR_TEST", "%h ~")
    assert target_of(f"identityfile {file}").identity_files == (expanded,)


def test_a_key_file_named_after_the_alias() -> None:
    assert target_of("identityfile /%k", "hostkeyalias farm").identity_files == ("/farm",)


def test_known_hosts_none_is_no_file() -> None:
    assert target_of("userknownhostsfile none").user_known_hosts == ()


@pytest.mark.parametrize(
    ("value", "agent"),
    [
        ("identityagent none", None),
        ("identityagent SSH_AUTH_SOCK", "/run/usual"),
        ("identityagent $OTHER_SOCK", "/run/other"),
        ("identityagent $UNSET_SOCK", None),
        ("identityagent ${OTHER_SOCK}.d/s", "/run/other.d/s"),
        ("identityagent ~/agent", f"{home()}/agent"),
        ("identityagent /run/%r", "/run/joe"),
        ("identityagent", "/run/usual"),
    ],
)
def test_identity_agent(value: str, agent: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSH_AUTH_SOCK", "/run/usual")
    monkeypatch.setenv("OTHER_SOCK", "/run/other")
    assert target_of(value).agent == agent


def test_no_agent_where_none_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    assert target_of("identityagent SSH_AUTH_SOCK").agent is None


@pytest.mark.parametrize(
    ("value", "policy"),
    [
        ("yes", HostKeyPolicy.STRICT),
        ("true", HostKeyPolicy.STRICT),
        ("ask", HostKeyPolicy.ACCEPT_NEW),
        ("accept-new", HostKeyPolicy.ACCEPT_NEW),
        ("no", HostKeyPolicy.OFF),
        ("off", HostKeyPolicy.OFF),
        ("false", HostKeyPolicy.OFF),
    ],
)
def test_strict_host_key_checking(value: str, policy: HostKeyPolicy) -> None:
    found = target_of(f"stricthostkeychecking {value}")
    assert (found.host_keys, found.host_keys_forced) == (policy, False)


def test_the_command_line_overrides_strict_host_key_checking() -> None:
    settings = SshSettings(host_keys=HostKeyPolicy.OFF)
    found = target_of("stricthostkeychecking true", settings=settings)
    assert (found.host_keys, found.host_keys_forced) == (HostKeyPolicy.OFF, True)


@pytest.mark.parametrize(("value", "seconds"), [("none", None), ("7", 7.0)])
def test_connect_timeout(value: str, seconds: float | None) -> None:
    assert target_of(f"connecttimeout {value}").connect_timeout_s == seconds


def test_only_the_tokens_of_a_proxy_command_are_expanded_the_rest_is_for_the_shell() -> None:
    line = "proxycommand ~/bin/nc '${HOME}' %%%h %p %r %n"
    found = target_of("proxyjump none", line)
    assert found.proxy_command == "~/bin/nc '${HOME}' %web.example.org 2200 joe web"


def test_a_proxy_jump_wins_over_a_proxy_command() -> None:
    found = target_of("proxyjump gate", "proxycommand nc %h %p")
    assert (found.proxy_jump, found.proxy_command) == (("gate",), None)


@pytest.mark.parametrize("keyword", ["proxyjump", "proxycommand"])
def test_a_proxy_of_none_is_no_proxy(keyword: str) -> None:
    found = target_of("proxyjump none", f"{keyword} none")
    assert (found.proxy_jump, found.proxy_command) == ((), None)


# What is allowed


@pytest.mark.parametrize(
    ("lines", "methods"),
    [
        ([], ("publickey", "password", "keyboard-interactive")),
        (["pubkeyauthentication false"], ("password", "keyboard-interactive")),
        (["pubkeyauthentication host-bound"], ("publickey", "password", "keyboard-interactive")),
        (["passwordauthentication no"], ("publickey", "keyboard-interactive")),
        (["kbdinteractiveauthentication no"], ("publickey", "password")),
        (["challengeresponseauthentication no"], ("publickey", "password")),
        (["preferredauthentications password,hostbased,publickey"], ("password", "publickey")),
        (["preferredauthentications gssapi-with-mic"], ()),
        (["preferredauthentications password", "passwordauthentication no"], ()),
    ],
)
def test_ways_to_log_in(lines: list[str], methods: tuple[str, ...]) -> None:
    assert target_of(*lines).methods == methods


def test_revoked_keys_are_in_files_and_other_keys_known_to_a_command() -> None:
    found = target_of("revokedhostkeys ~/revoked /etc/krl", "knownhostscommand /bin/keys %H")
    assert found.revoked_host_keys == (f"{home()}/revoked", "/etc/krl")
    assert found.known_hosts_command == "/bin/keys %H"
    assert target_of("revokedhostkeys none").revoked_host_keys == ()
    assert target_of("requiredrsasize 3072").smallest_rsa_bits == 3072


# The real ssh -G


@pytest.mark.usefixtures("ssh")
@pytest.mark.parametrize(
    ("line", "names", "ordered"),
    [
        ("", None, False),
        ("Ciphers -chacha20-poly1305@openssh.com", None, False),
        ("Ciphers +aes128-cbc", None, False),
        ("Ciphers aes256-ctr,aes256-gcm@openssh.com", "aes256-ctr aes256-gcm@openssh.com", True),
        ("Ciphers ^aes256-ctr", None, True),
    ],
)
def test_whose_order_a_list_has(
    tmp_path: Path, line: str, names: str | None, ordered: bool
) -> None:
    ciphers = resolve("web", config(tmp_path, f"{line}\n")).algorithms.ciphers
    assert ciphers.ordered is ordered
    assert names is None or ciphers.names == tuple(names.split())


@pytest.fixture
def ssh() -> str:
    """The client, which reads configurations for us."""
    return need("ssh")


def config(tmp_path: Path, text: str) -> SshSettings:
    path = tmp_path / "ssh_config"
    path.write_text(text)
    return SshSettings(config_file=str(path))


@pytest.mark.usefixtures("ssh")
def test_resolve_heeds_include_and_match(tmp_path: Path) -> None:
    (tmp_path / "included").write_text("Host web\n  HostName WEB.example.org\n")
    settings = config(
        tmp_path,
        f"Include {tmp_path}/included\n"
        "Match host *.example.org\n  User joe\n  Port 2200\n"
        "Host *\n"
        f'  UserKnownHostsFile "{tmp_path}/with space/kh" {tmp_path}/%h\n'
        f"  IdentityFile {tmp_path}/%r\n  IdentityAgent none\n  ConnectTimeout 1m\n",
    )
    found = resolve("web", settings)
    assert str(found) == "joe@web.example.org:2200"
    assert found.identity_files == (f"{tmp_path}/joe",)
    assert found.user_known_hosts == (f"{tmp_path}/with space/kh", f"{tmp_path}/web.example.org")
    assert found.agent is None
    assert found.connect_timeout_s == 60.0


@pytest.mark.usefixtures("ssh")
def test_the_address_wins_over_the_settings_and_these_over_ssh(tmp_path: Path) -> None:
    settings = config(tmp_path, "Host *\n  User configured\n  Port 7\n")
    named = SshSettings(user="option", config_file=settings.config_file)
    assert str(resolve("web", settings)) == "configured@web:7"
    assert str(resolve("web", named)) == "option@web:7"
    assert str(resolve("address@web:22", named)) == "address@web"


@pytest.mark.usefixtures("ssh")
def test_resolve_says_what_ssh_says_of_a_bad_config(tmp_path: Path) -> None:
    settings = config(tmp_path, "Nonsense yes\n")
    with pytest.raises(ConnectionFailed, match="line 1: Bad configuration option: nonsense"):
        resolve("web", settings)


@pytest.mark.usefixtures("ssh")
def test_resolve_names_a_config_that_is_not_there(tmp_path: Path) -> None:
    settings = SshSettings(config_file=str(tmp_path / "missing"))
    with pytest.raises(ConnectionFailed, match=f"{tmp_path}/missing"):
        resolve("web", settings)


def test_a_configuration_that_hangs_is_not_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor does what it has started go on."""
    monkeypatch.setattr(target, "SSH_G_TIMEOUT_S", 0.5)
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    settings = config(tmp_path, f'Match exec "exec sleep 60 >{pipe}"\n  User joe\n')
    with open(os.open(pipe, os.O_RDONLY | os.O_NONBLOCK), "rb") as held:
        with pytest.raises(ConnectionFailed, match="does a `Match exec` in ssh's configuration"):
            resolve("web", settings)
        ready, _, _ = select.select([held], [], [], 10)
        assert ready, "whoever has the pipe open is still there"
        assert held.read() == b""


def test_resolve_refuses_what_is_no_host() -> None:
    with pytest.raises(ConnectionFailed, match="names no host"):
        resolve("-oProxyCommand=true", SshSettings())


# Without an ssh program


@pytest.fixture
def no_ssh(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))


def test_paramiko_stands_in_where_there_is_no_ssh(no_ssh: None, tmp_path: Path) -> None:
    settings = config(
        tmp_path,
        "Host web\n  HostName web.example.org\n  ProxyCommand none\n  ConnectTimeout 5\n"
        "Host *\n"
        f'  UserKnownHostsFile "{tmp_path}/with space" ~/two\n'
        "  User joe\n  Port 2200\n  IdentityFile ~/a\n  IdentityFile ~/b\n",
    )
    found = resolve("web", settings)
    assert str(found) == "joe@web.example.org:2200"
    assert found.proxy_command is None
    assert found.connect_timeout_s == 5.0
    assert found.identity_files == (f"{home()}/a", f"{home()}/b")
    assert found.user_known_hosts == (f"{tmp_path}/with space", f"{home()}/two")
    assert str(resolve("ann@web:1", settings)) == "ann@web.example.org:1"


def test_without_ssh_and_config_there_are_ssh_s_defaults(no_ssh: None) -> None:
    found = resolve("web", SshSettings(config_file="none"))
    assert str(found) == f"{local_user()}@web"
    assert found.host_keys is HostKeyPolicy.ACCEPT_NEW
    assert found.identity_files[0] == f"{home()}/.ssh/id_ed25519"
    assert found.user_known_hosts[0] == f"{home()}/.ssh/known_hosts"


@pytest.mark.usefixtures("no_ssh")
@pytest.mark.parametrize(
    ("text", "first", "lacks", "ordered"),
    [
        ("", "aes128-gcm@openssh.com", "aes128-cbc", False),
        ("Ciphers aes256-ctr,aes128-ctr", "aes256-ctr", "aes192-ctr", True),
        ("Ciphers ^aes256-ctr", "aes256-ctr", "aes128-cbc", True),
        ("Ciphers -aes2*-ctr", "aes128-gcm@openssh.com", "aes256-ctr", False),
        ("Ciphers +aes128-cbc", "aes128-gcm@openssh.com", "aes192-cbc", False),
        ("Ciphers aes2*-ctr", "aes256-ctr", "aes128-ctr", True),
        ('Ciphers "unheard-of,aes128-ctr"', "unheard-of", "aes192-ctr", True),
    ],
)
def test_without_ssh_lists_of_algorithms_count(
    tmp_path: Path, text: str, first: str, lacks: str, ordered: bool
) -> None:
    ciphers = resolve("web", config(tmp_path, f"{text}\n")).algorithms.ciphers
    assert ciphers.names[0] == first
    assert lacks not in ciphers.names
    assert ciphers.ordered is ordered


def test_without_ssh_what_forbids_something_counts(no_ssh: None, tmp_path: Path) -> None:
    settings = config(
        tmp_path,
        "PasswordAuthentication no\nPreferredAuthentications keyboard-interactive,publickey\n"
        f'RevokedHostKeys "{tmp_path}/revoked"\n'
        "KnownHostsCommand /bin/keys\n"
        "PubkeyAcceptedKeyTypes ssh-ed25519\n",
    )
    found = resolve("web", settings)
    assert found.methods == ("keyboard-interactive", "publickey")
    assert found.revoked_host_keys == (f"{tmp_path}/revoked",)
    assert found.known_hosts_command == "/bin/keys"
    assert found.algorithms.public_keys.names == ("ssh-ed25519",)


def test_without_ssh_a_bad_config_is_named(no_ssh: None, tmp_path: Path) -> None:
    settings = config(tmp_path, "Match nonsense\n")
    with pytest.raises(ConnectionFailed, match=f"{tmp_path}/ssh_config can't be used"):
        resolve("web", settings)


def test_without_ssh_a_missing_config_is_named(no_ssh: None, tmp_path: Path) -> None:
    settings = SshSettings(config_file=str(tmp_path / "missing"))
    with pytest.raises(ConnectionFailed, match=f"{tmp_path}/missing"):
        resolve("web", settings)


# reading ahead


@pytest.fixture
def ssh_calls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file with a line for each call of ``ssh``, which knows the user of each host but one.

    About another it has to think, the first time. It is also asked about a host that nobody knows,
    for its defaults.
    """
    log = tmp_path / "calls"
    log.touch()
    program = tmp_path / "ssh"
    program.write_text(
        f'#!/bin/sh\nfor host; do :; done\necho "$host" >>{log}\ncase $host in\n'
        f"slow) [ $(grep -c slow {log}) -gt 1 ] || sleep 15 ;;\n"
        'bad) echo "no such thing" >&2; exit 255 ;;\nesac\necho "user of-$host"\n'
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    return log


def test_what_was_read_ahead_is_used_once(ssh_calls: Path) -> None:
    names = [f"host{number}" for number in range(4)]
    with read_ahead(names, SshSettings()):
        pass
    asked = ["host.invalid", *names]
    assert sorted(ssh_calls.read_text().split()) == asked
    assert [resolve(name, SshSettings()).user for name in names] == [f"of-{n}" for n in names]
    assert sorted(ssh_calls.read_text().split()) == asked
    assert resolve("host1", SshSettings()).user == "of-host1"  # things may have changed since
    assert len(ssh_calls.read_text().split()) == len(asked) + 1


def test_the_defaults_are_asked_for_once_whatever_the_number_of_hosts(ssh_calls: Path) -> None:
    for name in ("one", "two", "three"):
        resolve(name, SshSettings())
    assert sorted(ssh_calls.read_text().split()) == ["host.invalid", "one", "three", "two"]


def test_what_is_slow_or_wrong_is_left_for_later(ssh_calls: Path) -> None:
    with read_ahead(["slow", "no host", "bad"], SshSettings()):
        pass
    assert resolve("slow", SshSettings()).user == "of-slow"
    assert sorted(ssh_calls.read_text().split()) == ["bad", "host.invalid", "slow", "slow"]
    with pytest.raises(ConnectionFailed, match="no such thing"):
        resolve("bad", SshSettings())
    assert len(ssh_calls.read_text().split()) == 4


def test_nothing_is_left_running(ssh_calls: Path) -> None:
    def interrupted() -> None:
        while "slow" not in ssh_calls.read_text():
            time.sleep(0.01)
        time.sleep(0.1)  # by now it sleeps
        raise KeyboardInterrupt

    began = time.monotonic()
    with pytest.raises(KeyboardInterrupt), read_ahead(["slow"], SshSettings()):
        interrupted()
    assert time.monotonic() - began < 10
