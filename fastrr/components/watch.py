"""The watch step on one host: wait for components, or see once which have ended."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from posixpath import join
from typing import NamedTuple

from fastrr.components import endings, launch
from fastrr.components.settings import SessionSettings
from fastrr.components.start import started
from fastrr.components.state import Launch
from fastrr.errors import CommandFailed, ConnectionFailed, ConnectionLost, HostError, LoginRefused
from fastrr.events import ComponentEnded
from fastrr.hosts import machine
from fastrr.hosts.base import ask, understood
from fastrr.hosts.context import Context

RECONNECT_PAUSES_S: tuple[float, ...] = (0.5, 1, 2, 5, 10, 20, 30, 60)


class Watch(NamedTuple):
    """Wait for the host's waited components: a `ComponentEnded` event for each.

    Whatever becomes of the connection.
    """

    settings: SessionSettings = SessionSettings()

    @property
    def only_waits(self) -> bool:
        return True

    def handle(self, context: Context) -> None:
        """See `Request`; a host that can't be asked any more is an error."""
        waited = [one for one in started(context, self.settings) if one.component.wait]
        with context.timed("watch", f"{len(waited)} components"):
            _wait_for(context, waited, self.settings)


def _wait_for(context: Context, launches: Sequence[Launch], settings: SessionSettings) -> None:
    waiting = list(launches)
    while waiting:
        parser = endings.Parser(waiting)
        ended: set[str] = set()

        def hear(line: bytes, parser: endings.Parser = parser, ended: set[str] = ended) -> None:
            if (one := parser.hear(line)) is not None:
                ended.add(one.component)
                _tell(context, launches, one)

        try:
            completed = context.host.run(endings.watch_script(waiting), hear)
        except ConnectionLost as lost:
            _reconnect(context, lost, RECONNECT_PAUSES_S, settings)
        else:
            if len(ended) < len(waiting):
                raise CommandFailed(
                    f"watching stopped early (exit status {completed.status}): "
                    f"{completed.last_words()}"
                )
        waiting = [one for one in waiting if one.component.name not in ended]


class Glance(NamedTuple):
    """See which other components have ended already: an event for each.

    A courtesy, which fails with a warning only.
    """

    settings: SessionSettings = SessionSettings()

    @property
    def only_waits(self) -> bool:
        return True

    def handle(self, context: Context) -> None:
        """See `Request`."""
        others = [one for one in started(context, self.settings) if not one.component.wait]
        script = endings.status_script(others)
        try:
            try:
                body, _ = ask(context.host, script, "looking for ended components")
            except ConnectionLost as lost:
                _reconnect(context, lost, RECONNECT_PAUSES_S[:1], self.settings)
                body, _ = ask(context.host, script, "looking for ended components")
        except HostError as error:
            context.log(logging.WARNING, f"whether its components still run can't be told: {error}")
            return
        parser = endings.Parser(others)
        for line in body.split(b"\n"):
            if (one := parser.hear(line)) is not None:
                _tell(context, others, one)


def _tell(context: Context, launches: Sequence[Launch], ended: endings.Ended) -> None:
    which = next(one for one in launches if one.component.name == ended.component)
    context.emit(
        ComponentEnded(
            context.host.name,
            ended.component,
            ended.exit_status,
            which.component.wait,
            join(which.state, "log"),
            ended.last_lines,
        )
    )


OTHERS = 4
"""How often another machine may answer: behind a name that stands for several, the next connection
may lead back to the right one."""


def _reconnect(
    context: Context,
    lost: ConnectionLost,
    pauses_s: Sequence[float],
    settings: SessionSettings,
) -> None:
    """Connect again to the same machine; what is watched goes on without us.

    :raises ConnectionLost: when that fails for too long, or the run was cancelled.
    """
    failed: HostError | None = None
    others = 0
    for number, pause_s in enumerate(pauses_s):
        if context.cancelled.wait(pause_s):
            raise lost
        if number == 0:
            context.log(logging.WARNING, f"{lost}; connecting again")
        try:
            context.host.connect()
            _see_that_it_is(context, settings)
        except LoginRefused as error:  # trying that again makes it worse
            failed = error
            break
        except _AnotherMachine as error:
            failed = error
            others += 1
            if others == OTHERS:
                context.host.close()  # nothing shall be asked there
                break
        except (ConnectionFailed, ConnectionLost, CommandFailed) as error:
            failed = error
        else:
            return
    raise ConnectionLost(f"{lost}, and it can't be made again: {failed}") from lost


class _AnotherMachine(CommandFailed):
    """What was started is not where the connection leads to."""


def _see_that_it_is(context: Context, settings: SessionSettings) -> None:
    """See that the connection leads to the machine where something was started, as it was then.

    :raises _AnotherMachine: when it does not.
    :raises ConnectionLost: when it can't be asked.
    """
    directory = settings.directory(context.facts.state_directory)
    mark = launch.run_file(directory, settings.run_id)
    body, _ = ask(context.host, machine.see_script(mark), "seeing which machine it is")
    seen, marked = understood(lambda: machine.parse_seen(body))
    if context.facts.which.differs(seen) or not marked:
        raise _AnotherMachine(
            "the host was restarted, or another machine is behind its name: what was started "
            "there is lost, or out of sight"
        )
