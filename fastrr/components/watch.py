"""The watch step on one host: wait for components, or see once which have ended."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from posixpath import join

from fastrr.components import endings as watch
from fastrr.components import launch
from fastrr.components.state import Launch
from fastrr.errors import CommandFailed, ConnectionFailed, ConnectionLost, HostError, LoginRefused
from fastrr.events import ComponentEnded
from fastrr.hosts import machine
from fastrr.hosts.base import ask, understood
from fastrr.hosts.context import Context
from fastrr.hosts.machine import Machine
from fastrr.hosts.shell import parent

RECONNECT_PAUSES_S: tuple[float, ...] = (0.5, 1, 2, 5, 10, 20, 30, 60)


def wait_for(context: Context, launches: Sequence[Launch], there: Machine) -> None:
    """Wait until all of ``launches`` have ended, whatever becomes of the connection.

    ``there``: the machine that they were started on.

    :raises HostError: when the host can't be asked any more.
    """
    with context.timed("watch", f"{len(launches)} components"):
        _wait_for(context, launches, there)


def _wait_for(context: Context, launches: Sequence[Launch], there: Machine) -> None:
    waiting = list(launches)
    while waiting:
        parser = watch.Parser(waiting)
        ended: set[str] = set()

        def hear(line: bytes, parser: watch.Parser = parser, ended: set[str] = ended) -> None:
            if (one := parser.hear(line)) is not None:
                ended.add(one.component)
                _tell(context, launches, one)

        try:
            completed = context.host.run(watch.watch_script(waiting), hear)
        except ConnectionLost as lost:
            _reconnect(context, lost, RECONNECT_PAUSES_S, there, launches[0])
        else:
            if len(ended) < len(waiting):
                raise CommandFailed(
                    f"watching stopped early (exit status {completed.status}): "
                    f"{completed.last_words()}"
                )
        waiting = [one for one in waiting if one.component.name not in ended]


def glance(context: Context, launches: Sequence[Launch], there: Machine) -> None:
    """See which of ``launches`` have ended already; a courtesy, which fails with a warning only.

    ``there``: as for `wait_for`.
    """
    script = watch.status_script(launches)
    try:
        try:
            body, _ = ask(context.host, script, "looking for ended components")
        except ConnectionLost as lost:
            _reconnect(context, lost, RECONNECT_PAUSES_S[:1], there, launches[0])
            body, _ = ask(context.host, script, "looking for ended components")
    except HostError as error:
        context.log(logging.WARNING, f"whether its components still run can't be told: {error}")
        return
    parser = watch.Parser(launches)
    for line in body.split(b"\n"):
        if (one := parser.hear(line)) is not None:
            _tell(context, launches, one)


def _tell(context: Context, launches: Sequence[Launch], ended: watch.Ended) -> None:
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
    there: Machine,
    launched: Launch,
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
            _see_that_it_is(context, there, launched)
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


def _see_that_it_is(context: Context, there: Machine, launched: Launch) -> None:
    """See that the connection leads to the machine where something was started, as it was then.

    :raises _AnotherMachine: when it does not.
    :raises ConnectionLost: when it can't be asked.
    """
    mark = launch.run_file(parent(launched.state), context.settings.run_id)
    body, _ = ask(context.host, machine.see_script(mark), "seeing which machine it is")
    seen, marked = understood(lambda: machine.parse_seen(body))
    if there.differs(seen) or not marked:
        raise _AnotherMachine(
            "the host was restarted, or another machine is behind its name: what was started "
            "there is lost, or out of sight"
        )
