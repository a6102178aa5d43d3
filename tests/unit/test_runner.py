"""What the coordinator asks of whom, and what becomes of failures."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import replace
from hashlib import sha1
from pathlib import Path

import pytest
from testbed.scripted import (
    ALL,
    DIES,
    PLANS,
    After,
    Answers,
    Asked,
    Script,
    Telling,
    component,
    conduct,
    deployment,
    failed,
    until,
)

from fastrr.components.launch import NotStarted
from fastrr.components.screen import AskSessions
from fastrr.components.settings import SessionSettings
from fastrr.events import ComponentEnded, StepBegan
from fastrr.exitcodes import ExitCode
from fastrr.files import compare
from fastrr.files.check import Check, Checked, Decide, Decided
from fastrr.files.copy import CopyFiles, CopyReport
from fastrr.model import Algorithm, Deployment, Failure, SshSettings
from fastrr.run import deploy, fleet, worker


def without(host: str, after: str) -> dict[str, str]:
    """The steps of a run in which a host takes no part after a step."""
    names = list(ALL)
    later = names[names.index(after) + 1 :]
    steps = {name: ALL[name].replace(host, "") if name in later else ALL[name] for name in names}
    return {name: hosts for name, hosts in steps.items() if hosts}


def failure(host: str, *messages: str) -> Failure:
    return Failure(host, messages or ("it broke",))


def test_all_goes_well() -> None:
    run = conduct(PLANS, {})
    assert run.steps == ALL
    assert list(run.steps) == list(ALL), "the order"
    assert (run.report.exit_code, failed(run)) == (ExitCode.OK, {})
    assert {row.host: row.started for row in run.report.hosts.values()} == {"a": 2, "b": 2, "c": 1}
    assert all(row.unfinished is None for row in run.report.hosts.values())
    assert [event for event in run.events if isinstance(event, StepBegan)] == [
        StepBegan("check", 3, "hosts"),
        StepBegan("copy", 0, "B"),
        StepBegan("start 1", 3, "components"),
        StepBegan("start 2", 2, "components"),
        StepBegan("watch", 1, "components"),
    ]


def test_a_step_begins_when_every_host_has_done_the_one_before() -> None:
    slow = {f"{host} {step}": After(0.04) for step, host in zip(ALL, "bcabcaab", strict=True)}
    run = conduct(PLANS, slow)
    assert run.steps == ALL
    steps = list(ALL)
    begun = [e.what[2:] for e in run.events if isinstance(e, Asked)]
    assert begun == sorted(begun, key=steps.index)
    history = [e.what[2:] for e in run.events if isinstance(e, Asked | Answers)]
    assert history == sorted(history, key=steps.index), "one was asked before all had answered"


def test_stages_are_started_in_the_order_of_their_numbers() -> None:
    plans = deployment(*(component("a", f"{n}", n) for n in (10, 2.5, -1, 2)))
    starts = [what for what in conduct(plans, {}).requests if "StartStage" in what]
    assert starts == [f"a StartStage {n:g}" for n in (-1, 2, 2.5, 10)]


# Failures

FAILURES: Mapping[str, tuple[Script, Mapping[str, str], Mapping[str, str]]] = {
    "not reached": (
        {"b Check": failure("b")},
        until("Check", Discard="abc"),
        without("b", "Check"),
    ),
    "its copies can't be": (
        {"b Check": Checked(("b",), (), problems=("it broke",))},
        until("Check", Discard="abc"),
        without("b", "Check"),
    ),
    "files in the way": (
        {"b Decide": Decided(problems=("it broke",))},
        until("Decide", Discard="abc"),
        without("b", "Decide"),
    ),
    "looking again fails": (
        {"b Decide": failure("b")},
        until("Decide", Discard="abc"),
        without("b", "Decide"),
    ),
    "its session does not end": (
        {"b EndSessions": failure("b")},
        until("EndSessions", Discard="abc"),
        without("b", "EndSessions"),
    ),
    "lost while copying": (
        {"b CopyFiles": failure("b")},
        until("CopyFiles", Discard="abc"),
        without("b", "CopyFiles"),
    ),
    "a file can't be copied": (
        {"b CopyFiles": CopyReport(1, 5, ("it broke",))},
        until("CopyFiles", Discard="abc"),
        without("b", "CopyFiles"),
    ),
    "screen can't be started": (
        {"b StartStage 1": failure("b")},
        until("StartStage 1"),
        without("b", "StartStage 1"),
    ),
    "lost while watching": (
        {"a Watch": failure("a")},
        until("Watch"),
        without("a", "Watch"),
    ),
}  # fmt: skip
"""What fails; who is asked what then; and the same with ``--keep-going``."""


@pytest.mark.parametrize("what", FAILURES)
def test_a_failure_ends_the_run(what: str, caplog: pytest.LogCaptureFixture) -> None:
    script, steps, _ = FAILURES[what]
    run = conduct(PLANS, script)
    assert run.steps == steps
    host = next(iter(script))[0]
    assert (run.report.exit_code, failed(run)) == (ExitCode.HOST_FAILED, {host: ["it broke"]})
    assert f"{host}: it broke" in caplog.messages


@pytest.mark.parametrize("what", FAILURES)
def test_with_keep_going_the_other_hosts_go_on(what: str) -> None:
    script, _, steps = FAILURES[what]
    run = conduct(PLANS, script, keep_going=True)
    assert run.steps == steps
    host = next(iter(script))[0]
    assert (run.report.exit_code, failed(run)) == (ExitCode.HOST_FAILED, {host: ["it broke"]})


NOT_ALL = (NotStarted("b1", "it is no file"),)


def test_a_component_that_can_t_be_started_ends_the_run_and_no_directory_goes() -> None:
    run = conduct(PLANS, {"b StartStage 1": NOT_ALL})
    assert run.steps == until("StartStage 1")
    assert failed(run) == {"b": ["component 'b1': it is no file"]}
    assert run.report.exit_code == ExitCode.HOST_FAILED
    assert [run.report.hosts[host].started for host in "abc"] == [1, 0, 1]


def test_with_keep_going_its_host_goes_on_too() -> None:
    run = conduct(PLANS, {"b StartStage 1": NOT_ALL}, keep_going=True)
    assert run.steps == ALL
    assert failed(run) == {"b": ["component 'b1': it is no file"]}
    assert run.report.exit_code == ExitCode.HOST_FAILED
    assert [run.report.hosts[host].started for host in "abc"] == [2, 1, 1]


def test_failures_of_several_hosts_are_told_together(caplog: pytest.LogCaptureFixture) -> None:
    run = conduct(PLANS, {"c Check": failure("c", "one", "two"), "a Check": After(0.05)})
    assert failed(run) == {"c": ["one", "two"]}
    late = Checked(("b",), (), problems=("three",))
    run = conduct(PLANS, {"c Check": failure("c", "one"), "b Check": late})
    assert failed(run) == {"b": ["three"], "c": ["one"]}
    assert {"b: three", "c: one"} <= set(caplog.messages)


def test_of_many_failures_of_a_host_some_are_told(caplog: pytest.LogCaptureFixture) -> None:
    whys = [f"why {number}" for number in range(fleet.MESSAGES_SHOWN + 3)]
    with caplog.at_level(logging.DEBUG):
        run = conduct(PLANS, {"b Check": failure("b", *whys), "c Check": failure("c", *whys[:-3])})
    assert failed(run)["b"] == whys
    told = {
        host: [r.getMessage()[3:] for r in caplog.records
               if r.getMessage().startswith(f"{host}: ") and r.levelno == logging.ERROR]
        for host in "bc"
    }  # fmt: skip
    assert told["b"] == [*whys[:-3], "and 3 more like these (-l DEBUG shows all)"]
    assert told["c"] == whys[:-3]
    assert f"b: {whys[-1]}" in caplog.messages


@pytest.mark.parametrize("keep_going", [False, True])
def test_a_killed_worker_is_a_failure_of_its_hosts_only(keep_going: bool) -> None:
    run = conduct(PLANS, {"b CopyFiles": DIES}, keep_going=keep_going)
    if keep_going:
        assert run.steps == without("b", "CopyFiles")
    else:  # nobody is there to be asked for b
        assert run.steps == until("CopyFiles", Discard="ac")
    told = failed(run)
    assert list(told) == ["b"]
    assert "its worker process ended unexpectedly (exit code -9)" in told["b"][0]
    assert run.report.exit_code == ExitCode.HOST_FAILED


def test_two_names_of_one_account() -> None:
    script = {f"{host} Check": Checked(("same",), ()) for host in "ac"}
    message = "it is the same account of the same machine as 'a': use one name for the two"
    run = conduct(PLANS, script)
    assert run.steps == until("Check", Discard="abc")
    assert failed(run) == {"c": [message]}
    assert run.report.exit_code == ExitCode.HOST_FAILED
    run = conduct(PLANS, script, keep_going=True)
    assert run.steps == without("c", "Check") | {"EndSessions": "b"}
    assert failed(run) == {"c": [message]}


# Who has nothing to do


def test_hosts_are_asked_for_what_they_have_to_do_only() -> None:
    run = conduct(
        PLANS,
        {
            "a Check": Checked(("a",), ()),
            "b Decide": Decided(unchanged=7),
            "c Decide": Decided(to_do=True),  # directories, but no files
        },
    )
    assert run.steps == ALL | {"EndSessions": "bc", "CopyFiles": "ac"}
    assert run.report.hosts["b"].unchanged == 7


def test_copy_only_ends_no_session_starts_nothing_and_keeps_what_it_made() -> None:
    run = conduct(PLANS, {}, copy_only=True)
    assert run.steps == {"Check": "abc", "Decide": "abc", "CopyFiles": "abc"}
    run = conduct(PLANS, {"b CopyFiles": failure("b")}, copy_only=True)
    assert run.steps == {"Check": "abc", "Decide": "abc", "CopyFiles": "abc"}


# Digests


@pytest.fixture
def sources(tmp_path: Path) -> list[Path]:
    paths = [tmp_path / name for name in ("one", "two")]
    for path in paths:
        path.write_text(path.name)
    return paths


def test_each_host_is_told_the_digests_it_asks_for(sources: list[Path]) -> None:
    plans = deployment(*(component(host, host) for host in "abc"), sources=sources)
    one, two = map(str, sources)
    of_one = sha1(b"one").hexdigest()
    both = {one: of_one, two: sha1(b"two").hexdigest()}
    contents = compare.contents(both.values())
    run = conduct(
        plans,
        {
            "a Check": Checked(("a",), (), unsettled=(one,)),
            "b Check": Checked(("b",), (), contents=contents),
            "c Check": Checked(("c",), (), contents="of other files"),
            "a Decide": Decided(1, {Algorithm.SHA1: (one,)}, to_do=True),
            "b Decide": Decided(2),
            "c Decide": Decided(0, {Algorithm.SHA1: (one, two)}, to_do=True),
            "c CopyFiles": CopyReport(2, 6),
        },
    )
    asked = run.requests
    assert asked["a Decide"].digests[one] == of_one
    assert not asked["a Decide"].all_unchanged
    assert asked["b Decide"] == Decide({}, all_unchanged=True)
    assert asked["c Decide"] == Decide(both), "its files are other ones"
    assert run.steps["CopyFiles"] == "ac"
    assert asked["a CopyFiles"] == CopyFiles({Algorithm.SHA1: {one: of_one}})
    assert asked["c CopyFiles"] == CopyFiles({Algorithm.SHA1: both})
    assert StepBegan("copy", 3 + 6, "B") in run.events
    rows = run.report.hosts
    assert [(r.copied, r.unchanged, r.bytes) for r in rows.values()] == [
        (0, 1, 0), (0, 2, 0), (2, 0, 6),
    ]  # fmt: skip


@pytest.mark.parametrize("always", [False, True])
def test_hosts_are_told_whether_to_compare(always: bool) -> None:
    request = conduct(PLANS, {}, always_copy=always).requests["a Check"]
    assert request == Check(always, (AskSessions(),))


def test_sessions_are_let_alone_where_that_is_wanted() -> None:
    everything = {name: hosts for name, hosts in ALL.items() if name != "EndSessions"}
    assert conduct(PLANS, {}, session=SessionSettings(kill_first=False)).steps == everything
    run = conduct(PLANS, {}, copy_only=True)
    assert run.steps == {name: ALL[name] for name in ("Check", "Decide", "CopyFiles")}
    assert run.requests["a Check"] == Check(), "they are not even asked about"


def test_only_sessions_of_the_runs_name_are_ended() -> None:
    run = conduct(PLANS, {}, session=SessionSettings(name="other"))
    assert "EndSessions" not in run.steps


# How components end


def ended(host: str, status: int | None, *, waited: bool) -> Telling:
    return Telling((ComponentEnded(host, f"{host}1", status, waited, "/log", ("last words",)),))


NOBODY_KNOWS = "vanished: it was killed together with its launcher, or the host restarted"

ENDINGS: Mapping[str, tuple[int | None, str, ExitCode, str]] = {
    "well": (0, "INFO", ExitCode.OK, "ended well"),
    "badly": (7, "ERROR", ExitCode.COMPONENT_FAILED, "ended with status 7"),
    "killed": (137, "ERROR", ExitCode.COMPONENT_FAILED, "status 137 (killed by SIGKILL)"),
    "vanished": (None, "ERROR", ExitCode.COMPONENT_FAILED, NOBODY_KNOWS),
}


@pytest.mark.parametrize("how", ENDINGS)
def test_how_a_waited_component_ends_decides(how: str, caplog: pytest.LogCaptureFixture) -> None:
    status, level, code, words = ENDINGS[how]
    with caplog.at_level(logging.INFO):
        run = conduct(PLANS, {"a Watch": ended("a", status, waited=True)})
    assert run.steps == ALL
    assert run.report.exit_code == code
    assert failed(run) == {}
    (told,) = [r for r in caplog.records if "component 'a1'" in r.getMessage()]
    assert told.levelname == level
    assert words in told.getMessage()
    assert ("; its log is a:/log\n    last words" in told.getMessage()) == (status != 0)
    assert [e for e in run.events if isinstance(e, ComponentEnded)], "it is not passed on"


@pytest.mark.parametrize("status", [7, None])
def test_how_others_end_is_a_warning(status: int | None, caplog: pytest.LogCaptureFixture) -> None:
    run = conduct(PLANS, {"b Glance": ended("b", status, waited=False)})
    assert run.report.exit_code == ExitCode.OK
    (told,) = [r for r in caplog.records if "component 'b1'" in r.getMessage()]
    assert told.levelname == "WARNING"
    assert "; its log is b:/log\n    last words" in told.getMessage()


@pytest.mark.parametrize(("jobs", "share"), [(1, 8), (4, 2), (64, 1)])
def test_workers_share_the_handshakes_that_a_first_hop_takes(
    monkeypatch: pytest.MonkeyPatch, jobs: int, share: int
) -> None:
    """Sshd drops connections at random past ten (MaxStartups, sshd_config(5))."""
    told: list[SshSettings] = []

    def worker_main(deployment: Deployment, ssh: SshSettings, timeout_s: float) -> object:
        told.append(ssh)
        return worker.worker_main(deployment, ssh, timeout_s)

    monkeypatch.setattr(deploy, "worker_main", worker_main)
    ssh = SshSettings(user="me")
    deploy.deploy(Deployment(()), ssh, deploy.RunOptions(jobs), lambda _event: None)
    assert told == [replace(ssh, handshakes_at_once=share)]
