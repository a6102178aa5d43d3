"""What is remembered: by which rules, and that a ledger in any state costs time, never truth."""

from __future__ import annotations

import contextlib
import mmap
import multiprocessing
import os
import random
import resource
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from fastrr.files import ledger as ledger_module
from fastrr.files.ledger import (
    AT_REST_S,
    KEEP_DAYS,
    TRUSTED_FILE_SYSTEMS,
    Ledger,
    Listing,
    LocalEntry,
    LocalLedger,
    Mounts,
    RemoteEntry,
    at_rest,
    default_path,
)
from fastrr.hosts.shell import to_text
from fastrr.model import Signature, SourceFile

SECOND = 10**9
SIGNATURE = Signature(10, 1_700_000_000_123456789, 1_700_000_000_987654321, 42, 65024)
SHA1 = "2fd4e1c67a2d28fced849ee1bb76e7391b93eb12"
ENTRY = RemoteEntry(SIGNATURE, SHA1, "machine")
NAMES = (
    *("./plain", "/abs/two words", "./new\nline", "./ünï 日本語 🚀", "./nul-free \x01", "'\"; --"),
    to_text(b"./bytes \xff\xfe"),
)


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "cache" / "fastrr" / "ledger.sqlite")


def filled(path: str, count: int = 3) -> dict[str, RemoteEntry]:
    """A ledger with this many files of the host ``h``."""
    entries = {
        f"./file {n}": RemoteEntry(SIGNATURE._replace(inode=n), f"{n:040x}", "machine")
        for n in range(count)
    }
    Ledger(path).store_remote("h", entries)
    assert Ledger(path).remote("h") == entries
    return entries


def execute(path: str, *statements: str) -> None:
    with contextlib.closing(sqlite3.connect(path)) as connection, connection:
        for statement in statements:
            connection.execute(statement)


# what goes in comes out


def test_files_of_a_host_are_remembered_by_any_name(path: str) -> None:
    entries = {
        name: RemoteEntry(SIGNATURE._replace(inode=n), f"{n:040x}", f"machine {n}")
        for n, name in enumerate(NAMES)
    }
    Ledger(path).store_remote("h", entries)
    assert Ledger(path).remote("h") == entries


def test_hosts_are_kept_apart(path: str) -> None:
    other = SIGNATURE._replace(size=11)
    Ledger(path).store_remote("tester ssh-ed25519 A", {"./f": ENTRY})
    Ledger(path).store_remote("other ssh-ed25519 A", {"./f": RemoteEntry(other, SHA1, "m")})
    assert Ledger(path).remote("tester ssh-ed25519 A") == {"./f": ENTRY}
    assert Ledger(path).remote("other ssh-ed25519 A") == {"./f": RemoteEntry(other, SHA1, "m")}
    assert Ledger(path).remote("tester") == {}


def test_what_is_newer_replaces_what_is_older(path: str) -> None:
    Ledger(path).store_remote("h", {"./f": ENTRY, "./g": ENTRY})
    newer = RemoteEntry(SIGNATURE._replace(ctime_ns=1), "0" * 40, "another machine")
    Ledger(path).store_remote("h", {"./f": newer})
    assert Ledger(path).remote("h") == {"./f": newer, "./g": ENTRY}


def test_a_host_can_be_forgotten(path: str) -> None:
    for host in ("h", "i"):
        Ledger(path).store_remote(host, {"./f": ENTRY})
    Ledger(path).forget_remote("h")
    assert Ledger(path).remote("h") == {}
    assert Ledger(path).remote("i") == {"./f": ENTRY}


def test_listings_are_remembered_by_host_and_files(path: str) -> None:
    one, two = Listing("d1", "c1", "m"), Listing("d2", "c2", "m")
    Ledger(path).store_listing("h", "files", one)
    Ledger(path).store_listing("h", "others", two)
    assert Ledger(path).listing("h", "files") == one
    assert Ledger(path).listing("h", "others") == two
    assert Ledger(path).listing("i", "files") is None
    Ledger(path).store_listing("h", "files", two)
    assert Ledger(path).listing("h", "files") == two


def test_a_host_is_forgotten_with_its_listings(path: str) -> None:
    for host in ("h", "i"):
        Ledger(path).store_listing(host, "files", Listing("d", "c", "m"))
    Ledger(path).forget_remote("h")
    assert Ledger(path).listing("h", "files") is None
    assert Ledger(path).listing("i", "files") is not None


@pytest.mark.parametrize("column", ["files", "machine", "digest", "contents", "seal"])
def test_a_listing_that_was_not_written_so_is_not_believed(path: str, column: str) -> None:
    Ledger(path).store_listing("h", "files", Listing("d", "c", "m"))
    execute(path, f"UPDATE listing SET {column} = 'x'")
    assert Ledger(path).listing("h", "files") is None
    assert Ledger(path).listing("h", "x") is None
    Ledger(path).store_listing("h", "files", Listing("d", "c", "m"))
    assert Ledger(path).listing("h", "files") == Listing("d", "c", "m")


def test_inodes_and_devices_may_be_beyond_what_sqlite_holds(path: str) -> None:
    signature = Signature(2**63, -(2**64), 2**65, 2**64 - 1, 2**64 - 2)
    Ledger(path).store_remote("h", {"./f": RemoteEntry(signature, SHA1, "")})
    assert Ledger(path).remote("h")["./f"].signature == signature


def test_local_files_are_remembered_and_only_those_asked_for_are_told(path: str) -> None:
    entries = [LocalEntry(name, SIGNATURE, SHA1) for name in NAMES]
    Ledger(path).store_local(entries)
    assert Ledger(path).local(NAMES[1:]) == {entry.path: entry for entry in entries[1:]}
    assert Ledger(path).local(["/not/there"]) == {}


def test_without_a_path_nothing_is_remembered() -> None:
    ledger = Ledger(None)
    ledger.store_remote("h", {"./f": ENTRY})
    ledger.store_local([LocalEntry("/f", SIGNATURE, SHA1)])
    assert ledger.remote("h") == {}
    assert ledger.local(["/f"]) == {}


def test_nothing_to_remember_makes_no_file(path: str) -> None:
    Ledger(path).store_remote("h", {})
    LocalLedger(Ledger(path)).store([])
    assert not os.path.exists(path)


def test_what_is_remembered_is_for_nobody_else_to_read(path: str) -> None:
    filled(path)
    assert os.stat(os.path.dirname(path)).st_mode & 0o777 == 0o700


def test_what_was_learned_long_ago_is_forgotten(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    today = int(time.time() // 86400)
    for age in (KEEP_DAYS + 1, KEEP_DAYS, 0):
        monkeypatch.setattr(ledger_module, "_today", lambda day=today - age: day)
        Ledger(path).store_remote("h", {f"./{age}": ENTRY})
        Ledger(path).store_local([LocalEntry(f"/{age}", SIGNATURE, SHA1)])
        Ledger(path).store_listing("h", f"{age}", Listing("d", "c", "m"))
    assert Ledger(path).listing("h", f"{KEEP_DAYS + 1}") is None
    assert Ledger(path).listing("h", f"{KEEP_DAYS}") is not None
    assert set(Ledger(path).remote("h")) == {f"./{KEEP_DAYS}", "./0"}
    assert set(Ledger(path).local([f"/{KEEP_DAYS + 1}", f"/{KEEP_DAYS}", "/0"])) == {
        f"/{KEEP_DAYS}",
        "/0",
    }


@pytest.mark.parametrize(
    ("variable", "expected"),
    [("/x/cache", "/x/cache"), ("", "/h/.cache"), (None, "/h/.cache"), ("rel", "/h/.cache")],
)
def test_it_is_kept_in_the_user_s_cache(
    monkeypatch: pytest.MonkeyPatch, variable: str | None, expected: str
) -> None:
    monkeypatch.setenv("HOME", "/h")
    if variable is None:
        monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    else:
        monkeypatch.setenv("XDG_CACHE_HOME", variable)
    assert default_path() == f"{expected}/fastrr/ledger.sqlite"


# the rules


@pytest.mark.parametrize(
    ("mtime_ago_s", "ctime_ago_s", "rests"),
    [
        (1000, 1000, True),
        (AT_REST_S + 0.001, AT_REST_S + 0.001, True),
        (AT_REST_S, AT_REST_S + 1, False),
        (1000, 1.5, False),  # as after touch -d: mtime can be set, ctime can't
        (1.5, 1000, False),
        (-1.5, 1000, False),  # from the future
        (1000, -3600, False),  # the clock was set back
    ],
)
def test_a_file_is_at_rest_when_neither_of_its_times_is_recent(
    mtime_ago_s: float, ctime_ago_s: float, rests: bool
) -> None:
    clock = 1_700_000_000_123456789
    times = (clock - int(mtime_ago_s * SECOND), clock - int(ctime_ago_s * SECOND))
    assert at_rest(Signature(1, *times, 1, 1), clock) is rests


def test_a_file_whose_ctime_has_only_seconds_is_never_at_rest() -> None:
    assert at_rest(Signature(1, 5, 5 * SECOND + 1, 1, 1), 100 * SECOND)
    assert not at_rest(Signature(1, 5, 5 * SECOND, 1, 1), 100 * SECOND)


def source(path: str, signature: Signature = SIGNATURE) -> SourceFile:
    return SourceFile(path, 0o644, signature)


@pytest.mark.parametrize("field", ["size", "mtime_ns", "ctime_ns", "inode", "device"])
def test_a_local_digest_holds_for_exactly_one_signature(path: str, field: str) -> None:
    Ledger(path).store_local([LocalEntry("/f", SIGNATURE, SHA1)])
    ledger = LocalLedger(Ledger(path))
    assert ledger.look_up([source("/f")]) == {"/f": SHA1}
    changed = SIGNATURE._replace(**{field: getattr(SIGNATURE, field) + 1})
    assert ledger.look_up([source("/f", changed), source("/g")]) == {}


def test_what_is_ignored_is_still_written(path: str, tmp_path: Path) -> None:
    file = tmp_path / "f"
    file.touch()
    entry = LocalEntry(str(file), SIGNATURE, SHA1)
    if Mounts().file_system_of(str(file)) not in TRUSTED_FILE_SYSTEMS:
        pytest.skip("the tests' directory is on a file system that is not trusted")
    ledger = LocalLedger(Ledger(path), ignore=True)
    ledger.store([entry])
    assert ledger.look_up([source(str(file))]) == {}
    assert LocalLedger(Ledger(path)).look_up([source(str(file))]) == {str(file): SHA1}


@pytest.mark.parametrize(
    "kind",
    [
        *("nfs", "nfs4", "cifs", "smb3", "9p", "afs", "ceph", "lustre", "gfs2", "virtiofs"),
        *("fuse", "fuseblk", "fuse.sshfs", "fuse.fuse-overlayfs", "fuse-overlayfs", "vboxsf"),
        *("vfat", "exfat", "ntfs3", "tmpfs", "ramfs", "proc", "-", ""),
    ],
)
def test_file_systems_that_are_not_trusted(kind: str) -> None:
    assert kind not in TRUSTED_FILE_SYSTEMS


def test_local_files_are_stored_only_where_the_file_system_is_trusted(
    path: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = tmp_path / "mounts"
    table.write_text(
        "1 0 8:1 / / rw - ext4 /dev/sda1 rw\n"
        "2 1 0:30 / /net rw shared:1 - nfs4 server:/ rw\n"
        "3 1 0:31 / /dev/shm rw - tmpfs shm rw\n"
    )
    monkeypatch.setattr(ledger_module, "Mounts", lambda: Mounts(str(table)))
    paths = ["/nowhere/f", "/net/f", "/net/deeper/f", "/dev/shm/f"]
    LocalLedger(Ledger(path)).store([LocalEntry(p, SIGNATURE, SHA1) for p in paths])
    assert set(Ledger(path).local(paths)) == {"/nowhere/f"}


def test_a_write_to_mapped_memory_changes_no_time_in_a_file_system_in_memory() -> None:
    """Why tmpfs is not trusted."""
    if Mounts().file_system_of("/dev/shm/f") != "tmpfs":
        pytest.skip("/dev/shm is no tmpfs here")
    file = Path("/dev/shm", f"fastrr-test-{os.getpid()}")
    try:
        file.write_bytes(bytes(4096))
        with file.open("r+b") as opened, mmap.mmap(opened.fileno(), 0) as mapped:
            assert mapped[0] == 0
            before = Signature.of(file.stat())
            time.sleep(0.05)
            mapped[0] = 1
            assert file.read_bytes()[0] == 1
            assert Signature.of(file.stat()) == before
    finally:
        file.unlink()


# mounts


MOUNTS = rb"""22 1 254:0 / / rw,relatime - ext4 /dev/vda rw
23 22 0:5 / /dev rw shared:2 master:1 - devtmpfs devtmpfs rw,size=12
24 22 0:40 / /net/two\040words rw - nfs4 server:/x rw
25 22 0:41 / /net/tab\011new\012back\134slash rw - cifs //server/x rw
26 22 0:42 / /net/caf\303\251 rw - fuse.sshfs x rw
27 22 0:43 / /net/""" + (
    b"\xff" + b" rw - 9p x rw\n"
    b"28 22 8:1 /file /etc/single rw - nfs server:/y rw\n"
    b"29 22 0:44 / /over rw - nfs x rw\n"
    b"30 29 0:45 / /over rw - xfs x rw\n"
    b"31 22 0:46 / /data rw - btrfs x rw\n"
    b"32 31 0:47 / /data/inner rw - fuse x rw\n"
)


@pytest.mark.parametrize(
    ("file", "kind"),
    [
        ("/home/u/f", "ext4"),
        ("/f", "ext4"),
        ("/devil/f", "ext4"),
        ("/dev/null", "devtmpfs"),
        ("/net/f", "ext4"),
        ("/net/two words/f", "nfs4"),
        ("/net/tab\tnew\nback\\slash/deep/f", "cifs"),
        ("/net/café/f", "fuse.sshfs"),
        (to_text(b"/net/\xff/f"), "9p"),
        ("/etc/single", "nfs"),
        ("/etc/other", "ext4"),
        ("/over/f", "xfs"),
        ("/data/sub/volume/f", "btrfs"),
        ("/data/inner/f", "fuse"),
        ("/data/inner/../f", "btrfs"),
    ],
)
def test_the_file_system_is_that_of_the_nearest_mount(tmp_path: Path, file: str, kind: str) -> None:
    (tmp_path / "mountinfo").write_bytes(MOUNTS)
    mounts = Mounts(str(tmp_path / "mountinfo"))
    assert [mounts.file_system_of(file), mounts.file_system_of(file)] == [kind, kind]


def test_links_are_followed_to_where_the_file_is(tmp_path: Path) -> None:
    (tmp_path / "mountinfo").write_bytes(MOUNTS)
    (tmp_path / "link").symlink_to("/data/inner/f")
    assert Mounts(str(tmp_path / "mountinfo")).file_system_of(str(tmp_path / "link")) == "fuse"


def test_without_a_table_no_file_system_is_known(tmp_path: Path) -> None:
    assert Mounts(str(tmp_path / "none")).file_system_of("/home/u/f") is None


def test_the_table_of_this_machine_says_what_df_says(tmp_path: Path) -> None:
    for directory in (str(tmp_path), "/dev/shm", "/proc"):
        said = subprocess.run(
            ["df", "-PT", directory], capture_output=True, text=True, check=True
        ).stdout.splitlines()[1]
        assert Mounts().file_system_of(f"{directory}/f") == said.split()[1]


# a ledger that can't be used


def assert_heals(path: str, host: str = "h") -> None:
    """Whatever is there: at most one use of it finds nothing, then it works again."""
    Ledger(path).remote(host)
    Ledger(path).local(["/f"])
    Ledger(path).store_remote(host, {"./new": ENTRY})
    Ledger(path).store_local([LocalEntry("/f", SIGNATURE, SHA1)])
    assert Ledger(path).remote(host)["./new"] == ENTRY
    assert Ledger(path).local(["/f"])["/f"].sha1 == SHA1


@pytest.mark.parametrize("count", [1, 15, 16, 100, 5000])
def test_a_file_of_random_bytes_is_begun_anew(path: str, count: int) -> None:
    os.makedirs(os.path.dirname(path))
    Path(path).write_bytes(random.Random(count).randbytes(count))
    assert Ledger(path).remote("h") == {}
    assert_heals(path)


def test_an_empty_file_is_begun_anew(path: str) -> None:
    os.makedirs(os.path.dirname(path))
    Path(path).touch()
    assert Ledger(path).remote("h") == {}
    assert_heals(path)


def test_a_file_that_was_cut_off_never_tells_a_lie(path: str) -> None:
    entries = filled(path, 200)
    whole = Path(path).read_bytes()
    for length in [*range(0, 200, 20), *range(200, len(whole), 1999)]:
        Path(path).write_bytes(whole[:length])
        assert Ledger(path).remote("h").items() <= entries.items()
        assert_heals(path)


@pytest.mark.parametrize("seed", range(6))
def test_damage_anywhere_never_makes_it_tell_a_lie(path: str, seed: int) -> None:
    """SQLite has no checksums: a digest with a flipped bit would be one that was never computed."""
    entries = filled(path, 60)
    locals_ = {f"/{n}": LocalEntry(f"/{n}", SIGNATURE, f"{n:040x}") for n in range(60)}
    Ledger(path).store_local(list(locals_.values()))
    whole = Path(path).read_bytes()
    chance = random.Random(seed)
    told = 0
    for _ in range(25):
        damaged = bytearray(whole)
        for _ in range(chance.choice((1, 1, 3, 30))):
            damaged[chance.randrange(len(damaged))] ^= 1 << chance.randrange(8)
        Path(path).write_bytes(damaged)
        found = Ledger(path).remote("h")
        assert found.items() <= entries.items()
        told += len(found)
        assert Ledger(path).local(locals_).items() <= locals_.items()
        Ledger(path).store_remote("h", {"./new": ENTRY})
        assert Ledger(path).remote("h").items() <= {**entries, "./new": ENTRY}.items()
    assert told > 0, "all of them were found out: nothing was put to the test"


@pytest.mark.parametrize("version", [0, 1, 99, -1])
def test_a_ledger_of_another_version_is_begun_anew(path: str, version: int) -> None:
    filled(path)
    execute(
        path,
        "DROP TABLE remote",
        "CREATE TABLE remote (host TEXT, path BLOB, sha512 TEXT)",
        "INSERT INTO remote VALUES ('h', 'x', 'y')",
        "ALTER TABLE local ADD COLUMN sha512 TEXT",
        f"PRAGMA user_version = {version}",
    )
    assert Ledger(path).remote("h") == {}
    assert_heals(path)


@pytest.mark.parametrize("version", [0, 1, 99, -1])
def test_rows_of_another_version_are_not_believed(path: str, version: int) -> None:
    """Which may look the same and mean something else."""
    filled(path)
    execute(path, f"PRAGMA user_version = {version}")
    assert Ledger(path).remote("h") == {}
    assert_heals(path)


def test_tables_that_are_missing_or_of_another_form_are_made_anew(path: str) -> None:
    if sys.version_info < (3, 11):
        pytest.skip("sqlite3 does not tell it from a locked file")
    for statement in (
        "DROP TABLE remote",
        "ALTER TABLE remote DROP COLUMN seal",
        "ALTER TABLE remote RENAME COLUMN sha1 TO sha256",
    ):
        Ledger(path).store_remote("h", {"./f": ENTRY})
        execute(path, statement)
        Ledger(path).remote("h")
        assert_heals(path)


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE remote SET sha1 = '0000000000000000000000000000000000000001'",
        "UPDATE remote SET sha1 = NULL",
        "UPDATE remote SET sha1 = x'ff'",
        "UPDATE remote SET sha1 = CAST(x'ff' AS TEXT)",
        "UPDATE remote SET machine = 'another'",
        "UPDATE remote SET host = 'h', path = x'2e2f6f74686572' WHERE path = x'2e2f66'",
        "UPDATE remote SET path = '" + "./f" + "'",
        "UPDATE remote SET path = NULL",
        "UPDATE remote SET signature = '1 2 3'",
        "UPDATE remote SET signature = 'a b c d e'",
        "UPDATE remote SET signature = 5",
        "UPDATE remote SET seal = 'x'",
        "UPDATE remote SET seal = NULL",
    ],
)
def test_a_row_that_was_not_written_so_is_not_believed(path: str, change: str) -> None:
    Ledger(path).store_remote("h", {"./f": ENTRY})
    with contextlib.suppress(sqlite3.IntegrityError):  # then it is not as it was, either
        execute(path, change)
        assert Ledger(path).remote("h") == {}
    assert_heals(path)


@pytest.mark.parametrize(
    "way", ["the file is a directory", "no directory", "a directory of others"]
)
def test_where_no_ledger_can_be_nothing_is_remembered(path: str, tmp_path: Path, way: str) -> None:
    if way == "the file is a directory":
        os.makedirs(path)
    elif way == "no directory":
        (tmp_path / "cache").write_text("a file")
    else:
        path = "/proc/fastrr/ledger.sqlite"
    Ledger(path).store_remote("h", {"./f": ENTRY})
    assert Ledger(path).remote("h") == {}
    assert Ledger(path).local(["/f"]) == {}
    if way == "the file is a directory":
        assert os.path.isdir(path)


@contextlib.contextmanager
def no_room() -> Iterator[None]:
    """Files of this process can't grow (setrlimit(2)); Python ignores SIGXFSZ."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_where_there_is_no_room_what_is_known_stays_known(path: str) -> None:
    entries = filled(path)
    with no_room():
        ledger = Ledger(path)
        ledger.store_remote("h", {f"./more {n}": ENTRY for n in range(1000)})
        assert Ledger(path).remote("h").items() <= entries.items()
    assert Ledger(path).remote("h") == entries
    assert_heals(path)


def test_where_there_is_no_room_none_is_begun(path: str) -> None:
    with no_room():
        Ledger(path).store_remote("h", {"./f": ENTRY})
        assert Ledger(path).remote("h") == {}
    assert_heals(path)


@pytest.mark.parametrize("lock", ["EXCLUSIVE", "IMMEDIATE"])
def test_a_ledger_that_stays_locked_is_waited_for_once(
    path: str, monkeypatch: pytest.MonkeyPatch, lock: str
) -> None:
    monkeypatch.setattr(ledger_module, "BUSY_TIMEOUT_S", 0.3)
    entries = filled(path)
    real, opened = sqlite3.connect, []

    def counting(*arguments: object, **options: object) -> sqlite3.Connection:
        opened.append(arguments)
        connection = real(*arguments, **options)  # type: ignore[call-overload]
        assert isinstance(connection, sqlite3.Connection)
        return connection

    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute(f"BEGIN {lock}")
        ledger = Ledger(path)
        monkeypatch.setattr(sqlite3, "connect", counting)
        began = time.monotonic()
        for number in range(5):
            ledger.store_remote("h", {f"./{number}": ENTRY})
        assert time.monotonic() - began > 0.2
        assert ledger.remote("h") == {}
        assert len(opened) == 1
        # One that is only being written can still be read.
        assert Ledger(path).remote("h") == ({} if lock == "EXCLUSIVE" else entries)
    assert Ledger(path).remote("h") == entries


def test_a_lock_that_is_let_go_costs_only_the_wait(path: str) -> None:
    entries = filled(path)
    other = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    other.execute("BEGIN EXCLUSIVE")
    timer = threading.Timer(0.3, other.execute, ("COMMIT",))
    timer.start()
    assert Ledger(path).remote("h") == entries
    timer.join()
    other.close()


def test_a_writer_that_is_killed_leaves_what_was_there(path: str) -> None:
    entries = filled(path)
    child = multiprocessing.get_context("fork").Process(target=_write_and_die, args=(path,))
    child.start()
    child.join()
    assert child.exitcode == -signal.SIGKILL
    assert os.path.exists(f"{path}-journal")
    assert Ledger(path).remote("h") == entries
    assert_heals(path)


def _write_and_die(path: str) -> None:
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA cache_size = 1")  # pages go out before the commit
    connection.execute("BEGIN IMMEDIATE")
    connection.execute("UPDATE remote SET sha1 = 'wrong'")
    rows = [("h", b"%d" % n, "m", "1 2 3 4 5", "x" * 500, 0, 0) for n in range(2000)]
    connection.executemany("INSERT INTO remote VALUES (?, ?, ?, ?, ?, ?, ?)", rows)
    os.kill(os.getpid(), signal.SIGKILL)


# several at once


def test_many_writers_at_once_lose_nothing(path: str) -> None:
    """The file itself is made by whoever comes first."""
    context = multiprocessing.get_context("fork")
    start = context.Event()
    children = [context.Process(target=_write_many, args=(path, n, start)) for n in range(6)]
    for child in children:
        child.start()
    start.set()
    for child in children:
        child.join()
    assert [child.exitcode for child in children] == [0] * 6
    for number in range(6):
        for part in range(4):
            assert len(Ledger(path).remote(f"{number} {part}")) == 200


def _write_many(path: str, number: int, start: threading.Event) -> None:
    start.wait()
    for part in range(4):
        entries = {f"./{n}": RemoteEntry(SIGNATURE, SHA1, "") for n in range(200)}
        Ledger(path).store_remote(f"{number} {part}", entries)


def test_threads_that_meet_a_damaged_file_all_go_on(path: str) -> None:
    os.makedirs(os.path.dirname(path))
    Path(path).write_bytes(b"no ledger" * 1000)

    def use(number: int) -> None:
        Ledger(path).remote(f"h{number}")
        Ledger(path).store_remote(f"h{number}", {"./f": ENTRY})

    threads = [threading.Thread(target=use, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    # Some may have written to the file that another then threw away: that is all they lose.
    for number in range(8):
        assert Ledger(path).remote(f"h{number}") in ({}, {"./f": ENTRY})
    assert_heals(path)


def test_two_thousand_files_are_one_transaction(path: str) -> None:
    """Committed one by one, those of 16 hosts took 4 s instead of 0.8 s."""
    filled(path, 1)
    statements: list[str] = []
    real = sqlite3.connect

    def tracing(*arguments: object, **options: object) -> sqlite3.Connection:
        connection = real(*arguments, **options)  # type: ignore[call-overload]
        connection.set_trace_callback(statements.append)
        assert isinstance(connection, sqlite3.Connection)
        return connection

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sqlite3, "connect", tracing)
        Ledger(path).store_remote("h", {f"./{n}": ENTRY for n in range(2000)})
    assert [s for s in statements if s.startswith(("BEGIN", "COMMIT"))] == [
        "BEGIN IMMEDIATE",
        "COMMIT",
    ]


def test_no_descriptor_is_left_open(path: str) -> None:
    filled(path)
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(5):
        Ledger(path).remote("h")
        Ledger(path).store_remote("h", {"./f": ENTRY})
    Path(path).write_bytes(b"no ledger" * 100)
    Ledger(path).remote("h")
    assert len(os.listdir("/proc/self/fd")) == before
