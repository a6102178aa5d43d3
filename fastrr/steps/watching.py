"""The watch step on one host: wait for components, or see once which have ended."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from posixpath import join

from fastrr import watch
from fastrr.errors import CommandFailed, ConnectionFailed, ConnectionLost, HostError, LoginRefused
from fastrr.events import ComponentEnded
from fastrr.hosts.base import ask
from fastrr.state import Launch
from fastrr.steps.context import Context

RECONNECT_PAUSES_S: tuple[float, ...] = (0.5, 1, 2, 5, 10, 20, 30, 60)


def wait_for(context: Context, launches: Sequence[Launch]) -> None:
    """Wait until all of ``launches`` have ended, whatever becomes of the connection.

    :raises HostError: when the host can't be asked any more.
    """
    with context.timed("watch", f"{len(launches)} components"):
        _wait_for(context, launches)


def _wait_for(context: Context, launches: Sequence[Launch]) -> None:
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
            _reconnect(context, lost, RECONNECT_PAUSES_S)
        else:
            if len(ended) < len(waiting):
                raise CommandFailed(
                    f"watching stopped early (exit status {completed.status}): "
                    f"{completed.last_words()}"
                )
        waiting = [one for one in waiting if one.component.name not in ended]


def glance(context: Context, launches: Sequence[Launch]) -> None:
    """See which of ``launches`` have ended already; a courtesy, which fails with a warning only."""
    script = watch.status_script(launches)
    try:
        try:
            body, _ = ask(context.host, script, "looking for ended components")
        except ConnectionLost as lost:
            _reconnect(context, lost, RECONNECT_PAUSES_S[:1])
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


def _reconnect(context: Context, lost: ConnectionLost, pauses_s: Sequence[float]) -> None:
    """Connect again; what is watched goes on without us.

    :raises ConnectionLost: when that fails for too long, or the run was cancelled.
    """
    failed: ConnectionFailed | None = None
    for number, pause_s in enumerate(pauses_s):
        if context.cancelled.wait(pause_s):
            raise lost
        if number == 0:
            context.log(logging.WARNING, f"{lost}; connecting again")
        try:
            context.host.connect()
        except LoginRefused as error:  # trying that again makes it worse
            failed = error
            break
        except ConnectionFailed as error:
            failed = error
        else:
            return
    raise ConnectionLost(f"{lost}, and it can't be made again: {failed}") from lost
