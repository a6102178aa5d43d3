"""Hosts of every kind (see `testbed.kinds`); servers, agents and clients to connect with."""

from __future__ import annotations

import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from testbed import Bed, loopback_bed, open_bed
from testbed.bed import end
from testbed.clients import Agent, Client, Server, open_files, sshd
from testbed.docker_bed import DockerHost
from testbed.kinds import ALL, PLAIN, WITH_OTHER_SHELLS, Kind, local_kind, ssh_kind
from testbed.needs import lack, need
from testbed.shells import eventually

from fastrr.hosts.base import Host
from fastrr.hosts.ssh import credentials


@pytest.fixture(scope="session")
def loopback(session_bed: Bed) -> Iterator[Bed]:
    """Sshds of this machine, whatever the session's bed is."""
    if isinstance(session_bed, loopback_bed.LoopbackBed):
        yield session_bed
        return
    if reason := loopback_bed.unavailable():
        lack(reason)
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
            pytest.skip(f"{name} is a kind of host that only Docker has")
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


# Connections


@pytest.fixture
def nothing_left() -> Iterator[None]:
    """No thread, no child and no descriptor outlives a test."""
    threads, files = set(threading.enumerate()), open_files()
    yield
    deadline = time.monotonic() + 10
    while left := (set(threading.enumerate()) - threads) | (open_files() - files):
        assert time.monotonic() < deadline, left
        time.sleep(0.01)


@pytest.fixture
def no_key_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(credentials, "_loaded", {})


@pytest.fixture
def client(tmp_path: Path) -> Client:
    client = Client(tmp_path)
    client.configure()
    return client


@pytest.fixture(scope="module")
def shared_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with sshd(tmp_path_factory.mktemp("server") / "sshd") as server:
        yield server


@pytest.fixture
def server(shared_server: Server) -> Server:
    """An sshd that lets nobody in yet."""
    shared_server.authorize()
    shared_server.log.write_bytes(b"")
    return shared_server


@pytest.fixture(scope="module")
def shared_asking(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with sshd(tmp_path_factory.mktemp("asking") / "sshd", "PasswordAuthentication yes") as server:
        yield server


@pytest.fixture
def asking(shared_asking: Server) -> Server:
    """An sshd that asks for passwords, and takes none: this account has none that is known."""
    shared_asking.authorize()
    shared_asking.log.write_bytes(b"")
    return shared_asking


@pytest.fixture
def ready(client: Client, server: Server) -> Server:
    """An sshd that the client's key opens."""
    server.authorize(client.key())
    client.configure(f"IdentityFile {client.directory}/key")
    return server


@pytest.fixture
def agent(tmp_path: Path) -> Iterator[Agent]:
    path = tmp_path / "agent"
    process = subprocess.Popen(["ssh-agent", "-D", "-a", path], stdout=subprocess.DEVNULL)
    try:
        eventually(path.exists)
        yield Agent(path)
    finally:
        end(process)


@pytest.fixture(scope="session")
def ssh() -> str:
    """OpenSSH's client."""
    return need("ssh")


@pytest.fixture
def docker_host(session_bed: Bed) -> DockerHost:
    (host,) = session_bed.need(1)
    if not isinstance(host, DockerHost):
        pytest.skip("takes a container: its passwords, users and root are its own")
    return host
