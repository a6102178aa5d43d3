"""What every `Transport` must do (`fastrr.files.transports.base`). A new one takes one line."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shlex
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest
from testbed import Bed, TestHost
from testbed.kinds import ssh_kind

from fastrr.errors import HostError
from fastrr.files.transports import (
    Basis,
    Item,
    RsyncTransport,
    SftpTransport,
    StreamTransport,
    Transport,
)
from fastrr.hosts.base import Host
from fastrr.hosts.shell import Script
from fastrr.hosts.ssh import patience

TRANSPORTS: dict[str, Callable[[], Transport]] = {
    "sftp": SftpTransport,
    "stream": StreamTransport,
    "rsync": RsyncTransport,
    "stream, bulk": lambda: StreamTransport(bulk_from_bytes=0, keep_up_to_bytes=0),
}

ODD_NAMES = (
    *(" ", "with space ", "ümläut €", "'single'", '"double"', "$HOME `id` $(id)", "back\\slash"),
    *("new\nline", "\ttab", "-n", "--", "*?[a]", "#", "~", "%s", "byte \udcff", "a" * 200),
)


def nothing(_count: int) -> None:
    """Nobody counts."""


@dataclass
class Place:
    """A connected host and a directory on it, to send files from here to there."""

    host: Host
    behind: TestHost
    directory: str
    local: Path

    def item(self, name: str, content: bytes) -> Item:
        """A local file with this content, to be sent to the name."""
        source = self.local / name
        source.write_bytes(content)
        return Item(str(source), f"{self.directory}/{name}", len(content))

    def items(self, contents: Sequence[bytes]) -> list[Item]:
        return [self.item(f"file {number}", content) for number, content in enumerate(contents)]

    def digests(self, items: Sequence[Item]) -> list[str]:
        """The SHA-1 of each destination; empty where there is none."""
        commands = "".join(
            f"sha1sum <{shlex.quote(item.destination)} 2>/dev/null || echo\n" for item in items
        )
        # By a script of the host: names of any bytes pass through it.
        lines = self.host.run(Script(commands, "")).stdout.decode().splitlines()
        assert len(lines) == len(items)
        return [line.partition(" ")[0] for line in lines]

    def assert_arrived(self, items: Sequence[Item]) -> None:
        assert self.digests(items) == [
            hashlib.sha1(Path(item.source).read_bytes()).hexdigest() for item in items
        ]


@pytest.fixture(scope="module")
def shared_host(session_bed: Bed) -> Iterator[tuple[Host, TestHost]]:
    kind = ssh_kind("bed", session_bed)
    assert kind.behind is not None
    host = kind.make()
    host.connect()
    yield host, kind.behind
    host.close()


def _place(host: Host, behind: TestHost, local: Path) -> Iterator[Place]:
    directory = behind.sh("mktemp -d").strip()
    yield Place(host, behind, directory, local)
    behind.sh(f"chmod -R u+w {directory} && rm -rf {directory}")


@pytest.fixture
def place(shared_host: tuple[Host, TestHost], tmp_path: Path) -> Iterator[Place]:
    yield from _place(*shared_host, tmp_path)


@pytest.fixture
def own_place(session_bed: Bed, tmp_path: Path) -> Iterator[Place]:
    """With a connection that the test may break."""
    kind = ssh_kind("bed", session_bed)
    assert kind.behind is not None
    host = kind.make()
    host.connect()
    yield from _place(host, kind.behind, tmp_path)
    host.close()


@pytest.fixture(params=TRANSPORTS)
def transport(request: pytest.FixtureRequest) -> Transport:
    """Each transport, in turn."""
    return TRANSPORTS[request.param]()


# What arrives


def test_a_transport_has_a_name(transport: Transport) -> None:
    assert any(name.startswith(transport.name) for name in TRANSPORTS)


@pytest.mark.parametrize("count", [0, 1, 100])
def test_no_one_and_many_files(transport: Transport, place: Place, count: int) -> None:
    items = place.items([b"content %d" % number for number in range(count)])
    assert transport.send(place.host, items, nothing) == {}
    place.assert_arrived(items)


def test_sizes_around_those_of_blocks(transport: Transport, place: Place) -> None:
    sizes = (0, 1, 511, 512, 513, 10_240, (1 << 15) - 1, 1 << 15, (1 << 15) + 1, 5_000_000)
    items = place.items([os.urandom(size) for size in sizes])
    assert transport.send(place.host, items, nothing) == {}
    place.assert_arrived(items)


def test_odd_names_here_and_there(transport: Transport, place: Place) -> None:
    items = [place.item(name, name.encode(errors="surrogateescape")) for name in ODD_NAMES]
    assert transport.send(place.host, items, nothing) == {}
    place.assert_arrived(items)


def test_one_source_may_go_to_several_places(transport: Transport, place: Place) -> None:
    one = place.item("one", b"content")
    items = [one, Item(one.source, f"{place.directory}/two", one.size)]
    assert transport.send(place.host, items, nothing) == {}
    place.assert_arrived(items)


def test_a_source_may_be_a_link_and_its_content_is_sent(transport: Transport, place: Place) -> None:
    real = place.item("real", b"content")
    (place.local / "link").symlink_to("real")
    items = [Item(str(place.local / "link"), f"{place.directory}/link", real.size)]
    assert transport.send(place.host, items, nothing) == {}
    place.assert_arrived(items)
    assert place.behind.run(f"test -L {place.directory}/link").status != 0


def test_nobody_else_can_read_what_is_not_in_place_yet(transport: Transport, place: Place) -> None:
    items = place.items([b"secret", b""])
    for item in items:
        Path(item.source).chmod(0o777)
    transport.send(place.host, items, nothing)
    modes = place.behind.sh(f"stat -c %a {place.directory}/*").split()
    assert modes == ["600", "600"]


def test_permissions_are_those_asked_for_whatever_the_umask(
    transport: Transport, place: Place
) -> None:
    """Of a transport that sets them; others let nobody else read it."""
    modes = (0o600, 0o640, 0o664, 0o775, 0o777)
    items = [
        item._replace(mode=mode)
        for item, mode in zip(place.items([b"x"] * len(modes)), modes, strict=True)
    ]
    assert transport.send(place.host, items, nothing) == {}
    names = shlex.join(item.destination for item in items)
    found = [int(mode, 8) for mode in place.behind.sh(f"stat -c %a {names}").split()]
    assert found == (list(modes) if transport.sets_modes else [0o600] * len(modes))


def test_what_arrives_is_dated_now(transport: Transport, place: Place) -> None:
    """Whenever its source was written."""
    items = place.items([b"x"])
    os.utime(items[0].source, (1, 1))
    assert transport.send(place.host, items, nothing) == {}
    now, date = place.behind.sh(f"date +%s; stat -c %Y '{items[0].destination}'").split()
    assert int(now) - int(date) < 600


def test_the_file_to_be_replaced_is_left_as_it_is(transport: Transport, place: Place) -> None:
    """However much it looks like the new one: it has the same size and date."""
    item = place.item("new", os.urandom(300_000))
    os.utime(item.source, (1_700_000_000, 1_700_000_000))
    old = f"{place.directory}/old"
    place.behind.sh(f"head -c 300000 /dev/zero >{old} && touch -d @1700000000 {old}")
    item = item._replace(basis=Basis(old, 300_000))
    assert transport.send(place.host, [item], nothing) == {}
    place.assert_arrived([item])
    zeros = hashlib.sha1(bytes(300_000)).hexdigest()
    assert place.behind.sh(f"sha1sum {old}").split()[0] == zeros


def test_bytes_are_counted_as_they_go_out(transport: Transport, place: Place) -> None:
    counts: list[int] = []
    items = place.items([os.urandom(3_000_000), b"x" * 1000, b""])
    transport.send(place.host, items, counts.append)
    assert sum(counts) == 3_001_000
    assert len(counts) > 3


# What fails


def test_a_missing_source_fails_alone(transport: Transport, place: Place) -> None:
    items = place.items([b"one", b"two", b"three"])
    Path(items[1].source).unlink()
    assert transport.send(place.host, items, nothing) == {1: "No such file or directory"}
    place.assert_arrived([items[0], items[2]])
    assert place.digests([items[1]]) == [""]


def test_a_source_that_is_no_file_any_more_fails_alone(transport: Transport, place: Place) -> None:
    items = place.items([b"one", b"two"])
    Path(items[0].source).unlink()
    Path(items[0].source).mkdir()
    assert transport.send(place.host, items, nothing) == {0: "Is a directory"}
    place.assert_arrived([items[1]])


def test_a_destination_that_can_t_be_made_fails_alone(transport: Transport, place: Place) -> None:
    items = place.items([b"one", b"two", b"three"])
    items[1] = Item(items[1].source, f"{items[0].destination}/two", 3)
    failures = transport.send(place.host, items, nothing)
    assert list(failures) == [1]
    assert failures[1] in ("Not a directory", "No such file", "Failure")
    place.assert_arrived([items[0], items[2]])


def test_a_directory_of_others_fails_alone(transport: Transport, place: Place) -> None:
    if place.behind.user == "root":
        pytest.skip("root may write everywhere")
    place.behind.sh(f"mkdir -m 500 {place.directory}/closed")
    items = place.items([b"one", b"two"])
    items[0] = Item(items[0].source, f"{place.directory}/closed/one", 3)
    assert transport.send(place.host, items, nothing) == {0: "Permission denied"}
    place.assert_arrived([items[1]])


@pytest.mark.parametrize("change", [b"more" * 100_000, b""], ids=["grows", "shrinks"])
def test_a_source_that_changes_meanwhile_disturbs_no_other(
    transport: Transport, place: Place, change: bytes
) -> None:
    content = os.urandom(1_000_000)
    changing, other = place.items([content, b"other"])
    changed = False

    def meddle(_count: int) -> None:
        nonlocal changed
        with open(changing.source, "ab") as file:
            if change:
                file.write(change)  # each time: it must not be followed for ever
            elif not changed:
                file.truncate(0)
        changed = True

    failures = transport.send(place.host, [changing, other], meddle)
    assert changed
    assert set(failures) <= {0}
    place.assert_arrived([other])
    if not failures:
        # Either as it was, or visibly something else: never a wrong mixture of that size.
        size = int(place.behind.sh(f"stat -c %s '{changing.destination}'"))
        assert size != 1_000_000 or place.digests([changing]) == [hashlib.sha1(content).hexdigest()]


class Stop(Exception):
    """Raised by who counts."""


def test_who_counts_can_stop_it(transport: Transport, place: Place) -> None:
    items = place.items([os.urandom(5_000_000), b"never sent"])
    counted = 0

    def count(_count: int) -> None:
        nonlocal counted
        counted += 1
        raise Stop

    with pytest.raises(Stop):
        transport.send(place.host, items, count)
    assert counted == 1
    assert place.digests([items[1]]) != [hashlib.sha1(b"never sent").hexdigest()]
    # The connection is still good: the caller cleans up over it.
    again = place.items([b"again"])
    again[0] = Item(again[0].source, f"{place.directory}/again", 5)
    assert transport.send(place.host, again, nothing) == {}


# What happens to the connection


def test_a_connection_that_breaks_is_no_file_s_fault(
    transport: Transport, own_place: Place
) -> None:
    items = own_place.items([os.urandom(10_000_000), b"two"])

    def cut(_count: int) -> None:
        own_place.behind.cut_connections()

    with pytest.raises(HostError, match="connection was lost"):
        transport.send(own_place.host, items, cut)


def test_an_interrupt_ends_a_transfer(transport: Transport, own_place: Place) -> None:
    items = own_place.items([os.urandom(10_000_000), b"two"])
    with pytest.raises(HostError):
        transport.send(own_place.host, items, lambda _count: own_place.host.interrupt())


def test_a_frozen_host_is_given_up(
    transport: Transport, own_place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(patience, "SIGN_OF_LIFE_AFTER_S", 1.0)
    monkeypatch.setattr(patience, "GIVE_UP_AFTER_S", 4.0)
    items = own_place.items([os.urandom(20_000_000), b"two", b"three"])
    # What waits for ever, in a thread, goes on when the host does.
    with ThreadPoolExecutor(1) as thread, contextlib.ExitStack() as stack:
        frozen = False

        def freeze(_count: int) -> None:
            nonlocal frozen
            if not frozen:
                monkeypatch.setattr(patience, "GIVE_UP_AFTER_S", 0.5)
                stack.enter_context(own_place.behind.frozen())
                frozen = True

        with pytest.raises(HostError, match="connection was lost"):
            thread.submit(transport.send, own_place.host, items, freeze).result(20)
        assert frozen
        monkeypatch.setattr(patience, "GIVE_UP_AFTER_S", 30.0)
        began = time.monotonic()
        with pytest.raises(HostError):  # at once: nobody waits for it a second time
            thread.submit(transport.send, own_place.host, items, nothing).result(20)
        assert time.monotonic() - began < 10
