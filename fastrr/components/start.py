"""The start step on one host: end earlier sessions, start the components of a stage."""

from __future__ import annotations

import logging

from fastrr.components import launch, screen, state
from fastrr.components.launch import SessionPlan, StartAnswer
from fastrr.components.state import Launch
from fastrr.errors import CommandFailed
from fastrr.files.check import Findings
from fastrr.hosts.base import ANSWER_WITHIN_S, ask, understood
from fastrr.hosts.context import Context
from fastrr.hosts.shell import absolute


def end_sessions(context: Context, findings: Findings) -> None:
    """End the earlier sessions of the run's name.

    :raises HostError: when one does not end.
    """
    directory = findings.session_directory(context.settings)
    script = screen.stop_script(findings.sessions, directory)
    with context.timed("end sessions"):
        body, _ = ask(context.host, script, "ending the earlier session")
    left = understood(lambda: screen.parse_stopped(body))
    if left.sessions:
        raise CommandFailed(
            f"the earlier session does not end: {'; '.join(left.sessions)}: "
            "end it by hand, or choose another name with --screen"
        )
    context.log(logging.INFO, f"ended the earlier session {', '.join(findings.sessions)}")
    for component, pid in left.programs:
        context.log(
            logging.WARNING,
            f"component {state.name_of(component)!r} of the earlier session ignores the "
            f"hangup and still runs (pid {pid})",
        )


def launches(context: Context, findings: Findings) -> list[Launch]:
    """Return the plan's components with everything about this host filled in."""
    facts, session = findings.facts, context.settings.session
    fresh = (fresh.component for fresh in context.plan.fresh)
    temporary = dict(zip(fresh, findings.base_dirs, strict=True))
    return [
        Launch(
            component,
            temporary[component.name]
            if component.base_dir is None
            else absolute(component.base_dir, facts.home),
            state.component_directory(facts.state_directory, session, component.name),
        )
        for component in context.plan.components
    ]


def start_stage(
    context: Context, findings: Findings, start_index: float, running: str | None
) -> StartAnswer:
    """Start the components with this start_index, in the session ``running`` if there is one.

    :raises HostError: when screen can't be started.
    """
    settings = context.settings
    session = SessionPlan(
        name=settings.session,
        directory=findings.session_directory(settings),
        run_id=settings.run_id,
        zombie=settings.zombie,
        running=running,
        scope=findings.facts.kills_user_processes and "systemd-run" in findings.facts.tools,
    )
    stage = [
        launch_ for launch_ in launches(context, findings)
        if launch_.component.start_index == start_index
    ]  # fmt: skip
    script = launch.start_script(session, stage, settings.start_timeout_s)
    with context.timed("start", f"{len(stage)} components"):
        body, _ = ask(context.host, script, "starting", ANSWER_WITHIN_S + settings.start_timeout_s)
    return understood(lambda: launch.parse_started(stage, settings.start_timeout_s, body))
