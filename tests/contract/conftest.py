"""Hosts of every kind; see `testbed.kinds`."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from testbed import Bed, loopback_bed, open_bed
from testbed.kinds import ALL, PLAIN, WITH_OTHER_SHELLS, Kind, local_kind, ssh_kind

from fastrr.hosts.base import Host


@pytest.fixture(scope="session")
def loopback(session_bed: Bed) -> Iterator[Bed]:
    """Sshds of this machine, whatever the session's bed is."""
    if isinstance(session_bed, loopback_bed.LoopbackBed):
        yield session_bed
        return
    if reason := loopback_bed.unavailable():
        pytest.skip(reason)
    with open_bed("loopback") as bed:
        yield bed


@pytest.fixture(scope="session")
def kind_named(session_bed: Bed, request: pytest.FixtureRequest) -> Callable[[str], Kind]:
    """Return the kind of a name, or skip the test where it can't be had."""

    def kind_named(name: str) -> Kind:
        if name == "local":
            return local_kind()
        if name == "loopback":
            return ssh_kind(name, request.getfixturevalue("loopback"))
        if session_bed.kind != "docker":
            pytest.skip("only Docker's hosts have it")
        return ssh_kind(name, session_bed, name if name in WITH_OTHER_SHELLS else None)

    return kind_named


def _connected(kind: Kind) -> Iterator[Host]:
    host = kind.make()
    host.connect()
    yield host
    host.close()


@pytest.fixture(scope="module", params=PLAIN)
def host(request: pytest.FixtureRequest, kind_named: Callable[[str], Kind]) -> Iterator[Host]:
    """A connected host of each kind; for tests that leave it as it was."""
    yield from _connected(kind_named(request.param))


@pytest.fixture(scope="module", params=ALL)
def any_host(request: pytest.FixtureRequest, kind_named: Callable[[str], Kind]) -> Iterator[Host]:
    """The same, with all login shells and utilities: for tests where these matter."""
    yield from _connected(kind_named(request.param))


@pytest.fixture(params=PLAIN)
def kind(request: pytest.FixtureRequest, kind_named: Callable[[str], Kind]) -> Kind:
    """The kinds that differ in more than the login shell."""
    return kind_named(request.param)


@pytest.fixture
def own_host(kind: Kind) -> Iterator[Host]:
    """A connected host that a test may break."""
    yield from _connected(kind)
