"""A run from options to exit code. The only printer of errors."""

from __future__ import annotations

import contextlib
import logging
import secrets
import sys
import traceback
from collections.abc import Iterator
from typing import IO

from fastrr.components.settings import SessionSettings
from fastrr.config.load import load
from fastrr.config.options import Options
from fastrr.errors import FastrrError, UsageError
from fastrr.events import Event
from fastrr.exitcodes import ExitCode
from fastrr.files.ledger import default_path
from fastrr.files.settings import FileSettings
from fastrr.hosts import warm_up
from fastrr.model import HostKeyPolicy, SshSettings
from fastrr.run.deploy import RunOptions, deploy
from fastrr.text import printable_lines
from fastrr.ui.progress import LogHandler, PlainDisplay, TerminalDisplay
from fastrr.ui.table import table
from fastrr.ui.timings import Timings

logger = logging.getLogger("fastrr")


def execute(options: Options) -> int:
    """Do what ``options`` ask for; return the exit status."""
    with _logging(options.log_level) as handler:
        try:
            return _run(options, handler)
        except KeyboardInterrupt:
            logger.error("interrupted")
            return ExitCode.INTERRUPTED
        except Exception as error:  # noqa: BLE001 (nothing may look like a crash)
            return _explain(error)


def tell(error: Exception) -> int:
    """Print an error that came before there were options; return its exit status."""
    with _logging("INFO"):
        return _explain(error)


@contextlib.contextmanager
def _logging(level: str) -> Iterator[LogHandler]:
    handler = LogHandler()
    root = logging.getLogger()
    root.addHandler(handler)
    root.setLevel(level)
    logging.getLogger("paramiko").setLevel(logging.CRITICAL)
    try:
        yield handler
    finally:
        root.removeHandler(handler)


def _explain(error: Exception) -> int:
    if isinstance(error, FastrrError):
        for line in str(error).splitlines():
            logger.error("%s", line)
    else:
        name = type(error).__name__
        logger.error("%s: %s (this is a fault of fastrr; -l DEBUG shows where)", name, error)
    logger.debug("%s", "".join(traceback.format_exception(error)))
    return getattr(error, "exit_code", FastrrError.exit_code)


def _run(options: Options, handler: LogHandler) -> int:
    deployment = load(options)
    # It is None where it was closed before Python began (`2>&-`).
    on_terminal = sys.stderr is not None and sys.stderr.isatty() and not options.no_progress
    display = TerminalDisplay() if on_terminal else PlainDisplay()
    handler.display = display if isinstance(display, TerminalDisplay) else None
    ssh = SshSettings(
        options.user, options.ssh_pass, options.ssh_config, HostKeyPolicy(options.host_keys)
    )
    # Not in a thread beside it: before Python 3.13 one that was joined may still be ending, inside
    # OpenSSL and with a lock of it held, which workers forked just then would wait for for ever.
    warm_up([plan.host for plan in deployment.hosts], ssh)
    conduct = RunOptions(
        jobs=options.jobs,
        files=FileSettings(
            transport=options.transport,
            allow_shared=tuple(options.allow_shared),
            rehash=options.rehash,
            ledger=default_path(),
            gmac_key=secrets.token_bytes(16),
            temporary_prefix=f"fastrr-{options.screen}",
        ),
        session=SessionSettings(
            name=options.screen,
            run_id=secrets.token_hex(6),
            kill_first=options.kill_first,
            zombie=not options.no_zombie,
        ),
        connect_timeout_s=options.connect_timeout,
        always_copy=options.always_copy,
        copy_only=options.copy_only,
        keep_going=options.keep_going,
        time_limit_s=options.timeout,
    )
    timings = Timings()

    def tell(event: Event) -> None:
        timings.take(event)
        display.show(event)

    trace = _open_trace(options.trace)
    try:
        report = deploy(deployment, ssh, conduct, tell)
    finally:
        display.close()
        handler.display = None
        if trace is not None:
            _write_trace(timings, trace)
    _print(table(report))
    if options.timings:
        _print("\n" + timings.table())
    return report.exit_code


def _open_trace(path: str | None) -> IO[str] | None:
    """Open it before anything is done: a run whose trace can't be written is not started.

    :raises UsageError: when it can't be opened.
    """
    try:
        return None if path is None else open(path, "w", encoding="utf-8")
    except OSError as error:
        raise UsageError(f"--trace {path}: it can't be written: {error.strerror}") from error


def _write_trace(timings: Timings, file: IO[str]) -> None:
    try:
        with file:
            timings.write_trace(file)
    except OSError as error:  # what was done stays done
        logger.error("--trace %s: it could not be written: %s", file.name, error.strerror)


def _print(text: str) -> None:
    """Print, whatever standard output takes: what happened does not change by being read or not."""
    text = printable_lines(text)
    try:
        print(text, end="", flush=True)
    except UnicodeEncodeError:
        print(text.encode("ascii", "replace").decode(), end="", flush=True)
    except OSError:
        sys.stdout = None  # else Python would complain of it once more at its end
