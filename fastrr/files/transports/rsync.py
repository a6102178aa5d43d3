"""Only what changed within files, by rsync(1): for large files that replace others much like them.

rsync maps one tree to another, and takes names as they are. So a *farm* is made here: a tree of
symbolic links, at the temporary paths the files shall have on the host, to the local files; rsync
follows them (``-L``) and copies exactly the names listed (``--files-from``). Their directories are
resolved on the host first: rsync 3.5 refuses to go through symbolic links there. So names in the
farm are partly the host's own words: they are made one at a time, each in the open directory of the
one before, and none of them may lead up or be a link. Nothing is ever made outside the farm.

On the host each file to be replaced is first linked (ln(1)) to the temporary name of its
successor: that is where rsync looks for what is there already. It never writes into that file (no
``--inplace``): it puts a new one together and renames it over the link, so the file to be replaced
stays as it is.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from posixpath import basename, dirname, join

from fastrr.errors import CommandFailed
from fastrr.files.transports.base import Item
from fastrr.hosts.base import Host, ask
from fastrr.hosts.shell import fits_a_line, quote, script, to_bytes, to_text
from fastrr.hosts.shell import join as join_words

FLAGS = (
    *("--copy-links", "--no-implied-dirs", "--from0", "--ignore-times"),
    *("--perms", "--chmod=F600", "--info=progress2,stats1", "--no-human-readable"),
)
"""Content only: no owners, no times; readable by nobody else until it is in place."""

_PARTIAL = (23, 24)
"""Exit statuses that mean: some files failed (rsync(1), EXIT VALUES)."""


class RsyncTransport:
    """See `fastrr.files.transports.base.Transport`."""

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
    if len(found) != len(directories):
        raise CommandFailed(
            f"preparing for rsync: asked where {len(directories)} directories are, the host has "
            f"answered {len(found)} lines"
        )
    return {here: there for here, there in zip(directories, found, strict=True) if there}


_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW


def _plant(
    farm: str, items: Sequence[Item], resolved: Mapping[str, str]
) -> tuple[dict[str, int], dict[int, str]]:
    """Make the farm; return the number of each name in it, and which files can't be had.

    :raises CommandFailed: when what the host has answered is not the path of a directory.
    """
    names: dict[str, int] = {}
    failures: dict[int, str] = {}
    os.mkdir(farm, 0o700)
    top = os.open(farm, _DIRECTORY)
    try:
        for number, item in enumerate(items):
            directory, name = dirname(item.destination), basename(item.destination)
            path = _components(join(resolved.get(directory, directory), name))
            try:
                with open(to_bytes(item.source), "rb"):
                    pass
                _link(top, path, to_bytes(os.path.abspath(item.source)))
            except (FileExistsError, NotADirectoryError):  # one is to be the directory of another
                failures[number] = "Not a directory"
            except OSError as error:
                failures[number] = error.strerror or str(error)
            else:
                names["/".join(path)] = number
    finally:
        os.close(top)
    return names, failures


_PATH_BYTES, _NAME_BYTES = 4096, 255
"""PATH_MAX and NAME_MAX (limits.h)."""


def _components(path: str) -> list[str]:
    """Return the names in an absolute path that is as ``pwd -P`` prints it.

    :raises CommandFailed: for any other path.
    """
    root, *names = path.split("/")
    too_long = len(to_bytes(path)) > _PATH_BYTES or any(
        len(to_bytes(name)) > _NAME_BYTES for name in names
    )
    if root or too_long or any(name in {"", ".", ".."} or "\0" in name for name in names):
        raise CommandFailed(
            f"the host's answer can't be used for rsync: {path!r} is not the path of a file "
            "from / on, without . and .."
        )
    return names


def _link(farm: int, path: Sequence[str], source: bytes) -> None:
    """Make a symbolic link at the names ``path`` below the open directory ``farm``."""
    *directories, name = map(to_bytes, path)
    place = os.dup(farm)
    try:
        for directory in directories:
            with contextlib.suppress(FileExistsError):
                os.mkdir(directory, 0o700, dir_fd=place)
            above, place = place, os.open(directory, _DIRECTORY, dir_fd=place)
            os.close(above)
        os.symlink(source, name, dir_fd=place)
    finally:
        os.close(place)


# rsync prints what the host's rsync has to say: no count is longer than a number of bytes can be.
_STATS = re.compile(rb"(?:^|[\r\n])sent (\d{1,19}) bytes")
_COUNT = re.compile(rb"(?:^|[\r\n]) {0,20}(\d{1,19}) {1,20}\d{1,3}% ")


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


_TEMPORARY = re.compile(r"^\.(?P<name>.+)\.[A-Za-z0-9]{6}$")


def _refused(names: Mapping[str, int], said: bytes) -> dict[int, str]:
    """Find the files rsync complains of; the others' digests will tell."""
    failures: dict[int, str] = {}
    for line in to_text(said).splitlines():
        if (complaint := _complaint(line)) is None:
            continue
        path, reason = complaint
        directory, name = os.path.split(path.removeprefix("/"))
        if temporary := _TEMPORARY.match(name):
            name = temporary["name"]
        if (number := names.get(join(directory, name))) is not None:
            failures.setdefault(number, reason)
    return failures


def _complaint(line: str) -> tuple[str, str] | None:
    """Return path and reason of a line like ``rsync: mkstemp "PATH" failed: WHY (ERRNO)``.

    After the path may come, in parentheses, a module's name.
    """
    head, _, code = line.rpartition(" (")
    _, quote_, rest = head.partition('"/')
    path, end, why = rest.rpartition('"')
    if not (quote_ and end and code.endswith(")") and code[:-1].isdigit()):
        return None
    if why.startswith(" ("):
        _, parenthesis, why = why.partition(")")
        if not parenthesis:
            return None
    why = why.removeprefix(" failed")
    return (f"/{path}", why[2:]) if why.startswith(": ") and why[2:] else None
