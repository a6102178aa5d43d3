"""The check's one round trip, as far as files go: what is asked, and what the answers mean.

Pure. Nothing is changed on the host but for a scratch directory, which is removed again: what is to
be made is made when every host has passed. All files are looked at by one ``stat`` and hashed by
one ``openssl`` (``sha1sum`` where there is none), however many there are:

1. the wanted sizes and paths travel as a here-document; ``stat`` describes what exists;
2. ``awk`` joins the two and lists the regular files whose size is the wanted one;
3. these, and only these, are hashed;
4. a second ``awk`` prints one line a file, by its number in the list: no path travels back.

Where the ledger has a *listing* of the very same files (the digest of all that ``stat`` says of
them), a shorter script (`listing_script`) finds out whether that is still so, and one line travels
back.

Paths are looked up from the deepest directory they have in common: not every name's first parts
have to be walked again. Paths that line-based tools garble (`fits_a_line`) and symbolic links are
looked at one by one; there are hardly ever any. No path needs a ``--`` before it (which openssl 1.0
does not know): all start with ``/`` or ``./``.

Not guaranteed: that the host looks the same a moment later. The copy step therefore verifies
what it wrote, and never what was there before.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from hashlib import sha1
from typing import Any, NamedTuple

from fastrr.files.algorithms import DIGEST, AskHashers, Hashers
from fastrr.files.storage import AskStorage, Storage
from fastrr.hosts.facts import (
    HostFacts,
    Part,
    Sections,
    UnreadableAnswer,
    each,
    look_script,
    parse_looked,
    split,
)
from fastrr.hosts.library import library
from fastrr.hosts.shell import (
    Script,
    below,
    common_directory,
    fits_a_line,
    here_document,
    quote,
    script,
    to_bytes,
)
from fastrr.model import MISSING, FileKind, FileTarget, HostPlan, RemoteFile, Signature, SourceFile
from fastrr.text import shortened

_PROBE = library(__file__, "probe.sh")


class Found(NamedTuple):
    """What was found at destinations."""

    files: tuple[RemoteFile, ...] = ()
    """In plan order; empty for a `listing_script`."""
    listing: str = ""
    """Digest of all that ``stat`` says of the files; empty where there is none."""
    unfollowed: tuple[int, ...] = ()
    """Places of destinations that are symbolic links, and were not followed for lack of hashing."""
    clock_ns: int = 0
    """The time there, as new files are given it; 0 where no files were looked at."""
    hashing_s: float = 0.0
    """How long digests took, where that is known; to a hundredth of a second."""


class Answer(NamedTuple):
    """The parsed answer of the probe."""

    facts: HostFacts
    also: tuple[Any, ...]
    """To what else was asked."""
    hashers: Hashers
    storage: Storage
    found: Found

    @property
    def files(self) -> tuple[RemoteFile, ...]:
        return self.found.files


# Most hosts are to have the same files: what depends on nothing else is found out once.
_once = lru_cache(maxsize=4)


@_once
def _can_be_listed(files: tuple[FileTarget, ...]) -> bool:
    return bool(files) and all(fits_a_line(target.destination) for target in files)


def can_be_listed(plan: HostPlan) -> bool:
    """Whether `listing_script` can look at all files of ``plan``."""
    return _can_be_listed(plan.files)


@_once
def _listing_key(files: tuple[FileTarget, ...]) -> str:
    names = "\n".join(target.destination for target in files)
    return sha1(to_bytes(names), usedforsecurity=False).hexdigest()


def listing_key(plan: HostPlan) -> str:
    """Return what tells the files of a plan, their order included, from those of another."""
    return _listing_key(plan.files)


class Question(NamedTuple):
    """A script about a plan, and what is asked by it."""

    parts: tuple[Part[Any], ...]

    @property
    def script(self) -> Script:
        return look_script(self.parts)

    def parse(self, body: bytes) -> Answer:
        """Parse what the script printed.

        :raises UnreadableAnswer: when it is cut short or was mixed with other output.
        """
        facts, (*also, hashers, storage, found) = parse_looked(self.parts, body)
        return Answer(facts, tuple(also), hashers, storage, found)


def listing_question(
    plan: HostPlan, sources: Mapping[str, SourceFile], also: Sequence[Part[Any]] = ()
) -> Question:
    """Return what looks at the host, and lists the files that `can_be_listed`.

    How much space is free it does not ask: nothing will be copied, should the listing be right.
    """
    wanted = [target for fresh in plan.fresh for target in fresh.files]
    parts = (AskHashers.of(wanted, sources), AskStorage(plan, space=False), AskListing(plan.files))
    return Question((*also, *parts))


def probe_question(
    plan: HostPlan,
    sources: Mapping[str, SourceFile],
    hashing: bool = True,
    known: Mapping[str, Signature] | None = None,
    also: Sequence[Part[Any]] = (),
) -> Question:
    """Return what looks at everything ``plan`` touches.

    ``hashing``: compute the digest of each destination that has the size of its source, unless
    ``known`` has, by destination, the signature that it still has. Without it times are those of
    whole seconds, and symbolic links are left to `follow_script`.
    """
    wanted = [target for fresh in plan.fresh for target in fresh.files]
    files = AskFiles(plan.files, sources, hashing, known or {})
    hashers = AskHashers.of((*wanted, *plan.files), sources)
    return Question((*also, hashers, AskStorage(plan, space=True), files))


class AskListing(NamedTuple):
    """The part that asks for the listing of files."""

    files: tuple[FileTarget, ...]

    @property
    def text(self) -> str:
        return f"{_PROBE}describing false\n{_list(self.files)}"

    def parse(self, sections: Sections, _facts: HostFacts) -> Found:
        listing = next(iter(sections.get("listing", ())), "").partition(" ")[0]
        return Found(listing=listing)


@_once
def _list(files: tuple[FileTarget, ...]) -> str:
    return _call_with_names("list_files", [target.destination for target in files])


def _call_with_names(function: str, paths: Sequence[str]) -> str:
    """Have a shell function get these paths, seen from their common directory."""
    common = common_directory(paths)
    names = [below(common, path) for path in paths]
    return f"{function} {quote(common)} {each(names)} {here_document(names)}"


class AskFiles(NamedTuple):
    """The part that asks what is at destinations; see `probe_question`."""

    files: tuple[FileTarget, ...]
    sources: Mapping[str, SourceFile]
    hashing: bool
    known: Mapping[str, Signature]

    @property
    def text(self) -> str:
        if not self.files:
            return ""
        lines = [_PROBE, f"describing {'true' if self.hashing else 'false'}\n"]
        wanted = [(n, self.sources[t.source].size, t.destination) for n, t in enumerate(self.files)]
        plain = [one for one in wanted if fits_a_line(one[2])]
        if plain and self.hashing:
            common = common_directory([path for _, _, path in plain])
            table = [
                f"{n} {size} {_times(self.known.get(path))} {below(common, path)}"
                for n, size, path in plain
            ]
            lines.append(f"compare_files {quote(common)} {here_document(table)}")
        elif plain:
            lines.append(_call_with_names("look_at_files", [path for _, _, path in plain]))
        if odd := [(n, size, path) for n, size, path in wanted if not fits_a_line(path)]:
            lines.append("odd_files\n")
            lines.extend(f"inspect {n} {size} {quote(path)}\n" for n, size, path in odd)
        return "".join(lines)

    def parse(self, sections: Sections, _facts: HostFacts) -> Found:
        files, unfollowed = _files(self.files, sections)
        listing = next(iter(sections.get("listing", ())), "").partition(" ")[0]
        clock = _clock(sections.get("files", ()))
        return Found(files, listing, unfollowed, clock, _seconds(sections.get("hashing", ())))


def follow_script(
    plan: HostPlan, sources: Mapping[str, SourceFile], numbers: Iterable[int]
) -> Script:
    """Return the script that follows symbolic links; see `Found.unfollowed`."""
    lines = [DIGEST, _PROBE, "follow\n"]
    for n in numbers:
        target = plan.files[n]
        size = sources[target.source].size
        lines.append(f"inspect {n} {size} {quote(target.destination)}\n")
    return script("".join((*lines, "true\n")))


def _times(signature: Signature | None) -> str:
    """The part of a signature besides the size, as the first ``awk`` puts it together."""
    if signature is None:
        return "-"
    times = (signature.mtime_ns, signature.ctime_ns)
    mtime, ctime = (f"{ns // 10**9}.{ns % 10**9:09d}" for ns in times)
    return f"{mtime}/{ctime}/{signature.inode}/{signature.device}"


def _clock(lines: Iterable[str]) -> int:
    """Find out the time from the file that was made just then."""
    for line in lines:
        if line.startswith("clock "):
            signature = _described(line.removeprefix("clock ")).signature
            return signature.ctime_ns if signature else 0
    return 0


def _seconds(times: Sequence[str]) -> float:
    return float(times[1]) - float(times[0]) if len(times) == 2 else 0.0


def parse_followed(answer: Answer, body: bytes) -> Answer:
    """Complete an answer by what a `follow_script` has printed.

    :raises UnreadableAnswer: as `Question.parse`.
    """
    files = answer.files
    try:
        followed = dict(_followed(len(files), split(body)["followed"]))
        files = tuple(followed.pop(n, there) for n, there in enumerate(files))
    except (KeyError, ValueError, IndexError) as error:
        raise UnreadableAnswer(f"{type(error).__name__}: {error}") from error
    return answer._replace(found=answer.found._replace(files=files, unfollowed=()))


def _files(
    wanted: Sequence[FileTarget], sections: Sections
) -> tuple[tuple[RemoteFile, ...], tuple[int, ...]]:
    """Return what was found at each destination, and which of them are links not followed."""
    if not wanted:
        return (), ()
    plain = {n: t.destination for n, t in enumerate(wanted) if fits_a_line(t.destination)}
    found: dict[int, RemoteFile] = {}
    links: list[int] = []
    if "named" in sections:
        common = common_directory(list(plain.values()))
        numbers = {below(common, path): n for n, path in plain.items()}
        for line in filter(None, sections["named"]):
            *description, name = line.split(" ", 6)
            found[numbers[name]] = _described(" ".join(description))
            if description[0].startswith("a") and len(description[0]) == _MODE_DIGITS:
                links.append(numbers[name])
    else:
        for line in sections["files"] if plain else ():
            if line and not line.startswith("clock "):
                number, _, described = line.partition(" ")
                found[_one_of(len(wanted), number)] = _described(described)
    followed = sections.get("followed", ()) if "named" in sections else sections["followed"]
    found.update(_followed(len(wanted), followed))
    files = tuple(found.get(n, MISSING) if n in plain else found[n] for n in range(len(wanted)))
    return files, tuple(links)


_MODE_DIGITS = 4
_SHOWN_CHARS = 200


def _one_of(count: int, number: str) -> int:
    if not 0 <= int(number) < count:
        raise ValueError(f"a file that was not asked for: {shortened(number, _SHOWN_CHARS)}")
    return int(number)


def _followed(count: int, lines: Iterable[str]) -> Iterator[tuple[int, RemoteFile]]:
    lines = [line for line in lines if line]
    for line, description in zip(lines[::2], lines[1::2], strict=True):
        number, _, target = line.partition(" ")
        link_to = target.replace("\1", "\n") or None
        yield _one_of(count, number), _described(description)._replace(link_to=link_to)


def _described(description: str) -> RemoteFile:
    """Parse ``mode size mtime ctime inode device [digest]``, mode in hex as by ``stat -c %f``."""
    if description == "missing":
        return MISSING
    if description == "broken":
        return RemoteFile(FileKind.OTHER)
    mode, size, mtime, ctime, inode, device, *digest = description.split(" ")
    kind = _KINDS.get(int(mode, 16) & 0o170000, FileKind.OTHER)
    signature = Signature(int(size), _ns(mtime), _ns(ctime), int(inode), int(device))
    return RemoteFile(kind, signature, digest[0] if digest and digest[0] else None)


_KINDS = {0o100000: FileKind.FILE, 0o040000: FileKind.DIRECTORY}


def _ns(time: str) -> int:
    """Nanoseconds of ``stat``'s ``%.9Y`` (GNU) or of its whole seconds (busybox)."""
    seconds, _, fraction = time.partition(".")
    return int(seconds) * 10**9 + int(fraction.ljust(9, "0") or 0)
