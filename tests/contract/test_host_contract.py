"""What every kind of `Host` must do; see `fastrr.hosts.base`."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator

import pytest
from testbed.bed import BARE
from testbed.kinds import WITH_OTHER_SHELLS, Kind

from fastrr.errors import CommandFailed, ConnectionLost
from fastrr.hosts.base import Completed, Feed, Host, ask
from fastrr.hosts.shell import Script, script, to_text

SOON_S = 10.0
"""Far less than what is waited for would take."""


def raw(text: str) -> Script:
    """A script without a frame: its output and status are those of ``sh`` itself."""
    return Script(text, "")


@pytest.fixture(autouse=True)
def no_threads_left(request: pytest.FixtureRequest) -> Iterator[None]:
    for shared in {"host", "any_host"} & set(request.fixturenames):
        request.getfixturevalue(shared)  # paramiko has a thread for a connection
    before = set(threading.enumerate())
    yield
    deadline = time.monotonic() + SOON_S
    while left := set(threading.enumerate()) - before:
        assert time.monotonic() < deadline, left
        time.sleep(0.01)


def test_status_and_both_outputs(any_host: Host) -> None:
    completed = any_host.run(raw("echo out; echo err >&2; exit 7\n"))
    assert completed == Completed(7, b"out\n", b"err\n")


def test_a_script_that_says_nothing(any_host: Host) -> None:
    assert any_host.run(raw("")) == Completed(0, b"", b"")


def test_one_script_after_the_other(host: Host) -> None:
    assert [host.run(raw(f"echo {n}\n")).stdout for n in range(5)] == [
        b"%d\n" % n for n in range(5)
    ]


def test_every_exit_status(host: Host) -> None:
    statuses = [0, 1, 2, 126, 127, 128, 254, 255]
    assert [host.run(raw(f"exit {status}\n")).status for status in statuses] == statuses


def test_a_signal_is_a_negative_status(any_host: Host) -> None:
    completed = any_host.run(raw("echo out; kill -KILL $$\n"))
    assert completed.status < 0
    assert completed.stdout == b"out\n"


def test_a_signal_inside_the_script_is_the_shell_s_business(host: Host) -> None:
    completed = host.run(raw("sh -c 'kill -KILL $$'; exit $?\n"))
    assert completed.status == 128 + 9


def test_the_script_is_run_by_a_posix_shell(any_host: Host) -> None:
    completed = any_host.run(raw('x=a; f() { echo "$x$(echo b)${1#c}"; }; f cd\n'))
    assert completed.stdout == b"abd\n"


def test_much_on_both_outputs_at_once(any_host: Host) -> None:
    much = "head -c 5000000 /dev/zero"
    completed = any_host.run(raw(f"{much} & {much} >&2; wait\n"), answer_bytes=5_000_000)
    assert completed.status == 0
    assert completed.stdout == bytes(5_000_000)
    assert completed.stderr == bytes(5_000_000)


def test_a_long_script(any_host: Host) -> None:
    lines = "".join(f"x={'y' * 100} # {number:06}\n" for number in range(18_000))
    assert len(lines) > 2_000_000
    assert any_host.run(raw(f"{lines}echo $x\n")) == Completed(0, b"y" * 100 + b"\n", b"")


def test_odd_bytes_there_and_back(any_host: Host) -> None:
    odd = bytes(range(1, 256)).replace(b"'", b"") + "ä€😀".encode()
    completed = any_host.run(raw(f"printf %s '{to_text(odd)}'; printf '\\000\\r\\n\\r' >&2\n"))
    assert completed == Completed(0, odd, b"\0\r\n\r")


# Lines


def test_lines_are_heard_as_they_come(host: Host) -> None:
    heard: list[tuple[bytes, float]] = []
    host.run(raw("echo one; sleep 0.2; echo two\n"), lambda x: heard.append((x, time.monotonic())))
    (one, first), (two, second) = heard
    assert (one, two) == (b"one", b"two")
    assert second - first > 0.1


def test_only_newlines_end_lines(host: Host) -> None:
    heard: list[bytes] = []
    completed = host.run(
        raw("printf 'a\\rb\\n\\n\\013c\\014\\n'; sleep 0.1; printf 'd\\r\\n last'\n"), heard.append
    )
    assert heard == [b"a\rb", b"", b"\013c\014", b"d\r", b" last"]
    assert completed.stdout == b"a\rb\n\n\013c\014\nd\r\n last"


def test_many_lines_are_heard_once_each(host: Host) -> None:
    heard: list[bytes] = []
    host.run(raw("i=0; while [ $i -lt 5000 ]; do echo $i; i=$((i+1)); done\n"), heard.append)
    assert heard == [b"%d" % number for number in range(5000)]


def test_a_hearer_s_exception_ends_the_run(host: Host) -> None:
    def refuse(line: bytes) -> None:
        raise LookupError(line)

    began = time.monotonic()
    with pytest.raises(LookupError, match="one"):
        host.run(raw("echo one; exec sleep 15\n"), refuse)
    assert time.monotonic() - began < SOON_S
    assert host.run(raw("echo still here\n")).stdout == b"still here\n"


def test_an_identity_is_that_of_one_account_on_one_machine_and_stays(
    kind_named: Callable[[str], Kind],
) -> None:
    def identity(name: str) -> str:
        host = kind_named(name).make()
        host.connect()
        try:
            return host.identity
        finally:
            host.close()

    names = ("local", "loopback", "bed", BARE, "csh-user", "fish-user")
    identities = [identity(name) for name in names]
    assert len(set(identities)) == len(names)
    assert [identity(name) for name in names] == identities


# Input

MUCH = bytes(range(256)) * 20_000


def write_much(feed: Feed) -> None:
    feed.write(MUCH)


def test_what_is_written_is_the_command_s_input(any_host: Host) -> None:
    assert any_host.stream("cat", write_much, answer_bytes=len(MUCH)) == Completed(0, MUCH, b"")


def test_a_command_may_end_before_it_has_read_all(host: Host) -> None:
    completed = host.stream("head -c 3", write_much)
    assert (completed.status, completed.stdout) == (0, MUCH[:3])


def test_what_the_writer_raises_ends_the_command(host: Host) -> None:
    def write(feed: Feed) -> None:
        feed.write(MUCH)
        raise LookupError

    began = time.monotonic()
    with pytest.raises(LookupError):
        host.stream("cat; sleep 15", write, answer_bytes=len(MUCH))
    assert time.monotonic() - began < SOON_S
    assert host.run(raw("echo still here\n")).stdout == b"still here\n"


# Limits


ENDLESS: dict[str, Callable[[Host], object]] = {
    "run": lambda host: host.run(raw("echo out; sleep 15\n"), limit_s=0.3),
    "stream": lambda host: host.stream(
        "cat; sleep 15", write_much, limit_s=0.3, answer_bytes=len(MUCH)
    ),
    "ask": lambda host: ask(host, script("sleep 15\n"), "asking", limit_s=0.3),
}


@pytest.mark.parametrize("way", ENDLESS)
def test_what_takes_too_long_is_given_up_and_the_host_is_still_good(host: Host, way: str) -> None:
    began = time.monotonic()
    with pytest.raises(CommandFailed, match="did not come to an end within 0 s"):
        ENDLESS[way](host)
    assert time.monotonic() - began < SOON_S
    assert host.run(raw("echo still here\n"), limit_s=60).stdout == b"still here\n"


# Interrupts, ends

remote = pytest.mark.parametrize("kind", ["loopback", "bed"], indirect=True)


def test_an_interrupt_ends_a_run_soon_and_all_after_it(own_host: Host) -> None:
    timer = threading.Timer(0.2, own_host.interrupt)
    timer.start()
    began = time.monotonic()
    with pytest.raises(ConnectionLost, match="interrupted"):
        own_host.run(raw("sleep 15; echo never\n"))
    assert time.monotonic() - began < SOON_S
    with pytest.raises(ConnectionLost, match="interrupted"):
        own_host.run(raw("echo never\n"))
    own_host.interrupt()
    timer.join()


def test_nothing_runs_after_close_which_may_come_twice(own_host: Host) -> None:
    own_host.close()
    own_host.close()
    with pytest.raises(ConnectionLost):
        own_host.run(raw("echo never\n"))


def test_close_before_connect_is_no_error(kind: Kind) -> None:
    kind.make().close()


@remote
def test_a_connection_that_breaks_ends_the_run(own_host: Host) -> None:
    began = time.monotonic()
    with pytest.raises(ConnectionLost, match="the connection was lost: the host closed it"):
        own_host.run(raw("kill -KILL $PPID; sleep 15\n"))
    with pytest.raises(ConnectionLost):
        own_host.run(raw("echo never\n"))
    with pytest.raises(ConnectionLost):
        own_host.open_sender()
    assert time.monotonic() - began < SOON_S


@remote
def test_a_host_with_sftp_gives_a_sender(own_host: Host) -> None:
    own_host.open_sender().close()


@pytest.mark.parametrize("kind", ["local"], indirect=True)
def test_a_host_without_files_says_so(own_host: Host) -> None:
    with pytest.raises(CommandFailed, match="localhost can't have files"):
        own_host.open_sender()


# ask


def test_ask_returns_what_the_script_printed(any_host: Host) -> None:
    body, completed = ask(any_host, script("printf 'one\\ntwo'; echo aside >&2\n"), "asking")
    assert body == b"one\ntwo"
    assert completed.stderr == b"aside\n"


def test_ask_names_what_failed_and_the_last_words(host: Host) -> None:
    with pytest.raises(CommandFailed, match=r"asking failed \(exit status 3\): no such luck"):
        ask(host, script("echo no such luck >&2; exit 3\n"), "asking")


def test_ask_notices_an_answer_that_breaks_off(host: Host) -> None:
    with pytest.raises(CommandFailed, match="asking: the host gave no complete answer"):
        ask(host, script("kill -KILL $$\n"), "asking")


NOISE = {
    ".bashrc": "printf noise; echo '@fastrr x begin' >&2\n",
    ".cshrc": "echo noise\n",
    ".config/fish/config.fish": "echo noise\n",
}


@pytest.mark.parametrize("kind", ["loopback", "bed", *WITH_OTHER_SHELLS], indirect=True)
def test_noisy_login_files_do_not_disturb_ask(own_host: Host, kind: Kind) -> None:
    assert kind.behind is not None
    try:
        for path, text in NOISE.items():
            command = f"mkdir -p $(dirname {path}); cat >{path} <<'E'\n{text}E\n"
            kind.behind.sh(command, kind.user)
        assert own_host.run(raw("echo out\n")).stdout.replace(b"\n", b"") == b"noiseout"
        assert ask(own_host, script("echo out\n"), "asking")[0] == b"out\n"
    finally:
        kind.behind.sh(f"rm -rf {' '.join(NOISE)}", kind.user)


@pytest.mark.parametrize("kind", WITH_OTHER_SHELLS, indirect=True)
def test_the_hosts_with_other_shells_are_what_they_say(own_host: Host, kind: Kind) -> None:
    seen = own_host.run(raw("echo $SHELL; stat --help 2>&1\n")).stdout
    assert {"csh-user": b"/tcsh\n", "fish-user": b"/fish\n", "busybox-user": b"BusyBox"}[
        kind.name
    ] in seen
