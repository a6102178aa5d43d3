"""Launchers: how a component is started in a window of a screen session, and the parsers.

Pure. A component is never started through arguments of ``screen -X``, which screen cuts and
rewrites, but through files in its state directory on the host (`fastrr.components.state`).

One `start_script` a host and stage writes the launchers, hands screen a command file that opens
their windows (``-c`` for a new session, ``-X source`` for a running one) and waits until each
component is *started*: its process exists and is the program, no longer the shell before it
(seen in ``/proc/PID/cmdline``; where there is no /proc, its pid has been written), or has failed.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from posixpath import join
from typing import NamedTuple

from fastrr.components.screen import screen_word
from fastrr.components.state import LOOK, Launch, directory_name
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


_RUN_FILE = r"""# Sourced by each launch.sh, which sets fastrr_run, _state, _base_dir, _program
# and fastrr_component. Every name has a prefix: the program inherits
# the variables of the environment, whatever they are called, as they are.
fastrr_newline='
'
fastrr_record() {
    read -r fastrr_current <"$fastrr_state/run" && [ "$fastrr_current" = "$fastrr_run" ] &&
        printf '%s\n' "$2" >"$fastrr_state/$1"
}
fastrr_fail() {
    printf 'fastrr: %s\n' "$1" >&2
    fastrr_record failed "$1"
    exit 126
}
fastrr_read() {
    while IFS= read -r fastrr_line; do
        fastrr_value=$fastrr_value$fastrr_line$fastrr_newline
    done
}
fastrr_unfit() {
    fastrr_fail "$fastrr_program could not be executed: no such interpreter, not a format of \
this machine, or arguments too long for it (Linux takes 128 KiB each)"
}
fastrr_become() {
    trap fastrr_unfit EXIT
    if [ -n "$BASH_VERSION" ]; then
        shopt -s execfail
        # A script without #! bash would read itself, and go on looking like this launcher.
        fastrr_line='#!'
        [ ! -r "$1" ] || IFS= read -r fastrr_line <"$1"
        case $fastrr_line in
        '#!'* | *[![:print:][:blank:]]*) ;;
        *) set -- "$BASH" "$@" ;;
        esac
    fi
    echo "$fastrr_pid" >"$fastrr_state/pid"
    exec "$@"
    exit 126
}
if [ "$1" = become ]; then
    echo "$PPID" >"$fastrr_state/launcher"
    fastrr_pid=$$
    fastrr_component
fi
[ -z "$fastrr_soft_limit" ] || ulimit -Sn "$fastrr_soft_limit" 2>/dev/null
echo "$STY" >"$fastrr_state/session"
cd -- "$fastrr_base_dir" 2>/dev/null || fastrr_fail "its base_dir $fastrr_base_dir can't be entered"
[ -e "$fastrr_program" ] || fastrr_fail "$fastrr_program does not exist"
[ -f "$fastrr_program" ] || fastrr_fail "$fastrr_program is no file"
[ -x "$fastrr_program" ] || fastrr_fail "$fastrr_program may not be executed: its permissions are \
$(ls -ld -- "$fastrr_program" | cut -c 1-10)"
# This shell leads the window's session: when screen hangs up it must die, for only then does the
# kernel send SIGHUP to the program (exit(3), "If the process is a session leader"). The subshell
# outlives whatever ends the program, to record how it ended.
trap : INT QUIT
(
    trap : HUP INT QUIT TERM
    # A subshell can become the program if it knows its process id, which $$ is not, but who opens
    # /proc/self sees; and if it runs its trap when exec fails, which one of bash does not.
    if [ -z "$BASH_VERSION" ] && read -r fastrr_pid fastrr_rest 2>/dev/null </proc/self/stat; then
        echo "$fastrr_pid" >"$fastrr_state/launcher"
        (read -r fastrr_pid fastrr_rest </proc/self/stat && fastrr_component)
    else
        sh "$fastrr_state/launch.sh" become
    fi
    fastrr_status=$?
    [ ! -s "$fastrr_state/failed" ] || exit "$fastrr_status"
    [ -s "$fastrr_state/pid" ] ||
        fastrr_fail "its args can't be expanded (exit status $fastrr_status): see its log"
    fastrr_record exit "$fastrr_status"
    exit "$fastrr_status"
)
exit
"""

_START = r"""
started() {
    look "$1" "$2" && return
    [ -s "$2/pid" ] || return
    read -r process <"$2/pid"
    # Once the pid is written, exec is all that is left to do. What never changes its command line
    # is taken as started, too, after two seconds.
    eval "since=\${since$1:=$ticks}"
    if [ -d /proc/self ] && [ $((ticks - since)) -lt {settled} ]; then
        line=
        IFS= read -r line 2>/dev/null <"/proc/$process/cmdline"
        case $line in
        '' | *"$2/launch.sh"*) return 1 ;;
        esac
        # Shells read it byte by byte: of a process that ends meanwhile only the first part is seen.
        again=
        IFS= read -r again 2>/dev/null <"/proc/$process/cmdline"
        [ "$again" = "$line" ] || return 1
    fi
    echo "started $1 $process"
}
ticks=0
while [ -n "$pending" ]; do
    waiting=
    for n in $pending; do
        eval "directory=\$d$n"
        started "$n" "$directory" || waiting="$waiting $n"
    done
    pending=$waiting
    if [ -n "$pending" ]; then
        [ "$ticks" -lt {limit} ] || break
        pause {tick}
    fi
done
for n in $all; do
    eval "directory=\$d$n"
    if [ -s "$directory/session" ]; then
        read -r session <"$directory/session"
        echo "session $session"
        break
    fi
done
"""


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
    """Return the script that starts ``launches`` and waits until each has started or failed."""
    run_file, command_file = run_file_of(session), join(session.directory, _RC_FILE)
    previous = quote(join(session.directory, ".previous"))
    lines = [
        f"{OWN}{_PRIVATE}private {previous}/\n",
        f"cd {quote(session.directory)} || exit 1\n",
        f"{_UNWRITTEN}{LOOK}running={quote(session.running or '')}\n",
        '[ -n "$running" ] && running "${running%%.*}" || running=\n',
        *_make_directories(session, launches),
        "soft_limit=$(ulimit -Sn)\n",
        *_write_run_file(run_file),
    ]
    for number, launch in enumerate(launches):
        lines.append(f"d{number}={quote(launch.state)}\n")
        unwritten = f'|| unwritten "$d{number}"\n'
        lines.append(f'echo {quote(session.run_id)} >"$d{number}/run" {unwritten}')
        content = launcher(launch, session, run_file)
        lines.append(f'printf %s {quote(content)} >"$d{number}/launch.sh" {unwritten}')
        if launch.component.expand:
            expanded = expansion(launch.program, launch.component.args)
            lines.append(f'printf %s {quote(expanded)} >"$d{number}/args.sh" {unwritten}')
    lines.append(_screen_lines(session, launches, command_file))
    lines.append(f"all={quote(' '.join(map(str, range(len(launches)))))} pending=$all\n")
    lines.append(
        _START.replace("{limit}", str(round(timeout_s / TICK_S)))
        .replace("{settled}", str(round(2 / TICK_S)))
        .replace("{tick}", f"{TICK_S} {round(1 / TICK_S)}")
    )
    return script("".join(lines))


_PRIVATE = r"""
private() {
    # A directory with all that it is in: what had to be made, and what nobody else has made.
    path= rest=${1#/}
    while [ -n "$rest" ]; do
        path=$path/${rest%%/*} rest=${rest#*/}
        if [ ! -d "$path" ]; then
            said=$(mkdir -m 700 -- "$path" 2>&1) && continue
            [ -d "$path" ] || {
                echo "the directory for the state of components can't be made: $said" >&2
                exit 1
            }
        fi
        own "$path" || {
            echo "it is not this account's, nor root's: $(ls -ld -- "$path" 2>&1)" >&2
            exit 1
        }
    done
}
"""

_UNWRITTEN = r"""
unwritten() {
    echo "the state of components can't be written to $1; df says: $(df -Pk . | tail -n 1)" >&2
    exit 1
}
"""


def _write_run_file(path: str) -> Iterator[str]:
    """Write what a run's launchers share, once a run: they may be reading it."""
    yield f"if [ ! -e {quote(path)} ]; then\n"
    yield f"    printf 'fastrr_soft_limit=%s\\n' \"$soft_limit\" >{quote(path)}\n"
    yield f"    printf %s {quote(_RUN_FILE)} >>{quote(path)} || unwritten {quote(path)}\n"
    yield "fi\n"


def _make_directories(session: SessionPlan, launches: Sequence[Launch]) -> Iterator[str]:
    """Move the state of earlier runs aside, and make directories and links for this one.

    The links are the names by which screen knows this run's logs. Windows whose logs have the same
    name share a file; and screen opens a log again, by name, when it finds the file changed. So
    each run has names of its own, and where a component is started again in a session that runs,
    the earlier names lead to what was moved.
    """
    names, logs = _directory_names(launches), quote(_logs_directory(session))
    yield "set --\n"
    yield from (f'[ ! -e {quote(name)} ] || set -- "$@" {quote(name)}\n' for name in names)
    yield _MOVE_ASIDE.replace("{logs}", logs)
    yield f'set -- {join_words(names)}\n[ -d {logs} ] || set -- "$@" {logs}\n'
    targets = join_words(f"../{name}" for name in names)
    yield f'mkdir -m 700 -- "$@" && ln -sf -- {targets} {logs} || exit 1\n'


_MOVE_ASIDE = rf"""
stale=$#
if [ -z "$running" ]; then
    for path in {_LOGS}* {_RUN}*; do
        [ ! -e "$path" ] || stale=all
    done
fi
forget() {{
    # Screen may just be opening the log of a window that goes on: not twice within a second.
    rm -rf -- "$@" 2>/dev/null || rm -rf -- "$@"
}}
case $stale in
0) ;;
all) (cd .previous && forget "$@" ../{_LOGS}* ../{_RUN}*) ;;
*) (cd .previous && forget "$@") ;;
esac
if [ "$#" -gt 0 ]; then
    mv -f -- "$@" .previous || exit 1
    for path; do
        set -- "$@" "../.previous/$path"
        shift
    done
    for path in {_LOGS}*; do
        [ "$path" = {{logs}} ] || [ ! -d "$path" ] || ln -sf -- "$@" "$path"
    done
fi
"""


def _directory_names(launches: Sequence[Launch]) -> list[str]:
    return [launch.state.rpartition("/")[2] for launch in launches]


def _logs_directory(session: SessionPlan) -> str:
    return f"{_LOGS}{directory_name(session.run_id)}"


def run_file_of(session: SessionPlan) -> str:
    """Return the path of the file that the launchers of a run share."""
    return run_file(session.directory, session.run_id)


def run_file(session_directory: str, run_id: str) -> str:
    """Return the path of the file that is there where a run has started something."""
    return join(session_directory, f"{_RUN}{directory_name(run_id)}")


def _screen_lines(session: SessionPlan, launches: Sequence[Launch], command_file: str) -> str:
    """Return the commands that make screen read its command file."""
    scope = "systemd-run --user --scope --quiet --collect " if session.scope else ""
    name = quote(session.name)
    file = quote(screen_word(command_file)[1:-1])  # Arguments of -X are expanded like a file's.
    return f"""
screen_failed=
windows() {{
    printf %s {quote(command_lines(session, launches))}
}}
user_file=${{SCREENRC:-$HOME/.screenrc}}
if [ "$soft_limit" = unlimited ] || [ "$soft_limit" -gt {MAX_OPEN_FILES} ]; then
    ulimit -Sn {MAX_OPEN_FILES}
fi
unset STY WINDOW
if [ -n "$running" ]; then
    windows >{_RC_FILE} || unwritten "$PWD"
    said=$(screen -S "$running" -X source {file} 2>&1) || screen_failed=$?
else
    {{
        echo "maxwin {MAX_WINDOWS}"
        [ ! -r "$user_file" ] || printf 'source "%s"\\n' "$user_file"
        windows
    }} >{_RC_FILE} || unwritten "$PWD"
    said=$({scope}screen -c {quote(command_file)} -dmS {name} 2>&1) || screen_failed=$?
fi
if [ -n "$screen_failed" ]; then
    printf 'screen failed: exit status %s: %s\\n' "$screen_failed" "$said" | tr '\\n' ' '
    exit 1
fi
"""


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
    name, title = launch.component.name, launch.state.rpartition("/")[2]
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
    lines.extend(('fastrr_become "$@"', "}", f". {quote(run_file)}"))
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
