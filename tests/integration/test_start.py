"""How components are started: order, arguments, numbers, failures."""

from __future__ import annotations

import base64
import json
import os
import re

import pytest
from conftest import Controller
from testbed import TestHost
from testbed.shells import eventually

DUMP = """\
#!/bin/sh
# Writes its arguments, each ended by a NUL, where the first one says.
out=$1
shift
printf '%s\\0' "$@" >"$out.new" && mv "$out.new" "$out"
sleep 60
"""


def test_stages_are_a_true_barrier_over_all_hosts(
    controller: Controller, hosts: list[TestHost]
) -> None:
    """Nothing of stage 2 runs anywhere before everything of stage 1 runs everywhere."""
    controller.config(
        """
        c = Component(executable='/bin/sleep', base_dir='/tmp', expand=True)
        for c.start_index in (2, 1, 2.5):
            for c.host in ('host1', 'host2'):
                for n in range(3):
                    c.name = f'{c.start_index} {n}'
                    slow = (c.host, n) == ('host2', 1)
                    c.args = ['$(sleep 0.5; echo 60)' if slow else '60']
                    config.add_component(c)
        """
    )
    result = controller.fastrr()
    assert result.status == 0, result
    # When a process began, in ticks of the kernel, which all hosts have in common.
    began = "cut -d ' ' -f 22 /proc/$(cat .local/state/fastrr/*/runner/'{}'/pid)/stat"
    times = {
        index: [int(host.sh(began.format(f"{index} {n}"))) for host in hosts for n in range(3)]
        for index in ("1", "2", "2.5")
    }
    assert max(times["1"]) <= min(times["2"])
    assert max(times["2"]) <= min(times["2.5"])
    assert min(times["2.5"]) - min(times["1"]) > 50, "the slow ones were not waited for"


AWKWARD = [
    "",
    " ",
    "plain",
    "two words",
    "it's",
    '"double"',
    "$HOME ${PATH} $(id) `id`",
    "back\\slash \\n \\\\",
    "new\nline\n",
    "tab\tbell\a",
    "^C ^[ ^^",
    "!history !!",
    "*?[a-z]{a,b}",
    "~root",
    "-n",
    "--",
    "#comment",
    "a=b;c&d|e>f<g(h)",
    "ünïcödé 日本 🚀",
    os.fsdecode(b"\xff\xfe not UTF-8"),
    "%n %s \\033[0m",
    "x" * 100_000,
]


@pytest.mark.parametrize("host", ["host1", "localhost"])
def test_args_arrive_byte_for_byte(
    controller: Controller, hosts: list[TestHost], host: str
) -> None:
    program = controller.write("dump.sh", DUMP, 0o755)
    args = AWKWARD + [str(n) for n in range(200)]
    controller.write("args.json", json.dumps(args))
    out = f"{hosts[0].home}/out" if host == "host1" else str(controller.directory / "out")
    controller.config(
        f"""
        import json
        c = Component(name='dump', host='{host}', start_index=1)
        if c.host == localhost:
            c.executable, c.base_dir = '{program}', '/tmp'
        else:
            c.executable, c.base_dir, c.files = 'dump.sh', 'work', {{'dump.sh': 'dump.sh'}}
        c.args = ['{out}', *json.load(open('args.json'))]
        config.add_component(c)
        """
    )
    result = controller.fastrr()
    assert result.status == 0, result
    if host == "host1":
        eventually(lambda: hosts[0].exists(out))
        data = base64.b64decode(hosts[0].sh(f"base64 {out}"))
    else:
        eventually(lambda: os.path.exists(out))
        data = (controller.directory / "out").read_bytes()
    assert data.split(b"\0")[:-1] == [os.fsencode(arg) for arg in args]


def test_expand_brings_double_quote_expansion_back(
    controller: Controller, hosts: list[TestHost]
) -> None:
    controller.write("dump.sh", DUMP, 0o755)
    controller.config(
        r"""
        c = Component(name='dump', host='host1', start_index=1, base_dir='work', expand=True)
        c.executable, c.files = 'dump.sh', {'dump.sh': 'dump.sh'}
        c.env = {'WHERE': "here & 'there'"}
        c.args = ['out', '$HOME/x', '$(echo "a  b")', '\\$HOME', '"quoted"', "it's $WHERE\n"]
        config.add_component(c)
        """
    )
    assert controller.fastrr().status == 0
    eventually(lambda: hosts[0].exists("work/out"))
    found = hosts[0].sh("tr '\\0' '|' <work/out")
    assert found.split("|")[:-1] == [
        f"{hosts[0].home}/x",
        "a  b",
        "$HOME",
        '"quoted"',
        "it's here & 'there'\n",
    ]


def test_150_components_on_one_host(controller: Controller, hosts: list[TestHost]) -> None:
    controller.config(
        """
        c = Component(executable='/bin/sleep', args=['60'], host='host1', start_index=1)
        c.base_dir = '/tmp'
        for n in range(150):
            c.name = f'component {n}'
            config.add_component(c)
        """
    )
    result = controller.fastrr()
    assert result.status == 0, result
    assert re.search(r"^host1 +0 +0 +0 B +150 ", result.stdout, re.MULTILINE)
    assert len(hosts[0].sessions()) == 1
    pids = hosts[0].sh("cat .local/state/fastrr/*/runner/*/pid").split()
    assert len(pids) == 150
    assert sorted(map(int, pids)) == sorted(hosts[0].pids("sleep"))


FAILURES = {
    "absent": ("/no/such/program", "does not exist"),
    "not executable": ("/etc/passwd", "may not be executed"),
    "directory": ("/tmp", "is no file"),
    "bad interpreter": ("badly.sh", "could not be executed"),
}


@pytest.mark.parametrize("kind", FAILURES)
def test_a_program_that_cannot_run_is_named_and_stops_later_stages(
    controller: Controller, hosts: list[TestHost], kind: str
) -> None:
    program, reason = FAILURES[kind]
    controller.write("badly.sh", "#!/no/such/interpreter\n", 0o755)
    controller.config(
        f"""
        c = Component(base_dir='work', files={{'badly.sh': 'badly.sh'}}, start_index=1)
        c.name, c.host, c.executable = 'broken', 'host1', '{program}'
        config.add_component(c)
        c.name, c.host, c.executable, c.args = 'fine', 'host2', '/bin/sleep', ['60']
        config.add_component(c)
        c.name, c.start_index = 'later', 2
        config.add_component(c)
        """
    )
    result = controller.fastrr()
    assert result.status == 3
    errors = [line for line in result.stderr.splitlines() if line.startswith("ERROR")]
    assert len(errors) == 1
    assert errors[0].startswith("ERROR: host1: component 'broken': ")
    assert reason in errors[0]
    assert program in errors[0]
    assert hosts[1].state("fine", "pid")
    assert not hosts[1].state("later", "pid")


def test_keep_going_starts_what_can_be_started(
    controller: Controller, hosts: list[TestHost]
) -> None:
    controller.config(
        """
        c = Component(name='a', executable='/no/such', base_dir='work', start_index=1, host='host1')
        config.add_component(c)
        c.name, c.host, c.executable, c.args, c.start_index = 'b', 'host2', '/bin/sleep', ['60'], 2
        config.add_component(c)
        """
    )
    result = controller.fastrr("--keep-going")
    assert result.status == 3
    assert hosts[1].state("b", "pid")


def test_sessions_are_addressed_exactly(controller: Controller, hosts: list[TestHost]) -> None:
    controller.config(
        """
        c = Component(name='a', executable='/bin/sleep', args=['60'], base_dir='/tmp')
        c.start_index, c.host = 1, 'host1'
        config.add_component(c)
        """
    )
    for session in ("rr_1", "rr_10", "rr"):
        assert controller.fastrr("--screen", session).status == 0
    before = set(hosts[0].sessions())
    assert sorted(name.partition(".")[2] for name in before) == ["rr", "rr_1", "rr_10"]
    result = controller.fastrr("--screen", "rr_1")
    assert result.status == 0
    after = set(hosts[0].sessions())
    assert {name.partition(".")[2] for name in before - after} == {"rr_1"}
    assert {name.partition(".")[2] for name in after - before} == {"rr_1"}


def test_no_kill_adds_windows_to_the_running_session(
    controller: Controller, hosts: list[TestHost]
) -> None:
    text = """
        c = Component(name='{}', executable='/bin/sleep', args=['60'], base_dir='/tmp')
        c.start_index, c.host = 1, 'host1'
        config.add_component(c)
        """
    controller.config(text.format("first"))
    assert controller.fastrr().status == 0
    sessions = hosts[0].sessions()
    controller.config(text.format("second"))
    assert controller.fastrr("--no-kill").status == 0
    assert hosts[0].sessions() == sessions
    for name in ("first", "second"):
        assert hosts[0].run(f"kill -0 {hosts[0].state(name, 'pid').strip()}").status == 0


def test_zombie_windows_stay_unless_no_zombie(
    controller: Controller, hosts: list[TestHost]
) -> None:
    controller.config(
        """
        c = Component(name='short', executable='/bin/true', base_dir='/tmp', start_index=1)
        c.host, c.wait = 'host1', True
        config.add_component(c)
        """
    )
    assert controller.fastrr().status == 0
    assert len(hosts[0].sessions()) == 1
    assert controller.fastrr("--no-zombie").status == 0
    eventually(lambda: not hosts[0].sessions())


def test_a_stage_after_the_session_has_ended_gets_a_new_one(
    controller: Controller, hosts: list[TestHost]
) -> None:
    controller.config(
        """
        c = Component(executable='/bin/true', base_dir='/tmp', host='host1')
        c.name, c.start_index = 'short', 1
        config.add_component(c)
        # time for the first session to go away: what is expanded is waited for
        config.add_component(Component(name='pause', executable='/bin/echo', args=['$(sleep 1)'],
                                       expand=True, base_dir='/tmp', host='host2', start_index=2))
        c.name, c.start_index, c.executable, c.args = 'long', 3, '/bin/sleep', ['60']
        config.add_component(c)
        """
    )
    result = controller.fastrr("--no-zombie")
    assert result.status == 0, result
    assert hosts[0].run(f"kill -0 {hosts[0].state('long', 'pid').strip()}").status == 0


def test_windows_are_titled_and_logged(controller: Controller, hosts: list[TestHost]) -> None:
    controller.config(
        """
        c = Component(executable='/bin/sh', base_dir='/tmp', host='host1', start_index=1)
        c.args = ['-c', 'echo to stdout; echo to stderr >&2; test -t 1 && echo terminal; sleep 60']
        for c.name in ('My main', "it's $HOME \\\\ ^C", 'größe 日本'):
            config.add_component(c)
        """
    )
    assert controller.fastrr().status == 0
    host = hosts[0]
    titles = host.sh(f"timeout 5 screen -S {host.sessions()[0]} -Q windows '%t|'")
    assert titles.rstrip("\0\n").split("|")[:-1] == ["My main", "it's $HOME \\ ^C", "größe 日本"]
    eventually(lambda: "terminal" in host.state("My main", "log"))
    log = host.state("My main", "log").replace("\r\n", "\n")
    assert log == "to stdout\nto stderr\nterminal\n"


def test_temporary_base_dirs_are_one_a_component(
    controller: Controller, hosts: list[TestHost]
) -> None:
    controller.write("prog.sh", "#!/bin/sh\npwd >where\nsleep 60\n", 0o755)
    controller.config(
        """
        c = Component(executable='prog.sh', host='host1', start_index=1)
        c.files = {'prog.sh': 'prog.sh'}
        for c.name in ('a', 'b'):
            config.add_component(c)
        """
    )
    assert controller.fastrr().status == 0
    said = "cat ${TMPDIR:-/tmp}/fastrr-*/where"
    eventually(lambda: len(hosts[0].run(said).stdout.split()) == 2)
    found = hosts[0].sh(said).split()
    assert len(set(found)) == 2
    for directory in found:
        assert hosts[0].sh(f"stat -c %a {directory}").strip() == "700"
