"""The load step as a whole: arg parser, config and muddlers, as a command line names them."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from fastrr.cli.arguments import parse
from fastrr.config.load import load, muddlers
from fastrr.errors import ConfigError
from fastrr.model import Deployment, FileTarget

FINE = "config.add_component(Component(name='x', host='h', executable='/bin/ls', start_index=1))\n"
"""A config without anything to say about."""

SAY = "config.add_component(Component(name={}, host='h', executable='/bin/ls', start_index=1))\n"
"""A config whose component is named by an expression: what the expression saw."""


@pytest.fixture
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the caller is; the config is in ``configs`` below."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "configs").mkdir()
    return tmp_path


def run(config: str, *words: str, **files: str) -> Deployment:
    """Load ``configs/config.py``; ``files`` are other files, ``NAME.py`` in the caller's place."""
    Path("configs/config.py").write_text(config)
    for name, text in files.items():
        Path(f"{name}.py").write_text(text)
    return load(parse(["-c", "configs/config.py", "-F", "none", *words]))


def component_names(deployment: Deployment) -> list[str]:
    return [each.name for plan in deployment.hosts for each in plan.components]


def problems(config: str, *words: str, **files: str) -> list[str]:
    """Return the lines of the error, with paths relative to the caller's place."""
    with pytest.raises(ConfigError) as caught:
        run(config, *words, **files)
    return str(caught.value).replace(f"{os.getcwd()}/", "").splitlines()


# the manual's example

MANUAL = """\
main = Component()
main.name = 'My main'
main.base_dir = '/home/me/subdir'
main.executable = 'executable'
main.args = ['-a', 'something', '-b', 'more']
main.files = util.recursive_files_dict('{0}/d', '.')
main.files.update(util.recursive_files_dict('{0}/other/d', '/abs/dest'))
main.files['path/to/executable'] = 'executable'
main.host = '192.168.2.20'
main.start_index = 1
config.add_component(main)

other = main
other.name = 'My other'
other.host = '192.168.2.50'
config.add_component(other)

local = other
local.host = localhost
local.args = ['I run locally',]
local.start_index = 5
local.name = 'Local thing'
local.files = {{}}
config.add_component(local)
"""


def test_the_manuals_example_means_what_the_manual_says(directory: Path) -> None:
    for name in ("d/one", "d/sub/two", "other/d/three", "configs/path/to/executable"):
        (directory / name).parent.mkdir(parents=True, exist_ok=True)
        (directory / name).write_text(name)
    deployment = run(MANUAL.format(directory))
    assert [plan.host for plan in deployment.hosts] == ["192.168.2.20", "192.168.2.50", "localhost"]
    assert component_names(deployment) == ["My main", "My other", "Local thing"]
    assert deployment.start_indexes == (1, 5)
    first, second, local = deployment.hosts
    assert first.files == second.files
    assert set(first.files) == {
        FileTarget(f"{directory}/d/one", "/home/me/subdir/one"),
        FileTarget(f"{directory}/d/sub/two", "/home/me/subdir/sub/two"),
        FileTarget(f"{directory}/other/d/three", "/abs/dest/three"),
        FileTarget(f"{directory}/configs/path/to/executable", "/home/me/subdir/executable"),
    }
    assert local.files == ()
    assert first.components[0].args == ("-a", "something", "-b", "more")
    assert first.components[0].executable == "executable"
    assert local.components[0].args == ("I run locally",)
    assert local.components[0].executable == f"{directory}/configs/executable"
    assert not any(each.wait for plan in deployment.hosts for each in plan.components)


# what configs and muddlers are given

CONFIG_NAMES = ["config", "Component", "util", "options", "extra_options", "localhost"]


@pytest.mark.parametrize("name", CONFIG_NAMES)
def test_the_names_a_config_finds(directory: Path, name: str) -> None:
    run(f"{name}\n{FINE}")


def test_localhost_is_the_name_of_this_machine(directory: Path) -> None:
    assert component_names(run(SAY.format("localhost"))) == ["localhost"]


@pytest.mark.parametrize("name", ["Component", "util", "options", "extra_options"])
def test_the_names_a_muddler_finds(directory: Path, name: str) -> None:
    muddler = f"{name}\ndef muddle(config):\n    {name}\n"
    assert component_names(run(FINE, "-m", "muddler.py", muddler=muddler)) == ["x"]


ORIGINALS_OPTIONS = (
    "config_file ssh_user ssh_pass log_level screen kill_first always_copy no_zombie muddler "
    "extra_args arg_parser"
)


def test_a_config_sees_the_options_under_the_originals_names(directory: Path) -> None:
    config = FINE.replace(
        "start_index=1",
        f"start_index=1, args=[str(getattr(options, n)) for n in {ORIGINALS_OPTIONS!r}.split()]",
    )
    words = ["-u", "me", "-p", "pw", "-l", "DEBUG", "--screen", "s", "--no-kill", "--always-copy"]
    words += ["--no-zombie", "-m", "muddler.py", "--extra-args", "--x", "-a", "parser.py"]
    parser = "def parse_args(extra_args): return extra_args"
    deployment = run(config, *words, muddler="def muddle(config): pass", parser=parser)
    assert deployment.hosts[0].components[0].args == (
        f"{directory}/configs/config.py", "me", "pw", "DEBUG", "s", "False", "True", "True",
        f"{directory}/muddler.py", "--x", f"{directory}/parser.py",
    )  # fmt: skip


def test_ssh_user_is_someone_though_none_is_given(directory: Path) -> None:
    assert component_names(run(SAY.format("options.ssh_user"))) != ["None"]


def test_muddlers_are_a_list_in_order() -> None:
    assert muddlers(parse(["-c", "/c"])) == []
    assert muddlers(parse(["-c", "/c", "-m", "/a"])) == ["/a"]
    assert muddlers(parse(["-c", "/c", "-m", "/b", "-m", "/a"])) == ["/b", "/a"]


# order and working directories


def test_arg_parser_config_and_muddlers_run_in_this_order(
    directory: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(
        "print('config')\n" + FINE,
        *["-m", "last.py", "-a", "parser.py", "-m", "first.py"],
        parser="print('parser read')\ndef parse_args(x): print('parser called')",
        first="print('first read')\ndef muddle(config): print('first called')",
        last="print('last read')\ndef muddle(config): print('last called')",
    )
    assert capsys.readouterr().out.splitlines() == [
        "parser read", "parser called", "config",
        "last read", "last called", "first read", "first called",
    ]  # fmt: skip


def test_the_config_runs_in_its_directory_and_all_others_in_the_callers(directory: Path) -> None:
    muddler = """
import os
read_in = os.getcwd()
def muddle(config):
    (component,) = config.all_components()
    component.args = [component.name, read_in, os.getcwd(), extra_options]
"""
    parser = "import os\ndef parse_args(x): return os.getcwd()"
    config = "import os\n" + SAY.format("os.getcwd()")
    deployment = run(config, "-m", "muddler.py", "-a", "parser.py", muddler=muddler, parser=parser)
    here = str(directory)
    args = deployment.hosts[0].components[0].args
    assert args == (str(directory / "configs"), here, here, here)
    assert os.getcwd() == here


def test_modules_beside_each_file_can_be_imported(directory: Path) -> None:
    (directory / "configs" / "fastrr_test_beside.py").write_text("name = 'from beside'")
    config = "import fastrr_test_beside\n" + SAY.format("fastrr_test_beside.name")
    before = list(sys.path)
    assert component_names(run(config)) == ["from beside"]
    assert sys.path == before


def test_what_muddlers_write_is_there_to_copy_as_they_left_it(directory: Path) -> None:
    (directory / "configs" / "data").write_text("old")
    config = FINE.replace("start_index=1", "start_index=1, files={'data': 'd', 'made': 'm'}")
    muddler = (
        "import os\n"
        "def muddle(config):\n"
        "    beside = os.path.dirname(options.config_file)\n"
        "    open(beside + '/data', 'w').write('written by the muddler')\n"
        "    open(beside + '/made', 'w').write('new')\n"
    )
    deployment = run(config, "-m", "muddler.py", muddler=muddler)
    sizes = [source.size for source in deployment.sources.values()]
    assert sizes == [len("written by the muddler"), len("new")]


def test_a_muddler_may_mend_what_the_config_left_open(directory: Path) -> None:
    config = "config.add_component(Component(name='x', executable='/bin/ls'))"
    muddler = "def muddle(c):\n    for x in c.all_components(): x.host, x.start_index = 'new', 2"
    assert run(config, "-m", "muddler.py", muddler=muddler).hosts[0].host == "new"


def test_relative_paths_of_muddlers_mean_what_they_see(directory: Path) -> None:
    """Trees are looked up in the caller's directory; what is written down is the config's."""
    for name in ("tree/a", "configs/b"):
        (directory / name).parent.mkdir(exist_ok=True)
        (directory / name).touch()
    muddler = """
def muddle(config):
    (component,) = config.all_components()
    component.files = util.recursive_files_dict('tree', 'x')
    component.files['b'] = 'b'
"""
    deployment = run(FINE, "-m", "muddler.py", muddler=muddler)
    assert list(deployment.sources) == [f"{directory}/tree/a", f"{directory}/configs/b"]


# muddle's parameters


@pytest.mark.parametrize(
    ("parameters", "second", "seen"),
    [
        ("config", "'only config'", "only config"),
        ("config, options", "type(options).__name__", "Options"),
        ("config, opts", "type(opts).__name__", "Options"),
        ("config, options=None", "type(options).__name__", "Options"),
        ("config, verbose=False", "verbose", "False"),
        ("config, *, options=None", "options", "None"),
        ("*both", "type(both[1]).__name__", "Options"),
    ],
)
def test_muddle_takes_the_config_or_the_options_too(
    directory: Path, parameters: str, second: str, seen: str, capsys: pytest.CaptureFixture[str]
) -> None:
    run(FINE, "-m", "muddler.py", muddler=f"def muddle({parameters}):\n    print({second})\n")
    assert capsys.readouterr().out == f"{seen}\n"


def test_each_muddler_sees_what_the_one_before_left(directory: Path) -> None:
    append = "def muddle(config):\n    for c in config.all_components(): c.name += '{}'\n"
    deployment = run(
        FINE, "-m", "one.py", "-m", "two.py", one=append.format(1), two=append.format(2)
    )
    assert component_names(deployment) == ["x12"]


def test_a_muddler_may_replace_all_components(directory: Path) -> None:
    """As real ones do: collect copies, clear, add."""
    muddler = """
import copy
def muddle(config):
    new = []
    for component in config.all_components():
        harness = copy.deepcopy(component)
        harness.args = [component.executable] + component.args
        harness.executable = 'harness'
        new.append(harness)
    config.clear_components()
    for component in new:
        config.add_component(component)
"""
    (plan,) = run(FINE, "-m", "muddler.py", muddler=muddler).hosts[0].components
    assert (plan.executable, plan.args) == ("harness", ("/bin/ls",))


# extra options

PARSER = """
import optparse, shlex
def parse_args(extra_args):
    parser = optparse.OptionParser()
    parser.add_option('--pass', dest='password')
    parser.add_option('--user')
    parser.add_option('-c', dest='count')
    return parser.parse_args(shlex.split(extra_args))[0]
"""


@pytest.mark.parametrize(
    ("words", "seen"),
    [
        (["--extra-args", "--pass x"], "x None None"),
        (["--extra-args", "--pass 'a b'"], "a b None None"),
        (["--extra-args=--user=x"], "None x None"),
        (["--extra-args", "-c 3 --user y"], "None y 3"),
        ([], "None None None"),
    ],
)
def test_extra_args_may_begin_with_an_option_of_our_own(
    directory: Path, words: list[str], seen: str
) -> None:
    """The manual's known issue."""
    config = SAY.format("'%(password)s %(user)s %(count)s' % vars(extra_options)")
    assert component_names(run(config, *words, "-a", "parser.py", parser=PARSER)) == [seen]


@pytest.mark.parametrize("raw", ["--pass", " spaces  kept ", "$HOME 'quotes\"", "", "--"])
def test_the_arg_parser_gets_the_raw_string(directory: Path, raw: str) -> None:
    config = SAY.format("repr(extra_options)")
    parser = "def parse_args(extra_args): return extra_args"
    words = ["--extra-args", raw, "-a", "parser.py"]
    assert component_names(run(config, *words, parser=parser)) == [repr(raw)]


@pytest.mark.parametrize(
    ("signature", "result"),
    [("a, ssh_user", "me"), ("a, user", "me"), ("a, ssh_user=0", "me"), ("a, n=5, m=6", "5")],
)
def test_parse_args_may_take_the_user_too(directory: Path, signature: str, result: str) -> None:
    second = signature.split(", ")[1].partition("=")[0]
    parser = f"def parse_args({signature}): return str({second})"
    deployment = run(SAY.format("extra_options"), "-u", "me", "-a", "parser.py", parser=parser)
    assert component_names(deployment) == [result]


def test_pairs_are_extra_options_without_an_arg_parser(directory: Path) -> None:
    config = SAY.format("repr(vars(extra_options))")
    (seen,) = component_names(run(config, "-X", "a=1", "-X", "b=x=y", "-X", "a=2"))
    assert seen == repr({"a": "2", "b": "x=y"})


def test_pairs_are_set_on_what_the_arg_parser_returns(directory: Path) -> None:
    config = SAY.format("extra_options.user + extra_options.new")
    words = ["-a", "parser.py", "-X", "user=pair", "-X", "new=1", "--extra-args", "--user=x"]
    assert component_names(run(config, *words, parser=PARSER)) == ["pair1"]


def test_without_either_there_are_none(directory: Path) -> None:
    assert component_names(run(SAY.format("repr(extra_options)"))) == ["None"]


@pytest.mark.parametrize("returned", ["None", "()", "'text'", "{'a': 1}"])
def test_pairs_need_something_they_can_be_set_on(directory: Path, returned: str) -> None:
    parser = f"def parse_args(x): return {returned}"
    assert problems(FINE, "-a", "parser.py", "-X", "a=1", parser=parser) == [
        f"parser.py: parse_args returned {returned}, on which -X can't set anything"
    ]


def test_extra_args_need_an_arg_parser(directory: Path) -> None:
    assert problems(FINE, "--extra-args", "x") == [
        "--extra-args needs an --arg-parser to read it; or use -X key=value"
    ]


def test_an_arg_parser_may_print_its_help(
    directory: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        run(FINE, "--extra-args", "--help", "-a", "parser.py", parser=PARSER)
    assert ended.value.code == 0
    assert "--pass=PASSWORD" in capsys.readouterr().out


# what is wrong


@pytest.mark.parametrize(
    ("what", "words"),
    [
        ("config", ["-c"]),
        ("muddler", ["-c", "config.py", "-m"]),
        ("arg parser", ["-c", "config.py", "-a"]),
    ],
)
def test_files_that_are_none(directory: Path, what: str, words: list[str]) -> None:
    (directory / "config.py").touch()
    os.mkfifo(directory / "fifo")
    for name, remark in (
        ("nope.py", ""),
        ("configs", " (it is a directory)"),
        ("fifo", " (it is no regular file)"),
    ):
        with pytest.raises(ConfigError) as caught:
            load(parse([*words, name]))
        assert str(caught.value) == f"there is no {what} file {directory}/{name}{remark}"


@pytest.mark.parametrize("text", ["", "def mudle(config): pass", "muddle = 3"])
def test_a_muddler_without_muddle(directory: Path, text: str) -> None:
    assert problems(FINE, "-m", "muddler.py", muddler=text) == [
        "muddler.py: defines no function muddle(config)"
    ]


def test_an_arg_parser_without_parse_args(directory: Path) -> None:
    assert problems(FINE, "-a", "parser.py", parser="") == [
        "parser.py: defines no function parse_args(extra_args, ssh_user)"
    ]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("def muddle(): pass", "muddler.py: TypeError: muddle() takes 0 positional arguments"),
        ("def muddle(a, b, c): pass", "muddler.py: TypeError: muddle() missing 1 required"),
        ("muddle = dict", "muddler.py: ValueError: no signature found for builtin"),
        ("def muddle(c):\n    c.nope()", "muddler.py:2: 'Config' object has no attribute 'nope'"),
        ("def muddle(c):\n    1 / 0", "muddler.py:2: ZeroDivisionError: division by zero"),
        ("import sys\nsys.exit(0)", "muddler.py:2: it called sys.exit(0)"),
        ("def muddle(c): print 'x'", "muddler.py:1: SyntaxError: Missing parentheses"),
    ],
)
def test_a_muddler_that_fails_is_told_with_its_line(directory: Path, text: str, told: str) -> None:
    (problem,) = problems(FINE, "-m", "muddler.py", muddler=text)
    assert problem.startswith(told)


def test_a_muddlers_components_are_told_with_the_muddlers_line(directory: Path) -> None:
    muddler = "def muddle(config):\n    config.add_component(Component(name='q'))\n"
    assert problems(FINE, "-m", "muddler.py", muddler=muddler) == [
        "muddler.py:2: component 'q': executable, host and start_index must be set"
    ]


def test_what_a_muddler_breaks_is_told_with_the_line_that_added_it(directory: Path) -> None:
    muddler = "def muddle(config):\n    next(config.all_components()).start_index = 'x'\n"
    assert problems("\n" + FINE, "-m", "muddler.py", muddler=muddler) == [
        "configs/config.py:2: component 'x': start_index must be a number, not 'x'"
    ]


def test_a_muddler_that_leaves_nothing(directory: Path) -> None:
    muddler = "def muddle(config): config.clear_components()"
    assert problems(FINE, "-m", "muddler.py", muddler=muddler) == [
        "configs/config.py: no component is left: all that were added have been cleared"
    ]


def test_a_config_that_fails_is_told_with_what_was_wrong_up_to_there(directory: Path) -> None:
    broken = FINE.replace("start_index=1", "start_index='1'")
    assert problems(f"{broken}\n1 / 0\n") == [
        "configs/config.py:3: ZeroDivisionError: division by zero",
        "configs/config.py:1: component 'x': start_index must be a number, not '1'",
    ]


def test_a_config_that_fails_at_once_is_not_said_to_be_empty(directory: Path) -> None:
    assert problems("1 / 0\n") == ["configs/config.py:1: ZeroDivisionError: division by zero"]


def test_a_config_that_fails_hides_what_a_muddler_might_have_mended(directory: Path) -> None:
    muddler = "def muddle(config): pass"
    config = "config.add_component(Component())\n1 / 0\n"
    assert problems(config, "-m", "muddler.py", muddler=muddler) == [
        "configs/config.py:2: ZeroDivisionError: division by zero"
    ]


def test_the_line_of_add_component_is_told_though_a_helper_calls_it(directory: Path) -> None:
    (directory / "configs" / "fastrr_test_helper.py").write_text(
        "def add(config, component):\n    config.add_component(component)\n"
    )
    config = "import fastrr_test_helper\nfastrr_test_helper.add(config, Component())\n"
    assert problems(config) == [
        "configs/fastrr_test_helper.py:2: name, executable, host and start_index must be set"
    ]
