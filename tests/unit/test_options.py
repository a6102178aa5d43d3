"""``options``: paths, the user, and a password that shows nowhere."""

from __future__ import annotations

import getpass
import os
import subprocess
import sys
from pathlib import Path

import pytest

from fastrr.cli import secret
from fastrr.cli.arguments import parse
from fastrr.errors import UsageError
from fastrr.hosts.ssh.target import local_user
from fastrr.model import SshSettings


def test_paths_are_absolute_with_home_and_variables_expanded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", "/home/me")
    monkeypatch.setenv("PLACE", "/place")
    options = parse(["-c", "here.py", "-m", "~/m.py", "-m", "$PLACE/n.py", "-a", "../a.py"])
    assert options.config_file == str(tmp_path / "here.py")
    assert options.muddler == ["/home/me/m.py", "/place/n.py"]
    assert options.arg_parser == str(tmp_path.parent / "a.py")


def test_ssh_config_may_be_none_as_for_ssh() -> None:
    assert parse(["-c", "c", "-F", "none"]).ssh_config == "none"


# the user


def test_ssh_user_is_the_one_given() -> None:
    assert parse(["-c", "c", "-u", "alice"]).ssh_user == "alice"


@pytest.mark.parametrize("user", [[], ["-u", ""]])
def test_ssh_user_is_the_local_user_where_nothing_else_is_said(user: list[str]) -> None:
    options = parse(["-c", "c", "-F", "none", *user])
    assert options.ssh_user == local_user()
    assert options.user is None


def test_ssh_user_is_what_sshs_configuration_says(tmp_path: Path) -> None:
    ssh_config = tmp_path / "ssh_config"
    ssh_config.write_text("Host special\n  User other\nHost *\n  User bob\n")
    options = parse(["-c", "c", "-F", str(ssh_config)])
    assert options.ssh_user == "bob"
    assert options.user is None


def test_setting_ssh_user_decides_who_logs_in() -> None:
    options = parse(["-c", "c"])
    options.ssh_user = "carol"
    assert options.user == options.ssh_user == "carol"


# the password


def test_the_repr_hides_the_password() -> None:
    shown = repr(parse(["-c", "/c.py", "-p", "s3cret"]))
    assert "s3cret" not in shown
    assert "ssh_pass='***'" in shown
    assert "config_file='/c.py'" in shown


def test_the_repr_says_that_there_is_no_password() -> None:
    assert "ssh_pass=None" in repr(parse(["-c", "c"]))


def test_the_password_is_taken_out_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(secret.ENVIRONMENT_VARIABLE, "s3cret")
    options = parse(["-c", "c"])
    assert options.ssh_pass == "s3cret"
    assert secret.ENVIRONMENT_VARIABLE not in os.environ
    assert b"s3cret" not in subprocess.check_output(["env"])


def test_the_command_line_goes_before_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(secret.ENVIRONMENT_VARIABLE, "from environment")
    assert parse(["-c", "c", "-p", "given"]).ssh_pass == "given"
    assert secret.ENVIRONMENT_VARIABLE not in os.environ


def test_an_empty_variable_is_no_password(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(secret.ENVIRONMENT_VARIABLE, "")
    assert parse(["-c", "c"]).ssh_pass is None


def test_ask_pass_asks_at_the_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True)
    monkeypatch.setattr(getpass, "getpass", lambda prompt: f"answer to {prompt}")
    options = parse(["-c", "c", "--ask-pass"])
    assert options.ssh_pass == "answer to SSH password or key passphrase: "


SHOW_ITSELF = """
import os, subprocess, sys
from fastrr.cli.arguments import parse
from fastrr.errors import UsageError
try:
    parse(sys.argv[1:])
except UsageError:
    pass
for name in ("cmdline", "environ"):
    with open(f"/proc/{os.getpid()}/{name}") as file:
        print(repr(file.read()))
print(subprocess.run(["env", "-0"], capture_output=True, text=True).stdout)
"""


def shown_by_proc(*arguments: str, **environment: str) -> tuple[list[str], list[str], list[str]]:
    """Parse in a process of its own; return what /proc shows of it, and its child's environment."""
    completed = subprocess.run(
        [sys.executable, "-c", SHOW_ITSELF, *arguments],
        env=os.environ | environment,
        capture_output=True,
        text=True,
        check=True,
    )
    cmdline, environ, child = completed.stdout.split("\n", 2)
    return cmdline.split(r"\x00"), environ.split(r"\x00"), child.split("\0")


@pytest.mark.parametrize(
    "words",
    [["-p", "s3cret"], ["-ps3cret"], ["-p=s3cret"], ["--pass", "s3cret"], ["--pass=s3cret"]],
)
def test_a_password_on_the_command_line_is_overwritten(words: list[str]) -> None:
    cmdline, environ, child = shown_by_proc("-c", "s3cret.py", *words, "-u", "alice")
    hidden = [word.replace("s3cret", "******") for word in words]
    assert cmdline[3:-1] == ["-c", "s3cret.py", *hidden, "-u", "alice"]
    assert "s3cret" not in str(environ) + str(child)


def test_a_password_in_the_environment_is_overwritten_and_not_handed_on() -> None:
    cmdline, environ, child = shown_by_proc("-c", "c.py", FASTRR_PASS="s3cret")
    assert "FASTRR_PASS=******" in environ
    assert "s3cret" not in str(cmdline) + str(environ) + str(child)


def test_a_password_is_overwritten_though_the_command_line_is_refused() -> None:
    cmdline, _, _ = shown_by_proc("-c", "c.py", "--ask-pass", "-p", "s3cret")
    assert "s3cret" not in str(cmdline)


def test_what_only_looks_like_the_password_stays_for_children() -> None:
    """Passwords like "pi" or "root" are user names, homes and the ends of paths, too."""
    _, environ, child = shown_by_proc(
        "-c", "root", "-p", "root", USER="root", HOME="/root", OTHER_FASTRR_PASS="root"
    )
    for kept in ("USER=root", "HOME=/root", "OTHER_FASTRR_PASS=root"):
        assert kept in environ
        assert kept in child


def test_what_is_passed_about_does_not_show_the_password() -> None:
    settings = SshSettings(user="alice", password="s3cret")
    assert "alice" in repr(settings)
    assert "s3cret" not in f"{settings} {settings!r} {[settings]}"


def test_hiding_nothing_touches_nothing() -> None:
    before = Path("/proc/self/cmdline").read_bytes() + Path("/proc/self/environ").read_bytes()
    secret.hide("")
    after = Path("/proc/self/cmdline").read_bytes() + Path("/proc/self/environ").read_bytes()
    assert after == before


def test_a_contradiction_is_a_usage_error() -> None:
    with pytest.raises(UsageError, match="one of them is enough"):
        parse(["-c", "c", "--ask-pass", "--pass", "x"])
