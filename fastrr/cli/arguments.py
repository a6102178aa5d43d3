"""The grammar of the command line. Imports little: ``--help`` waits for nothing else."""

from __future__ import annotations

import argparse
import os
import re
from collections.abc import Sequence
from typing import NoReturn

from fastrr import __version__
from fastrr.cli import secret
from fastrr.cli.complete import complete
from fastrr.config.options import Options
from fastrr.exitcodes import EXIT_CODE_MEANINGS

TAKES_ANY_VALUE = {
    "--extra-args": "--extra-args=",
    "-X": "-X",
    "--pass": "--pass=",
    "-p": "--pass=",
}
"""Options whose value is the next argument, whatever it looks like, and how to attach it."""

AS_IS = "\0"
"""Put before such a value, since argparse takes ``--`` out of values and ``=`` from their start."""

HOST_KEYS = ("strict", "accept-new", "off")
HOST_KEYS_DEFAULT = "ssh-config"
"""Values of `fastrr.model.HostKeyPolicy`."""

TRANSPORTS = ("auto", "stream", "rsync", "sftp")
"""Names of `fastrr.files.transports`."""

LOG_LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR")


class _Parser(argparse.ArgumentParser):
    """Errors as log lines and the tabled exit code."""

    def error(self, message: str) -> NoReturn:
        from fastrr.errors import UsageError

        unknown = "unrecognized arguments: "
        if message.startswith(unknown):  # whose values may be secrets, as of a mistyped --pass
            words = message.removeprefix(unknown).split(" ")
            shown = [word.partition("=")[0] for word in words if word.startswith("-")]
            message = unknown + " ".join(shown or ["a word that belongs to no option"])
        raise UsageError(f"{message} (fastrr --help says more)")


def parse(arguments: Sequence[str]) -> Options:
    """Parse the command line into what configs see as ``options``.

    :raises UsageError: when it makes no sense.
    """
    options = _parser().parse_args(_with_values_attached(arguments), Options())
    complete(options)
    return options


def _with_values_attached(arguments: Sequence[str]) -> list[str]:
    """Join options that take any value with it, so that ``--extra-args --pass`` is no riddle."""
    joined: list[str] = []
    rest = iter(arguments)
    for argument in rest:
        option, attached, value = argument.partition("=")
        if option not in TAKES_ANY_VALUE or (
            not attached and (value := next(rest, AS_IS)) == AS_IS  # there is no next
        ):
            joined.append(argument)
        else:
            joined.append(TAKES_ANY_VALUE[option] + AS_IS + value)
    return joined


def _as_is(value: str) -> str:
    return value.removeprefix(AS_IS)


def _parser() -> argparse.ArgumentParser:
    codes = "\n".join(f"  {code:>4}  {text}" for code, text in EXIT_CODE_MEANINGS.items())
    parser = _Parser(
        prog="fastrr",
        description="Copy what changed to many hosts and start programs there, in order, "
        "inside screen sessions, as a Python config file describes it.",
        epilog=f"exit codes:\n{codes}\n",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"fastrr {__version__}")
    _add_what(parser.add_argument_group("what to run"))
    _add_connecting(parser.add_argument_group("connecting"))
    _add_running(parser.add_argument_group("running"))
    _add_output(parser.add_argument_group("output"))
    return parser


def _add_what(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "-c", "--config", dest="config_file", required=True, metavar="FILE", help="the config file"
    )
    group.add_argument(
        "-m", "--muddler", action="append", metavar="FILE",
        help="a Python file whose muddle(config) changes the configuration; may be repeated",
    )  # fmt: skip
    group.add_argument(
        "--extra-args", type=_as_is, metavar="STRING",
        help="options for the --arg-parser, as one string",
    )  # fmt: skip
    group.add_argument(
        "-a", "--arg-parser", metavar="FILE",
        help="a Python file whose parse_args(extra_args) makes the config's extra_options",
    )  # fmt: skip
    group.add_argument(
        "-X", dest="extra_pairs", action="append", type=_as_is, default=[], metavar="KEY=VALUE",
        help="set extra_options.KEY; needs no arg parser; may be repeated",
    )  # fmt: skip


def _add_connecting(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "-u", "--user", metavar="NAME",
        help="user to log in as (default: what ssh's configuration says)",
    )  # fmt: skip
    group.add_argument(
        "-p", "--pass", dest="ssh_pass", type=_as_is, metavar="PASSWORD",
        help="password for logging in and for encrypted keys; safer: --ask-pass, or "
        f"{secret.ENVIRONMENT_VARIABLE} in the environment",
    )  # fmt: skip
    group.add_argument("--ask-pass", action="store_true", help="ask for the password")
    group.add_argument(
        "-F", "--ssh-config", metavar="FILE", help="use this file instead of ~/.ssh/config"
    )
    group.add_argument(
        "--host-keys", choices=HOST_KEYS,
        default=HOST_KEYS_DEFAULT,
        help="what to do about unknown host keys (default: what ssh's configuration says, "
        "accept-new where it says ask); changed keys are refused unless off, which "
        "sends the password, too",
    )  # fmt: skip
    group.add_argument(
        "--connect-timeout", type=_seconds, default=20.0, metavar="SECONDS",
        help="give up connecting to a host after this time (default: %(default)g)",
    )  # fmt: skip


def _add_running(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--screen", type=_session_name, default="runner", metavar="NAME",
        help="name of the screen sessions (default: %(default)s)",
    )  # fmt: skip
    group.add_argument(
        "--no-kill", dest="kill_first", action="store_false",
        help="leave sessions of this name that are still running alone",
    )  # fmt: skip
    group.add_argument(
        "--no-zombie", action="store_true", help="close the windows of programs that have ended"
    )
    group.add_argument(
        "--copy-only", action="store_true",
        help="stop after copying: nothing is started, no session is ended",
    )  # fmt: skip
    group.add_argument(
        "--always-copy", action="store_true", help="copy all files without comparing them first"
    )
    group.add_argument(
        "--transport", choices=TRANSPORTS, default=TRANSPORTS[0],
        help="how to send files (default: auto: rsync for large files that replace others, else "
        "one stream a host, else sftp)",
    )  # fmt: skip
    group.add_argument(
        "--rehash", action="store_true",
        help="compute all digests anew, whatever is remembered of earlier runs",
    )  # fmt: skip
    group.add_argument(
        "--allow-shared", action="append", type=_absolute, default=[], metavar="DIR",
        help="write to this directory of a host although everybody there may write to it: they are "
        "trusted with the whole account; may be repeated",
    )  # fmt: skip
    group.add_argument(
        "--keep-going", action="store_true",
        help="go on with the other hosts when one fails",
    )  # fmt: skip
    group.add_argument(
        "--timeout", type=_seconds, metavar="SECONDS",
        help="give up when the run, from the first connection to the last waited component, takes "
        "longer; "
        "what has been started keeps running",
    )  # fmt: skip
    group.add_argument(
        "--jobs", type=_jobs, default=_cpu_count(), metavar="N",
        help="number of worker processes (default: %(default)s, the number of CPU cores)",
    )  # fmt: skip


def _add_output(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "-l", "--log-level", type=str.upper, choices=LOG_LEVELS, default="INFO",
        help="least important log lines to show: %(choices)s (default: %(default)s)",
    )  # fmt: skip
    group.add_argument(
        "--timings", action="store_true",
        help="say at the end where the time went, by host and activity",
    )  # fmt: skip
    group.add_argument(
        "--trace", metavar="FILE",
        help="write the same, moment by moment, as Chrome trace events (for ui.perfetto.dev)",
    )  # fmt: skip
    group.add_argument("--no-progress", action="store_true", help="show no progress bars")


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0
    if not 0 < seconds < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} is no number of seconds above 0")
    return seconds


def _jobs(text: str) -> int:
    if not re.fullmatch(r"\d{1,6}", text, re.ASCII) or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of workers: write 1 or more")
    return int(text)


def _absolute(text: str) -> str:
    if not text.startswith("/"):
        raise argparse.ArgumentTypeError(
            f"{text!r} is no absolute path: write the directory as it is called on the host"
        )
    return text


def _session_name(text: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9_@%+=:,][A-Za-z0-9_@%+=:,.-]{0,49}", text):
        raise argparse.ArgumentTypeError(
            f"{text!r} can't be a session's name: up to 50 letters, digits and _@%+=:,.- are"
        )
    return text


def _cpu_count() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
