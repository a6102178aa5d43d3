"""Starting on one host: what earlier sessions leave, which programs are started, for how long."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from testbed.shells import eventually
from testbed.stand import NAME, Run, Stand

from fastrr.components import start as starting
from fastrr.components.launch import NotStarted, Started
from fastrr.errors import CommandFailed
from fastrr.model import ComponentPlan, FileTarget, FreshBase

UNTIL_THE_END = "exec sleep 60"


def checked(stand: Stand) -> Run:
    """A run whose host has nothing to copy."""
    run = stand.run()
    assert run.check().problems == ()
    assert not run.decide().to_do
    return run


def started(run: Run, start_index: float = 1) -> list[int | None]:
    """Start a stage, all of which must start; return the pids."""
    answers = run.start(start_index)
    for one in answers:
        assert isinstance(one, Started)
    return [one.pid for one in answers if isinstance(one, Started)]


def runs(pid: int | None) -> bool:
    assert pid is not None
    with suppress(ProcessLookupError):
        os.kill(pid, 0)
        return True
    return False


@contextmanager
def impatient(stand: Stand) -> Iterator[None]:
    """Pauses take no time: where whole seconds only can be slept, ten of them are enough."""
    stand.program("sleep", '[ "$1" = 1 ]')
    yield
    (stand.box.bin / "sleep").unlink()


# Earlier sessions


def test_a_session_that_does_not_end_is_an_error(stand: Stand) -> None:
    stand.component("one", UNTIL_THE_END)
    started(checked(stand))
    (session,) = stand.box.sessions()
    process = int(session.partition(".")[0])
    run = checked(stand)
    os.kill(process, signal.SIGSTOP)
    try:
        with impatient(stand), pytest.raises(CommandFailed) as failed:
            run.end_sessions()
    finally:
        os.kill(process, signal.SIGCONT)
    assert f"the earlier session does not end: {session}" in str(failed.value)
    assert "--screen" in str(failed.value)
    assert not [line for line in stand.logged() if "ended" in line]
    eventually(lambda: not stand.box.sessions())


def test_a_program_that_ignores_the_hangup_is_told_and_left_alone(stand: Stand) -> None:
    ready = stand.box.home / "ready"
    stand.component("it's stubborn", f"trap '' HUP TERM\n: >{ready}\nexec sleep 60")
    stand.component("meek", UNTIL_THE_END)
    stubborn, meek = started(checked(stand))
    eventually(ready.exists)
    stand.plan = stand.plan._replace(components=stand.plan.components[1:])
    try:
        run = checked(stand)
        with impatient(stand):
            run.end_sessions()
        told = [line for line in stand.logged() if "ignores the hangup" in line]
        assert len(told) == 1
        assert told[0].startswith(f'{NAME}: component "it\'s stubborn" of the earlier session')
        assert told[0].endswith(f"(pid {stubborn})")
        assert (runs(stubborn), runs(meek)) == (True, False)
        assert stand.box.sessions() == []
        started(run)
        assert len(stand.box.sessions()) == 1
        checked(stand).end_sessions()
        assert len([line for line in stand.logged() if "still runs" in line]) == 1, "told again"
    finally:
        os.kill(stubborn or 0, signal.SIGKILL)


def test_when_earlier_sessions_have_ended_so_have_their_programs(stand: Stand) -> None:
    ready = stand.box.home / "ready"
    stand.component("slow", f"trap 'sleep 0.3; exit 7' HUP\n: >{ready}\nsleep 60 & wait")
    (slow,) = started(checked(stand))
    eventually(ready.exists)
    run = checked(stand)
    run.end_sessions()
    assert not runs(slow)
    assert not [line for line in stand.logged() if "still runs" in line]


# What is started


def test_only_the_stage_that_was_asked_for_is_started(stand: Stand) -> None:
    for name, start_index in (("early", 0.5), ("one", 1), ("another", 1), ("late", 2)):
        stand.component(name, UNTIL_THE_END, start_index=start_index)
    answers = checked(stand).start(1)
    assert [one.component for one in answers] == ["one", "another"]


def test_each_temporary_base_dir_is_its_components_own(stand: Stand) -> None:
    names = ("one", "other")
    for name in names:
        stand.wants(name, name)
    copies = "pwd >$0.new; cat f >>$0.new; mv $0.new $0; sleep 60"
    stand.plan = stand.plan._replace(
        components=tuple(
            ComponentPlan(name, NAME, "/bin/sh", ("-c", copies, name), None, 1) for name in names
        ),
        files=(),
        fresh=tuple(FreshBase(name, (FileTarget(str(stand.source(name)), "f"),)) for name in names),
    )
    run = stand.run()
    assert run.check().problems == ()
    assert run.decide().to_do
    run.copy()
    started(run)
    made = [path for path in Path(stand.box.environment["TMPDIR"]).iterdir() if path.is_dir()]
    assert len(made) == len(names)
    eventually(lambda: all(any((path / name).exists() for path in made) for name in names))
    for path in made:
        (name,) = {file.name for file in path.iterdir()} - {"f"}
        assert (path / name).read_text() == f"{path}\n{name}"


def test_windows_of_ended_programs_go_where_that_is_wanted(stand: Stand) -> None:
    stand.set(zombie=False)
    stand.component("ends", "exit 0")
    started(checked(stand))
    eventually(lambda: not stand.box.sessions())


@pytest.mark.parametrize("able", [True, False])
def test_a_session_is_kept_from_logind_where_it_ends_what_is_left_running(
    stand: Stand, *, able: bool
) -> None:
    stand.component("one", UNTIL_THE_END)
    said = stand.box.root / "scope"
    if able:
        keeper = f'echo "$@" >{said}; while [ "$1" != screen ]; do shift; done; exec "$@"'
        stand.program("systemd-run", keeper)
    else:
        (stand.box.bin / "df").unlink(missing_ok=True)
        stand.box.only("screen", "openssl", "tar", "ln")
    stand.program("loginctl", "echo KillUserProcesses=yes")
    started(checked(stand))
    assert said.exists() is able
    assert not able or said.read_text().startswith("--user --scope ")


# How long


def test_a_host_that_is_stuck_while_starting_is_given_up(
    stand: Stand, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(starting, "ANSWER_WITHIN_S", 0.2)
    stand.set(start_timeout_s=0.2)
    stand.component("one", UNTIL_THE_END)
    run = checked(stand)
    stand.program("screen", 'sleep 3; exec {real} "$@"')
    with pytest.raises(CommandFailed, match="starting: it did not come to an end"):
        run.start()
    (stand.box.bin / "screen").unlink()


def test_a_program_may_take_its_time_to_start(
    stand: Stand, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(starting, "ANSWER_WITHIN_S", 0.2)
    slow = stand.component("slow", UNTIL_THE_END)._replace(args=("$(sleep 0.4)",), expand=True)
    stand.plan = stand.plan._replace(components=(slow,))
    started(checked(stand))


def test_what_is_not_started_in_time_is_late(stand: Stand) -> None:
    stand.set(start_timeout_s=0.2)
    stuck = stand.component("stuck", UNTIL_THE_END)._replace(args=("$(sleep 60)",), expand=True)
    stand.plan = stand.plan._replace(components=(stuck,))
    late = NotStarted("stuck", "it was not started within 0.2 s")
    assert checked(stand).start() == (late,)
