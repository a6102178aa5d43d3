"""Putting new content in place: the scripts before and after a transport, and their parsers.

Pure. For every directory that gets files a *holding directory* ``.fastrr-RUN`` is made inside it,
readable by nobody else; a transport writes each file there. Directories that do not exist yet are
made there, too, in the holding directory of the nearest parent that does: a whole *tree* of new
directories and files is put in place by one rename. Then one script

1. gives content that is wanted at several places to all of them, from the one that was sent;
2. computes a digest of every held file and compares it with the source's: XXH128 where the host
   has ``xxhsum``, else GMAC with OpenSSL 3 for large files, else SHA-1 (see `fastrr.digests`);
3. sets the permissions of those that are right;
4. renames them into the directory, one ``mv`` a directory or a tree, and removes the holding
   directory. Should somebody else have made a tree's directory meanwhile, the files of the tree
   are put into it.

A destination is thus at every moment the old file or the new one (rename(2) within one directory;
ln and tar would unlink first). A file that fails is left as it was, is removed from the holding
directory and is reported; the others go on. Nothing is guaranteed for power failures: there is no
fsync.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from posixpath import basename, join

from fastrr.model import Algorithm, Copy
from fastrr.probe import HASHER, HostFacts
from fastrr.shell import (
    Script,
    below,
    common_directory,
    fits_a_line,
    here_document,
    parent,
    quote,
    script,
    to_text,
)
from fastrr.shell import join as join_words


def holding_directory(directory: str, run_id: str) -> str:
    """Return the name under which new files for ``directory`` are kept until they are verified."""
    return join(directory, f".fastrr-{run_id}")


GMAC_FROM_BYTES = 1 << 22
"""From here a process for one file pays: openssl's GMAC is 4 times as fast as its SHA-1."""


XXH128_SINCE = (0, 8)
"""Earlier versions of ``xxhsum`` compute another digest by that name (Ubuntu 20.04 has 0.7.3)."""


def abilities(facts: HostFacts) -> frozenset[Algorithm]:
    """Return the algorithms that copies to a host can be verified by."""
    able = {Algorithm.SHA1}
    if (version := re.search(r"(\d+)\.(\d+)", facts.xxhsum)) and (
        (int(version[1]), int(version[2])) >= XXH128_SINCE
    ):
        able.add(Algorithm.XXH128)
    if facts.openssl.startswith("OpenSSL 3"):
        able.add(Algorithm.GMAC)
    return frozenset(able)


def algorithm(copy: Copy, able: frozenset[Algorithm]) -> Algorithm:
    """Return the fastest algorithm for verifying ``copy``, of those a host is able to."""
    if not fits_a_line(copy.destination):
        return Algorithm.SHA1  # the slow way knows no other
    if Algorithm.XXH128 in able:
        return Algorithm.XXH128
    if Algorithm.GMAC in able and copy.size >= GMAC_FROM_BYTES:
        return Algorithm.GMAC
    return Algorithm.SHA1


@dataclass(frozen=True, slots=True)
class Held:
    """A copy, the temporary path its content is written to, and its expected digest in hex."""

    copy: Copy
    holding: str
    """The holding directory it is in, perhaps some directories deeper."""
    path: str
    algorithm: Algorithm
    digest: str
    same_as: str | None = None
    """Path of the held file that is sent in place of this one: the content is the same."""
    tree: str | None = None
    """The topmost of the new directories that its destination is in, where it is put in place
    with them."""


def hold(
    copies: Sequence[Copy],
    digests: Mapping[Algorithm, Mapping[str, str]],
    able: frozenset[Algorithm],
    run_id: str,
    ancestors: Mapping[str, str] | None = None,
) -> tuple[Held, ...]:
    """Give each copy its temporary path; content that occurs twice is marked to be sent once.

    ``ancestors`` has, for each directory that does not exist, the nearest parent that does.
    """
    trees = _trees(copies, ancestors or {})
    destinations = {copy.destination for copy in copies}
    sent: dict[tuple[Algorithm, str], str] = {}
    held = []
    for number, copy in enumerate(copies):
        name = basename(copy.destination)
        if not fits_a_line(copy.destination):
            name = f"odd-{number}"
            while join(parent(copy.destination), name) in destinations:
                name += "_"
        directory = parent(copy.destination)
        tree = trees.get(directory)
        above = directory if tree is None else parent(tree)
        holding = holding_directory(above, run_id)
        path = _moved(join(directory, name), above, holding)
        by = algorithm(copy, able)
        digest = digests[by][copy.source]
        first = sent.setdefault((by, digest), path)
        same_as = None if first == path else first
        held.append(Held(copy, holding, path, by, digest, same_as, tree))
    return tuple(held)


def holding_directories(held: Sequence[Held]) -> list[str]:
    """Return the holding directories that the held files are in."""
    return list(dict.fromkeys(h.holding for h in held))


def _trees(copies: Sequence[Copy], ancestors: Mapping[str, str]) -> dict[str, str]:
    """Return the topmost new directory of each new directory that gets files.

    Trees that have names which do not fit a line are left out: these are put in place one by one.
    """
    trees: dict[str, str] = {}
    for directory in dict.fromkeys(parent(copy.destination) for copy in copies):
        if (ancestor := ancestors.get(directory)) is not None:
            first = directory[len(ancestor.rstrip("/")) + 1 :].partition("/")[0]
            trees[directory] = join(ancestor, first)
    odd = {
        trees.get(parent(copy.destination)) for copy in copies if not fits_a_line(copy.destination)
    }
    return {directory: tree for directory, tree in trees.items() if tree not in odd}


def _moved(path: str, directory: str, to: str) -> str:
    """Return the path that what is in ``directory`` has when it is in ``to``."""
    return join(to, path[len(directory.rstrip("/")) + 1 :])


_CHECK_MADE = r"""
failed() {
    printf '%s %s' "$1" "$2" | tr '\n' ' '
    echo
}
anew() {
    said=$(mkdir -m 700 -- "$2" 2>&1) || failed "$1" "$said"
}
made() {
    [ -d "$2" ] || said=$(mkdir -p -- "$2" 2>&1) || failed "$1" "$said"
}
held() {
    [ -d "$2" ] || said=$(mkdir -m 700 -- "$2" 2>&1) || failed "$1" "$said"
}
"""


STALE_AFTER_MINUTES = 24 * 60

_REMOVE_STALE = rf"""
remove_stale() {{
    # What runs left that were killed: a process is spent only if there is something.
    for path in "$1"/.fastrr-*; do
        [ -d "$path" ] && find "$path" -prune -mmin +{STALE_AFTER_MINUTES} -exec rm -rf -- {{}} \;
    done 2>/dev/null
}}
"""


@dataclass(frozen=True, slots=True)
class Preparation:
    """The directories that must be there before content can be sent."""

    base_dirs: tuple[str, ...] = ()
    """Temporary base_dirs: made anew, for nobody else to read; an error if they exist."""
    directories: tuple[str, ...] = ()
    """Made with all their parents, where they are missing."""
    holding: tuple[str, ...] = ()
    """Holding directories: made anew, for nobody else to read."""
    inside: tuple[tuple[str, str], ...] = ()
    """Directories of trees, made in holding directories: where, and where they will be."""

    @classmethod
    def of(
        cls, base_dirs: Sequence[str], directories: Sequence[str], held: Sequence[Held]
    ) -> Preparation:
        holding = tuple(holding_directories(held))
        trees = {h.tree: h.holding for h in held if h.tree is not None}
        wanted: dict[str, None] = {}
        inside = {parent(h.path): parent(h.copy.destination) for h in held if h.tree is not None}
        for path in (*directories, *map(parent, holding)):
            if tree := next((t for t in trees if path == t or path.startswith(t + "/")), None):
                inside[_moved(path, parent(tree), trees[tree])] = path
            else:
                wanted[path] = None
        return cls(tuple(base_dirs), tuple(wanted), holding, tuple(inside.items()))


def prepare_script(preparation: Preparation) -> Script:
    """Return the script that makes the directories of ``preparation``.

    One ``mkdir`` makes many; only what is then not there is tried again, to hear why.
    """
    base_dirs, wanted = preparation.base_dirs, preparation.directories
    holding = preparation.holding
    inside = [path for path, _ in preparation.inside]
    lines = [_CHECK_MADE]
    lines += [f"anew {n} {quote(path)}\n" for n, path in enumerate(base_dirs)]
    lines += [f"mkdir -p -- {join_words(chunk)} 2>/dev/null\n" for chunk in _chunks(wanted)]
    lines += [f"mkdir -m 700 -- {join_words(chunk)} 2>/dev/null\n" for chunk in _chunks(holding)]
    lines += [f"mkdir -p -- {join_words(chunk)} 2>/dev/null\n" for chunk in _chunks(inside)]
    lines += [f"made {n} {quote(path)}\n" for n, path in enumerate(wanted, len(base_dirs))]
    first = len(base_dirs) + len(wanted)
    lines += [f"held {n} {quote(path)}\n" for n, path in enumerate(holding, first)]
    lines += [f"made {n} {quote(path)}\n" for n, path in enumerate(inside, first + len(holding))]
    directories = (quote(parent(path)) for path in holding)
    lines += [_REMOVE_STALE, *(f"remove_stale {directory}\n" for directory in directories)]
    return script("".join((*lines, "true\n")))


def parse_prepared(preparation: Preparation, body: bytes) -> dict[str, str]:
    """Return, for each directory that could not be made, what ``mkdir`` said."""
    paths = [*preparation.base_dirs, *preparation.directories]
    paths += [parent(path) for path in preparation.holding]
    paths += [path for _, path in preparation.inside]
    failures: dict[str, str] = {}
    for line in filter(None, to_text(body).split("\n")):
        number, _, message = line.partition(" ")
        failures.setdefault(paths[int(number)], message.strip())
    return failures


_FINISH = r"""
export LC_ALL=C
{hasher}spread() {
    first=$1
    shift
    tee -- "$@" <"$first" >/dev/null
}
odd() {
    found=$($hasher 2>/dev/null <"$4")
    if [ "${found%% *}" = "$2" ]; then
        chmod "$3" "$4"
        # Into a directory of that name mv would move it, not replace it.
        if [ -d "$5" ] || ! mv -f -- "$4" "$5"; then
            echo "left $1"
        fi
    else
        echo "bad $1"
    fi
    rm -f -- "$4"
}
move() {
    cd "$1" && shift && mv -f -- "$@" ..
    cd /
}
refill() {
    cd "$1" || return
    for path in * .[!.]* ..?*; do
        [ -f "$path" ] && printf '%s\0' "$path"
    done | xargs -0 -r sh -c 'mv -f -- "$@" "$0"' "$2/"
    cd /
}
left() {
    [ -d "$1" ] || return 0
    for path in "$1"/* "$1"/.[!.]* "$1"/..?*; do
        [ -f "$path" ] && printf 'left at %s\n' "$path"
    done
}
""".replace("{hasher}", HASHER)

_VERIFY = r"""
cd -- {common} || exit 1
cat >"$scratch/held" {held}
[ "$(wc -l <"$scratch/held")" -eq {count} ] || exit 1
cut -d ' ' -f 4- "$scratch/held" | tr '\n' '\0' | xargs -0 {hasher} | awk '
    NR == FNR {
        path = substr($0, length($1) + length($2) + length($3) + 4)
        number[path] = $1
        digest[path] = $2
        mode[path] = $3
        next
    }
    {
        path = substr($0, length($1) + 3)
        if (!(path in digest) || $1 "" != digest[path] "") next
        print path | ("tr \"\\n\" \"\\0\" | xargs -0 chmod " mode[path] " --")
        delete digest[path]
    }
    END {
        for (path in digest) {
            print "bad", number[path]
            print path | "tr \"\\n\" \"\\0\" | xargs -0 rm -f --"
        }
    }' "$scratch/held" - || exit 1
cd /
"""


def finish_script(held: Sequence[Held], gmac_key: bytes) -> Script:
    """Return the script that verifies the held files and renames those that are right."""
    plain = [(n, h) for n, h in enumerate(held) if fits_a_line(h.copy.destination)]
    odd = [(n, h) for n, h in enumerate(held) if not fits_a_line(h.copy.destination)]
    lines = [_FINISH, *_spread_lines(held)]
    for n, h in odd:
        words = (str(n), h.digest, f"{h.copy.mode:o}", h.path, h.copy.destination)
        lines.append(f"odd {join_words(words)}\n")
    if plain:
        lines.append("scratch=$(mktemp -d) || exit 1\ntrap 'rm -rf \"$scratch\"' EXIT\n")
        for by, hasher in _HASHERS.items():
            lines.extend(_verify_lines([(n, h) for n, h in plain if h.algorithm is by], hasher))
        lines.append(_KEYED.replace("{key}", gmac_key.hex()))
        for n, h in plain:
            if h.algorithm is Algorithm.GMAC:
                keyed = (str(n), h.digest.upper(), f"{h.copy.mode:o}", h.path)
                lines.append(f"keyed {join_words(keyed)}\n")
        lines.extend(_move_lines([h for _, h in plain]))
    holding = holding_directories(held)
    lines.extend(f"rmdir -- {join_words(chunk)} 2>/dev/null\n" for chunk in _chunks(holding))
    inside = dict.fromkeys(parent(h.path) for h in held)
    lines.extend(f"left {quote(directory)}\n" for directory in inside)
    lines.extend(
        f"[ ! -d {quote(directory)} ] || rm -rf -- {quote(directory)}\n" for directory in holding
    )
    return script("".join((*lines, "true\n")))


_HASHERS = {Algorithm.SHA1: "$hasher", Algorithm.XXH128: "xxhsum -H2"}

_KEYED = r"""
keyed() {
    found=$(openssl mac -cipher AES-128-GCM -macopt hexkey:{key} \
        -macopt hexiv:000000000000000000000000 -in "$4" GMAC)
    if [ "$found" = "$2" ]; then
        chmod "$3" "$4"
    else
        echo "bad $1"
        rm -f -- "$4"
    fi
}
"""


def _verify_lines(held: Sequence[tuple[int, Held]], hasher: str) -> Iterator[str]:
    """Verify many files with one process."""
    if held:
        common = common_directory([h.path for _, h in held])
        table = [f"{n} {h.digest} {h.copy.mode:o} {below(common, h.path)}" for n, h in held]
        verify = _VERIFY.replace("{count}", str(len(table))).replace("{hasher}", hasher)
        verify = verify.replace("{common}", quote(common))
        yield verify.replace("{held}", here_document(table), 1)


def _spread_lines(held: Sequence[Held]) -> Iterator[str]:
    places: dict[str, list[str]] = defaultdict(list)
    for h in held:
        if h.same_as is not None:
            places[h.same_as].append(h.path)
    for first, others in places.items():
        for chunk in _chunks(others):
            yield f"spread {quote(first)} {join_words(chunk)}\n"


def _move_lines(held: Sequence[Held]) -> Iterator[str]:
    names: dict[str, list[str]] = defaultdict(list)
    trees: dict[tuple[str, str], dict[str, str]] = defaultdict(dict)
    for h in held:
        if h.tree is None:
            names[parent(h.path)].append(basename(h.path))
        else:
            trees[h.tree, h.holding][parent(h.path)] = parent(h.copy.destination)
    for directory, inside in names.items():
        for chunk in _chunks(inside):
            yield f"move {quote(directory)} {join_words(chunk)}\n"
    for (tree, holding), directories in trees.items():
        top, above = join(holding, basename(tree)), join(parent(tree), "")
        yield f"if ! mv -f -- {quote(top)} {quote(above)} 2>/dev/null; then\n"
        for chunk in _chunks(list(directories.values())):
            yield f"mkdir -p -- {join_words(chunk)}\n"
        for path, destination in directories.items():
            yield f"refill {quote(path)} {quote(destination)}\n"
        yield "fi\n"


def _chunks(words: Sequence[str], size: int = 400) -> Iterator[Sequence[str]]:
    """Cut into pieces that fit one argument list: 400 words of at most 255 bytes, or 4096."""
    for start in range(0, len(words), size):
        yield words[start : start + size]


class InstallFailure(Enum):
    """Why a file that was sent did not become the destination."""

    DIGEST = "what arrived is not what was sent: it was left out"
    RENAME = "could not be renamed into place"


def parse_finished(held: Sequence[Held], body: bytes) -> dict[int, InstallFailure]:
    """Return the failures by number in ``held``; no entry means the file is in place."""
    by_path = {h.path: n for n, h in enumerate(held)}
    failures: dict[int, InstallFailure] = {}
    for line in to_text(body).split("\n"):
        match line.split(" ", 2):
            case ["bad", number]:
                failures[int(number)] = InstallFailure.DIGEST
            case ["left", "at", path] if path in by_path:
                failures.setdefault(by_path[path], InstallFailure.RENAME)
            case ["left", number] if number.isdigit():
                failures[int(number)] = InstallFailure.RENAME
    return failures


def discard_script(held: Sequence[Held]) -> Script:
    """Return the script that removes what an abandoned copy has left behind.

    What was receiving may live on for a moment, and make anew what has just been removed: it is
    over when nothing has come back for a while.
    """
    holding = holding_directories(held)
    lines = ["remove() {\n    found=\n"]
    lines.extend(f"    [ ! -e {quote(directory)} ] || found=yes\n" for directory in holding)
    lines.extend(f"    rm -rf -- {join_words(chunk)} 2>/dev/null\n" for chunk in _chunks(holding))
    lines.append(_REMOVE_UNTIL_GONE)
    return script("".join(lines))


_REMOVE_UNTIL_GONE = r"""
    [ -n "$found" ]
}
tries=0
while remove && [ "$tries" -lt 10 ]; do
    tries=$((tries + 1))
    sleep 0.3 2>/dev/null || sleep 1
done
"""


def remove_script(directories: Sequence[str]) -> Script:
    """Return the script that removes directories that this run has made."""
    return script(f"rm -rf -- {join_words(directories)}\n")
