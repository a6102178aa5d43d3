"""Checking one host: what a run needs there is asked for before anything is changed."""

from __future__ import annotations

import shutil

import pytest
from testbed.shells import eventually
from testbed.stand import Stand

from fastrr.errors import CommandFailed
from fastrr.hosts.shell import quote

EXTRAS = ("ln", "openssl", "screen", "tar", "rsync")


def leave(stand: Stand, *missing: str) -> None:
    """Leave a host with the usual utilities and `EXTRAS`, but for those that are ``missing``."""
    (stand.box.bin / "df").unlink(missing_ok=True)
    stand.box.only(*EXTRAS)
    for name in missing:
        (stand.box.bin / name).unlink()


def refusal(stand: Stand) -> str:
    with pytest.raises(CommandFailed) as failed:
        stand.run().check()
    return str(failed.value)


def passes(stand: Stand) -> bool:
    return stand.run().check().problems == ()


@pytest.mark.parametrize("tool", ["awk", "df", "mktemp", "mv", "sed", "stat", "tr", "xargs"])
def test_a_host_without_a_needed_utility_says_which(stand: Stand, tool: str) -> None:
    stand.wants("f", "content")
    leave(stand, tool)
    assert refusal(stand) == f"the host has no {tool}: install what is missing"


def test_what_computes_digests_is_needed_for_files_only(stand: Stand) -> None:
    leave(stand, "openssl", "sha1sum")
    assert passes(stand)
    stand.wants("f", "content")
    assert "neither openssl nor sha1sum" in refusal(stand)
    (stand.box.bin / "sha1sum").symlink_to(shutil.which("sha1sum") or "")
    assert passes(stand)


def test_the_programs_of_the_wanted_transport_are_needed(stand: Stand) -> None:
    leave(stand, "rsync")
    stand.set(transport="rsync")
    assert passes(stand), "there is nothing to copy"
    stand.wants("f", "content")
    assert refusal(stand).startswith("--transport rsync: ")
    stand.set(transport="auto")
    assert passes(stand)


def test_screen_is_needed_where_something_is_to_be_started(stand: Stand) -> None:
    leave(stand, "screen")
    stand.wants("f", "content")
    assert passes(stand)
    stand.component("one", "exit 0")
    assert "the host has no screen" in refusal(stand)
    stand.set(copy_only=True)
    assert passes(stand)


def test_a_socket_directory_that_screen_refuses_is_found(stand: Stand) -> None:
    (stand.box.root / "screens").chmod(0o777)
    assert passes(stand), "there is nothing to start"
    stand.component("one", "exit 0")
    told = refusal(stand)
    assert "screen can't use its socket directory" in told
    assert "700" in told
    assert "SCREENDIR" in told


def test_a_place_for_state_that_can_not_be_made_is_found(stand: Stand) -> None:
    file = stand.there / "file"
    file.touch()
    stand.box.environment["XDG_STATE_HOME"] = str(file)
    assert passes(stand), "there is nothing to start"
    stand.component("one", "exit 0")
    told = refusal(stand)
    assert f"{file} is no directory" in told
    assert "XDG_STATE_HOME" in told


@pytest.mark.parametrize("session", ["stand", "a.b", "it's"])
def test_the_sessions_of_the_runs_name_are_found_and_no_others(stand: Stand, session: str) -> None:
    for name in (session, f"{session}x", f"x.{session}", session):
        stand.box.screen("-dmS", name, "sh", "-c", f"exec sleep 60 # {quote(name)}")
    eventually(lambda: len(stand.box.sessions()) == 4)
    found = stand.box.sessions()
    stand.component("one", "exit 0")
    stand.set(name=session)
    wanted = {one for one in found if one.partition(".")[2] == session}
    assert len(wanted) == 2
    run = stand.run()
    run.check()
    assert set(run.earlier_sessions) == wanted
