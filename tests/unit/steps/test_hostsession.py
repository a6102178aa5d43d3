"""What one host's session keeps from step to step."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from threading import Thread

import pytest
from testbed.shells import eventually
from testbed.stand import NAME, Run, Stand

from fastrr.components.launch import NotStarted, Started
from fastrr.errors import ConnectionLost, HostError
from fastrr.model import ComponentPlan, FileTarget, FreshBase


def checked(stand: Stand) -> Run:
    """A run whose host has nothing to copy."""
    run = stand.run()
    assert run.check().problems == ()
    assert not run.decide().to_do
    return run


def names(answers: tuple[Started | NotStarted, ...]) -> list[str]:
    assert all(isinstance(one, Started) for one in answers), answers
    return [one.component for one in answers]


UNTIL_THE_END = "exec sleep 20"


# Sessions


def test_all_stages_are_in_one_session(stand: Stand) -> None:
    for number, name in enumerate(("one", "two", "three")):
        stand.component(name, UNTIL_THE_END, start_index=number)
    run = checked(stand)
    assert [names(run.start(number)) for number in range(3)] == [["one"], ["two"], ["three"]]
    assert len(stand.box.sessions()) == 1


@pytest.mark.parametrize("kill_first", [True, False])
def test_an_earlier_session_is_added_to_only_if_it_is_to_be_kept(
    stand: Stand, *, kill_first: bool
) -> None:
    stand.component("one", UNTIL_THE_END)
    checked(stand).start()
    (session,) = stand.box.sessions()
    stand.set(kill_first=kill_first)
    run = stand.run()
    run.check()
    assert run.earlier_sessions == (session.split()[0],)
    run.decide()
    if kill_first:
        run.end_sessions()
        assert stand.box.sessions() == []
    run.start()
    (later,) = stand.box.sessions()
    assert (later == session) is not kill_first


def test_sessions_of_other_names_are_let_alone(stand: Stand) -> None:
    stand.component("one", UNTIL_THE_END)
    for name in ("stand_2", "2.stand"):
        stand.set(name=name)
        checked(stand).start()
    others = stand.box.sessions()
    stand.set(name="stand")
    run = stand.run()
    run.check()
    assert run.earlier_sessions == ()
    run.decide()
    run.start()
    assert set(others) < set(stand.box.sessions())
    assert len(stand.box.sessions()) == 3


# Components


def test_only_those_are_waited_for_that_are_to_be(stand: Stand) -> None:
    stand.component("waited", "exit 3", wait=True)
    stand.component("quick", "exit 4")
    stand.component("other", UNTIL_THE_END)
    run = checked(stand)
    run.start()
    run.watch()
    assert stand.ended() == {"waited": 3}

    def ended() -> dict[str, int | None]:
        run.glance()
        return stand.ended()

    eventually(lambda: "quick" in stand.ended() or ended())
    assert stand.ended() == {"waited": 3, "quick": 4}


def test_what_could_not_be_started_is_not_waited_for(stand: Stand) -> None:
    stand.component("good", "exit 0", wait=True)
    stand.component("bad", "exit 0", wait=True)
    (stand.there / "bad").unlink()
    run = checked(stand)
    good, bad = run.start()
    assert isinstance(good, Started)
    assert isinstance(bad, NotStarted)
    run.watch()
    assert stand.ended() == {"good": 0}


def test_what_is_never_started_is_not_waited_for(stand: Stand) -> None:
    """As where a run goes on without a stage, or ends before it."""
    stand.component("first", "exit 0", wait=True, start_index=1)
    stand.component("second", "exit 0", wait=True, start_index=2)
    run = checked(stand)
    run.start(1)
    run.watch()
    assert stand.ended() == {"first": 0}


# Temporary directories


def fresh(stand: Stand) -> None:
    """A component whose base_dir is made anew, with a file in it."""
    stand.wants("f", "content")
    (target,) = stand.plan.files
    base = FreshBase("main", (FileTarget(target.source, "f"),), ("empty",))
    component = ComponentPlan("main", NAME, "/bin/cat", ("f",), None, 1, wait=True)
    stand.plan = stand.plan._replace(files=(), fresh=(base,), components=(component,))


def base_dirs(stand: Stand) -> list[Path]:
    return list((stand.box.root / "tmp").glob("fastrr-*"))


def test_a_temporary_directory_is_made_and_discarded(stand: Stand) -> None:
    fresh(stand)
    run = stand.run()
    run.check()
    run.decide()
    run.discard()
    assert base_dirs(stand) == []
    assert run.copy().copied == 1
    (base,) = base_dirs(stand)
    assert (base / "f").read_text() == "content"
    assert (base / "empty").is_dir()
    assert base.stat().st_mode & 0o777 == 0o700
    run.discard()
    assert base_dirs(stand) == []


def test_a_temporary_directory_is_discarded_where_copying_has_failed(stand: Stand) -> None:
    fresh(stand)
    run = stand.run()
    run.check()
    run.decide()
    stand.program("tar", "kill -9 $PPID")
    with pytest.raises(HostError):
        run.copy()
    assert len(base_dirs(stand)) == 1
    run.discard()
    assert base_dirs(stand) == []


@pytest.mark.parametrize("tmp", ["none", "file", "closed"])
def test_where_no_temporary_directory_can_be_made_the_check_says_so(stand: Stand, tmp: str) -> None:
    stand.nobody = True
    fresh(stand)
    directory = stand.box.root / tmp
    stand.box.environment["TMPDIR"] = str(directory)
    if tmp == "file":
        directory.touch()
    elif tmp == "closed":
        directory.mkdir()
    said = {
        "none": "is not there",
        "file": "is no directory",
        "closed": "may not be written to",
    }
    run = stand.run()
    if tmp == "closed":
        directory.chmod(0o555)
    (problem,) = run.check().problems
    assert f"can't be made for {stand.plan.fresh[0].component}: {directory} {said[tmp]}" in problem


def test_where_a_temporary_directory_could_not_be_made_nothing_is(stand: Stand) -> None:
    """Its subdirectories would be made with all that is above them, for everybody to read."""
    fresh(stand)
    tmp = stand.box.root / "other"
    tmp.mkdir()
    stand.box.environment["TMPDIR"] = str(tmp)
    run = stand.run()
    assert run.check().problems == ()
    run.decide()
    tmp.rmdir()
    (failure,) = run.copy().failures
    assert "can't be made: mkdir" in failure
    assert not tmp.exists()


def test_each_run_has_a_temporary_directory_of_its_own(stand: Stand) -> None:
    fresh(stand)
    assert stand.deploy() == (1, 0)
    run = stand.run()
    run.check()
    run.decide()
    assert run.copy().copied == 1
    run.discard()
    (left,) = base_dirs(stand)
    assert (left / "f").read_text() == "content"


# Cancelling


def test_who_waits_is_cut_off_and_the_component_lives_on(stand: Stand) -> None:
    stand.component("main", UNTIL_THE_END, wait=True)
    stand.component("quick", "exit 0", wait=True)
    run = checked(stand)
    run.start()
    outcome: list[BaseException] = []

    def watch() -> None:
        try:
            run.watch()
        except ConnectionLost as error:
            outcome.append(error)

    watching = Thread(target=watch)
    watching.start()
    eventually(lambda: "quick" in stand.ended())
    run.context.cancel(cut=True)
    watching.join(10)
    assert not watching.is_alive()
    assert len(outcome) == 1
    assert run.context.cancelled.is_set()
    assert len(stand.box.sessions()) == 1


def test_who_cleans_up_is_not_cut_off(stand: Stand) -> None:
    fresh(stand)
    run = stand.run()
    run.check()
    run.decide()
    run.copy()
    run.context.cancel(cut=False)
    run.discard()
    assert base_dirs(stand) == []


@pytest.mark.parametrize(("cut", "told"), [(True, "interrupt"), (False, "end_transfer")])
def test_a_cancel_ends_what_is_stuck(
    stand: Stand, monkeypatch: pytest.MonkeyPatch, cut: bool, told: str
) -> None:
    """A transfer, so that what it has begun can be cleaned up; or the connection itself."""
    run = stand.run()
    heard: list[str] = []

    def hears(name: str) -> Callable[[], None]:
        return lambda: heard.append(name)

    for name in ("interrupt", "end_transfer"):
        monkeypatch.setattr(run.context.host, name, hears(name))
    run.context.cancel(cut=cut)
    assert heard == [told]
