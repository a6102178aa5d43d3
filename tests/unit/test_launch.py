"""Starting components: real screen sessions, and programs that tell how they were started."""

from __future__ import annotations

import json
import os
import resource
import shutil
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pytest
from testbed.shells import Box, eventually

from fastrr.components.launch import (
    MAX_OPEN_FILES,
    NotStarted,
    SessionPlan,
    StartAnswer,
    Started,
    command_lines,
    launcher,
    parse_started,
    start_script,
)
from fastrr.components.state import Launch, component_directory, directory_name
from fastrr.hosts.shell import to_bytes, to_text
from fastrr.model import ComponentPlan

AWKWARD = (
    "",
    " ",
    "two words",
    "it's",
    '"double"',
    "$HOME ${HOME} $(id) `id`",
    "back\\slash\\n\\\\",
    "new\nline",
    "\n",
    "ends in newline\n",
    "\ttab\rreturn\x0c\x1b[31m",
    "^C \x03 ^@ ^^",
    "*?[a-z]{a,b}~",
    "~/x",
    "-n",
    "--",
    "!history!!",
    "#comment",
    "%n %t |",
    "a;b&c|d<e>f(g)",
    "grüße 日本語 🚀",
    "\u2028\u0085",
    to_text(bytes(range(1, 256))),
    to_text(b"invalid \xff\xfe utf-8 \xc3"),
    "x" * 100_000,
)

FOR_A_MINUTE = "while [ $((n += 1)) -lt 1000 ];"

REPORT = f"""#!{sys.executable} -IS
import json, os, resource, sys
said = {{
    "args": [os.fsencode(arg).decode("latin-1") for arg in sys.argv[1:]],
    "env": {{key.decode("latin-1"): value.decode("latin-1") for key, value in os.environb.items()}},
    "cwd": os.getcwdb().decode("latin-1"),
    "open_files": resource.getrlimit(resource.RLIMIT_NOFILE),
    "terminal": os.isatty(0) and os.isatty(1) and os.isatty(2),
    "pid": os.getpid(),
}}
with open(sys.argv[0] + ".new", "w") as file:
    json.dump(said, file)
os.rename(sys.argv[0] + ".new", sys.argv[0] + ".said")
"""


@dataclass
class Run:
    """A session's components on one box."""

    box: Box
    session: str = "runner"
    run_id: str = "1"
    running: str | None = None
    zombie: bool = True

    @property
    def plan(self) -> SessionPlan:
        state = str(self.box.home / "state")
        return SessionPlan(
            self.session,
            os.path.join(state, directory_name(self.session)),
            self.run_id,
            self.zombie,
            self.running,
        )

    def launch(self, component: ComponentPlan) -> Launch:
        state = component_directory(str(self.box.home / "state"), self.session, component.name)
        return Launch(component, component.base_dir or str(self.box.home), state)

    def start(self, *components: ComponentPlan, timeout: float = 20) -> StartAnswer:
        """Start components; later calls add to the same session."""
        launches = [self.launch(component) for component in components]
        body = self.box.ask(start_script(self.plan, launches, timeout), timeout=timeout + 20)
        answer = parse_started(launches, timeout, body)
        self.running = answer.session or self.running
        return answer

    def read(self, component: str, name: str) -> str:
        """Return what a file of a component's state holds; empty where it is not there."""
        state = component_directory(str(self.box.home / "state"), self.session, component)
        try:
            return Path(state, name).read_text(errors="surrogateescape")
        except FileNotFoundError:
            return ""

    def exit_status(self, component: str) -> int:
        eventually(lambda: self.read(component, "exit"))
        return int(self.read(component, "exit"))

    def titles(self) -> list[str]:
        assert self.running is not None
        return self.box.screen("-S", self.running, "-Q", "windows", "%t|").split("|")[:-1]


def component(
    name: str,
    executable: str = "/bin/sleep",
    args: Sequence[str] = ("60",),
    *,
    base_dir: str | None = None,
    expand: bool = False,
    env: tuple[tuple[str, str], ...] = (),
) -> ComponentPlan:
    return ComponentPlan(name, "host", executable, tuple(args), base_dir, 0, expand=expand, env=env)


def program(box: Box, name: str, content: str, mode: int = 0o755) -> str:
    path = box.home / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(content)
    path.chmod(mode)
    return str(path)


@dataclass
class Said:
    """What the reporting program was started with."""

    args: list[bytes]
    env: dict[bytes, bytes]
    cwd: bytes
    open_files: list[int]
    terminal: bool
    pid: int


def said_by(path: str) -> Said:
    eventually(lambda: os.path.exists(path + ".said"))
    said = json.loads(Path(path + ".said").read_text())
    env = {key.encode("latin-1"): value.encode("latin-1") for key, value in said["env"].items()}
    return Said(
        [arg.encode("latin-1") for arg in said["args"]],
        env,
        said["cwd"].encode("latin-1"),
        said["open_files"],
        said["terminal"],
        said["pid"],
    )


def gone(pid: int) -> bool:
    with suppress(ProcessLookupError):
        os.kill(pid, 0)
        return False
    return True


# what a program is started with


def test_arguments_arrive_byte_for_byte(box: Box) -> None:
    args = (*AWKWARD, *(f"argument {n}" for n in range(300)))
    path = program(box, "report", REPORT)
    (started,) = Run(box).start(component("one", path, args)).components
    assert isinstance(started, Started)
    assert said_by(path).args == [to_bytes(arg) for arg in args]


def test_expanded_arguments_are_as_in_double_quotes(box: Box) -> None:
    given_and_expected = {
        "$HOME/x": f"{box.home}/x",
        "${HOME}": str(box.home),
        "$GIVEN": "a  b\n",
        "$(echo out; echo more)": "out\nmore",
        "`echo old`": "old",
        "$((1 + 2))": "3",
        "\\$HOME \\` \\\\ \\n": "$HOME ` \\ \\n",
        "it's (odd :) #1 *": "it's (odd :) #1 *",
        "two  spaces\n\n": "two  spaces\n\n",
        "ends in \\": "ends in \\",
        "joined \\\nline": "joined line",
        "": "",
        "~": "~",
        "FASTRR_END_OF_LINES": "FASTRR_END_OF_LINES",
        "grüße \u2028": "grüße \u2028",
        to_text(b"\xff"): to_text(b"\xff"),
        "$(printf '%s' \"a b\")": "a b",
        "<$UNSET_VARIABLE${UNSET_VARIABLE-}>": "<>",
    }
    path = program(box, "report", REPORT)
    env = (("GIVEN", "a  b\n"), ("PATH", "/no/where:/usr/bin:/bin"))
    args = list(given_and_expected)
    Run(box).start(component("one", path, args, expand=True, env=env))
    for given, said in zip(args, said_by(path).args, strict=True):
        assert (given, said) == (given, to_bytes(given_and_expected[given]))


def test_an_argument_that_cannot_be_expanded_is_told_at_once(box: Box) -> None:
    args = ("it costs `", "$(", "${", "$(exit 3", "${UNSET?}")
    begun = time.monotonic()
    *bad, good = (
        Run(box)
        .start(*(component(a, "/bin/sleep", [a], expand=True) for a in args), component("good"))
        .components
    )
    for one in bad:
        assert isinstance(one, NotStarted)
        assert "can't be expanded" in one.reason
    assert isinstance(good, Started)
    assert time.monotonic() - begun < 10, "that of a start that waits for what never comes is 20 s"


def test_the_environment_is_that_of_the_host_and_the_components(some_box: Box) -> None:
    # The names the launchers' own variables have had, and those that a shell depends on.
    inherited = {
        name: f"inherited {name}" for name in ("run", "state", "base_dir", "status", "value")
    }
    some_box.environment |= inherited
    env = (
        ("state", "it's\nmine $HOME"),
        ("fresh", to_text(b"\xff\x01")),
        ("PATH", "/no/where"),
        ("IFS", "t"),
        ("ENV", "/no/where"),
        ("EMPTY", ""),
    )
    path = program(some_box, "report", REPORT)
    (started,) = Run(some_box).start(component("one", path, (), env=env)).components
    assert isinstance(started, Started)
    said = said_by(path).env
    for name, value in (inherited | dict(env)).items():
        assert (name, said.get(name.encode())) == (name, to_bytes(value))
    assert said[b"HOME"] == os.fsencode(some_box.home)
    assert not [name for name in said if b"fastrr" in name]


def test_a_program_starts_in_its_base_dir(some_box: Box) -> None:
    names = ("two words", "-n", "it's $HOME\n", "ünï")
    bases = [some_box.home / name for name in names]
    paths = [program(some_box, f"{name}/report", REPORT) for name in names]
    answer = Run(some_box).start(
        *(component(base.name, "report", (), base_dir=str(base)) for base in bases)
    )
    for base, path, started in zip(bases, paths, answer.components, strict=True):
        assert isinstance(started, Started)
        said = said_by(path)
        assert said.cwd == os.fsencode(base)
        assert said.terminal
        assert started.pid in (None, said.pid)


def test_the_limit_of_open_files_is_what_it_was(some_box: Box) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard <= MAX_OPEN_FILES:
        pytest.skip(f"the hard limit of open files is {hard}")
    path = program(some_box, "report", REPORT)
    limit = min(hard, MAX_OPEN_FILES * 4)
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))
    try:
        run = Run(some_box)
        run.start(component("one", path, ()))
        assert said_by(path).open_files == [limit, hard]
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


# what is seen of it


def test_a_started_program_is_the_program(box: Box) -> None:
    run = Run(box)
    answer = run.start(component("one", "/bin/sleep", ["61"]))
    (started,) = answer.components
    assert isinstance(started, Started)
    assert started.pid is not None
    assert Path(f"/proc/{started.pid}/cmdline").read_bytes() == b"/bin/sleep\x0061\0"
    assert run.read("one", "pid") == f"{started.pid}\n"
    assert [answer.session] == box.sessions()
    assert run.read("one", "session") == f"{answer.session}\n"
    assert str(answer.session).endswith(".runner")


def test_exit_statuses_are_recorded(box: Box) -> None:
    programs = {
        "well": ("#!/bin/sh\nexit 0\n", 0),
        "badly": ("#!/bin/sh\nexit 42\n", 42),
        "as if not found": ("#!/bin/sh\nexit 127\n", 127),
        "as if not executable": ("#!/bin/sh\nexit 126\n", 126),
        "kill": ("#!/bin/sh\nkill -KILL $$\n", 137),
        "term": ("#!/bin/sh\nkill -TERM $$\n", 143),
        "no shebang": ("exit 3\n", 3),
        "empty": ("", 0),
    }
    run = Run(box)
    answer = run.start(
        *(
            component(name, program(box, name, content), ())
            for name, (content, _) in programs.items()
        )
    )
    for (name, (_, status)), started in zip(programs.items(), answer.components, strict=True):
        assert isinstance(started, Started), name
        assert started.exit_status in (None, status)
        assert (name, run.exit_status(name)) == (name, status)
        assert run.read(name, "failed") == ""


def test_only_what_has_become_the_program_counts_as_started(some_box: Box) -> None:
    # The moment between the pid and exec, when a failure is still to come, is made a long one.
    real, changed = shutil.which("screen"), some_box.root / "changed"
    program(
        some_box,
        "../bin/screen",
        f"""#!/bin/sh
sed -i 's/^ *exec "$@"$/sleep 0.3; exec "$@"/w {changed}' .run-* && rm "$0" && exec {real} "$@"
""",
    )
    unfit = program(some_box, "unfit", "#!/no/such\n")
    bad, good = Run(some_box).start(component("bad", unfit, ()), component("good")).components
    assert changed.read_text()
    assert isinstance(bad, NotStarted)
    assert isinstance(good, Started)
    assert Path(f"/proc/{good.pid}/cmdline").read_bytes() == b"/bin/sleep\x0060\0"


def test_a_script_without_a_shebang_is_started_like_any_other(box: Box) -> None:
    path = program(box, "script", 'printf "%s|" "$@" >"$0.said"\nsleep 60\n')
    (started,) = Run(box).start(component("one", path, ["a b", "$HOME"])).components
    assert isinstance(started, Started)
    eventually(lambda: os.path.exists(path + ".said") and os.path.getsize(path + ".said"))
    assert Path(path + ".said").read_text() == "a b|$HOME|"
    assert path.encode() in Path(f"/proc/{started.pid}/cmdline").read_bytes()


def test_what_goes_on_looking_like_its_launcher_is_started_after_a_while(one_box: Box) -> None:
    # Only whole seconds can be slept, and these take no time.
    program(one_box, "../bin/sleep", '#!/bin/sh\n[ "$1" = 1 ]\n')
    run = Run(one_box)
    launcher_of_it = os.path.join(run.launch(component("one")).state, "launch.sh")
    alike = component("one", "/bin/sh", ["-c", "/bin/sleep 60; :", launcher_of_it])
    # They are counted all the same, and the launcher has some real time before it.
    (started,) = run.start(alike, timeout=500).components
    (one_box.bin / "sleep").unlink()
    assert isinstance(started, Started)


def test_what_a_program_prints_is_in_its_own_log(box: Box) -> None:
    run = Run(box)
    path = program(box, "speak", "#!/bin/sh\necho 'says grüße' \"$1\"\n")
    names = ("one", "two words", "50% ^Ec")
    run.start(*(component(name, path, [name]) for name in names))
    for name in names:
        assert run.exit_status(name) == 0
        eventually(lambda name=name: "says" in run.read(name, "log"))  # type: ignore[misc]
        assert f"says grüße {name}\n" in run.read(name, "log").replace("\r\n", "\n")


def test_logs_stay_with_their_components_from_stage_to_stage_and_run_to_run(one_box: Box) -> None:
    path = program(one_box, "speak", f'#!/bin/sh\n{FOR_A_MINUTE} do echo "$1"; sleep 0.05; done\n')
    run = Run(one_box)

    def in_log(name: str, word: str) -> bool:
        return word in run.read(name, "log")

    def says(name: str, word: str) -> ComponentPlan:
        return component(name, path, [word])

    run.start(says("a", "first"), says("b/c", "first"))
    run.start(says("d", "second"))
    run.start(says("e", "third"))
    sizes = [len(run.read(name, "log")) for name in ("a", "b/c", "d")]
    eventually(
        lambda: all(
            len(run.read(name, "log")) > size + 20
            for name, size in zip(("a", "b/c", "d"), sizes, strict=True)
        )
    )
    for word in ("again", "more"):
        run.run_id = f"run {word}"
        run.start(says("b/c", word), says(f"f {word}", word))
    so_far = len(run.read("a", "log"))
    # Longer than a second: then screen opens logs of earlier windows again.
    eventually(lambda: run.read("b/c", "log").count("more") > 36)
    assert set(run.read("b/c", "log").split()) == {"more"}
    assert set(run.read("f again", "log").split()) == {"again"}
    assert set(run.read("f more", "log").split()) == {"more"}
    assert set(run.read("a", "log").split()) == {"first"}
    eventually(lambda: len(run.read("a", "log")) > so_far + 22 * len("first\n"))
    assert len(one_box.sessions()) == 1
    run.box.screen("-S", str(run.running), "-X", "quit")
    run.exit_status("b/c")
    run.run_id = "last"
    run.start(says("b/c", "last"))
    eventually(lambda: in_log("b/c", "last"))
    assert [name for name in os.listdir(run.plan.directory) if "logs" in name] == [".logs-last"]


def test_what_cannot_be_started_says_why(box: Box) -> None:
    run = Run(box)
    (box.home / "directory").mkdir()
    # What has no known format busybox's sh takes for a script.
    foreign = "\x7fELF\x01\x01\n" if box.shell.words[0] != "busybox" else "#!/no/such\n"
    reasons = {
        "missing": ("/no/such/program", "/no/such/program does not exist"),
        "directory": (str(box.home / "directory"), f"{box.home}/directory is no file"),
        "plain": (program(box, "plain", "#!/bin/sh\n", 0o644), "permissions are -rw-r--r--"),
        "interpreter": (program(box, "interpreter", "#!/no/such\n"), "no such interpreter"),
        "format": (program(box, "format", foreign), "not a format of this machine"),
    }
    lost = component("lost", "x", base_dir=str(box.home / "no\\n such"))
    good = component("good")
    components = [component(name, path, ()) for name, (path, _) in reasons.items()]
    *failed, last, started = run.start(*components, lost, good).components
    assert [one.component for one in failed] == list(reasons)
    for one in failed:
        assert isinstance(one, NotStarted)
        assert reasons[one.component][1] in one.reason
        assert run.read(one.component, "exit") == ""
    assert last == NotStarted("lost", f"its base_dir {box.home}/no\\n such can't be entered")
    assert isinstance(started, Started)


def test_what_takes_too_long_is_late(one_box: Box) -> None:
    run = Run(one_box)
    slow, quick = run.start(
        component("slow", "/bin/sleep", ["$(sleep 30)"], expand=True),
        component("quick"),
        timeout=0.5,
    ).components
    assert slow == NotStarted("slow", "it was not started within 0.5 s")
    assert isinstance(quick, Started)
    assert run.running == one_box.sessions()[0]


def test_quitting_the_session_ends_programs_and_is_recorded(box: Box) -> None:
    run = Run(box)
    ready = box.home / "ready"
    path = program(
        box,
        "careful",
        f"#!/bin/sh\ntrap 'exit 7' HUP\n: >{ready}\n{FOR_A_MINUTE} do sleep 0.05; done\n",
    )
    first, second = run.start(component("plain"), component("careful", path, ())).components
    assert isinstance(first, Started)
    assert isinstance(second, Started)
    assert run.running is not None
    eventually(ready.exists)  # that it runs does not say how far it is
    box.screen("-S", run.running, "-X", "quit")
    assert (run.exit_status("plain"), run.exit_status("careful")) == (129, 7)
    assert first.pid is not None
    assert second.pid is not None
    eventually(lambda: gone(first.pid or 0) and gone(second.pid or 0))


# sessions


def test_windows_bear_the_names_of_the_components(one_box: Box) -> None:
    run = Run(one_box)
    names = ["plain", "two words", 'it\'s "quoted"', "$HOME \\n ^A", "a/b", "ünï", "-n", "50%"]
    answer = run.start(*(component(name) for name in names))
    assert [type(one) for one in answer.components] == [Started] * len(names)
    assert run.titles() == names


@pytest.mark.parametrize(
    "name",
    [
        *(".", "..", ".hidden", "-rf", "!", "(", "=", "run.sh", ".run.sh", ".screen.rc", "a/b"),
        *("*", "~", "$HOME", "`id`", "it's", 'dou"ble', "back\\slash", "new\nline", "a|b", "%n"),
        *("\u2028", "ünï 🚀", to_text(b"\xff\x80"), "x" * 250),
    ],
)
def test_names_are_directories_of_their_own(name: str) -> None:
    directory = directory_name(name)
    assert "/" not in directory
    assert "\n" not in directory
    assert not directory.startswith(".")


def test_components_of_any_name_run(some_box: Box) -> None:
    names = (
        *(".", "..", ".hidden", "-rf", "!", "(", "=", "run.sh", ".run.sh", ".screen.rc", "a/b"),
        *("*", "~", "$HOME", "`id`", "it's", 'dou"ble', "back\\slash", "new\nline", "a|b", "%n"),
        *("\u2028", "ünï 🚀", to_text(b"\xff\x80"), "x" * 250, "launch.sh", "log", "^Ec"),
    )
    run = Run(some_box)
    path = program(some_box, "speak", "#!/bin/sh\necho done\n")
    for again in ("1", "2"):
        run.run_id = again
        answer = run.start(*(component(name, path, ()) for name in names))
        assert [one for one in answer.components if not isinstance(one, Started)] == []
        assert [run.exit_status(name) for name in names] == [0] * len(names)
    eventually(lambda: all("done" in run.read(name, "log") for name in names))
    assert len(some_box.sessions()) == 1


@pytest.mark.parametrize("session", ["my session", "-n", "it's", "a.b", "$HOME", "ünï", "50%n"])
def test_sessions_of_any_name_take_a_second_stage(one_box: Box, session: str) -> None:
    run = Run(one_box, session)
    first = run.start(component("one"))
    second = run.start(component("two"))
    assert [type(one) for one in (*first.components, *second.components)] == [Started, Started]
    assert first.session is not None
    assert first.session.partition(".")[2] == session
    assert second.session == first.session
    assert one_box.sessions() == [first.session]
    assert run.titles() == ["one", "two"]


def test_more_than_a_hundred_components_share_a_session(one_box: Box) -> None:
    run = Run(one_box)
    names = [f"component {n}" for n in range(110)]  # screen's own limit is 100
    answer = run.start(*(component(name) for name in names), timeout=60)
    assert [(one.component, type(one)) for one in answer.components] == [
        (name, Started) for name in names
    ]
    assert len({one.pid for one in answer.components if isinstance(one, Started)}) == 110
    assert one_box.sessions() == [answer.session]
    assert run.titles()[-1] == "component 109"


def test_a_session_that_is_gone_is_replaced(some_box: Box) -> None:
    run = Run(some_box)
    first = run.start(component("one")).session
    assert first is not None
    some_box.screen("-S", first, "-X", "quit")
    eventually(lambda: not some_box.sessions())
    assert run.running == first
    answer = run.start(component("two"))
    assert isinstance(answer.components[0], Started)
    assert answer.session != first
    assert some_box.sessions() == [answer.session]


def test_ended_windows_stay_where_that_is_wanted(one_box: Box) -> None:
    run = Run(one_box)
    run.start(component("ends", "/bin/true", ()), component("stays"))
    run.exit_status("ends")
    assert run.titles() == ["ends", "stays"]


def test_ended_windows_vanish_where_that_is_wanted(one_box: Box) -> None:
    run = Run(one_box, zombie=False)
    run.start(component("ends", "/bin/true", ()), component("stays"))
    eventually(lambda: run.titles() == ["stays"])


def test_the_users_screenrc_is_read(one_box: Box) -> None:
    (one_box.home / ".screenrc").write_text("setenv FROM_SCREENRC 'yes it is'\n")
    path = program(one_box, "report", REPORT)
    Run(one_box).start(component("one", path, ()))
    assert said_by(path).env[b"FROM_SCREENRC"] == b"yes it is"


def test_a_screen_that_fails_is_quoted(one_box: Box) -> None:
    (one_box.root / "screens").chmod(0o777)
    run = Run(one_box)
    script = start_script(run.plan, [run.launch(component("one"))], 5)
    answer = script.body_of(one_box.run(script).stdout)
    assert answer is not None
    body, status = answer
    assert status == 1
    assert body.startswith(b"screen failed: exit status 1: ")
    assert b"700" in body
    (one_box.root / "screens").chmod(0o700)


def test_a_full_disk_is_told_and_nothing_is_started(one_box: Box) -> None:
    run = Run(one_box)
    big = run.launch(component("big", "/bin/sleep", ["60", "x" * 100_000]))
    script = start_script(run.plan, [big], 5)
    # Files may have 8 KiB: enough for what launchers share, not for this one.
    full = script._replace(text=script.text.replace("(\n", "(\ntrap '' XFSZ; ulimit -f 16\n", 1))
    done = one_box.run(full)
    answer = full.body_of(done.stdout)
    assert answer is not None
    assert answer[1] == 1
    assert f"can't be written to {big.state}; df says: ".encode() in done.stderr
    assert one_box.sessions() == []


# what earlier runs left


def test_the_previous_state_is_kept_once(some_box: Box) -> None:
    run = Run(some_box)
    previous = Path(run.plan.directory, ".previous")
    for number in ("1", "2", "3"):
        run.run_id = number
        path = program(some_box, "end", f"#!/bin/sh\nexit {number}\n")
        run.start(component("one", path, ()), component("-f", path, ()))
        assert (run.exit_status("one"), run.exit_status("-f")) == (int(number), int(number))
    assert sorted(os.listdir(previous)) == ["-f", "one"]
    assert (previous / "one" / "exit").read_text() == "2\n"
    for directory in (run.plan.directory, f"{run.plan.directory}/one", str(previous)):
        assert os.stat(directory).st_mode & 0o777 == 0o700


def test_a_log_that_is_opened_while_its_directory_is_removed_is_no_failure(one_box: Box) -> None:
    run = Run(one_box)
    for number in ("1", "2"):
        run.run_id = number
        run.start(component("one"))
    # What screen does at such a moment, done by what removes.
    rm = one_box.bin / "rm"
    rm.write_text(
        '#!/bin/sh\n/bin/rm "$@"; status=$?\n[ ! -e "$HOME/late" ] || exit $status\n'
        'echo >"$HOME/late"\nmkdir one\necho >one/log\nexit 1\n'
    )
    rm.chmod(0o755)
    run.run_id = "3"
    (started,) = run.start(component("one")).components
    assert (one_box.home / "late").exists()
    assert isinstance(started, Started)
    assert sorted(os.listdir(Path(run.plan.directory, ".previous"))) == ["one"]


def test_a_launcher_of_an_earlier_run_writes_nothing_any_more(some_box: Box) -> None:
    run = Run(some_box)
    (old,) = run.start(component("one")).components
    run.run_id = "2"
    (new,) = run.start(component("one", "/bin/sleep", ["62"])).components
    assert isinstance(old, Started)
    assert isinstance(new, Started)
    assert old.pid is not None
    launcher_of_old = Path(run.plan.directory, ".previous", "one", "launcher")
    os.kill(old.pid, 15)
    eventually(lambda: gone(int(launcher_of_old.read_text())))
    assert run.read("one", "exit") == ""
    assert run.read("one", "pid") == f"{new.pid}\n"


# pure


def plan_and_launch(name: str = "one") -> tuple[SessionPlan, Launch]:
    plan = SessionPlan("runner", "/state/runner", "r1")
    one = component(name, "bin/x", ["a b", "$HOME"], env=(("KEY", "it's"),))
    return plan, Launch(one, "/srv", component_directory("/state", "runner", name))


def test_a_launcher_quotes_everything() -> None:
    plan, launch = plan_and_launch()
    assert launcher(launch, plan, "/state/runner/.run.sh") == (
        "#!/bin/sh\n"
        "# fastrr: component 'one' of session 'runner'\n"
        "fastrr_run=r1\n"
        "fastrr_state=/state/runner/one\n"
        "fastrr_base_dir=/srv\n"
        "fastrr_program=/srv/bin/x\n"
        "fastrr_component() {\n"
        "export KEY='it'\\''s'\n"
        "set -- /srv/bin/x 'a b' '$HOME'\n"
        'fastrr_become "$@"\n'
        "}\n"
        ". /state/runner/.run.sh\n"
        'fastrr_launch "$@"\n'
    )


def test_screen_is_told_of_files_only() -> None:
    plan, first = plan_and_launch("a/b")
    _, second = plan_and_launch("c")
    assert command_lines(plan, [first, second]) == (
        "startup_message off\n"
        "defutf8 on\n"
        "logfile flush 0\n"
        "deflog off\n"
        "zombie q\n"
        'screen -t "a%2Fb" sh "/state/runner/a%2Fb/launch.sh"\n'
        'logfile "/state/runner/.logs-r1/%t/log"\n'
        "log on\n"
        "deflog on\n"
        'title "a/b"\n'
        'screen -t "c" sh "/state/runner/c/launch.sh"\n'
        "deflog off\n"
    )


def test_a_scope_of_systemd_is_used_where_logind_would_end_the_session() -> None:
    plan, launch = plan_and_launch()
    scoped = SessionPlan(plan.name, plan.directory, plan.run_id, scope=True)
    assert "\nopen_windows in_scope " in start_script(scoped, [launch], 1).text
    assert "\nopen_windows plainly " in start_script(plan, [launch], 1).text


def test_a_recorded_answer_is_parsed() -> None:
    _, launch = plan_and_launch()
    launches = [launch] * 4
    body = b"started 2 77\nended 0 3\nfailed 1 a  reason\x0c of\xff it \nsession 12.my  session\n\n"
    assert parse_started(launches, 9, body) == StartAnswer(
        (
            Started("one", None, 3),
            NotStarted("one", "a  reason\x0c of\udcff it "),
            Started("one", 77),
            NotStarted("one", "it was not started within 9 s"),
        ),
        "12.my  session",
    )
