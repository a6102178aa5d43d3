"""Whether a further connection leads to the machine that was checked. Pure.

A name may stand for several machines (round robin, clones with one host key): each connection can
reach another one. So the first thing that is done on a further connection, in its own command and
before anything is written, is to see that boot id, node name and account are the same, and that
the run's own *mark* is there, a file or directory that it has made on the machine it checked.
What a host does not have is left out.

The mark decides where only process 1 is another: some hosts give each login a pid namespace of its
own; and a container that was restarted keeps boot id and node name, but is the same place.
"""

from __future__ import annotations

from typing import NamedTuple

from fastrr.hosts.shell import Script, is_plain, quote, script, to_bytes, to_text

SEE = (
    "fastrr_boot= fastrr_node= fastrr_uid= fastrr_start=; "
    "fastrr_see() { "
    "read -r fastrr_boot </proc/sys/kernel/random/boot_id; "
    "read -r fastrr_node </proc/sys/kernel/hostname; "
    "while read -r fastrr_key fastrr_value fastrr_rest; do case $fastrr_key in "
    "Uid:) fastrr_uid=$fastrr_value; break;; esac; done </proc/self/status; "
    # Field 22 of proc_pid_stat(5); the program's name, in brackets, may have anything in it.
    "read -r fastrr_line </proc/1/stat && set -- ${fastrr_line##*) } && fastrr_start=${20}; "
    "}; fastrr_see 2>/dev/null; "
)
"""Shell commands in one line, without single quotes: see what tells the machine.

All by what the shell has built in: it costs no process.
"""

ANOTHER = 79
"""Exit status of a command that found itself on another machine."""
SAYS_ANOTHER = "@fastrr another machine"
"""What it says then, on standard error."""


class Machine(NamedTuple):
    """What tells a machine and an account of it; empty what is not known."""

    boot: str = ""
    """Boot id (random(4))."""
    node: str = ""
    uid: str = ""
    start: str = ""
    """When process 1 began, in clock ticks since the machine was booted."""

    def differs(self, other: Machine) -> bool:
        """Whether the other is certainly not this one, as it was then."""
        ours, theirs = self._replace(start=""), other._replace(start="")
        return any(a and b and a != b for a, b in zip(ours, theirs, strict=True))


def proof(machine: Machine, mark: str) -> str:
    """Return shell commands that end what follows them on any other machine.

    One line without single quotes, for the argument of ``sh -c``.
    """
    known = [  # or unknown there, where the check had to ask a program
        f'{{ [ -z "$fastrr_{name}" ] || [ "$fastrr_{name}" = {value} ]; }}'
        for name, value in zip(("boot", "node", "uid"), machine, strict=False)
        if value and is_plain(value)
    ]
    if mark:
        known.append(f"[ -e {_spelled(mark)} ]")
    elif machine.start.isdigit():
        known.append(f'[ "$fastrr_start" = {machine.start} ]')
    if not known:
        return ""
    return f"{SEE}{' && '.join(known)} || {{ echo {SAYS_ANOTHER} >&2; exit {ANOTHER}; }}; "


def _spelled(word: str) -> str:
    """Return what a shell takes for ``word``, in characters that no other shell minds."""
    if is_plain(word):
        return word
    plain = (
        chr(byte) if is_plain(chr(byte)) and chr(byte) != "%" else f"\\{byte:03o}"
        for byte in to_bytes(word)
    )
    return f'"$(printf "{"".join(plain)}")"'


def see_script(mark: str) -> Script:
    """Return the script that tells which machine it runs on, and whether the mark is there."""
    return script(
        f"{SEE}\n"
        'printf "%s\\n" "$fastrr_boot" "$fastrr_node" "$fastrr_uid" "$fastrr_start"\n'
        f"[ -e {quote(mark)} ] && echo mark || echo none\n"
    )


def parse_seen(body: bytes) -> tuple[Machine, bool]:
    """Return what the `see_script` has seen: the machine, and whether the mark is there.

    :raises ValueError: when that can't be read.
    """
    boot, node, uid, start, mark, *_ = to_text(body).split("\n")
    return Machine(boot, node, uid, start), mark == "mark"
