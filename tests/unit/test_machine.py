"""Which machine it is: the proof that a further connection begins with."""

from __future__ import annotations

import subprocess

import pytest
from testbed.shells import Box

from fastrr.hosts.machine import ANOTHER, SAYS_ANOTHER, Machine, parse_seen, proof, see_script


def seen(box: Box, mark: str = "/") -> Machine:
    return parse_seen(box.ask(see_script(mark)))[0]


def prove(box: Box, machine: Machine, mark: str) -> subprocess.CompletedProcess[bytes]:
    """Run something that is only to be run on this machine."""
    text = f"{proof(machine, mark)}echo here"
    assert not set(text) & set("'\n!")
    return subprocess.run(
        [str(box.bin / "sh"), "-c", text], env=box.environment, capture_output=True, check=False
    )


def test_the_same_machine_is_known_again(box: Box) -> None:
    machine = seen(box)
    assert all(machine)
    done = prove(box, machine, str(box.home))
    assert (done.stdout, done.stderr, done.returncode) == (b"here\n", b"", 0)


@pytest.mark.parametrize("differs", ["boot", "node", "uid", "mark"])
def test_another_one_is_told(box: Box, differs: str) -> None:
    machine, mark = seen(box), str(box.home)
    if differs == "mark":
        mark = str(box.home / "absent")
    else:
        machine = machine._replace(**{differs: "7"})
        assert machine.differs(seen(box))
    done = prove(box, machine, mark)
    assert (done.stdout, done.returncode) == (b"", ANOTHER)
    assert done.stderr.decode() == f"{SAYS_ANOTHER}\n"


def test_what_is_not_known_is_left_out(box: Box) -> None:
    assert prove(box, Machine(), str(box.home)).stdout == b"here\n"
    assert not Machine().differs(seen(box))
    assert proof(Machine(), "") == ""
    assert prove(box, seen(box)._replace(node="a node's name"), "/").stdout == b"here\n"


ODD = ("two words", "it's", "50%", "%s", "$HOME", "`id`", 'quo"te', "back\\slash", "\\047", "!!")


def test_the_mark_may_be_called_anything(box: Box) -> None:
    machine = seen(box)
    for name in (*ODD, "ünï 🚀", "new\nline", "-n", "~", "*"):
        mark = box.home / name
        assert prove(box, machine, str(mark)).returncode == ANOTHER, name
        mark.mkdir()
        assert prove(box, machine, str(mark)).stdout == b"here\n", name


def test_where_a_container_was_restarted_the_mark_decides(box: Box) -> None:
    machine = seen(box)._replace(start="1")
    assert prove(box, machine, str(box.home)).stdout == b"here\n"
    assert prove(box, machine, "/two words").returncode == ANOTHER


def test_whether_the_mark_is_there_is_told(box: Box) -> None:
    (box.home / "it's there").touch()
    assert parse_seen(box.ask(see_script(str(box.home / "it's there"))))[1]
    assert not parse_seen(box.ask(see_script(str(box.home / "absent"))))[1]
