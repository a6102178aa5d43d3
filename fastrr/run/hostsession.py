"""One host for the whole run: what is known about it from step to step."""

from __future__ import annotations

from fastrr.components import start as starting
from fastrr.components import watch as watching
from fastrr.components.launch import NotStarted, Started
from fastrr.components.state import Launch
from fastrr.files import check as checking
from fastrr.files import copy as copying
from fastrr.files.check import Findings
from fastrr.files.compare import Decision
from fastrr.hosts.context import Context
from fastrr.run.requests import (
    Check,
    CopyFiles,
    Decide,
    Discard,
    EndSessions,
    Glance,
    Request,
    StartStage,
    Watch,
)


class HostSession:
    """Answers requests for one host, one after the other."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._found: Findings | None = None
        self._decision = Decision()
        self._made_base_dirs: tuple[str, ...] = ()
        self._screen: str | None = None
        self._started: set[str] = set()

    def handle(self, request: Request) -> object:
        """Do one step; see the requests for what each returns.

        :raises HostError: when it can't be done.
        :raises Interrupted: when the run was cancelled.
        """
        context = self._context
        match request:
            case Check():
                self._found = checking.check(context, request.always_copy)
                if not context.settings.kill_first:
                    self._screen = next(iter(self._found.sessions), None)
                return self._found.checked(context.settings)
            case Decide():
                self._found, self._decision = checking.decide(context, self._findings, request)
                return checking.decided(context, self._findings, self._decision)
            case EndSessions():
                starting.end_sessions(context, self._findings)
            case CopyFiles():
                self._made_base_dirs = self._decision.base_dirs
                return copying.copy(context, self._findings.facts, self._decision, request.digests)
            case StartStage():
                return self._start(request.start_index)
            case Watch() | Glance():
                self._watch(request)
            case Discard():
                copying.discard(context, self._made_base_dirs)
        return None

    def cancel(self, *, cut: bool) -> None:
        """Make the step under way end soon; called from another thread.

        ``cut``: by cutting the connection, since there is nothing to clean up.
        """
        self._context.cancelled.set()
        if cut:
            self._context.host.interrupt()
        else:
            self._context.host.end_transfer()  # which would not notice while it is stuck

    @property
    def cancelled(self) -> bool:
        return self._context.cancelled.is_set()

    def close(self) -> None:
        self._context.host.close()

    @property
    def _findings(self) -> Findings:
        assert self._found is not None
        return self._found

    def _start(self, start_index: float) -> tuple[Started | NotStarted, ...]:
        answer = starting.start_stage(self._context, self._findings, start_index, self._screen)
        self._screen = answer.session or self._screen
        self._started |= {one.component for one in answer.components if isinstance(one, Started)}
        return answer.components

    def _watch(self, request: Watch | Glance) -> None:
        started = self._launched()
        there = self._findings.facts.which
        if isinstance(request, Watch):
            waited = [one for one in started if one.component.wait]
            watching.wait_for(self._context, waited, there)
        else:
            others = [one for one in started if not one.component.wait]
            watching.glance(self._context, others, there)

    def _launched(self) -> list[Launch]:
        launches = starting.launches(self._context, self._findings)
        return [one for one in launches if one.component.name in self._started]
