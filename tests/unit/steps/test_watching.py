"""Watching on one host: what is told, and what becomes of a connection that is lost."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from testbed.shells import Box, eventually
from testbed.stand import NAME, BoxHost, Run, Stand

from fastrr.components import watch as watching
from fastrr.errors import CommandFailed, ConnectionFailed, ConnectionLost, LoginRefused
from fastrr.events import ComponentEnded, Logged
from fastrr.hosts.base import Completed
from fastrr.hosts.shell import Script

UNTIL_THE_END = "exec sleep 60"
WHEN_TOLD = "until [ -e go ]; do sleep 0.02; [ $((n += 1)) -lt 500 ] || exit 99; done; exit 4"


class UnsteadyHost(BoxHost):
    """A host in a box whose connection is lost, and made again or not."""

    def __init__(self, box: Box) -> None:
        super().__init__(box)
        self.losses = 0
        """So many scripts to come are cut off: when they have told of an ending, or at once."""
        self.refusals: list[ConnectionFailed] = []
        """What comes of the next attempts to connect."""
        self.connected = 0

    def connect(self) -> None:
        self.connected += 1
        if self.refusals:
            raise self.refusals.pop(0)
        super().connect()

    def run(
        self,
        script: Script,
        on_line: Callable[[bytes], None] | None = None,
        limit_s: float | None = None,
        answer_bytes: int | None = None,
    ) -> Completed:
        if not self.losses:
            return super().run(script, on_line, limit_s, answer_bytes)
        self.losses -= 1
        if on_line is None:
            raise ConnectionLost("the connection was lost")

        def hear(line: bytes) -> None:
            on_line(line)
            if line.startswith(b"ended"):
                raise ConnectionLost("the connection was lost")

        return super().run(script, hear, limit_s, answer_bytes)


@pytest.fixture(autouse=True)
def _without_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watching, "RECONNECT_PAUSES_S", (0.01, 0.02, 0.03))


def running(stand: Stand) -> tuple[Run, UnsteadyHost]:
    """A run that has started its components, and the host it is on."""
    host = UnsteadyHost(stand.box)
    run = stand.run()
    run.context = replace(run.context, host=host)
    assert run.check().problems == ()
    assert not run.decide().to_do
    run.start()
    host.connected = 0
    return run, host


def ended(stand: Stand) -> Path:
    """Wait until the component ``bad`` has ended; return its state directory."""
    (state,) = stand.box.home.glob(".local/state/fastrr/*/stand/bad")
    eventually(lambda: (state / "exit").exists() and (state / "exit").read_text())
    return state


# What is told


@pytest.mark.parametrize("wait", [True, False])
def test_an_ending_is_told_with_what_helps(stand: Stand, *, wait: bool) -> None:
    stand.component("bad", "echo one; echo bad luck; exit 3", wait=wait)
    run, _ = running(stand)
    told = ended(stand)
    if wait:
        run.watch()
    else:
        run.glance()
    assert [event for event in stand.events if isinstance(event, ComponentEnded)] == [
        ComponentEnded(NAME, "bad", 3, wait, f"{told}/log", ("one", "bad luck"))
    ]


def test_a_glance_waits_for_nobody(stand: Stand) -> None:
    stand.component("long", UNTIL_THE_END)
    run, _ = running(stand)
    run.glance()
    assert stand.ended() == {}


def test_watching_that_ends_too_early_is_an_error(stand: Stand) -> None:
    stand.component("long", UNTIL_THE_END, wait=True)
    run, host = running(stand)
    stand.program("sleep", "kill -KILL $PPID")
    with pytest.raises(CommandFailed, match="watching stopped early"):
        run.watch()
    (stand.box.bin / "sleep").unlink()
    assert host.connected == 0
    assert stand.ended() == {}


# A lost connection


def test_after_a_loss_only_what_is_left_is_watched(stand: Stand) -> None:
    stand.component("first", "exit 3", wait=True)
    stand.component("second", WHEN_TOLD, wait=True)
    run, host = running(stand)
    host.losses = 1
    host.refusals = [ConnectionFailed("no route"), ConnectionFailed("no route")]

    def go() -> None:
        eventually(lambda: host.connected == 3)
        (stand.there / "go").touch()

    opener = threading.Thread(target=go)
    opener.start()
    run.watch()
    opener.join()
    assert stand.ended() == {"first": 3, "second": 4}
    assert host.connected == 3
    assert [line for line in stand.logged() if "connecting again" in line] == [
        f"{NAME}: the connection was lost; connecting again"
    ]


def lost(stand: Stand) -> tuple[Run, UnsteadyHost]:
    """A run that is going to lose its connection while it watches."""
    stand.component("first", "exit 3", wait=True)
    stand.component("second", UNTIL_THE_END, wait=True)
    run, host = running(stand)
    host.losses = 1
    return run, host


def test_a_host_that_can_not_be_reached_any_more_is_given_up(stand: Stand) -> None:
    run, host = lost(stand)
    host.refusals = [ConnectionFailed(f"no route {n}") for n in range(9)]
    with pytest.raises(ConnectionLost, match="was lost, and it can't be made again: no route 2"):
        run.watch()
    assert host.connected == 3
    assert stand.ended() == {"first": 3}


def test_a_host_that_refuses_is_asked_once(stand: Stand) -> None:
    run, host = lost(stand)
    host.refusals = [LoginRefused("not you") for _ in range(9)]
    with pytest.raises(ConnectionLost, match="can't be made again: not you"):
        run.watch()
    assert host.connected == 1


def test_a_cancelled_run_does_not_connect_again(
    stand: Stand, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watching, "RECONNECT_PAUSES_S", (60, 60))
    run, host = lost(stand)
    canceller = threading.Timer(0.1, run.context.cancelled.set)
    canceller.start()
    with pytest.raises(ConnectionLost):
        run.watch()
    canceller.join()
    assert host.connected == 0


def test_a_glance_tries_a_lost_connection_once_more(stand: Stand) -> None:
    stand.component("bad", "exit 3")
    run, host = running(stand)
    ended(stand)
    host.losses = 1
    run.glance()
    assert host.connected == 1
    assert stand.ended() == {"bad": 3}


@pytest.mark.parametrize("refusal", [ConnectionFailed("no route"), LoginRefused("not you")])
def test_a_glance_that_fails_is_a_warning(stand: Stand, refusal: ConnectionFailed) -> None:
    stand.component("bad", "exit 3")
    run, host = running(stand)
    host.losses, host.refusals = 1, [refusal] * 9
    run.glance()
    assert host.connected == 1
    assert stand.ended() == {}
    warnings = [e for e in stand.events if isinstance(e, Logged) and e.level >= logging.WARNING]
    assert [one for one in warnings if "can't be told" in one.message]
