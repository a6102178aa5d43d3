"""A host that lies: it can make its own deployment fail, and nothing else.

Each test is an attack. What they measure is printed (``pytest -s``): time, and the most memory that
any process of fastrr had.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from testbed.bed import make_key
from testbed.hostile import HostileHost, Outcome, hostile_host, run_fastrr, write_config
from testbed.rogue import ROGUES, rogue

MOST_MB = 200
COMPONENT = """
c = Component(name='main', executable='/bin/true', host='liar', start_index=1)
c.base_dir = 'work'
"""
CONFIG = f"{COMPONENT}config.add_component(c)\n"
LARGE_BYTES = 9 << 20


@pytest.fixture
def liar(tmp_path: Path) -> Iterator[HostileHost]:
    """A host that tells the truth until told to lie."""
    directory = tmp_path / "liar"
    directory.mkdir()
    make_key(directory / "key")
    with hostile_host(directory, directory / "key") as host:
        yield host


def deploy(host: HostileHost, tmp_path: Path, *words: str, config: str = CONFIG) -> Outcome:
    return deploy_to(host.config, tmp_path, *words, config=config)


def deploy_to(ssh_config: Path, tmp_path: Path, *words: str, config: str = CONFIG) -> Outcome:
    directory = tmp_path / "controller"
    directory.mkdir(exist_ok=True)
    (directory / "config.py").write_text(config)
    outcome = run_fastrr(directory, ssh_config, *words)
    print(f"\n{os.environ.get('PYTEST_CURRENT_TEST', '').split('::')[-1]}")
    print(f"  status {outcome.status}, {outcome.seconds:.1f} s, {outcome.peak_mb:.0f} MB, "
          f"{len(outcome.output)} bytes shown")  # fmt: skip
    print("  " + outcome.output.decode(errors="replace")[:400].replace("\n", "\n  "))
    return outcome


def assert_harmless(outcome: Outcome, says: str) -> None:
    text = outcome.output.decode()
    assert outcome.status == 3, text[:2000]
    assert re.search(says, text), text[:2000]
    assert "Traceback" not in text
    assert "please report it" not in text
    assert outcome.peak_mb < MOST_MB
    assert len(outcome.output) < 10_000


# Answers without end

NO_END = "more than [0-9.]+ MB"
FLOODS = {
    "lines": "begin, _ = begun(asked()); say(begin); flood(b'y\\n' * 8192)",
    "a line": "begin, _ = begun(asked()); say(begin); flood(b'y' * 16384)",
    "noise": "asked(); flood(b'x\\n' * 8192)",
    "errors": "begin, _ = begun(asked()); os.write(2, begin); flood(b'e\\n' * 8192, 2)",
    "errors, one line": "asked(); flood(b'e' * 16384, 2)",
    "before all is read": "flood(b'y' * 16384)",
}


@pytest.mark.parametrize("kind", FLOODS)
def test_an_answer_without_end(liar: HostileHost, tmp_path: Path, kind: str) -> None:
    liar.lies(FLOODS[kind])
    outcome = deploy(liar, tmp_path)
    assert_harmless(outcome, f"liar: looking at the host: it .*{NO_END}")
    assert outcome.seconds < 15


def test_a_long_answer_in_short_lines(liar: HostileHost, tmp_path: Path) -> None:
    """In its most expensive form: as much as is just allowed, and more."""
    for lines, says in (
        (16_000, "the host's answer can't be read"),
        (300_000, "300,000 lines"),
    ):
        liar.lies(f"begin, end = begun(asked()); say(begin + b'ab\\n' * {lines} + end)")
        assert_harmless(deploy(liar, tmp_path), says)


def test_a_long_line_for_the_terminal(liar: HostileHost, tmp_path: Path) -> None:
    liar.lies("asked(); say(b'x' * 160_000_000)")
    outcome = deploy(liar, tmp_path)
    assert_harmless(outcome, NO_END)


def test_much_that_a_failing_command_says(liar: HostileHost, tmp_path: Path) -> None:
    liar.lies("asked(); say(b'x' * 900_000)")
    outcome = deploy(liar, tmp_path)
    assert_harmless(outcome, "gave no complete answer")
    assert max(map(len, outcome.output.splitlines())) < 2100


COPYING = f"{COMPONENT}c.files = {{'small': 'small'}}\nconfig.add_component(c)\n"


@pytest.mark.parametrize("descriptor", [1, 2])
def test_a_flood_while_files_are_sent(liar: HostileHost, tmp_path: Path, descriptor: int) -> None:
    (tmp_path / "controller").mkdir()
    (tmp_path / "controller" / "small").write_bytes(os.urandom(1000))
    liar.lies(
        f"say(truth(asked())) if 'eval \"$(cat)' in command else flood(b'y' * 16384, {descriptor})"
    )
    outcome = deploy(liar, tmp_path, config=COPYING)
    assert_harmless(outcome, NO_END)


@pytest.mark.parametrize("kind", ROGUES)
def test_a_server_that_no_sshd_can_be(tmp_path: Path, kind: str) -> None:
    """It does not keep to the protocol: greetings, packets and windows without end."""
    (tmp_path / "controller").mkdir()
    (tmp_path / "controller" / "small").write_bytes(os.urandom(1000))
    make_key(tmp_path / "key")
    one = ROGUES[kind]
    with rogue(one, tmp_path) as port:
        write_config(tmp_path / "ssh_config", {"liar": port}, tmp_path / "key", *one.options)
        words = ("--copy-only", "--connect-timeout", "10", *one.words)
        outcome = deploy_to(tmp_path / "ssh_config", tmp_path, *words, config=COPYING)
    assert_harmless(outcome, one.says)
    assert outcome.seconds < 60


# Slow parsing, time limits

DF_LINES = {
    "numbers": "b'1 ' * 100_000",
    "blanks": "b'x' + b' ' * 200_000",
    "words": "b'a ' * 100_000",
    "digits": "b'x ' + b'1' * 200_000",
}


@pytest.mark.parametrize("line", DF_LINES)
def test_a_line_of_df_that_takes_long_to_parse(
    liar: HostileHost, tmp_path: Path, line: str
) -> None:
    (tmp_path / "controller").mkdir()
    (tmp_path / "controller" / "small").write_bytes(b"x")
    liar.lies(
        "answer = truth(asked())\n"
        "title = b'== df\\n'\n"
        f"say(answer.replace(title, title + b'Filesystem Type\\n' + {DF_LINES[line]} + b'\\n'))"
    )
    outcome = deploy(liar, tmp_path, "--copy-only", config=COPYING)
    assert outcome.status in {0, 3}, outcome.output
    assert outcome.seconds < 15
    assert outcome.peak_mb < MOST_MB


HANGS = {
    "silent": "asked(); time.sleep(100)",
    "begins": "begin, _ = begun(asked()); say(begin); time.sleep(100)",
    "trickles": (
        "asked()\nfor _ in range(1000):\n    os.write(2, b'.'); os.write(1, b'.'); time.sleep(0.1)"
    ),
    "in the stream": ("say(truth(asked())) if 'eval \"$(cat)' in command else time.sleep(100)"),
    "reading slowly": (
        "if 'eval \"$(cat)' in command:\n    say(truth(asked()))\n"
        "while sys.stdin.buffer.read(1): time.sleep(0.1)"
    ),
    "after the stream": (
        "if os.path.exists('done'):\n    time.sleep(100)\n"
        "elif 'eval \"$(cat)' in command:\n    say(truth(asked()))\n"
        "else:\n    open('done', 'w'); sys.stdin.buffer.read(); time.sleep(100)"
    ),
}


@pytest.mark.parametrize("kind", HANGS)
def test_a_time_limit_holds(liar: HostileHost, tmp_path: Path, kind: str) -> None:
    (tmp_path / "controller").mkdir()
    (tmp_path / "controller" / "small").write_bytes(os.urandom(3_000_000))
    liar.lies(HANGS[kind])
    outcome = deploy(liar, tmp_path, "--timeout", "4", config=COPYING)
    assert outcome.status == 4, outcome.output
    assert outcome.seconds < 4 + 2 + 2, "two are for the start of Python on a busy machine"


# Paths of the controller

LARGE = f"{COMPONENT}c.files = {{'large': 'large'}}\nconfig.add_component(c)\n"
AWAY = {
    "up": "b'/../../../../../../../..' + away",
    "up in the middle": "b'/x/../../../../../../../..' + away",
    "with a newline": "b'/x\\n/../../../../../../../..' + away",
    "relative": "b'../../../../../../../..' + away",
}


@pytest.mark.parametrize("transport", ["auto", "rsync"])
@pytest.mark.parametrize("kind", AWAY)
def test_a_directory_of_the_host_is_no_path_of_the_controller(
    liar: HostileHost, tmp_path: Path, kind: str, transport: str
) -> None:
    directory = tmp_path / "controller"
    directory.mkdir()
    source = directory / "large"
    content = os.urandom(LARGE_BYTES)
    source.write_bytes(content)
    first = deploy(liar, tmp_path, "--copy-only", "--transport", "stream", config=LARGE)
    assert first.status == 0, first.output
    content = content[:-1] + bytes([content[-1] ^ 1])
    source.write_bytes(content)
    away = tmp_path / "away"
    liar.lies(
        f"away = {str(away).encode()!r}\n"
        "data = asked()\n"
        "begin, end = begun(data) if data else (b'', b'')\n"
        "if b'pwd -P' in data:\n"
        f"    say(begin + {AWAY[kind]} + b'\\n' + end)\n"
        "else:\n"
        "    say(truth(data))\n"
    )
    outcome = deploy(liar, tmp_path, "--copy-only", "--transport", transport, config=LARGE)
    assert not away.exists(), "made outside the farm"
    assert source.read_bytes() == content
    assert b"Traceback" not in outcome.output
    if transport == "auto":
        assert outcome.status == 0, outcome.output
        assert b"sending all of the files by stream" in outcome.output
    else:
        assert outcome.status == 3
    assert re.search(rb"the host's answer can't be used|has answered \d+ lines", outcome.output)


# The terminal

NASTY = "".join(map(chr, [*range(1, 32), *range(0x7F, 0xA0), *range(0x202A, 0x202F),
                          *range(0x2066, 0x206A)]))  # fmt: skip
NASTY_BYTES = NASTY.encode() + bytes(range(0x80, 0xA0)) + b"\x1b\x1b[m\x1b[2J\x9b2J\x1b]0;x\x07"


def obeyed(output: bytes) -> set[str]:
    """What a terminal would obey, of some output."""
    text = output.decode("utf-8", "surrogateescape")
    return {c for c in text if c not in "\n\t" and (c in NASTY or "\ud800" <= c <= "\udfff")}


PLACES = {
    "stderr of a failing check": "asked(); os.write(2, nasty + b' why\\n')",
    "noise instead of an answer": "asked(); say(nasty)",
    "home": "say(truth(asked()).replace(b'\\nhome ', b'\\nhome ' + nasty.replace(b'\\n', b'')))",
    "node": "say(re.sub(b'\\nnode .*', lambda m: b'\\nnode ' + nasty.replace(b'\\n', b''),"
    " truth(asked())))",
    "sections": "say(truth(asked()).replace(b'== ', b'== ' + nasty))",
    "screen": "say(truth(asked()).replace(b'== sessions\\n', b'== sessions\\n' + nasty + b'\\n'))",
    "sessions": "say(truth(asked()).replace(b'== sessions\\n', b'== sessions\\n\\t12.runner'"
    " + nasty.replace(b'\\n', b'').replace(b'\\t', b'') + b'\\t(Detached)\\n'))",
    "openssl": "say(truth(asked()).replace(b'\\ntool ', b'\\nopenssl ' + nasty + b'\\ntool ', 1))",
    "what stops a start": "data = asked()\nbegin, end = begun(data)\n"
    "if b'launch.sh' in data:\n    say(begin + b'failed 0 ' + nasty + end)\n"
    "else:\n    say(truth(data))",
    "what a program said last": "data = asked()\nbegin, end = begun(data)\n"
    "if b'launch.sh' in data:\n    say(begin + b'session 1.runner\\nstarted 0 12\\n' + end)\n"
    "elif b'ending 0' in data or b'pending=' in data:\n"
    "    say(begin + b'said 0 ' + nasty.replace(b'\\n', b'') + b'\\nended 0 3\\n' + end)\n"
    "else:\n    say(truth(data))",
}


@pytest.mark.parametrize("place", PLACES)
def test_what_comes_from_a_host_is_shown_and_not_obeyed(
    liar: HostileHost, tmp_path: Path, place: str
) -> None:
    liar.lies(f"nasty = {NASTY_BYTES!r}\n{PLACES[place]}\n")
    (liar.directory / "banner").write_bytes(NASTY_BYTES)
    trace = tmp_path / "trace.json"
    words = ("-l", "DEBUG", "--timings", "--trace", str(trace), "--timeout", "30")
    outcome = deploy(liar, tmp_path, *words)
    assert obeyed(outcome.output) == set()
    assert obeyed(trace.read_bytes()) == set()
