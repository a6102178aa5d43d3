"""What is remembered of a host is believed only as long as it must be true."""

from __future__ import annotations

import pytest
from testbed.stand import NAME, Stand, alter, mode, signature

from fastrr.errors import CommandFailed
from fastrr.files import compare, ledger, probe
from fastrr.files.ledger import Listing, RemoteEntry


def listing(stand: Stand) -> Listing | None:
    """What the ledger has of all files together."""
    return stand.ledger.listing(NAME, probe.listing_key(stand.plan))


def lie(stand: Stand, machine: str | None = None) -> None:
    """Have the ledger say of each file, as it is now, that it is as its source is."""
    entries = {}
    for target in stand.plan.files:
        known = stand.remembered()[target.destination]
        now = signature(stand.there / target.destination)
        entries[target.destination] = RemoteEntry(
            now, stand.sha1(target.source), machine or known.machine
        )
    stand.ledger.store_remote(NAME, entries)


def lie_of_all(stand: Stand, machine: str | None = None) -> None:
    """The same of all files together."""
    known = listing(stand)
    assert known
    contents = compare.contents(stand.sha1(target.source) for target in stand.plan.files)
    told = known._replace(contents=contents, machine=machine or known.machine)
    stand.ledger.store_listing(NAME, probe.listing_key(stand.plan), told)


@pytest.fixture
def remembered(stand: Stand) -> Stand:
    """A host with two files, of which the ledger knows all."""
    stand.wants("f", "right")
    stand.wants("g", "other")
    stand.remember()
    assert listing(stand) is not None
    return stand


# What saves reading


def test_what_is_known_is_not_read_again(remembered: Stand) -> None:
    calls = remembered.box.count_calls(["openssl"])
    remembered.program("sha1sum", "exec openssl dgst -sha1 -r")
    assert remembered.deploy() == (0, 2)
    assert len(calls()) == 1, "for the listing"
    remembered.ledger.forget_remote(NAME)
    assert remembered.deploy() == (0, 2)
    assert len(calls()) == 3, "for the listing, and for the files"


def test_where_one_file_is_new_the_others_are_still_known(remembered: Stand) -> None:
    """A lie that is believed tells that nobody looked."""
    (remembered.there / "g").write_text("wrong")
    lie(remembered)
    new = remembered.wants("new", "content")
    assert remembered.deploy() == (1, 2)
    assert new.read_text() == "content"


# What changes


@pytest.mark.parametrize("place", ["f", "g"])
def test_a_file_that_is_changed_is_found(remembered: Stand, place: str) -> None:
    alter(remembered.there / place, "wrong")
    assert remembered.deploy() == (1, 1)
    assert (remembered.there / "f").read_text() == "right"
    assert (remembered.there / "g").read_text() == "other"
    assert remembered.deploy() == (0, 2)


def test_a_source_that_is_changed_is_copied(remembered: Stand) -> None:
    alter(remembered.source("f"), "newer")
    assert remembered.deploy() == (1, 1)
    assert (remembered.there / "f").read_text() == "newer"


def test_a_file_that_is_gone_is_copied_again(remembered: Stand) -> None:
    (remembered.there / "g").unlink()
    assert remembered.deploy() == (1, 1)
    assert (remembered.there / "g").read_text() == "other"


def test_a_file_of_another_size_is_not_taken_for_the_one_it_was(remembered: Stand) -> None:
    """By the run that sees it first, which fails; nor then by the next one."""
    (remembered.there / "f").write_text("of another size")
    remembered.run().check()
    assert remembered.deploy() == (1, 1)
    assert (remembered.there / "f").read_text() == "right"


def test_a_file_that_takes_another_s_place_is_found(remembered: Stand) -> None:
    """Each has the right size, and was known, under the other's name."""
    f, g = remembered.there / "f", remembered.there / "g"
    f.rename(remembered.there / "h")
    g.rename(f)
    (remembered.there / "h").rename(g)
    assert remembered.deploy() == (2, 0)
    assert (f.read_text(), g.read_text()) == ("right", "other")


def test_the_file_that_a_link_leads_to_may_change(stand: Stand) -> None:
    link = stand.wants("link", "right")
    stand.wants("f", "other")
    real = stand.there / "real"
    real.write_text("right")
    link.symlink_to("real")
    assert stand.deploy() == (1, 1)
    assert stand.deploy() == (0, 2)
    assert str(link) not in stand.remembered()
    assert stand.deploy() == (0, 2)
    alter(real, "wrong")
    assert stand.deploy() == (1, 1)
    assert real.read_text() == "right"
    assert link.is_symlink()


def test_a_link_in_place_of_a_known_file_is_followed(remembered: Stand) -> None:
    """With content of the right size, the signature of the known file, but another path."""
    f = remembered.there / "f"
    (remembered.there / "real").write_text("wrong")
    f.unlink()
    f.symlink_to("real")
    assert remembered.deploy() == (1, 1)
    assert f.is_symlink()
    assert f.read_text() == "right"


# Whose files they are


def test_another_machine_s_files_are_none_of_this_one_s(remembered: Stand) -> None:
    alter(remembered.there / "f", "wrong")
    lie(remembered, "another machine")
    assert remembered.deploy() == (1, 1)
    assert (remembered.there / "f").read_text() == "right"


def test_one_file_of_another_machine_is_enough_to_believe_nothing(remembered: Stand) -> None:
    alter(remembered.there / "f", "wrong")
    lie(remembered)
    known = remembered.remembered()
    g = str(remembered.there / "g")
    remembered.ledger.store_remote(NAME, {g: known[g]._replace(machine="another machine")})
    assert remembered.deploy() == (1, 1)
    assert (remembered.there / "f").read_text() == "right"


def test_what_was_known_of_another_machine_is_forgotten(remembered: Stand) -> None:
    """Of files that this run does not mention, too."""
    known = remembered.remembered()
    others = {path: entry._replace(machine="another machine") for path, entry in known.items()}
    remembered.ledger.store_remote(NAME, {**others, "/unmentioned": next(iter(others.values()))})
    (remembered.there / "g").touch()
    assert remembered.deploy() == (0, 2)
    now = remembered.remembered()
    assert set(now) == set(known)
    assert {entry.machine for entry in now.values()} == {known[str(remembered.there / "f")].machine}


def test_another_machine_s_listing_is_none_of_this_one_s(remembered: Stand) -> None:
    alter(remembered.source("f"), "newer")
    lie_of_all(remembered)
    assert remembered.deploy() == (0, 2), "there is nothing to be fooled by"
    lie_of_all(remembered, "another machine")
    assert remembered.deploy() == (1, 1)
    assert (remembered.there / "f").read_text() == "newer"


# What may be remembered


def test_what_changed_a_moment_ago_is_not_remembered(
    stand: Stand, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ledger, "AT_REST_S", 3600.0)
    stand.wants("f", "right")
    assert stand.deploy() == (1, 0)
    assert stand.deploy() == (0, 1)
    assert stand.remembered() == {}
    assert listing(stand) is None


def test_all_are_remembered_together_only_if_each_is(remembered: Stand) -> None:
    """One that was not at rest may be changed again in the same tick of the clock."""
    (remembered.there / "f").touch()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ledger, "AT_REST_S", 3600.0)
        before = listing(remembered)
        assert remembered.deploy() == (0, 2)
        assert listing(remembered) == before
    assert remembered.run().check().contents == ""


@pytest.mark.parametrize("kind", ["nfs4", "fuse.sshfs", "tmpfs"])
def test_other_file_systems_are_not_trusted(stand: Stand, kind: str) -> None:
    stand.file_system(kind)
    stand.wants("f", "right")
    stand.deploy()
    assert stand.deploy() == (0, 1)
    assert stand.remembered() == {}
    assert listing(stand) is None


def test_a_host_that_can_t_tell_its_file_systems_is_not_trusted(stand: Stand) -> None:
    stand.program("df", 'case $1 in -PTk) exit 1;; esac; exec {real} "$@"')
    stand.wants("f", "right")
    stand.deploy()
    assert stand.deploy() == (0, 1)
    assert stand.remembered() == {}


# Looking all the same


def test_rehash_believes_nothing_and_puts_it_right(remembered: Stand) -> None:
    alter(remembered.there / "f", "wrong")
    lie(remembered)
    assert remembered.deploy() == (0, 2), "there is nothing to be fooled by"
    remembered.set(rehash=True)
    assert remembered.deploy() == (1, 1)
    assert (remembered.there / "f").read_text() == "right"
    assert remembered.deploy() == (0, 2)
    remembered.set(rehash=False)
    alter(remembered.source("f"), "newer")
    assert remembered.deploy() == (1, 1)


def test_rehash_believes_no_listing(remembered: Stand) -> None:
    alter(remembered.source("f"), "newer")
    lie_of_all(remembered)
    remembered.set(rehash=True)
    assert remembered.deploy() == (1, 1)


def test_always_copy_believes_nothing(remembered: Stand) -> None:
    alter(remembered.there / "f", "wrong")
    lie(remembered)
    assert remembered.deploy(always_copy=True) == (2, 0)
    assert (remembered.there / "f").read_text() == "right"


def test_always_copy_believes_no_listing(remembered: Stand) -> None:
    alter(remembered.source("f"), "newer")
    lie_of_all(remembered)
    assert remembered.deploy(always_copy=True) == (2, 0)
    assert (remembered.there / "f").read_text() == "newer"


def test_always_copy_follows_links(stand: Stand) -> None:
    link = stand.wants("link", "right")
    (stand.there / "real").write_text("wrong")
    link.symlink_to("real")
    assert stand.deploy(always_copy=True) == (1, 0)
    assert link.is_symlink()
    assert (stand.there / "real").read_text() == "right"


def test_without_a_ledger_everything_is_found(stand: Stand) -> None:
    stand.set(ledger=None)
    f = stand.wants("f", "right")
    assert stand.deploy() == (1, 0)
    assert stand.deploy() == (0, 1)
    alter(f, "wrong")
    assert stand.deploy() == (1, 0)


def test_an_answer_that_can_t_be_read_is_no_answer(stand: Stand) -> None:
    stand.wants("f", "right")
    stand.there.joinpath("f").write_text("wrong")
    stand.program("stat", 'echo "81a4 many times"')
    with pytest.raises(CommandFailed, match="can't be read"):
        stand.run().check()


def test_permissions_are_no_reason_to_copy(remembered: Stand) -> None:
    (remembered.there / "f").chmod(0o600)
    assert remembered.deploy() == (0, 2)
    assert mode(remembered.there / "f") == 0o600
