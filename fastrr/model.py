"""The values that make up a deployment. Frozen, picklable, no behaviour beyond derivation.

A *path on a host* is a string in one of two forms: absolute (``/srv/x``), or relative to the
login directory (``./x``). Paths inside a temporary base_dir are written relative to it and kept
apart (`FreshBase`), since its name is not known before the check step has made it.
"""

from __future__ import annotations

import os
import stat as stat_module
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import NamedTuple

LOCALHOST = "localhost"
"""The name of the controller itself in a config."""


class Signature(NamedTuple):
    """What ``stat`` says about a regular file; unchanged means (almost surely) same content.

    Times are nanoseconds since the epoch. See git's "racy" rule for when not to trust it.
    """

    size: int
    mtime_ns: int
    ctime_ns: int
    inode: int
    device: int

    @classmethod
    def of(cls, status: os.stat_result) -> Signature:
        return cls(
            status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino, status.st_dev
        )


class SourceFile(NamedTuple):
    """A local file to be copied, as it was when the config had been loaded."""

    path: str
    """Absolute path on the controller."""
    mode: int
    """Permission bits (07777)."""
    signature: Signature

    def __hash__(self) -> int:
        return hash(self.path)  # enough to find it by, and cheap

    @property
    def size(self) -> int:
        return self.signature.size

    @classmethod
    def at(cls, path: str, status: os.stat_result) -> SourceFile:
        return cls(path, stat_module.S_IMODE(status.st_mode), Signature.of(status))


class FileTarget(NamedTuple):
    """A file a host needs: which source, and where it goes."""

    source: str
    """Absolute local path; key into `Deployment.sources`."""
    destination: str
    """Path on the host, or relative to the temporary base_dir in a `FreshBase`."""


class ComponentPlan(NamedTuple):
    """One program to start: everything resolved but a temporary base_dir."""

    name: str
    host: str
    executable: str
    """Path on the host; relative to base_dir where base_dir is temporary and it is not absolute."""
    args: tuple[str, ...]
    base_dir: str | None
    """Path on the host; None: a fresh temporary directory of its own."""
    start_index: float
    wait: bool = False
    expand: bool = False
    env: tuple[tuple[str, str], ...] = ()


class FreshBase(NamedTuple):
    """A component whose base_dir is to be made anew on the host, and what goes into it."""

    component: str
    files: tuple[FileTarget, ...] = ()
    directories: tuple[str, ...] = ()


class HostPlan(NamedTuple):
    """All that one host is asked to have and to run."""

    host: str
    files: tuple[FileTarget, ...] = ()
    directories: tuple[str, ...] = ()
    """Directories that must exist: base_dirs, ``dirs``, directory keys."""
    fresh: tuple[FreshBase, ...] = ()
    components: tuple[ComponentPlan, ...] = ()
    """In the order of the config."""


class Deployment(NamedTuple):
    """The validated result of config and muddlers: nothing left to ask."""

    hosts: tuple[HostPlan, ...]
    sources: Mapping[str, SourceFile] = {}
    """Every local file any host wants, by absolute path."""

    @property
    def start_indexes(self) -> tuple[float, ...]:
        """The start_index of each stage, in the order the stages run."""
        return tuple(
            sorted({component.start_index for plan in self.hosts for component in plan.components})
        )


class HostKeyPolicy(Enum):
    """What to do about a host key that is not in known_hosts (ssh_config(5))."""

    FROM_SSH_CONFIG = "ssh-config"
    STRICT = "strict"
    ACCEPT_NEW = "accept-new"
    OFF = "off"


@dataclass(frozen=True, slots=True)
class SshSettings:
    """How hosts are connected to. Its repr never shows the password."""

    user: str | None = None
    password: str | None = field(default=None, repr=False)
    config_file: str | None = None
    host_keys: HostKeyPolicy = HostKeyPolicy.FROM_SSH_CONFIG
    handshakes_at_once: int = 8
    """A worker's share of the handshakes that a first hop is asked for at the same time: sshd drops
    connections at random past 10 unauthenticated ones (MaxStartups 10:30:100, sshd_config(5))."""


class CopyReason(Enum):
    """Why a file is copied."""

    MISSING = "missing"
    SIZE = "size differs"
    DIGEST = "content differs"
    ALWAYS = "always-copy"

    __hash__ = object.__hash__  # as for `Algorithm`


class Copy(NamedTuple):
    """One file to be put on one host."""

    source: str
    destination: str
    """Absolute path on the host, symbolic links resolved."""
    size: int
    mode: int
    reason: CopyReason
    replaces: int | None = None
    """Size of the file that is there now; None: there is none."""


class Algorithm(Enum):
    """How content is identified; see `fastrr.files.digests`."""

    SHA1 = "sha1"
    XXH128 = "xxh128"
    GMAC = "gmac"

    __hash__ = object.__hash__  # Enum's own is written in Python, and called for each file


class FileKind(Enum):
    """What is found at a destination."""

    MISSING = "missing"
    FILE = "file"
    DIRECTORY = "directory"
    OTHER = "other"


class RemoteFile(NamedTuple):
    """What the check found at one destination."""

    kind: FileKind
    signature: Signature | None = None
    digest: str | None = None
    """SHA-1 in hex, where it was asked for and the file could be read."""
    link_to: str | None = None
    """Where the destination is a symbolic link: the file it leads to."""


MISSING = RemoteFile(FileKind.MISSING)


class Failure(NamedTuple):
    """Why something on a host did not work: lines fit for a user, without the host's name."""

    host: str
    messages: tuple[str, ...]
    detail: str | None = None
    """A traceback, shown with ``-l DEBUG`` only."""
    interrupted: bool = False
    """It did not come to an end because the run was stopped."""
