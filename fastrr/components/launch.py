"""Launchers: how a component is started in a window of a screen session, and the parsers.

Pure. A component is never started through arguments of ``screen -X``, which screen cuts and
rewrites, but through files in its state directory on the host (`fastrr.components.state`).

One `start_script` a host and stage writes the launchers, hands screen a command file that opens
their windows (``-c`` for a new session, ``-X source`` for a running one) and waits until each
component is *started*: its process exists and is the program, no longer the shell before it
(seen in ``/proc/PID/cmdline``; where there is no /proc, its pid has been written), or has failed.
"""

from __future__ import annotations

from collections.abc import Sequence
from posixpath import join
from typing import NamedTuple

from fastrr.components.screen import screen_word
from fastrr.components.state import LOOK, Launch, directory_name
from fastrr.hosts.library import library
from fastrr.hosts.shell import Script, here_document, quote, script, to_text
from fastrr.hosts.shell import join as join_words
from fastrr.hosts.ways import OWN

MAX_WINDOWS = 2000
"""Windows of one session: screen 4.x takes up to 2048, and 100 unless told."""

MAX_OPEN_FILES = 4096
"""screen closes every possible descriptor when it starts: with a container's limit of a billion
that takes minutes. The launcher gives the program its old limit back."""

TICK_S = 0.02

_RC_FILE = ".screen.rc"
_LOGS = ".logs-"
_RUN = ".run-"
"""In the session's directory, beside its components: no name of theirs starts with a dot."""

_LAUNCHER = library(__file__, "launcher.sh")
_LAUNCH = "".join((OWN, LOOK, *(library(__file__, f"{name}.sh") for name in ("launch", "windows"))))


class SessionPlan(NamedTuple):
    """The session that a host's components run in."""

    name: str
    directory: str
    """Its state directory on the host, absolute."""
    run_id: str
    zombie: bool = True
    running: str | None = None
    """``pid.name`` of the session to add windows to; None: start a new one."""
    scope: bool = False
    """Start it in a systemd scope of its own, which logind does not end at logout."""


def start_script(session: SessionPlan, launches: Sequence[Launch], timeout_s: float) -> Script:
    """Return the script that starts ``launches`` and waits until each has started or failed.

    Links are the names by which screen knows this run's logs. Windows whose logs have the same
    name share a file; and screen opens a log again, by name, when it finds the file changed. So
    each run has names of its own, and where a component is started again in a session that runs,
    the earlier names lead to what was moved aside.
    """
    run_file, numbers = run_file_of(session), " ".join(map(str, range(len(launches))))
    logs, names = _logs_directory(session), [_directory_name(launch) for launch in launches]
    lines = [
        f"{_LAUNCH}private {quote(join(session.directory, '.previous'))}/\n",
        f"begin {join_words((session.directory, session.running or ''))}\n",
        f"make_directories {join_words((logs, *names))}\n",
        f"write_run_file {join_words((run_file, _LAUNCHER))}\n",
    ]
    for number, launch in enumerate(launches):
        words = [launch.state, session.run_id, launcher(launch, session, run_file)]
        if launch.component.expand:
            words.append(expansion(launch.program, launch.component.args))
        lines.append(f"d{number}={quote(launch.state)}\nwrite_launcher {join_words(words)}\n")
    lines.append(f"open_windows {join_words(_windows(session, launches))}\n")
    limit, settled = round(timeout_s / TICK_S), round(_SETTLED_S / TICK_S)
    lines.append(f"limit={limit} settled={settled} all={quote(numbers)} pending={quote(numbers)}\n")
    lines.append(f"tick_s={TICK_S} ticks_a_second={round(1 / TICK_S)}\nawait_started\n")
    return script("".join(lines))


_SETTLED_S = 2
"""What never changes its command line is taken as started after so long."""


def _directory_name(launch: Launch) -> str:
    return launch.state.rpartition("/")[2]


def _logs_directory(session: SessionPlan) -> str:
    return f"{_LOGS}{directory_name(session.run_id)}"


def run_file_of(session: SessionPlan) -> str:
    """Return the path of the file that the launchers of a run share."""
    return run_file(session.directory, session.run_id)


def run_file(session_directory: str, run_id: str) -> str:
    """Return the path of the file that is there where a run has started something."""
    return join(session_directory, f"{_RUN}{directory_name(run_id)}")


def _windows(session: SessionPlan, launches: Sequence[Launch]) -> tuple[str, ...]:
    """Return what the shell function ``open_windows`` is given."""
    file = join(session.directory, _RC_FILE)
    return (
        "in_scope" if session.scope else "plainly",
        session.name,
        file,
        screen_word(file)[1:-1],  # arguments of -X are expanded like a file's
        command_lines(session, launches),
        str(MAX_WINDOWS),
        str(MAX_OPEN_FILES),
    )


def command_lines(session: SessionPlan, launches: Sequence[Launch]) -> str:
    """Return the screen commands that open a window for each of ``launches`` (screen(1)).

    Logs are named by title, so a window is opened with the name of its state directory as title.
    Where the component's own name differs, ``title`` sets it afterwards; that command drops the
    bytes 80 to 9F, so a name that is not ASCII and differs stays as it is.

    ``logfile`` also moves the log of the current window, to a name made of the title that it has
    by then. So it is said in the first window that is opened, before its log.
    """
    logs = join(session.directory, _logs_directory(session)).replace("%", "%%")
    first, *others = map(_window_lines, launches)
    lines = [
        *("startup_message off", "defutf8 on", "logfile flush 0", "deflog off"),
        *(["zombie q"] if session.zombie else []),
        first[0],
        f"logfile {screen_word(f'{logs}/%t/log')}",
        *("log on", "deflog on"),
        *first[1:],
        *(line for lines in others for line in lines),
        "deflog off",
    ]
    return "".join(f"{line}\n" for line in lines)


def _window_lines(launch: Launch) -> list[str]:
    name, title = launch.component.name, _directory_name(launch)
    command = f"sh {screen_word(join(launch.state, 'launch.sh'))}"
    lines = [f"screen -t {screen_word(title)} {command}"]
    if name != title and name.isascii():
        lines.append(f"title {screen_word(name)}")
    return lines


def launcher(launch: Launch, session: SessionPlan, run_file: str) -> str:
    """Return the content of a component's ``launch.sh``."""
    component = launch.component
    lines = [
        "#!/bin/sh",
        f"# fastrr: component {component.name!r} of session {session.name!r}",
        f"fastrr_run={quote(session.run_id)}",
        f"fastrr_state={quote(launch.state)}",
        f"fastrr_base_dir={quote(launch.base_dir)}",
        f"fastrr_program={quote(launch.program)}",
        "fastrr_component() {",
    ]
    lines.extend(f"export {name}={quote(value)}" for name, value in component.env)
    if component.expand:
        lines.append('. "$fastrr_state/args.sh"')
    else:
        lines.append(f"set -- {join_words((launch.program, *component.args))}")
    lines.extend(('fastrr_become "$@"', "}", f". {quote(run_file)}", 'fastrr_launch "$@"'))
    return "".join(f"{line}\n" for line in lines)


def expansion(program: str, args: Sequence[str]) -> str:
    """Return ``set --`` with arguments expanded as in double quotes: ``$``, backquote, backslash.

    It is a file of its own, ``args.sh``: what a shell can't read must not stop the launcher. A
    here-document expands just so, but leaves double quotes alone (POSIX XCU 2.7.4). The dot keeps
    a backslash at the end of an argument from joining lines, and its absence tells that the shell
    could not expand the argument: bash goes on then.
    """
    lines = [f"set -- {quote(program)}"]
    for arg in args:
        body = here_document(f"{arg}.".split("\n")).replace("<<'", "<<", 1).replace("'\n", "\n", 1)
        lines.append(f"fastrr_value=\nfastrr_read {body}")
        lines.append('[ -n "$fastrr_value" ] || exit 2')
        lines.append('set -- "$@" "${fastrr_value%??}"')
    return "".join(f"{line}\n" for line in lines)


class Started(NamedTuple):
    """A component whose process exists (or existed: see ``exit_status``)."""

    component: str
    pid: int | None = None
    exit_status: int | None = None
    """Its exit status, where it has ended already."""


class NotStarted(NamedTuple):
    """A component that could not be started, and why."""

    component: str
    reason: str


class StartAnswer(NamedTuple):
    """What became of the components of one host and stage."""

    components: tuple[Started | NotStarted, ...] = ()
    session: str | None = None
    """``pid.name`` of the session they run in."""


def parse_started(launches: Sequence[Launch], timeout_s: float, body: bytes) -> StartAnswer:
    """Parse what the `start_script` of ``launches`` printed; components without a word are late."""
    answers: dict[int, Started | NotStarted] = {}
    session: str | None = None
    for line in to_text(body).split("\n"):
        match line.split(" ", 2):
            case ["started", number, pid]:
                answers[int(number)] = Started(_name(launches, number), int(pid))
            case ["ended", number, status]:
                answers[int(number)] = Started(_name(launches, number), None, int(status))
            case ["failed", number, reason]:
                answers[int(number)] = NotStarted(_name(launches, number), reason)
            case ["session", *words]:
                session = " ".join(words)
    late = f"it was not started within {timeout_s:g} s"
    return StartAnswer(
        tuple(
            answers.get(number) or NotStarted(launch.component.name, late)
            for number, launch in enumerate(launches)
        ),
        session,
    )


def _name(launches: Sequence[Launch], number: str) -> str:
    return launches[int(number)].component.name
