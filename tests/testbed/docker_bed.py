"""Test hosts as Docker containers, from the images of ``docker/``."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import struct
import subprocess
import tempfile
import time
from collections.abc import Iterator
from functools import lru_cache
from typing import Any

import docker
from testbed.bed import LIMIT_S, PASSWORD, REPOSITORY, Bed, Result, TestHost

LABEL = "fastrr.test.process"
SHARED = "/srv/shared"
CONTEXT = REPOSITORY / "docker"
KILLED = 137
"""What timeout(1) ends with when it has killed what it ran."""


def unavailable() -> str | None:
    """Say why there is no Docker engine to use; None: there is one."""
    try:
        docker.from_env().ping()
    except docker.errors.DockerException as error:
        return str(error).splitlines()[0]
    return None


@lru_cache(maxsize=4)
def built(target: str) -> str:
    """Return the name of the image for ``target``, built if it is not there already.

    Its tag is a digest of what it is built from, so that a change is never missed.
    """
    digest = hashlib.sha256()
    for path in sorted(CONTEXT.iterdir()):
        digest.update(path.name.encode() + b"\0" + path.read_bytes())
    name = f"fastrr-test-{target}:{digest.hexdigest()[:12]}"
    client = docker.from_env()
    with _one_at_a_time():
        if not client.images.list(name=name):
            subprocess.run([REPOSITORY / "scripts" / "base-image"], check=True)
            # The legacy builder knows stages, and builds those after the target only if needed.
            client.images.build(path=str(CONTEXT), target=target, tag=name, rm=True, forcerm=True)
    return name


@contextlib.contextmanager
def _one_at_a_time() -> Iterator[None]:
    """Keep other test processes from building the same."""
    path = os.path.join(tempfile.gettempdir(), f"fastrr-test-images-{os.getuid()}.lock")
    with open(path, "w", encoding="utf-8") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _remove_abandoned() -> None:
    """Remove containers and volumes of test runs that were killed."""
    # Each is asked about after it was listed: others, whose tests end now, may be gone by then.
    for container in docker.from_env().containers.list(
        all=True, filters={"label": LABEL}, ignore_removed=True
    ):
        if not os.path.exists(f"/proc/{container.labels[LABEL]}"):
            with contextlib.suppress(docker.errors.APIError):
                container.remove(force=True, v=True)
    for volume in docker.from_env().volumes.list(filters={"label": LABEL}):
        if not os.path.exists(f"/proc/{volume.attrs['Labels'][LABEL]}"):
            with contextlib.suppress(docker.errors.APIError):
                volume.remove()


def _outputs(connection: Any) -> tuple[bytes, bytes]:
    """Read what a command prints, to its end.

    docker's own functions read from the socket itself: what has come in one piece with the head of
    the answer, as it does on a busy machine, is in the reader above it, and would be lost.
    """
    found = {1: b"", 2: b""}
    answer = connection._response
    with contextlib.closing(answer):
        reader = answer.raw._fp.fp
        while head := reader.read(8):
            output, size = struct.unpack(">BxxxL", head)
            found[output] += reader.read(size)
    return found[1], found[2]


class DockerHost(TestHost):
    """A container; its address is its own on the bridge, not a published port (a proxy)."""

    own_machine = True
    user = "tester"
    home = "/home/tester"
    port = 22

    def __init__(self, name: str, image: str, container: Any) -> None:
        self.name = name
        self.image = image
        self.container = container
        self.found_again()

    def found_again(self) -> None:
        """Learn the address, which may be another one after a restart."""
        self.container.reload()
        networks = self.container.attrs["NetworkSettings"]["Networks"]
        self.address = next(iter(networks.values()))["IPAddress"]

    def run(self, command: str, user: str | None = None) -> Result:
        who = user or self.user
        home = "/root" if who == "root" else f"/home/{who}"
        begun = time.monotonic()
        # What is run there goes on, whatever becomes of who has asked for it: it must end itself.
        engine = self.container.client.api
        asked = engine.exec_create(
            self.container.id,
            ["timeout", "-s", "KILL", str(LIMIT_S), "sh", "-c", command],
            user=who,
            workdir=home,
            environment={"HOME": home, "LANG": "C.UTF-8"},
        )["Id"]
        connection = engine.exec_start(asked, socket=True)
        engine._disable_socket_timeout(connection)  # the limit is on the command
        stdout, stderr = _outputs(connection)
        code = engine.exec_inspect(asked)["ExitCode"]
        if code == KILLED and time.monotonic() - begun > LIMIT_S:
            raise TimeoutError(f"{self.name}: {command}: not over in {LIMIT_S} s")
        return Result(code, stdout.decode(errors="replace"), stderr.decode(errors="replace"))

    def cut_connections(self) -> None:
        self.run("pkill -KILL -f '^sshd: [a-z-]+[@ ]'", user="root")

    @contextlib.contextmanager
    def frozen(self) -> Iterator[None]:
        for tries_left in (4, 3, 2, 1, 0):
            try:
                self.container.pause()
                break
            except docker.errors.APIError:  # "unable to freeze", now and then on a busy machine
                if not tries_left:
                    raise
        try:
            yield
        finally:
            self.container.unpause()

    def reset(self) -> None:
        self.sh(
            "pkill -KILL -u tester,csh-user,fish-user,busybox-user 2>/dev/null;"
            "for home in /root /home/*; do"
            "  find $home -mindepth 1 -maxdepth 1 ! -name .ssh -exec rm -rf {} +;"
            "done;"
            f"find /tmp /var/tmp /run/screen {SHARED} -mindepth 1 -delete; true",
            user="root",
        )

    def close(self) -> None:
        self.container.remove(force=True, v=True)


class DockerBed(Bed):
    """Containers on the default bridge; all with ``password`` and the bed's key."""

    kind = "docker"
    shared = SHARED

    def __post_init__(self) -> None:
        super().__post_init__()
        self.options: dict[str, Any] = {}
        """Of ``docker run``, for all hosts to be started: an image, a network, volumes."""
        _remove_abandoned()
        self._labels = {LABEL: str(os.getpid())}
        self._volume = docker.from_env().volumes.create(labels=self._labels)

    def start(self, name: str, image: str) -> DockerHost:
        volumes = {self._volume.name: {"bind": SHARED, "mode": "rw"}}
        volumes.update(self.options.get("volumes", {}))
        container = docker.from_env().containers.run(
            **{"image": built(image), **self.options, "volumes": volumes},
            detach=True,
            hostname=name,
            labels=self._labels,
            environment={"AUTHORIZED_KEY": self.key.with_suffix(".pub").read_text().strip()},
        )
        host = DockerHost(name, image, container)
        # Not by the environment: that of the first process can be read for ever.
        host.sh(f"for u in $(cd /home && ls); do echo $u:'{PASSWORD}'; done | chpasswd", "root")
        host.sh(f"chmod 1777 {SHARED}", "root")
        return host

    def close(self) -> None:
        super().close()
        self._volume.remove()
