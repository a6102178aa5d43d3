"""The start step on one host: end earlier sessions, start the components of a stage."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import NamedTuple

from fastrr.components import launch, screen, state
from fastrr.components.launch import NotStarted, SessionPlan, Started
from fastrr.components.screen import Sessions
from fastrr.components.settings import SessionSettings
from fastrr.components.state import Launch
from fastrr.errors import CommandFailed
from fastrr.hosts.base import ANSWER_WITHIN_S, ask, understood
from fastrr.hosts.context import Context
from fastrr.hosts.shell import absolute


class EndSessions(NamedTuple):
    """End the earlier sessions of the run's name, those that the check has found."""

    settings: SessionSettings = SessionSettings()

    @property
    def only_waits(self) -> bool:
        return False

    def handle(self, context: Context) -> None:
        """See `Request`; a session that does not end is an error, too."""
        earlier = _earlier(context, self.settings)
        directory = self.settings.directory(context.facts.state_directory)
        script = screen.stop_script(earlier, directory)
        with context.timed("end sessions"):
            body, _ = ask(context.host, script, "ending the earlier session")
        left = understood(lambda: screen.parse_stopped(body))
        if left.sessions:
            raise CommandFailed(
                f"the earlier session does not end: {'; '.join(left.sessions)}: "
                "end it by hand, or choose another name with --screen"
            )
        context.log(logging.INFO, f"ended the earlier session {', '.join(earlier)}")
        for component, pid in left.programs:
            context.log(
                logging.WARNING,
                f"component {state.name_of(component)!r} of the earlier session ignores the "
                f"hangup and still runs (pid {pid})",
            )


class StartStage(NamedTuple):
    """Start the components of one stage."""

    start_index: float
    settings: SessionSettings = SessionSettings()

    @property
    def only_waits(self) -> bool:
        return True

    def handle(self, context: Context) -> tuple[Started | NotStarted, ...]:
        """See `Request`; screen that can't be started is an error, too."""
        settings, timeout_s = self.settings, self.settings.start_timeout_s
        running = context.kept(Running) or Running(_to_add_to(context, settings))
        sessions = context.kept(Sessions)
        session = SessionPlan(
            name=settings.name,
            directory=settings.directory(context.facts.state_directory),
            run_id=settings.run_id,
            zombie=settings.zombie,
            running=running.session,
            scope=sessions is not None
            and sessions.kills_user_processes
            and "systemd-run" in context.facts.tools,
        )
        stage = [
            one for one in launches(context, settings)
            if one.component.start_index == self.start_index
        ]  # fmt: skip
        script = launch.start_script(session, stage, timeout_s)
        with context.timed("start", f"{len(stage)} components"):
            body, _ = ask(context.host, script, "starting", ANSWER_WITHIN_S + timeout_s)
        answer = understood(lambda: launch.parse_started(stage, timeout_s, body))
        started = {one.component for one in answer.components if isinstance(one, Started)}
        context.keep(Running(answer.session or running.session, running.started | started))
        return answer.components


class Running(NamedTuple):
    """What a run has started on a host by now."""

    session: str | None = None
    """``pid.name`` of the session that its windows are in, or are to be added to."""
    started: frozenset[str] = frozenset()
    """Names of components."""


def _earlier(context: Context, settings: SessionSettings) -> tuple[str, ...]:
    sessions = context.kept(Sessions)
    return sessions.called(settings.name) if sessions else ()


def _to_add_to(context: Context, settings: SessionSettings) -> str | None:
    return None if settings.kill_first else next(iter(_earlier(context, settings)), None)


def launches(context: Context, settings: SessionSettings) -> list[Launch]:
    """Return the plan's components with everything about this host filled in."""
    facts = context.facts
    return [
        Launch(
            component,
            context.base_dirs[component.name]
            if component.base_dir is None
            else absolute(component.base_dir, facts.home),
            state.component_directory(facts.state_directory, settings.name, component.name),
        )
        for component in context.plan.components
    ]


def started(context: Context, settings: SessionSettings) -> Sequence[Launch]:
    """Return the components that this run has started."""
    running = context.kept(Running) or Running()
    return [one for one in launches(context, settings) if one.component.name in running.started]
