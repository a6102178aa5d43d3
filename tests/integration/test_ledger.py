"""What is remembered between runs never makes fastrr leave a wrong file, and does save reading.

The destinations are on a file system of the test bed that the ledger trusts: containers' own root
is not. Every test about a lie begins by making sure that there is something to be fooled by.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import random
import re
import shlex
import shutil
import sqlite3
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from conftest import Controller
from testbed import Bed, TestHost
from testbed.bed import Result
from testbed.needs import need

from fastrr.files.ledger import (
    AT_REST_S,
    TRUSTED_FILE_SYSTEMS,
    Ledger,
    LocalEntry,
    Mounts,
    RemoteEntry,
)
from fastrr.model import Signature

CONFIG = """
c = Component(name='main', executable='/bin/true', host={host!r}, start_index=1)
c.base_dir = {directory!r}
c.files = {files!r}
config.add_component(c)
"""
CONTENT, OTHER = "0123456789", "9876543210"


def sha1(content: str) -> str:
    return hashlib.sha1(content.encode()).hexdigest()


@dataclass
class Place:
    """A directory on a host, what is to be there, and a controller that remembers it."""

    controller: Controller
    host: TestHost
    directory: str
    files: dict[str, str]
    """What the config says, from here to there."""

    @property
    def ledger_path(self) -> Path:
        return Path(self.controller.environment["HOME"], ".cache", "fastrr", "ledger.sqlite")

    @property
    def ledger(self) -> Ledger:
        return Ledger(str(self.ledger_path))

    def run(self, *arguments: str, name: str = "", **options: object) -> Result:
        """Have the files copied by fastrr."""
        config = CONFIG.format(
            host=name or self.host.name, directory=self.directory, files=self.files
        )
        self.controller.config(config)
        result = self.controller.fastrr("--copy-only", *arguments, **options)  # type: ignore[arg-type]
        assert "Traceback" not in result.output, result
        return result

    def deploy(self, *arguments: str, name: str = "", **options: object) -> tuple[int, int]:
        """The same; return how many were copied, and how many were as they should be."""
        result = self.run(*arguments, name=name, **options)
        assert result.status == 0, result
        row = re.search(rf"^{name or self.host.name} +(\d+) +(\d+) ", result.stdout, re.MULTILINE)
        assert row, result
        return int(row[1]), int(row[2])

    def remember(self) -> None:
        """Copy all files, let them rest, and have them hashed once."""
        self.deploy()
        time.sleep(AT_REST_S + 0.1)
        assert self.deploy() == (0, len(self.files))
        assert set(self.remembered()) == {f"{self.directory}/{to}" for to in self.files.values()}

    def remembered(self) -> dict[str, RemoteEntry]:
        """All that the ledger has of hosts, by path."""
        if not self.ledger_path.exists():
            return {}
        known: dict[str, RemoteEntry] = {}
        for identity in self.identities():
            known |= self.ledger.remote(identity)
        return known

    def identities(self) -> list[str]:
        with contextlib.closing(sqlite3.connect(self.ledger_path)) as connection:
            rows = connection.execute("SELECT DISTINCT host FROM remote").fetchall()
        return [row[0] for row in rows]

    def lie(self) -> None:
        """Have the ledger say of all files, as they are now, that they are as they should be."""
        (identity,) = self.identities()
        entries = {}
        for source, to in self.files.items():
            digest = hashlib.sha1((self.controller.directory / source).read_bytes()).hexdigest()
            entry = RemoteEntry(self.signature(to), digest, self.remembered_machine())
            entries[f"{self.directory}/{to}"] = entry
        self.ledger.store_remote(identity, entries)

    def remembered_machine(self) -> str:
        return next(iter(self.remembered().values())).machine

    def signature(self, to: str) -> Signature:
        """The signature that a file on the host has now."""
        path = shlex.quote(f"{self.directory}/{to}")
        size, mtime, ctime, *rest = self.host.sh(f"stat -c '%s %.9Y %.9Z %i %d' {path}").split()
        times = (int(time.replace(".", "")) for time in (mtime, ctime))
        return Signature(int(size), *times, *map(int, rest))

    def content(self, to: str) -> str:
        return self.host.sh(f"cat {shlex.quote(f'{self.directory}/{to}')}")

    def alter(self, to: str = "f") -> None:
        """Change a file on the host, but neither its size nor its mtime."""
        before = self.signature(to)
        self.host.sh(REWRITE.format(shlex.quote(f"{self.directory}/{to}"), OTHER))
        after = self.signature(to)
        assert after._replace(ctime_ns=before.ctime_ns) == before
        assert self.content(to) == OTHER


REWRITE = (
    "f={} && stamp=$(mktemp) && touch -r $f $stamp && printf {} >$f && touch -r $stamp $f"
    " && rm $stamp"
)


@pytest.fixture
def place(controller: Controller, bed: Bed, hosts: list[TestHost]) -> Iterator[Place]:
    """With one file, ``f``."""
    host = hosts[0]
    directory = host.sh(f"mktemp -d {bed.shared}/XXXXXX && chmod 1777 {bed.shared}/*").split()[0]
    kind = host.sh(f"df -PT {directory}").splitlines()[1].split()[1]
    if kind not in TRUSTED_FILE_SYSTEMS:
        pytest.skip(f"the ledger does not trust {kind}")
    controller.write("f", CONTENT)
    yield Place(controller, host, directory, {"f": "f"})
    host.sh(f"rm -rf {directory}")


# what it is good for


@contextlib.contextmanager
def hashing_logged(host: TestHost) -> Iterator[Callable[[], set[str]]]:
    """Note which files openssl on the host is given; yields what returns and forgets their names.

    They are names without directories: where a script looks from is its own business.
    """
    host.sh(
        "mv /usr/bin/openssl /usr/bin/openssl.real && cat >/usr/bin/openssl <<'END'\n"
        '#!/bin/sh\nprintf "%s\\n" "$@" >>/tmp/openssl.log\nexec /usr/bin/openssl.real "$@"\n'
        "END\nchmod 755 /usr/bin/openssl; touch /tmp/openssl.log; chmod 666 /tmp/openssl.log",
        user="root",
    )
    try:
        words = "cat /tmp/openssl.log; : >/tmp/openssl.log"
        yield lambda: {word.rpartition("/")[2] for word in host.sh(words).splitlines()}
    finally:
        host.sh("mv /usr/bin/openssl.real /usr/bin/openssl", user="root")


def test_files_that_are_as_they_were_are_not_read(place: Place, containers: list[TestHost]) -> None:
    place.files = {"f": "f", "g": "sub dir/g", "h": "h"}
    for name in ("g", "h"):
        place.controller.write(name, CONTENT)
    names = {"f", "g", "h"}
    place.deploy()
    time.sleep(AT_REST_S + 0.1)
    with hashing_logged(place.host) as log:
        assert place.deploy() == (0, 3)
        assert names <= log()
        for _ in range(2):
            assert place.deploy() == (0, 3)
            assert not names & log()
        place.alter("h")
        assert place.deploy() == (1, 2)
        assert names & log() == {"h"}
        place.deploy("--rehash")
        assert names <= log()
    assert place.content("h") == CONTENT


def test_sources_that_are_as_they_were_are_not_read(place: Place) -> None:
    """It shows by a digest that nobody would compute."""
    place.remember()
    source = str(place.controller.directory / "f")
    known = place.ledger.local([source])
    if not known:
        pytest.skip("the tests' directory is on a file system that is not trusted")
    assert known[source].sha1 == sha1(CONTENT)
    place.ledger.store_local([known[source]._replace(sha1="0" * 40)])
    assert place.deploy() == (1, 0)
    assert place.content("f") == CONTENT


def test_permissions_that_change_cost_one_more_look_and_are_kept(place: Place) -> None:
    place.remember()
    place.host.sh(f"chmod 751 {place.directory}/f")
    time.sleep(AT_REST_S + 0.1)
    assert place.deploy() == (0, 1)
    assert place.remembered()[f"{place.directory}/f"].signature == place.signature("f")
    assert place.host.sh(f"stat -c %a {place.directory}/f") == "751\n"


def test_with_always_copy_nothing_is_remembered_or_believed(place: Place) -> None:
    place.remember()
    before = place.remembered()
    place.alter()
    place.lie()
    assert place.deploy("--always-copy") == (1, 0)
    assert place.content("f") == CONTENT
    assert set(place.remembered()) == set(before)


# what is done to files


TRICKS = {
    "written, mtime put back": "touch -r f stamp; printf 9876543210 >f; touch -r stamp f",
    "mtime set to the nanosecond": "m=$(stat -c %.9Y f); printf 9876543210 >f; touch -d @$m f",
    "one byte": "touch -r f s; printf X | dd of=f conv=notrunc status=none; touch -r s f",
    "emptied and filled": "touch -r f s; : >f; printf 98765 >>f; printf 43210 >>f; touch -r s f",
    "replaced by a rename": "printf 9876543210 >n; touch -r f n; mv n f",
    "removed and made again": "touch -r f s; rm f; printf 9876543210 >f; touch -r s f",
    "copied over": "printf 9876543210 >n; touch -r f n; cp -p n f",
    "linked over": "printf 9876543210 >n; touch -r f n; ln -f n f",
    "written by another name": "ln f n; touch -r f s; printf 9876543210 >n; touch -r s n; rm n",
    "unpacked": "mkdir t; printf 9876543210 >t/f; touch -r f t/f; "
    "tar -C t --format=posix -cf - f | tar -xpf -",
    "moved away, written, moved back": "mv f n; touch -r n s; printf 9876543210 >n; "
    "touch -r s n; mv n f",
    "directory moved over": "mkdir ../n; printf 9876543210 >../n/f; touch -r f ../n/f; "
    'd=$(basename "$PWD"); cd ..; mv "$d" n/old; mv n "$d"',
    "directory linked over": "mkdir ../l; printf 9876543210 >../l/f; touch -r f ../l/f; "
    'd=$(basename "$PWD"); cd ..; mv "$d" l/old; ln -s l "$d"',
    "link to another": "printf 9876543210 >n; touch -r f n; ln -sf n f",
    "permissions, too": "touch -r f s; printf 9876543210 >f; chmod 640 f; touch -r s f",
}
"""Each in a directory of its own with a file ``f``, which is of other content then, but of the same
size and mtime."""


def tricked(run: Callable[[str], str], root: str, names: list[str]) -> None:
    """Do each trick to a file ``root/NAME/f``, and make sure that it is one."""
    for name in names:
        directory = f"{root}/{name}"
        look = f"cd '{directory}' && stat -L -c '%s %.9Y' f"
        before = run(look)
        run(f"cd '{directory}' && {{ {TRICKS[name]}; }}")
        assert run(look) == before, name
        assert run(f"cat '{directory}/f'") != CONTENT, name


def contents(run: Callable[[str], str], root: str, names: list[str]) -> dict[str, str]:
    return {name: run(f"cat '{root}/{name}/f'") for name in names}


def here(command: str) -> str:
    return subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=True).stdout


def test_whatever_is_done_to_a_file_on_the_host_is_found(place: Place) -> None:
    names = list(TRICKS)
    place.files = {"f": "f"} | {f"in/{name}": f"{name}/f" for name in names}
    for name in names:
        place.controller.write(f"in/{name}", CONTENT)
    place.remember()
    tricked(place.host.sh, place.directory, names)
    assert place.deploy() == (len(names), 1)
    assert contents(place.host.sh, place.directory, names) == dict.fromkeys(names, CONTENT)
    assert place.deploy() == (0, len(names) + 1)


def test_whatever_is_done_to_a_source_is_found(place: Place) -> None:
    names = list(TRICKS)
    place.files = {"f": "f"} | {f"{name}/f": f"{name}/f" for name in names}
    for name in names:
        place.controller.write(f"{name}/f", CONTENT)
    place.remember()
    root = str(place.controller.directory)
    if len(place.ledger.local(f"{root}/{name}/f" for name in names)) < len(names):
        pytest.skip("the tests' directory is on a file system that is not trusted")
    tricked(here, root, names)
    expected = contents(here, root, names)
    assert CONTENT not in expected.values()
    assert place.deploy() == (len(names), 1)
    assert contents(place.host.sh, place.directory, names) == expected
    assert place.deploy() == (0, len(names) + 1)


@pytest.mark.parametrize("end", ["here", "there"])
def test_files_that_change_places_are_found(place: Place, end: str) -> None:
    """Both are remembered, and of the same size and mtime."""
    place.files = {"a/f": "a/f", "b/f": "b/f"}
    for name, content in (("a", CONTENT), ("b", OTHER)):
        place.controller.write(f"{name}/f", content)
        os.utime(place.controller.directory / name / "f", (1, 1))
    place.remember()
    swap = "mv a/f t && mv b/f a/f && mv t b/f"
    if end == "here":
        here(f"cd {place.controller.directory} && {swap}")
    else:
        times = "touch -d @1 a/f b/f"
        place.host.sh(f"cd {place.directory} && {times}")
        time.sleep(AT_REST_S + 0.1)
        assert place.deploy() == (0, 2)  # and remembers them anew
        place.host.sh(f"cd {place.directory} && {swap}")
    assert place.deploy() == (2, 0)
    wanted = (OTHER, CONTENT) if end == "here" else (CONTENT, OTHER)
    assert (place.content("a/f"), place.content("b/f")) == wanted


def test_a_link_that_is_turned_to_another_file_is_followed(place: Place) -> None:
    for name, content in (("one", CONTENT), ("two", OTHER)):
        place.controller.write(name, content)
        os.utime(place.controller.directory / name, (1, 1))
    link = place.controller.directory / "link"
    link.symlink_to("one")
    place.files = {"link": "f"}
    place.remember()
    link.unlink()
    link.symlink_to("two")
    assert place.deploy() == (1, 0)
    assert place.content("f") == OTHER


def test_what_may_have_changed_a_moment_ago_is_not_remembered(place: Place) -> None:
    """A change in the same tick of the clock would not show."""
    place.deploy()
    tomorrow = time.time() + 86400  # so that no machine is too slow for it
    place.host.sh(f"touch -d @{tomorrow:.0f} {place.directory}/f")
    os.utime(place.controller.directory / "f", (tomorrow, tomorrow))
    assert place.deploy() == (0, 1)
    assert place.remembered() == {}
    assert place.ledger.local([str(place.controller.directory / "f")]) == {}
    place.alter()
    assert place.deploy() == (1, 0)
    assert place.content("f") == CONTENT


def test_changes_that_follow_each_other_closely_are_all_found(place: Place) -> None:
    """On both ends, each with the mtime put back, as fast as fastrr can be run."""
    source = place.controller.directory / "f"
    for number in range(4):
        content = f"{number:010}"
        here(REWRITE.format(source, content))
        assert place.deploy() == (1, 0)
        assert place.content("f") == content
        place.alter()
        assert place.deploy() == (1, 0)
        assert place.content("f") == content


# where it is not to be trusted


@pytest.mark.parametrize("where", ["/dev/shm", "home"])
def test_other_file_systems_are_not_trusted(place: Place, where: str) -> None:
    place.directory = place.host.home if where == "home" else where
    place.directory += f"/fastrr-test-{os.getpid()}"
    place.host.sh(f"mkdir {place.directory}")
    try:
        kind = place.host.sh(f"df -PT {place.directory}").splitlines()[1].split()[1]
        if kind in TRUSTED_FILE_SYSTEMS:
            pytest.skip(f"{where} is on {kind}, which is trusted")
        place.deploy()
        time.sleep(AT_REST_S + 0.1)
        assert place.deploy() == (0, 1)
        assert place.remembered() == {}
        place.alter()
        assert place.deploy() == (1, 0)
        assert place.content("f") == CONTENT
    finally:
        place.host.sh(f"rm -rf {place.directory}")


def test_a_host_that_tells_only_seconds_is_not_trusted(
    place: Place, containers: list[TestHost]
) -> None:
    with shared(place) as options:
        place.deploy("--user", "busybox-user", *options)
        time.sleep(AT_REST_S + 0.1)
        assert place.deploy("--user", "busybox-user", *options) == (0, 1)
        assert place.remembered() == {}
        assert place.deploy(*options) == (0, 1)
        assert len(place.remembered()) == 1  # the same file, by GNU's stat


# whose it is


@contextlib.contextmanager
def shared(place: Place) -> Iterator[tuple[str, ...]]:
    """Let other accounts write to the directory for the time inside; yield the options for that."""
    place.host.sh(f"chown root {place.directory}; chmod 777 {place.directory}", user="root")
    try:
        yield ("--allow-shared", place.directory)
    finally:
        place.host.sh(f"chown {place.host.user} {place.directory}", user="root")


@contextlib.contextmanager
def machine_id(host: TestHost) -> Iterator[Callable[[str], None]]:
    """Yields a function that gives the host a machine-id (machine-id(5))."""

    def be(name: str) -> None:
        host.sh(f"echo {name} >/etc/machine-id", user="root")

    host.sh("cp -p /etc/machine-id /tmp/machine-id 2>/dev/null; true", user="root")
    try:
        yield be
    finally:
        host.sh("rm /etc/machine-id; cp -p /tmp/machine-id /etc 2>/dev/null; true", user="root")


def test_a_host_that_was_installed_anew_is_not_taken_for_the_old_one(
    place: Place, containers: list[TestHost]
) -> None:
    """With its host keys put back; inodes and times may repeat in images."""
    with machine_id(place.host) as be:
        be("a" * 32)
        place.remember()
        assert place.remembered_machine() == "a" * 32
        place.alter()
        place.lie()
        (identity,) = place.identities()
        gone = RemoteEntry(Signature(1, 1, 1, 1, 1), sha1(""), "a" * 32)
        place.ledger.store_remote(identity, {"/of an earlier config": gone})
        assert place.deploy() == (0, 1), "the lie is believed"
        be("b" * 32)
        assert place.deploy() == (1, 0)
        assert place.content("f") == CONTENT
        time.sleep(AT_REST_S + 0.1)
        assert place.deploy() == (0, 1)
        assert {path: e.machine for path, e in place.remembered().items()} == {
            f"{place.directory}/f": "b" * 32
        }
        # And it is trusted again: as it is told, not as it is.
        place.alter()
        place.lie()
        assert place.deploy() == (0, 1)


def test_a_host_with_another_key_is_not_taken_for_the_one_of_that_name(
    place: Place, hosts: list[TestHost]
) -> None:
    """The file is even the same: both hosts share its file system."""
    place.remember()
    place.alter()
    place.lie()
    bed = place.controller.bed
    assert bed is not None
    config = bed.ssh_config.read_text()
    assert place.deploy() == (0, 1), "the lie is believed"
    for attribute in ("address", "port"):
        old, new = (getattr(host, attribute) for host in hosts[:2])
        config = config.replace(f" {old}\n", " old\n").replace(f" {new}\n", f" {old}\n")
        config = config.replace(" old\n", f" {new}\n")
    bed.ssh_config.write_text(config)
    assert place.deploy() == (1, 0)
    assert place.content("f") == CONTENT


def test_what_one_account_was_told_another_is_not(place: Place, containers: list[TestHost]) -> None:
    place.remember()
    place.alter()
    place.lie()
    assert place.deploy() == (0, 1), "the lie is believed"
    with shared(place) as options:
        assert place.deploy("--user", "csh-user", *options) == (1, 0)
    assert place.content("f") == CONTENT


def test_relative_paths_of_two_accounts_are_two_files(
    place: Place, containers: list[TestHost]
) -> None:
    place.directory = "work"
    for user in ("tester", "csh-user"):
        assert place.deploy("--user", user) == (1, 0)
        assert place.deploy("--user", user) == (0, 1)
    here(REWRITE.format(place.controller.directory / "f", OTHER))
    for user in ("tester", "csh-user"):
        assert place.deploy("--user", user) == (1, 0)
        assert place.host.sh(f"cat ~{user}/work/f", user="root") == OTHER


def test_two_configs_that_disagree_both_get_what_they_want(place: Place) -> None:
    """One after the other, about one destination: sources of the same size and mtime."""
    for name, content in (("f", CONTENT), ("g", OTHER)):
        place.controller.write(name, content)
        os.utime(place.controller.directory / name, (1, 1))
    place.remember()
    for _ in range(2):
        for name, content in (("g", OTHER), ("f", CONTENT)):
            place.files = {name: "f"}
            assert place.deploy() == (1, 0)
            assert place.content("f") == content
        time.sleep(AT_REST_S + 0.1)
        assert place.deploy() == (0, 1)


# when it is wrong


def test_rehash_finds_what_the_ledger_has_wrong_of_a_host_and_puts_it_right(place: Place) -> None:
    place.remember()
    place.alter()
    place.lie()
    for _ in range(2):  # file by file, and by one listing
        assert place.deploy() == (0, 1), "the lie is believed"
    assert place.content("f") == OTHER
    time.sleep(AT_REST_S + 0.1)
    signature = place.signature("f")
    assert place.deploy("--rehash") == (1, 0)
    assert place.content("f") == CONTENT
    entry = place.remembered()[f"{place.directory}/f"]
    assert (entry.signature, entry.sha1) == (signature, sha1(OTHER))
    assert place.deploy() == (0, 1)


def test_rehash_finds_what_the_ledger_has_wrong_of_a_source_and_puts_it_right(
    place: Place,
) -> None:
    place.remember()
    source = place.controller.directory / "f"
    here(REWRITE.format(source, OTHER))
    time.sleep(AT_REST_S + 0.1)
    lie = LocalEntry(str(source), Signature.of(source.stat()), sha1(CONTENT))
    place.ledger.store_local([lie])
    assert place.deploy() == (0, 1), "the lie is believed"
    assert place.deploy("--rehash") == (1, 0)
    assert place.content("f") == OTHER
    if Mounts().file_system_of(str(source)) in TRUSTED_FILE_SYSTEMS:
        assert place.ledger.local([str(source)])[str(source)].sha1 == sha1(OTHER)
    assert place.deploy() == (0, 1)


def _newer(path: Path) -> None:
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute("ALTER TABLE remote ADD COLUMN sha512 TEXT")
        connection.execute("PRAGMA user_version = 99")


def _flip(path: Path) -> None:
    """Damage all that is not the header."""
    content = bytearray(path.read_bytes())
    chance = random.Random(1)
    for _ in range(len(content) // 50):
        content[chance.randrange(100, len(content))] = chance.randrange(256)
    path.write_bytes(content)


def _directory(path: Path) -> None:
    path.unlink()
    path.mkdir()


def _link(path: Path, target: str) -> None:
    path.unlink()
    path.symlink_to(target)


WRECKS: dict[str, Callable[[Path], object]] = {
    "empty": lambda path: path.write_bytes(b""),
    "random": lambda path: path.write_bytes(random.Random(1).randbytes(40_000)),
    "text": lambda path: path.write_text("no ledger\n" * 1000),
    "cut off": lambda path: os.truncate(path, path.stat().st_size // 2 + 100),
    "header only": lambda path: os.truncate(path, 100),
    "damaged": _flip,
    "newer": _newer,
    "a directory": _directory,
    "gone": lambda path: path.unlink(),
    "gone with its directory": lambda path: shutil.rmtree(path.parent),
    "no room": lambda path: _link(path, "/dev/full"),
    "a link to nowhere": lambda path: _link(path, "/proc/none"),
}


def test_a_wrecked_ledger_costs_nothing_but_time(place: Place) -> None:
    """That it is begun anew where that is possible: see tests/unit/test_ledger.py."""
    place.remember()
    saved = place.ledger_path.read_bytes()
    for wreck, do in WRECKS.items():
        shutil.rmtree(place.ledger_path.parent, ignore_errors=True)
        place.ledger_path.parent.mkdir()
        place.ledger_path.write_bytes(saved)
        place.alter()
        do(place.ledger_path)
        result = place.run()
        assert result.status == 0, (wreck, result)
        assert "WARNING" not in result.output, (wreck, result)
        assert "ERROR" not in result.output, (wreck, result)
        assert place.content("f") == CONTENT, (wreck, result)
    assert place.deploy() == (0, 1)


@contextlib.contextmanager
def immutable(path: Path) -> Iterator[None]:
    """Read-only even for root, whom permissions don't stop (chattr(1))."""
    if os.getuid() != 0:
        path.chmod(0o500 if path.is_dir() else 0o400)
    elif subprocess.run([need("chattr"), "+i", path], capture_output=True, check=False).returncode:
        pytest.skip("this file system has no immutable files")
    try:
        yield
    finally:
        if os.getuid() == 0:
            subprocess.run(["chattr", "-i", path], check=True)
        else:
            path.chmod(0o700)


@pytest.mark.parametrize("what", ["file", "directory"])
def test_a_read_only_ledger_is_still_of_use(place: Place, what: str) -> None:
    place.remember()
    place.alter()
    path = place.ledger_path if what == "file" else place.ledger_path.parent
    with immutable(path):
        assert place.deploy() == (1, 0)
        assert place.content("f") == CONTENT
        assert place.deploy() == (0, 1)


def test_a_full_disk_leaves_the_ledger_as_it_is(place: Place) -> None:
    """Files of fastrr can't grow (prlimit(1), as if the disk were full)."""
    prlimit = need("prlimit")
    place.remember()
    before = place.remembered()
    place.alter()
    real = place.controller.command
    place.controller.command = lambda *words: [prlimit, "--fsize=0", *real(*words)]  # type: ignore[method-assign]
    assert place.deploy() == (1, 0)
    assert place.content("f") == CONTENT
    time.sleep(AT_REST_S + 0.1)
    assert place.deploy() == (0, 1)
    assert place.remembered() == before


@pytest.mark.parametrize("cache", ["/proc/none", "/dev/null", "relative/cache"])
def test_no_place_for_a_ledger(place: Place, cache: str) -> None:
    environment = {"XDG_CACHE_HOME": cache}
    assert place.deploy(env=environment) == (1, 0)
    time.sleep(AT_REST_S + 0.1)
    assert place.deploy(env=environment) == (0, 1)
    place.alter()
    assert place.deploy(env=environment) == (1, 0)
    assert place.content("f") == CONTENT
    assert sorted(os.listdir(place.controller.directory)) == ["config.py", "f"]


def test_a_ledger_that_somebody_keeps_locked_costs_some_seconds(place: Place) -> None:
    place.remember()
    place.alter()
    with contextlib.closing(sqlite3.connect(place.ledger_path, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        began = time.monotonic()
        assert place.deploy() == (1, 0)
        assert time.monotonic() - began < 20
    assert place.content("f") == CONTENT
    time.sleep(AT_REST_S + 0.1)
    assert place.deploy() == (0, 1)


def test_runs_at_the_same_time_share_the_ledger(place: Place, hosts: list[TestHost]) -> None:
    """Each has a directory of its own; all have the same sources, and one has another host."""
    count, files = 4, 60
    controller = place.controller
    place.files = {}
    for number in range(files):
        controller.write(f"in/{number}", CONTENT)
        place.files[f"in/{number}"] = f"d/{number}"
    for number in range(count):
        text = CONFIG.format(
            host=hosts[number % 2].name, directory=f"{place.directory}/{number}", files=place.files
        )
        controller.write(f"config{number}.py", text)
    for altering in (None, None, "0 1 2"):
        if altering:
            place.host.sh(
                f"cd {place.directory} && touch -r 0/d/0 stamp && for run in 0 1 2 3; do"
                f"  for n in {altering}; do printf {OTHER} >$run/d/$n; touch -r stamp $run/d/$n;"
                "   done; done"
            )
        processes = [
            subprocess.Popen(
                controller.command("--copy-only", "-c", str(controller.directory / name)),
                env=controller.environment,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
            )
            for name in (f"config{number}.py" for number in range(count))
        ]
        for process in processes:
            output = process.communicate(timeout=120)[0]
            assert process.returncode == 0, output
            assert "WARNING" not in output
        found = place.host.sh(f"cat {place.directory}/*/d/*")
        assert found == CONTENT * count * files
        time.sleep(AT_REST_S + 0.1)
    assert len(place.remembered()) >= count * (files - 3)
