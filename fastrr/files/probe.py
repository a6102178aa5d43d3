"""The check step's one round trip: the script that looks at a host, and the parser of its answer.

Pure. The script changes nothing on the host but for a scratch directory, which it removes again:
what is to be made is made when every host has passed. All files are looked at by one
``stat`` and hashed by one ``openssl`` (``sha1sum`` where there is none), however many there are:

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

import io
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from hashlib import sha1
from posixpath import normpath
from typing import NamedTuple

from fastrr.components.screen import parse_sessions
from fastrr.hosts.machine import SEE, Machine
from fastrr.hosts.shell import (
    Script,
    absolute,
    below,
    common_directory,
    fits_a_line,
    here_document,
    is_plain,
    parent,
    quote,
    script,
    to_bytes,
    to_text,
)
from fastrr.hosts.shell import join as join_words
from fastrr.hosts.ways import FORMAT, WAYS, Place, on_the_way, parse_places
from fastrr.model import MISSING, FileKind, FileTarget, HostPlan, RemoteFile, Signature, SourceFile
from fastrr.text import shortened

TOOLS = ("screen", "openssl", "sha1sum", "tar", "rsync", "xxhsum", "perl", "systemd-run")
ASK_FOR_OPENSSL_3_FROM_BYTES = 1 << 22
"""Only for large files it matters which openssl it is, and asking costs a process."""
REQUIRED_TOOLS = ("awk", "df", "mktemp", "mv", "sed", "stat", "tr", "xargs")

_LOOK_AT_HOST = r"""
cd 2>/dev/null || cd /
home=$PWD
# What /proc tells costs no process.
{see}
node=${fastrr_node:-$(uname -n)} uid=${fastrr_uid:-$(id -u)}
state=${XDG_STATE_HOME:-$HOME/.local/state}/fastrr/$node tmp=${TMPDIR:-/tmp} screens=${SCREENDIR-}
case $state in
/*) ;;
*) state=$home/$state ;;
esac
case $tmp in
/*) ;;
*) tmp=$home/$tmp ;;
esac
if [ -n "${TMPDIR-}" ]; then
    export TMPDIR="$tmp"
fi
printf '%s\n' "home $home" "node $node" "uid $uid" "state $state" "tmp $tmp" "screendir $screens"
printf '%s\n' "boot $fastrr_boot" "start $fastrr_start"
if [ -r /etc/machine-id ]; then
    read -r machine </etc/machine-id
    echo "machine $machine"
fi
if {openssl_version} && command -v openssl >/dev/null; then
    echo "openssl $(openssl version)"
fi
if {xxhsum_version} && command -v xxhsum >/dev/null; then
    xxhsum --version 2>&1 | { read -r said && echo "xxhsum $said"; }
fi
for tool in {tools}; do
    printf 'tool %s ' "$tool"
    command -v "$tool" || echo
done
if command -v loginctl >/dev/null; then
    echo "loginctl $(loginctl show-session -p KillUserProcesses 2>/dev/null)"
fi
echo "== sessions"
newline='
'
if {sessions} && command -v screen >/dev/null; then
    said=$(LC_ALL=C screen -ls 2>&1)
    printf '%s\n' "$said"
    case $said in
    *" in /"*)
        screens=/${said##* in /}
        screens=${screens%%$newline*}
        screens=${screens%.}
        ;;
    esac
fi
export LC_ALL=C
seen=
look() {
    p=$1
    while [ ! -e "$p" ] && [ ! -L "$p" ]; do
        p=${p%/*}
        [ -n "$p" ] || p=/
    done
    if [ ! -d "$p" ]; then
        echo "file ${#p}"
    elif [ ! -w "$p" ] || [ ! -x "$p" ]; then
        echo "denied ${#p}"
    else
        echo "good ${#p}"
        if {space_by_directory}; then
            case $newline$seen in
            *"$newline$p$newline"*) ;;
            *) seen=$seen$p$newline ;;
            esac
        fi
    fi
}
echo "== state"
look "$state"
look "$tmp"
seen=
"""

_WAYS = (
    WAYS
    + r"""
way "$home"
way "$state"
way "$screens"
way "$tmp"
printf '%s\n' "== screens" "$screens" "== ways"
(
    IFS=$newline
    set -f
    stat -c '{format}' -- / $ways {words} 2>/dev/null
)
""".replace("{format}", FORMAT)
)

_FEW_DIRECTORIES = 64
"""Whose free space is asked for one by one, and on the way to which all places fit a command."""

_MANY_WAYS = r"""
{ {names} stat -c '{format}' -- 2>/dev/null; } {wanted}""".replace("{format}", FORMAT)

_MANY_WAYS_AND_SPACE = r"""
typed=T
df -PTk / >/dev/null 2>&1 || typed=
export each_df="tr '\n' '\0' | xargs -0 df -P${typed}k --"
{ {names} stat -c '{format}' -- 2>/dev/null | awk '
    { print }
    $1 ~ /^a...$/ || ($1 ~ /^4...$/ && !($3 in seen)) {
        seen[$3]
        one[++count] = substr($0, length($1) + length($2) + length($3) + 4)
    }
    END {
        # The free space of each file system, and of what is behind each link.
        print "== space"
        for (i = 1; i <= count; i++) print one[i]
        print "== df"
        fflush()
        for (i = 1; i <= count; i++) print one[i] | ENVIRON["each_df"]
    }' 2>/dev/null; } {wanted}""".replace("{format}", FORMAT)

_FREE_SPACE = r"""
echo "== space"
printf '%s' "$seen"
echo "== df"
(
    IFS=$newline
    set -f
    df -PTk -- $seen 2>/dev/null || df -Pk -- $seen 2>/dev/null
)
"""

HASHER = r"""if command -v openssl >/dev/null; then
    hasher='openssl dgst -sha1 -r'
else
    hasher='sha1sum -b'
fi
"""
"""Sets ``$hasher`` to what prints the SHA-1 of files: openssl, the fastest, if it is there."""

_FORMAT = r"""
hashing={hashing}
format='%f %s %.9Y %.9Z %i %d'
{format_known} || case $(stat -c %.9Y / 2>/dev/null) in
*.?????????) ;;
*) format='%f %s %Y %Z %i %d' ;;
esac
{hasher}inspect() {
    number=$1 size=$2 target=$3 link=
    if [ -L "$3" ]; then
        # The dot keeps newlines at the end of the name.
        target=$(readlink -f -- "$3" && echo .) || target=
        target=${target%??}
        link=$(printf '%s' "$target" | tr '\n' '\001')
    fi
    printf '%s %s\n' "$number" "$link"
    if [ -z "$target" ]; then
        echo "broken"
    elif found=$(stat -c "$format" -- "$target" 2>/dev/null); then
        digest=
        case $hashing:$found in
        "true:8"???" $size "*) digest=$($hasher 2>/dev/null <"$target") ;;
        esac
        echo "$found ${digest%% *}"
    else
        echo "missing"
    fi
}
""".replace("{hasher}", HASHER)

_XARGS_OF_LINES = r"tr '\n' '\0' | xargs -0"
_XARGS = "xargs"
"""Where all names are plain: blanks, quotes and backslashes mean something to it (POSIX, XCU)."""

_LIST = r"""
echo "== listing"
if command -v sha1sum >/dev/null; then
    hasher='sha1sum -b' # for so little it is quicker
fi
{ {names} stat -c "$format %n" -- 2>/dev/null | $hasher; } {wanted}"""

_JUST_LOOK = r"""
echo "== named"
{ {names} stat -c "$format %n" -- 2>/dev/null; } {wanted}"""

_LOOK_AT_FILES = r"""
now() {
    if [ -r /proc/uptime ]; then
        read -r up idle </proc/uptime
        echo "$up"
    fi
}
if ! command -v mktemp >/dev/null; then
    # That it is missing is told by the list of tools, if the answer has all its parts.
    printf '%s\n' "== files" "== followed"
else
# Nobody else may exchange what is in it, which the check is yet to find out (`fastrr.hosts.ways`):
# neither who may write there nor, be it sticky, who owns it.
private=$home
set -- $(ls -ldn -- "${tmp%/}" 2>/dev/null)
case ${1-} in
d???????[!w]* | d????????[tT]*)
    if [ "$3" = 0 ] || [ "$3" = "$uid" ]; then
        private=$tmp
    fi
    ;;
esac
scratch=$(TMPDIR=$private mktemp -d 2>/dev/null || TMPDIR=$home mktemp -d) || exit 1
trap 'rm -rf "$scratch"' EXIT
cat >"$scratch/wanted" {wanted}
: >"$scratch/links"
: >"$scratch/same"
: >"$scratch/digests"
{
    echo "$scratch/wanted"
    sed 's/^[^ ]* [^ ]* [^ ]* //' "$scratch/wanted"
} | tr '\n' '\0' | xargs -0 stat -c "$format %n" -- >"$scratch/found" 2>/dev/null
awk -v links="$scratch/links" -v same="$scratch/same" '
    FILENAME ~ /wanted$/ {
        path = substr($0, length($1) + length($2) + length($3) + 4)
        number[path] = $1
        size[path] = $2
        known[path] = $3
        next
    }
    {
        path = $0
        for (i = 0; i < 6; i++) path = substr(path, index(path, " ") + 1)
        if ($1 ~ /^a...$/) print number[path], size[path], path >links
        else if ($1 !~ /^8...$/ || ($2 "") != (size[path] "")) next
        else if ($3 "/" $4 "/" $5 "/" $6 != known[path]) print path >same
    }' "$scratch/wanted" "$scratch/found"
if "$hashing" && [ -s "$scratch/same" ]; then
    echo "== hashing"
    now
    tr '\n' '\0' <"$scratch/same" | xargs -0 $hasher >"$scratch/digests" 2>/dev/null
    now
fi
echo "== listing"
sed 1d "$scratch/found" | $hasher
echo "== files"
awk '
    FILENAME ~ /wanted$/ {
        number[substr($0, length($1) + length($2) + length($3) + 4)] = $1
        next
    }
    FILENAME ~ /digests$/ { digest[substr($0, 43)] = $1; next }
    {
        path = $0
        for (i = 0; i < 6; i++) path = substr(path, index(path, " ") + 1)
        if (!(path in number)) number[path] = "clock"
        print number[path], $1, $2, $3, $4, $5, $6, digest[path]
    }' "$scratch/wanted" "$scratch/digests" "$scratch/found"
echo "== followed"
while IFS= read -r line; do
    path=${line#* }
    inspect "${line%% *}" "${path%% *}" "${path#* }"
done <"$scratch/links"
fi
"""


class Space(NamedTuple):
    """A file system: where it is mounted and how many bytes an ordinary user may still write."""

    mount: str
    free_bytes: int
    kind: str = ""
    """The type of the file system; empty where ``df`` does not tell."""


class DirectoryFacts(NamedTuple):
    """Where a wanted directory will be made, or why it can't be.

    ``ancestor`` is the directory itself where it exists, else its nearest parent that does.
    ``trouble`` is None, ``"file"`` (the ancestor is no directory) or ``"denied"`` (not ours to
    write to).
    """

    ancestor: str
    trouble: str | None = None


class HostFacts(NamedTuple):
    """What the check found out about a host, but for its files."""

    home: str
    node: str
    uid: str
    state_directory: str
    """Directory below which each session keeps the state of its components."""
    state_trouble: str | None = None
    """Why it can't be made or written to."""
    boot: str = ""
    start: str = ""
    """When process 1 began; see `Machine`."""
    machine: str = ""
    """Its machine-id (machine-id(5))."""
    openssl: str = ""
    """What ``openssl version`` says, where it was asked."""
    xxhsum: str = ""
    """What ``xxhsum --version`` says, where it was asked."""
    clock_ns: int = 0
    """The time there, as new files are given it; 0 where no files were looked at."""
    hashing_s: float = 0.0
    """How long digests took, where that is known; to a hundredth of a second."""
    screen_directory: str = ""
    tools: Mapping[str, str] = {}
    """Path of each tool of `TOOLS` and `REQUIRED_TOOLS` that is there."""
    sessions: tuple[str, ...] = ()
    """All ``pid.name`` of the account's screen sessions, dead ones included."""
    screen_trouble: str | None = None
    """What screen says when it can't use its socket directory."""
    kills_user_processes: bool = False
    """systemd-logind ends what a user left running at logout (logind.conf(5))."""
    temporary_directory: str = ""
    temporary_trouble: str | None = None
    """Why nothing can be made in it."""
    directories: Mapping[str, DirectoryFacts] = {}
    """By path as in the plan: directories, and parents of files."""
    space: Mapping[str, Space] = {}
    """By `DirectoryFacts.ancestor`."""
    socket_directory: str = ""
    """Where screen keeps the account's sockets; empty if that is not known."""
    places: Mapping[str, Place | None] = {}
    """What is on the ways to directories, by absolute path; see `fastrr.hosts.ways`."""

    def file_system_of(self, directory: str) -> str:
        """The type of the file system of a directory of the plan; empty if it is not known."""
        facts = self.directories.get(directory)
        space = self.space.get(facts.ancestor) if facts else None
        return space.kind if space else ""

    @property
    def which(self) -> Machine:
        """What tells this machine when there is a further connection."""
        return Machine(self.boot, self.node, self.uid, self.start)

    @property
    def account(self) -> tuple[str, ...]:
        """Tells apart machine and account: two hosts with the same are one."""
        return (self.boot, self.node, self.uid, self.home, self.screen_directory)


class Answer(NamedTuple):
    """The parsed answer of the probe."""

    facts: HostFacts
    files: tuple[RemoteFile, ...] = ()
    """What is at each destination, in plan order; empty for a `listing_script`."""
    listing: str = ""
    """Digest of all that ``stat`` says of the files; empty where there is none."""
    unfollowed: tuple[int, ...] = ()
    """Places of destinations that are symbolic links, and were not followed for lack of hashing."""


def needed_directories(plan: HostPlan) -> tuple[str, ...]:
    """The directories a plan needs, outside temporary base_dirs, without doubles."""
    return tuple(dict.fromkeys((*plan.directories, *_parents(plan.files))))


# Most hosts are to have the same files: what depends on nothing else is found out once.
_once = lru_cache(maxsize=4)


@_once
def _parents(files: tuple[FileTarget, ...]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(parent(target.destination) for target in files))


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


@_once
def _list(files: tuple[FileTarget, ...]) -> str:
    return _with_names(_LIST, [target.destination for target in files], "files", "followed")


def listing_script(
    plan: HostPlan, sources: Mapping[str, SourceFile], sessions: bool = True
) -> Script:
    """Return the script that looks at the host, and lists the files that `can_be_listed`.

    How much space is free it does not ask: nothing will be copied, should the listing be right.
    """
    format_ = _FORMAT.replace("{hashing}", "false").replace("{format_known}", "true")
    lines = (_look_at_host(plan, sources, sessions, space=False), format_, _list(plan.files))
    return script("".join((*lines, "true\n")))


def probe_script(
    plan: HostPlan,
    sources: Mapping[str, SourceFile],
    hashing: bool = True,
    known: Mapping[str, Signature] | None = None,
    sessions: bool = True,
) -> Script:
    """Return the script that looks at everything ``plan`` touches.

    ``hashing``: compute the digest of each destination that has the size of its source, unless
    ``known`` has, by destination, the signature that it still has. Without it times are those of
    whole seconds, and symbolic links are left to `follow_script`. ``sessions``: also list the
    screen sessions.
    """
    known = known or {}
    lines = [_look_at_host(plan, sources, sessions, space=True)]
    if plan.files:
        format_ = _FORMAT.replace("{hashing}", "true" if hashing else "false")
        lines.append(format_.replace("{format_known}", "false" if hashing else "true"))
    wanted = [(n, sources[t.source].size, t.destination) for n, t in enumerate(plan.files)]
    if plain := [one for one in wanted if fits_a_line(one[2])]:
        if hashing:
            common = common_directory([path for _, _, path in plain])
            table = [
                f"{n} {size} {_times(known.get(path))} {below(common, path)}"
                for n, size, path in plain
            ]
            lines.append(_inside(common, _LOOK_AT_FILES, table, "files", "followed"))
        else:
            lines.append(_with_names(_JUST_LOOK, [path for _, _, path in plain], "named"))
    if odd := [(n, size, path) for n, size, path in wanted if not fits_a_line(path)]:
        lines.append('cd -- "$home"\necho "== followed"\n')
        lines.extend(f"inspect {n} {size} {quote(path)}\n" for n, size, path in odd)
    return script("".join((*lines, "true\n")))


def follow_script(
    plan: HostPlan, sources: Mapping[str, SourceFile], numbers: Iterable[int]
) -> Script:
    """Return the script that follows symbolic links; see `Answer.unfollowed`."""
    format_ = _FORMAT.replace("{hashing}", "false").replace("{format_known}", "true")
    lines = ["cd 2>/dev/null || cd /\n", format_, 'echo "== followed"\n']
    for n in numbers:
        target = plan.files[n]
        size = sources[target.source].size
        lines.append(f"inspect {n} {size} {quote(target.destination)}\n")
    return script("".join((*lines, "true\n")))


def _look_at_host(
    plan: HostPlan, sources: Mapping[str, SourceFile], sessions: bool, space: bool
) -> str:
    """The part of the script that is the same whatever is to be found out about files."""
    wanted_files = [target for fresh in plan.fresh for target in fresh.files]
    if space:  # else only into temporary base_dirs anything will be copied
        wanted_files += plan.files
    large = any(sources[t.source].size >= ASK_FOR_OPENSSL_3_FROM_BYTES for t in wanted_files)
    text = _LOOK_AT_HOST.replace("{see}", SEE).replace(
        "{tools}", " ".join((*TOOLS, *REQUIRED_TOOLS))
    )
    text = text.replace("{openssl_version}", "true" if large else "false")
    text = text.replace("{xxhsum_version}", "true" if wanted_files else "false")
    directories = needed_directories(plan)
    by_directory = space and len(directories) <= _FEW_DIRECTORIES
    text = text.replace("{space_by_directory}", "true" if by_directory else "false")
    lines = [text.replace("{sessions}", "true" if sessions else "false")]
    if directories:
        lines.append('echo "== directories"\n')
        lines.extend(f"look {quote(directory)}\n" for directory in directories)
    few = len(directories) <= _FEW_DIRECTORIES
    ways = _ways(directories)
    lines.append(_WAYS.replace("{words}", join_words(ways) if few else ""))
    if not few:
        text = _MANY_WAYS_AND_SPACE if space else _MANY_WAYS
        lines.append(_with_lines(text, [path if path[0] == "/" else f"./{path}" for path in ways]))
    elif directories and space:
        lines.append(_FREE_SPACE)
    return "".join(lines)


@_once
def _ways(directories: tuple[str, ...]) -> tuple[str, ...]:
    """All that leads to ``directories``, as far as it can be asked by name at once."""
    return tuple(on_the_way(filter(_can_be_gone, directories)))


def _can_be_gone(path: str) -> bool:
    """Whether what is on a way can be asked by name before it is known what leads where."""
    return fits_a_line(path) and ".." not in path.split("/")


def _with_names(text: str, paths: Sequence[str], *sections: str) -> str:
    """Have a part of the script run with these paths, seen from their common directory."""
    common = common_directory(paths)
    names = [below(common, path) for path in paths]
    return _inside(common, _with_xargs(text, names), names, *sections)


def _with_lines(text: str, names: Sequence[str]) -> str:
    return _with_xargs(text, names).replace("{wanted}", here_document(names), 1)


def _with_xargs(text: str, names: Sequence[str]) -> str:
    xargs = _XARGS if all(map(is_plain, names)) else _XARGS_OF_LINES
    return text.replace("{names}", xargs)


def _inside(common: str, text: str, lines: Sequence[str], *sections: str) -> str:
    """Have a part of the script run in a directory; where there is none, there are no files.

    It gets ``lines`` as its input; without the directory, ``sections`` are printed, all empty.
    """
    text = text.replace("{wanted}", here_document(lines), 1)
    if not common:
        return text
    titles = " ".join(f'"== {title}"' for title in sections)
    return f"if cd -- {quote(common)} 2>/dev/null; then\n{text}else\nprintf '%s\\n' {titles}\nfi\n"


def _times(signature: Signature | None) -> str:
    """The part of a signature besides the size, as the first ``awk`` puts it together."""
    if signature is None:
        return "-"
    times = (signature.mtime_ns, signature.ctime_ns)
    mtime, ctime = (f"{ns // 10**9}.{ns % 10**9:09d}" for ns in times)
    return f"{mtime}/{ctime}/{signature.inode}/{signature.device}"


class UnreadableAnswer(ValueError):
    """The host's answer does not have the form the script gives it."""


def parse_answer(plan: HostPlan, body: bytes) -> Answer:
    """Parse what the script made by `probe_script` for the same plan printed.

    :raises UnreadableAnswer: when it is cut short or was mixed with other output.
    """
    sections = _sections(body)
    try:
        listing = next(iter(sections.get("listing", ())), "").partition(" ")[0]
        listed = sections.keys().isdisjoint(("files", "followed", "named")) and listing
        if listed:
            return Answer(_facts(plan, sections), (), listing)
        files, unfollowed = _files(plan, sections)
        return Answer(_facts(plan, sections), files, listing, unfollowed)
    except (KeyError, ValueError, IndexError) as error:
        raise UnreadableAnswer(f"{type(error).__name__}: {error}") from error


def _sections(body: bytes) -> dict[str, list[str]]:
    sections: dict[str, list[str]] = {"": []}
    current = sections[""]
    # Line by line: one odd character, and all would take four bytes for each.
    for data in io.BytesIO(body.removesuffix(b"\n")):
        line = to_text(data.removesuffix(b"\n"))
        if line.startswith("== "):
            current = sections.setdefault(line[3:], [])
        else:
            current.append(line)
    return sections


def _facts(plan: HostPlan, sections: Mapping[str, list[str]]) -> HostFacts:
    values: dict[str, str] = {}
    tools: dict[str, str] = {}
    for line in sections[""]:
        key, _, value = line.partition(" ")
        if key == "tool":
            tool, _, path = value.partition(" ")
            if path and tool in _ALL_TOOLS:
                tools[tool] = path
        elif key in _KEYS:
            values[key] = value
    sessions, screen_trouble = parse_sessions("\n".join(sections["sessions"]))
    home = values["home"]
    for name in ("home", "state", "tmp"):
        if not values[name].startswith("/"):
            raise ValueError(f"{name} is {values[name]!r}, no absolute path")
    if re.fullmatch("[0-9]{1,10}", values["uid"]) is None:
        raise ValueError(f"the user id is {shortened(values['uid'], _VERSION_CHARS)!r}")
    by_name = [absolute(path, home) for path in _ways(needed_directories(plan))]
    besides = (home, values["state"], values["tmp"], sections["screens"][0])
    asked = {"/", *by_name, *on_the_way(normpath(path) for path in besides if path)}
    places = {at: place for at, place in parse_places(sections["ways"], home) if at in asked}
    # What was asked by name and not found is not there; of what is above it all has been asked.
    missing = {path: None for path in by_name if path not in places}
    directories = _directories(plan, sections)
    return HostFacts(
        home=home,
        node=values["node"],
        uid=values["uid"],
        state_directory=values["state"],
        state_trouble=_state_trouble(values["state"], sections["state"][0]),
        boot=values.get("boot", ""),
        start=values.get("start", ""),
        machine=values.get("machine", ""),
        openssl=values.get("openssl", ""),
        xxhsum=values.get("xxhsum", "")[:_VERSION_CHARS],
        clock_ns=_clock(sections.get("files", ())),
        hashing_s=_seconds(sections.get("hashing", ())),
        screen_directory=values["screendir"],
        tools=tools,
        sessions=sessions,
        screen_trouble=screen_trouble if "screen" in tools else None,
        kills_user_processes=values.get("loginctl") == "KillUserProcesses=yes",
        temporary_directory=values["tmp"],
        temporary_trouble=_temporary_trouble(values["tmp"], sections["state"][1]),
        directories=directories,
        space=_space(sections, home, places, directories),
        socket_directory=sockets if (sockets := sections["screens"][0]).startswith("/") else "",
        places={**places, **missing},
    )


_KEYS = frozenset(
    (
        *("home", "node", "uid", "state", "tmp", "screendir", "boot", "start", "machine"),
        *("openssl", "xxhsum", "loginctl"),
    )
)
_ALL_TOOLS = frozenset((*TOOLS, *REQUIRED_TOOLS))

_VERSION_CHARS = 200
"""No version is longer; what looks for it in there need not bother with more."""


def _state_trouble(directory: str, line: str) -> str | None:
    found = _directory(directory, line)
    return None if found.trouble is None else f"{found.ancestor} {_TROUBLES[found.trouble]}"


def _temporary_trouble(directory: str, line: str) -> str | None:
    found = _directory(directory, line)
    if found.ancestor != directory:
        return "is not there"
    return None if found.trouble is None else _TROUBLES[found.trouble]


_TROUBLES = {"file": "is no directory", "denied": "may not be written to"}


def _directory(path: str, line: str) -> DirectoryFacts:
    state, length = line.split(" ")
    ancestor = to_text(to_bytes(path)[: int(length)])
    return DirectoryFacts(ancestor, None if state == "good" else state)


def _directories(plan: HostPlan, sections: Mapping[str, list[str]]) -> dict[str, DirectoryFacts]:
    wanted = needed_directories(plan)
    if not wanted:
        return {}
    lines = sections["directories"]
    return {path: _directory(path, line) for path, line in zip(wanted, lines, strict=True)}


_DF_SIZES = r" (\d{1,19}) +-?\d{1,19} +(-?\d{1,19}) +(?:\d{1,3}%|-) +(?=/)"
"""Sizes in a line of ``df`` (blanks between them), and what is before the mount point. What may
come in any number is followed by something else: the time it takes goes with the line's length."""


def _df_line(line: str) -> Space | None:
    """Parse ``[SYSTEM] TYPE|SYSTEM SIZE USED FREE USE% MOUNT``; names may have blanks in them."""
    if (sizes := re.search(_DF_SIZES, line)) is None:
        return None
    before = line[: sizes.start()].split()
    if not before:
        return None
    return Space(line[sizes.end() :], int(sizes[2]) * 1024, before[-1])


def _clock(lines: Iterable[str]) -> int:
    """Find out the time from the file that was made just then."""
    for line in lines:
        if line.startswith("clock "):
            signature = _described(line.removeprefix("clock ")).signature
            return signature.ctime_ns if signature else 0
    return 0


def _seconds(times: Sequence[str]) -> float:
    return float(times[1]) - float(times[0]) if len(times) == 2 else 0.0


def _space(
    sections: Mapping[str, list[str]],
    home: str,
    places: Mapping[str, Place],
    directories: Mapping[str, DirectoryFacts],
) -> dict[str, Space]:
    """Return the space of all directories, from that of one of each file system."""
    asked = [absolute(normpath(path), home) for path in filter(None, sections.get("space", []))]
    title, *lines = sections.get("df") or [""]
    typed = title.split()[1:2] == ["Type"]
    told = [space for line in lines if (space := _df_line(line))]
    if len(told) != len(asked):
        return {}
    found = {
        path: space if typed else space._replace(kind="")
        for path, space in zip(asked, told, strict=True)
    }
    by_device = {
        places[path].device: space
        for path, space in found.items()
        if path in places and places[path].is_directory
    }
    spaces: dict[str, Space] = {}
    for ancestor in dict.fromkeys(facts.ancestor for facts in directories.values()):
        path = absolute(ancestor, home)
        place = places.get(path)
        space = found.get(path)
        if space is None and place is not None and place.is_directory:
            space = by_device.get(place.device)
        if space is not None:
            spaces[ancestor] = space
    return spaces


def parse_followed(answer: Answer, body: bytes) -> Answer:
    """Complete an answer by what a `follow_script` has printed.

    :raises UnreadableAnswer: as `parse_answer`.
    """
    try:
        found = dict(_followed(len(answer.files), _sections(body)["followed"]))
        files = tuple(found.pop(n, there) for n, there in enumerate(answer.files))
    except (KeyError, ValueError, IndexError) as error:
        raise UnreadableAnswer(f"{type(error).__name__}: {error}") from error
    return answer._replace(files=files, unfollowed=())


def _files(
    plan: HostPlan, sections: Mapping[str, list[str]]
) -> tuple[tuple[RemoteFile, ...], tuple[int, ...]]:
    """Return what was found at each destination, and which of them are links not followed."""
    if not plan.files:
        return (), ()
    plain = {n: t.destination for n, t in enumerate(plan.files) if fits_a_line(t.destination)}
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
                found[_one_of(len(plan.files), number)] = _described(described)
    followed = sections.get("followed", ()) if "named" in sections else sections["followed"]
    found.update(_followed(len(plan.files), followed))
    files = tuple(found.get(n, MISSING) if n in plain else found[n] for n in range(len(plan.files)))
    return files, tuple(links)


_MODE_DIGITS = 4


def _one_of(count: int, number: str) -> int:
    if not 0 <= int(number) < count:
        raise ValueError(f"a file that was not asked for: {shortened(number, _VERSION_CHARS)}")
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


def missing_tools(facts: HostFacts, names: Iterable[str] = REQUIRED_TOOLS) -> Sequence[str]:
    """Those of ``names`` that the host does not have."""
    return [name for name in names if name not in facts.tools]
