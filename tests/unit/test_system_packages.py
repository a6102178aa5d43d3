"""What `make setup` wants of the machine: `scripts/system-packages`, with a PATH made for it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from testbed.bed import REPOSITORY
from testbed.needs import need

SCRIPT = REPOSITORY / "scripts" / "system-packages"


class Machine:
    """A directory that is the whole PATH, but for what the script itself adds to it."""

    def __init__(self, directory: Path, uid: int) -> None:
        self.directory = directory
        self.provide("id", f"echo {uid}")

    def provide(self, name: str, script: str = "exit 0") -> None:
        (self.directory / name).write_text(f"#!/bin/sh\n{script}\n")
        (self.directory / name).chmod(0o755)

    def call(self, *packages: str, **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["/bin/sh", SCRIPT, *packages],
            env={"PATH": str(self.directory), **environment},
            capture_output=True,
            text=True,
            check=False,
        )


@pytest.fixture
def user(tmp_path: Path) -> Machine:
    """A machine without apt, and we are not root."""
    return Machine(tmp_path, 1000)


@pytest.fixture
def root(tmp_path: Path) -> Machine:
    """A machine where we are root, with an apt-get that installs one thing: rsync."""
    machine = Machine(tmp_path, 0)
    log, rsync = tmp_path / "log", tmp_path / "rsync"
    install = f"{{ echo '#!/bin/sh' >{rsync}; /bin/chmod 755 {rsync}; }}"
    machine.provide("apt-get", f'echo "$*" >>{log}; case "$*" in *rsync*) {install} ;; esac')
    return machine


def test_commands_that_are_there_need_neither_root_nor_apt(user: Machine) -> None:
    for command in ("ssh", "ssh-keygen", "screen", "rsync"):
        user.provide(command)
    done = user.call("openssh-client", "screen", "rsync")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_what_is_missing_is_named_and_nothing_else(user: Machine) -> None:
    user.provide("screen")
    done = user.call("openssh-client", "screen", "rsync")
    assert done.returncode == 1
    assert done.stderr.endswith("please install: openssh-client rsync\n")


def test_a_server_beyond_an_ordinary_users_path_is_found(user: Machine) -> None:
    need("sshd")
    assert user.call("openssh-server").returncode == 0


@pytest.mark.parametrize(("has_it", "status"), [(True, 0), (False, 1)])
def test_the_python_that_is_used_decides_about_venv(
    user: Machine, has_it: bool, status: int
) -> None:
    # Debian's python3 without python3-venv can't import it.
    hide = "" if has_it else "import sys; sys.modules['ensurepip'] = None; "
    user.provide("mypython", f'test "$1" = -c && exec {sys.executable} -c "{hide}$2"')
    user.provide("python3", "exit 1")
    assert user.call("python3-venv", PYTHON="mypython").returncode == status
    assert user.call("python3-venv").returncode == 1


def test_root_installs_only_what_is_missing(root: Machine) -> None:
    root.provide("screen")
    done = root.call("screen", "rsync")
    assert done.returncode == 0, done
    assert done.stdout == "installing rsync\n"
    calls = (root.directory / "log").read_text().splitlines()
    assert calls == ["update -qq", "install -y -qq --no-install-recommends rsync"]


def test_a_package_that_does_not_help_is_told(root: Machine) -> None:
    root.provide("python3", "exit 1")
    done = root.call("rsync", "python3-venv")
    assert done.returncode == 1
    assert done.stderr.endswith("installed, and still not to be used: python3-venv\n")
