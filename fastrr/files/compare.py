"""What to copy to a host, and why. Pure.

The manual, "File Copies": a file that does not exist or has another size is copied; where both
exist and have the same size their SHA-1 digests are compared, and the file is copied only if
these differ. Permissions alone are no reason to copy.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from hashlib import sha1
from posixpath import join, normpath
from typing import NamedTuple

from fastrr.files.probe import Answer
from fastrr.files.storage import Storage
from fastrr.hosts.facts import HostFacts
from fastrr.hosts.shell import absolute, parent
from fastrr.model import (
    Copy,
    CopyReason,
    FileKind,
    FileTarget,
    HostPlan,
    RemoteFile,
    SourceFile,
)


class Decision(NamedTuple):
    """What a host needs before its components can start; or why it can't have it."""

    copies: tuple[Copy, ...] = ()
    unchanged: int = 0
    """Number of files that are there already."""
    directories: tuple[str, ...] = ()
    """Absolute paths of wanted directories that do not exist yet."""
    base_dirs: tuple[str, ...] = ()
    """Temporary base_dirs to be made, for nobody else to read; in order of `HostPlan.fresh`."""
    problems: tuple[str, ...] = ()

    @property
    def nothing_to_do(self) -> bool:
        return not (self.copies or self.directories or self.base_dirs)


class Draft(NamedTuple):
    """A decision, but for files of the right size: what these need, their digests will tell."""

    decision: Decision
    unsettled: tuple[tuple[Copy, str | None], ...] = ()
    """The copy each needs if it differs, and the digest found on the host."""

    def with_problems(self, problems: Sequence[str]) -> Draft:
        """Return a draft that has these ``problems``, too, before others."""
        decision = self.decision
        problems = (*problems, *decision.problems)
        return self._replace(decision=decision._replace(problems=tuple(problems)))


def contents(sha1s: Iterable[str]) -> str:
    """Return one digest for the contents of all files of a plan, given each one's SHA-1 in hex."""
    return sha1("".join(sha1s).encode(), usedforsecurity=False).hexdigest()


def missing_directories(storage: Storage, home: str) -> dict[str, str]:
    """Return, for each directory that was looked for in vain, the nearest parent that there is."""
    return {
        absolute(path, home): absolute(directory.ancestor, home)
        for path, directory in storage.directories.items()
        if directory.ancestor != path and directory.trouble is None
    }


def base_dirs(plan: HostPlan, facts: HostFacts, prefix: str, name: str) -> tuple[str, ...]:
    """Return paths for the temporary base_dirs of a run, in order of ``plan.fresh``.

    ``name`` tells them from all others.
    """
    return tuple(
        join(facts.temporary_directory, f"{prefix}-{_harmless(component)}.{name}-{number}")
        for number, component in enumerate(fresh.component for fresh in plan.fresh)
    )


def _harmless(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9_-]+", "_", name)[:40]


def draft(
    plan: HostPlan,
    answer: Answer,
    sources: Mapping[str, SourceFile],
    temporary: Sequence[str] = (),
    *,
    always_copy: bool = False,
) -> Draft:
    """Compare what the host has with what it should have, as far as that goes without digests.

    ``answer`` is to a question about ``plan``; ``temporary`` (see `base_dirs`) is parallel to
    ``plan.fresh``.
    """
    copies: list[Copy] = []
    unsettled: list[tuple[Copy, str | None]] = []
    problems: list[str] = []
    home = answer.facts.home
    for target, there in zip(plan.files, answer.files, strict=True):
        source = sources[target.source]
        if there.kind in (FileKind.DIRECTORY, FileKind.OTHER):
            problems.append(_in_the_way(target, there.kind))
            continue
        reason = _reason(source, there, always_copy)
        destination = absolute(there.link_to or target.destination, home)
        replaces = there.signature.size if there.signature else None
        copy = _copy(source, destination, reason, replaces)
        if reason is CopyReason.DIGEST:
            unsettled.append((copy, there.digest))
        else:
            copies.append(copy)
    copies.extend(_into_fresh(plan, temporary, sources))
    problems.extend(_contradictions([*copies, *(copy for copy, _ in unsettled)]))
    problems.extend(_temporary_problems(plan, answer))
    problems.extend(_directory_problems(plan, answer, copies))
    problems.extend(_space_problems(answer, copies))
    directories = _missing_directories(plan, answer, temporary)
    decision = Decision(tuple(copies), 0, directories, tuple(temporary), tuple(problems))
    return Draft(decision, tuple(unsettled))


def settle(plan: HostPlan, answer: Answer, drafted: Draft, digests: Mapping[str, str]) -> Decision:
    """Complete a draft. ``digests`` has the SHA-1 of every unsettled source, by path."""
    differing = [copy for copy, there in drafted.unsettled if there != digests[copy.source]]
    # Several paths may lead to one file, as only the host knows: it is put in place once.
    once = {copy.destination: copy for copy in (*drafted.decision.copies, *differing)}
    copies = tuple(once.values())
    problems = dict.fromkeys(
        (
            *drafted.decision.problems,
            *_directory_problems(plan, answer, copies),
            *_space_problems(answer, copies),
        )
    )
    unchanged = len(drafted.unsettled) - len(differing)
    return drafted.decision._replace(copies=copies, unchanged=unchanged, problems=tuple(problems))


@lru_cache(maxsize=1 << 17)
def _copy(source: SourceFile, destination: str, reason: CopyReason, replaces: int | None) -> Copy:
    """One object for all hosts that need the same."""
    return Copy(source.path, destination, source.size, source.mode, reason, replaces)


def _reason(source: SourceFile, there: RemoteFile, always_copy: bool) -> CopyReason:
    """Why a file may have to be copied; the last reason only if the digests do differ."""
    if there.kind is FileKind.MISSING or there.signature is None:
        return CopyReason.MISSING
    if always_copy:
        return CopyReason.ALWAYS
    return CopyReason.SIZE if there.signature.size != source.size else CopyReason.DIGEST


def _into_fresh(
    plan: HostPlan, temporary: Sequence[str], sources: Mapping[str, SourceFile]
) -> Iterator[Copy]:
    for fresh, base in zip(plan.fresh, temporary, strict=True):
        for target in fresh.files:
            source = sources[target.source]
            destination = normpath(join(base, target.destination))
            yield Copy(source.path, destination, source.size, source.mode, CopyReason.MISSING)


def _missing_directories(
    plan: HostPlan, answer: Answer, temporary: Sequence[str]
) -> tuple[str, ...]:
    missing = [
        absolute(path, answer.facts.home)
        for path in plan.directories
        if answer.storage.directories[path].ancestor != path
    ]
    for fresh, base in zip(plan.fresh, temporary, strict=True):
        missing.extend(normpath(join(base, directory)) for directory in fresh.directories)
    return tuple(dict.fromkeys(missing))


def _contradictions(copies: Iterable[Copy]) -> Iterator[str]:
    """Find destinations that two paths lead to, and two files should go to.

    Of one spelling they are found when the config is read; only the host knows links and its home.
    """
    sources: dict[str, str] = {}
    for copy in copies:
        other = sources.setdefault(copy.destination, copy.source)
        if other != copy.source:
            yield f"{copy.destination} should be a copy of both {other} and {copy.source}"


def _in_the_way(target: FileTarget, kind: FileKind) -> str:
    what = "a directory" if kind is FileKind.DIRECTORY else "no regular file"
    return (
        f"{target.destination} is {what}, and {target.source} should become a file of that name: "
        "move it away or choose another destination"
    )


def _temporary_problems(plan: HostPlan, answer: Answer) -> Iterator[str]:
    trouble = answer.storage.temporary_trouble
    if plan.fresh and trouble is not None:
        yield (
            f"a temporary base_dir can't be made for {plan.fresh[0].component}: "
            f"{answer.facts.temporary_directory} {trouble}; set TMPDIR for this account "
            "there to a directory that can be written to, or base_dir in the config"
        )


def _directory_problems(plan: HostPlan, answer: Answer, copies: Sequence[Copy]) -> Iterator[str]:
    """Say what stops the directories that will be made or written to; others are left alone."""
    written = {parent(copy.destination) for copy in copies}
    told: set[str] = set()
    for path, directory in answer.storage.directories.items():
        exists = directory.ancestor == path
        wanted = path in plan.directories and (not exists or directory.trouble == "file")
        if not (wanted or absolute(path, answer.facts.home) in written):
            continue
        if directory.trouble is None or directory.ancestor in told:
            continue
        told.add(directory.ancestor)
        if directory.trouble == "file":
            yield f"{directory.ancestor} is no directory, and {path} should be one"
        elif exists:
            yield f"the directory {path} may not be written to by this account"
        else:
            yield f"{path} can't be made: this account may not write to {directory.ancestor}"


def _space_problems(answer: Answer, copies: Sequence[Copy]) -> Iterator[str]:
    """Both copies of a replaced file exist until the rename, so all new bytes are needed."""
    ancestors = {
        absolute(path, answer.facts.home): directory.ancestor
        for path, directory in answer.storage.directories.items()
    }
    needed: dict[str, int] = defaultdict(int)
    free: dict[str, int] = {}
    for copy in copies:
        space = answer.storage.space.get(ancestors.get(parent(copy.destination), ""))
        if space is not None:
            needed[space.mount] += copy.size
            free[space.mount] = space.free_bytes
    for mount, size in needed.items():
        if size > free[mount]:
            yield (
                f"{size / 1e6:,.1f} MB are to be copied to the file system {mount}, "
                f"which has {free[mount] / 1e6:,.1f} MB free"
            )
