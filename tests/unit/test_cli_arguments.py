"""The command line: what the run, configs and muddlers get from it, and what is refused."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from fastrr import __version__
from fastrr.cli.arguments import parse
from fastrr.cli.main import main
from fastrr.errors import UsageError


def refusal(*arguments: str) -> str:
    """Return why the command line ``arguments`` is refused."""
    with pytest.raises(UsageError) as caught:
        parse(arguments)
    assert int(caught.value.exit_code) == 2
    return str(caught.value)


def test_defaults_are_those_of_the_original() -> None:
    options = parse(["-c", "/x/config.py"])
    assert options.config_file == "/x/config.py"
    assert options.muddler is None
    assert options.extra_args is None
    assert options.arg_parser is None
    assert options.ssh_pass is None
    assert options.kill_first is True
    assert options.no_zombie is False
    assert options.always_copy is False
    assert options.log_level == "INFO"
    assert options.screen == "runner"
    assert options.jobs >= 1


@pytest.mark.parametrize(
    ("option", "attribute", "value"),
    [
        ("-c=/x", "config_file", "/x"),
        ("--config=/x", "config_file", "/x"),
        ("-ualice", "ssh_user", "alice"),
        ("--user=alice", "ssh_user", "alice"),
        ("-psecret", "ssh_pass", "secret"),
        ("--pass=secret", "ssh_pass", "secret"),
        ("-ldebug", "log_level", "DEBUG"),
        ("--log-level=WARNING", "log_level", "WARNING"),
        ("--screen=night", "screen", "night"),
        ("--no-kill", "kill_first", False),
        ("--always-copy", "always_copy", True),
        ("--no-zombie", "no_zombie", True),
        ("-m/m.py", "muddler", "/m.py"),
        ("--muddler=/m.py", "muddler", "/m.py"),
        ("--extra-args=a b", "extra_args", "a b"),
        ("-a/a.py", "arg_parser", "/a.py"),
        ("--arg-parser=/a.py", "arg_parser", "/a.py"),
        ("--jobs=16", "jobs", 16),
        ("--timeout=2.5", "timeout", 2.5),
    ],
)
def test_every_option_is_there_under_the_originals_name(
    option: str, attribute: str, value: object
) -> None:
    assert getattr(parse(["-c", "/c.py", option]), attribute) == value


def test_muddlers_are_kept_in_order() -> None:
    assert parse(["-c", "c", "-m", "/b", "--muddler", "/a"]).muddler == ["/b", "/a"]


# values that look like options


@pytest.mark.parametrize(
    ("words", "extra_args"),
    [
        (["--extra-args", "--pass x"], "--pass x"),
        (["--extra-args", "--pass"], "--pass"),
        (["--extra-args=--user=x"], "--user=x"),
        (["--extra-args", "-c other.py -u x"], "-c other.py -u x"),
        (["--extra-args", "--help"], "--help"),
        (["--extra-args", "--"], "--"),
        (["--extra-args=--"], "--"),
        (["--extra-args", "=x"], "=x"),
        (["--extra-args", ""], ""),
        (["--extra-args", "--extra-args"], "--extra-args"),
    ],
)
def test_extra_args_takes_the_next_word_whatever_it_looks_like(
    words: list[str], extra_args: str
) -> None:
    options = parse(["-c", "/c.py", *words, "-a", "/a.py"])
    assert options.extra_args == extra_args
    assert options.config_file == "/c.py"
    assert options.arg_parser == "/a.py"
    assert options.user is options.ssh_pass is None


@pytest.mark.parametrize("option", ["-p", "--pass"])
@pytest.mark.parametrize("password", ["-dash", "--user=x", "=equal", "a b", "-", "--", "", "-p"])
def test_a_password_may_be_anything(option: str, password: str) -> None:
    options = parse(["-c", "/c.py", option, password, "-u", "alice"])
    assert (options.ssh_pass, options.user) == (password, "alice")


def test_extra_pairs_are_kept_as_they_are_written() -> None:
    options = parse(["-c", "c", "-X", "a=1", "-Xb=x=y", "-X", "c=", "-X", "d=--pass z"])
    assert options.extra_pairs == ["a=1", "b=x=y", "c=", "d=--pass z"]


# what is refused, and how that is said


def test_the_config_must_be_given() -> None:
    assert refusal() == (
        "the following arguments are required: -c/--config (fastrr --help says more)"
    )


@pytest.mark.parametrize("option", ["-c", "-m", "--extra-args", "-p", "--pass", "-X"])
def test_an_option_at_the_end_misses_its_value(option: str) -> None:
    refused = refusal("-c", "/c.py", option)
    assert "expected one argument" in refused
    assert option in refused


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--jobs", "abc"], "--jobs: 'abc' is no number of workers: write 1 or more"),
        (["--jobs", "0"], "--jobs: '0' is no number of workers"),
        (["--jobs", "1.5"], "--jobs: '1.5' is no number of workers"),
        (["--timeout", "soon"], "--timeout: 'soon' is no number of seconds above 0"),
        (["--timeout", "-1"], "--timeout: '-1' is no number of seconds above 0"),
        (["--timeout", "nan"], "--timeout: 'nan' is no number of seconds above 0"),
        (["--connect-timeout", "inf"], "--connect-timeout: 'inf' is no number of seconds"),
        (["-l", "LOUD"], "-l/--log-level: invalid choice: 'LOUD' (choose from "),
        (["--host-keys", "maybe"], "--host-keys: invalid choice: 'maybe' (choose from "),
        (["--screen", "a b"], "--screen: 'a b' can't be a session's name"),
        (["--screen", "a/b"], "--screen: 'a/b' can't be a session's name"),
        (["--screen", ""], "--screen: '' can't be a session's name"),
        (["--screen", "x" * 51], "can't be a session's name: up to 50"),
        (["-X", "foo"], "-X foo: write -X key=value"),
        (["-X", "=foo"], "write -X key=value"),
        (["-X", "1a=b"], "-X 1a=b: write -X key=value"),
        (["-F", "/nope"], "--ssh-config: there is no file /nope"),
        (["stray"], "unrecognized arguments: a word that belongs to no option"),
        (["--extra", "x"], "unrecognized arguments: --extra "),
        (["--passs=secret"], "unrecognized arguments: --passs "),
        (["-t"], "unrecognized arguments: -t"),
        (["--ask-pass", "-p", "x"], "--ask-pass and --pass: one of them is enough"),
    ],
)
def test_what_makes_no_sense_is_refused_with_the_reason(words: list[str], message: str) -> None:
    assert message in refusal("-c", "/c.py", *words)


def test_ask_pass_needs_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    with open(os.devnull) as nothing:
        monkeypatch.setattr(sys, "stdin", nothing)
        assert "--ask-pass needs a terminal; without one, set FASTRR_PASS" in refusal(
            "-c", "/c.py", "--ask-pass"
        )


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["-c", "/nope/config.py"],
        ["-c", "/c.py", "--jobs", "abc"],
        ["-c", "/c.py", "-X", "foo"],
        ["-c", "/c.py", "--no-such-option"],
    ],
)
def test_a_refusal_is_log_lines_on_stderr_and_exit_code_2(
    words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words) == 2
    printed, logged = capsys.readouterr()
    assert printed == ""
    assert logged.startswith("ERROR: ")
    assert "Traceback" not in logged
    assert logged.count("\n") == 1


def test_everything_missing_is_said_at_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    missing = [str(tmp_path / name) for name in ("config.py", "parser.py", "first.py", "last.py")]
    config, parser, *muddlers = missing
    words = ["-c", config, "-a", parser, "-m", muddlers[0], "-m", muddlers[1]]
    assert main(words) == 2
    assert capsys.readouterr().err.splitlines() == [
        f"ERROR: there is no config file {config}",
        f"ERROR: there is no arg parser file {parser}",
        f"ERROR: there is no muddler file {muddlers[0]}",
        f"ERROR: there is no muddler file {muddlers[1]}",
    ]


def test_every_problem_of_a_config_is_a_line_of_its_own(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tmp_path / "config.py"
    config.write_text("config.add_component(Component())\nconfig.add_component(Component())\n")
    assert main(["-c", str(config)]) == 2
    printed, logged = capsys.readouterr()
    assert printed == ""
    assert logged.splitlines() == [
        f"ERROR: {config}:1: name, executable, host and start_index must be set",
        f"ERROR: {config}:2: name, executable, host and start_index must be set",
    ]


def test_a_traceback_is_shown_with_debug_only(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tmp_path / "config.py"
    config.write_text("1 / 0\n")
    assert main(["-c", str(config)]) == 2
    assert capsys.readouterr().err == (f"ERROR: {config}:1: ZeroDivisionError: division by zero\n")
    assert main(["-c", str(config), "-l", "DEBUG"]) == 2
    assert "DEBUG: Traceback (most recent call last):" in capsys.readouterr().err


def test_what_nobody_expected_is_one_line_too(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def break_down(options: object) -> None:
        raise RuntimeError("nobody expected this")

    monkeypatch.setattr("fastrr.cli.run.load", break_down)
    assert main(["-c", "/c.py"]) == 3
    assert capsys.readouterr().err == (
        "ERROR: RuntimeError: nobody expected this "
        "(this is a fault of fastrr; -l DEBUG shows where)\n"
    )


def test_a_working_directory_that_is_gone_is_said(tmp_path: Path) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    refused = subprocess.run(
        ["sh", "-c", 'rmdir "$PWD" && exec "$0" -m fastrr -c config.py', sys.executable],
        cwd=gone,
        capture_output=True,
        text=True,
        check=False,
    )
    assert refused.returncode == 2
    assert refused.stdout == ""
    assert refused.stderr == (
        "ERROR: the working directory does not exist any more: cd to one that does\n"
    )


def test_help_and_version_go_to_stdout_and_end_well(capsys: pytest.CaptureFixture[str]) -> None:
    for word, expected in (("--help", "--extra-args STRING"), ("--version", __version__)):
        with pytest.raises(SystemExit) as ended:
            main([word])
        assert ended.value.code == 0
        printed, logged = capsys.readouterr()
        assert expected in printed
        assert logged == ""
