"""What tests rely on: hosts whose commands end, and which can freeze."""

from __future__ import annotations

import http.client
import time
from collections.abc import Callable

import pytest
from testbed import docker_bed, loopback_bed
from testbed.bed import Result, TestHost
from testbed.kinds import Kind
from testbed.shells import eventually


@pytest.fixture(params=["loopback", "bed"])
def behind(request: pytest.FixtureRequest, kind_named: Callable[[str], Kind]) -> TestHost:
    host = kind_named(request.param).behind
    assert host is not None
    return host


def test_a_command_that_does_not_end_is_ended_with_what_it_has_started(
    behind: TestHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    began = time.monotonic()
    with monkeypatch.context() as patch:
        for module in (docker_bed, loopback_bed):
            patch.setattr(module, "LIMIT_S", 1)
        with pytest.raises(TimeoutError, match="sleep 61"):
            behind.run("sleep 61 & sleep 61; true")
    assert time.monotonic() - began < 30
    eventually(lambda: not behind.pids("sleep"))


def test_a_host_that_is_frozen_says_nothing_until_it_is_not(behind: TestHost) -> None:
    with behind.frozen(), pytest.raises(TimeoutError, match="no SSH banner"):
        behind.wait_until_up(0.2)
    behind.wait_until_up()


def test_what_a_command_says_first_is_heard_on_a_busy_machine_too(
    behind: TestHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    begin = http.client.HTTPResponse.begin

    def late(answer: http.client.HTTPResponse) -> None:
        time.sleep(0.5)
        begin(answer)

    with monkeypatch.context() as patch:
        patch.setattr(http.client.HTTPResponse, "begin", late)
        said = behind.run("echo first; sleep 1; echo second; echo error >&2; exit 3")
    assert said == Result(3, "first\nsecond\n", "error\n")
