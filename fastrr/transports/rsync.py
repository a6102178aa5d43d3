"""Only what changed within files, by rsync(1): for large files that replace others much like them.

rsync maps one tree to another, and takes names as they are. So a *farm* is made here: a tree of
symbolic links, at the temporary paths the files shall have on the host, to the local files; rsync
follows them (``-L``) and copies exactly the names listed (``--files-from``). Their directories are
resolved on the host first: rsync 3.5 refuses to go through symbolic links there.

On the host each file to be replaced is first linked (ln(1)) to the temporary name of its
successor: that is where rsync looks for what is there already. It never writes into that file (no
``--inplace``): it puts a new one together and renames it over the link, so the file to be replaced
stays as it is.
"""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from posixpath import basename, dirname, join

from fastrr.errors import CommandFailed
from fastrr.hosts.base import Host, ask
from fastrr.shell import fits_a_line, quote, script, to_bytes, to_text
from fastrr.shell import join as join_words
from fastrr.transports.base import Item

FLAGS = (
    *("--copy-links", "--no-implied-dirs", "--from0", "--ignore-times"),
    *("--perms", "--chmod=F600", "--info=progress2,stats1", "--no-human-readable"),
)
"""Content only: no owners, no times; readable by nobody else until it is in place."""

_PARTIAL = (23, 24)
"""Exit statuses that mean: some files failed (rsync(1), EXIT VALUES)."""


class RsyncTransport:
    """See `fastrr.transports.base.Transport`."""

    name = "rsync"
    sets_modes = False

    def __init__(self) -> None:
        self.wire_bytes: int | None = None

    def send(
        self, host: Host, items: Sequence[Item], sent: Callable[[int], None]
    ) -> dict[int, str]:
        if not items:
            return {}
        resolved = _prepare(host, items)
        with tempfile.TemporaryDirectory(prefix="fastrr-") as directory:
            farm = os.path.join(directory, "farm")
            names, failures = _plant(farm, items, resolved)
            if not names:
                return failures
            listing = os.path.join(directory, "names")
            with open(listing, "wb") as file:
                file.writelines(to_bytes(name) + b"\0" for name in names)
            command = ["rsync", *FLAGS, f"--files-from={listing}", f"{farm}/", "host:/"]
            progress = _Progress(sent)
            completed = host.run_here(command, progress.hear)
        self.wire_bytes = progress.wire_bytes
        if completed.status in _PARTIAL:
            return _refused(names, completed.stderr) | failures
        if completed.status != 0:
            ask(host, script("true\n"), "after rsync failed")  # it may be the connection
            raise CommandFailed(
                f"rsync failed (exit status {completed.status}): {completed.last_words()}"
            )
        return failures


def programs_here() -> set[str]:
    """Those of the programs that this takes which this machine has."""
    return {program for program in ("rsync", "ssh") if shutil.which(program)}


def _prepare(host: Host, items: Sequence[Item]) -> dict[str, str]:
    """Offer what is there under the temporary names; return where directories really are.

    A link that can't be made only means that all of its file will be sent.
    """
    directories = [
        d for d in dict.fromkeys(dirname(i.destination) for i in items) if fits_a_line(d)
    ]
    lines = [
        f"ln -- {join_words((item.basis.path, item.destination))} 2>/dev/null\n"
        for item in items
        if item.basis is not None
    ]
    lines += [
        f"cd -P {quote(directory)} 2>/dev/null && pwd -P || echo\n" for directory in directories
    ]
    body, _ = ask(host, script("".join((*lines, "true\n"))), "preparing for rsync")
    found = to_text(body).split("\n")[:-1]
    return {here: there for here, there in zip(directories, found, strict=True) if there}


def _plant(
    farm: str, items: Sequence[Item], resolved: Mapping[str, str]
) -> tuple[dict[str, int], dict[int, str]]:
    """Make the farm; return the number of each name in it, and which files can't be had."""
    names: dict[str, int] = {}
    failures: dict[int, str] = {}
    for number, item in enumerate(items):
        directory, name = dirname(item.destination), basename(item.destination)
        path = join(resolved.get(directory, directory), name).removeprefix("/")
        link = to_bytes(os.path.join(farm, path))
        try:
            with open(to_bytes(item.source), "rb"):
                pass
            os.makedirs(os.path.dirname(link), exist_ok=True)
            os.symlink(to_bytes(os.path.abspath(item.source)), link)
        except FileExistsError:  # one is to be the directory of another
            failures[number] = "Not a directory"
        except OSError as error:
            failures[number] = error.strerror or str(error)
        else:
            names[path] = number
    return names, failures


_STATS = re.compile(rb"(?:^|[\r\n])sent (\d+) bytes")
_COUNT = re.compile(rb"(?:^|[\r\n]) *(\d+) +\d+% ")


class _Progress:
    """Understands ``--info=progress2``: how many bytes of all files are done, what is there too."""

    def __init__(self, sent: Callable[[int], None]) -> None:
        self._sent = sent
        self._told = 0
        self._rest = b""
        self.wire_bytes: int | None = None
        """What went out in all, as rsync says in the end."""

    def hear(self, piece: bytes) -> None:
        text = self._rest + piece
        counts = _COUNT.findall(text)
        self._rest = text[-80:]
        if stats := _STATS.search(text):
            self.wire_bytes = int(stats[1])
        done = max(self._told, int(counts[-1]) if counts else 0)
        self._sent(done - self._told)
        self._told = done


_COMPLAINT = re.compile(r'"(?P<path>/.*)"(?: \(.*\))?(?: failed)?: (?P<why>.+) \(\d+\)$')
_TEMPORARY = re.compile(r"^\.(?P<name>.+)\.[A-Za-z0-9]{6}$")


def _refused(names: Mapping[str, int], said: bytes) -> dict[int, str]:
    """Find the files rsync complains of; the others' digests will tell."""
    failures: dict[int, str] = {}
    for line in to_text(said).splitlines():
        if match := _COMPLAINT.search(line):
            directory, name = os.path.split(match["path"].removeprefix("/"))
            if temporary := _TEMPORARY.match(name):
                name = temporary["name"]
            if (number := names.get(join(directory, name))) is not None:
                failures.setdefault(number, match["why"])
    return failures
