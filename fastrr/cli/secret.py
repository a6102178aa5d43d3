"""Keeping the password out of what ``ps`` shows."""

from __future__ import annotations

import os
from collections.abc import Iterable

ENVIRONMENT_VARIABLE = "FASTRR_PASS"


def take_from_environment() -> str | None:
    """Return the password in the environment, which no child gets to see any more."""
    return os.environ.pop(ENVIRONMENT_VARIABLE, None)


def hide(secret: str) -> None:
    """Overwrite the password ``secret`` in this process's own argument and environment strings.

    These are what ``/proc/PID/cmdline`` and ``/proc/PID/environ`` show (proc_pid_cmdline(5)), and
    forked workers inherit them. ``/proc/self/stat`` says where they are: fields 48 to 51,
    arg_start to env_end (proc_pid_stat(5)). Where there is no such file, nothing happens.
    Between the start of the program and this call the secret can be seen.

    Of the environment only the variable that is ours is touched: these very strings are what
    children get, and HOME=/root must stay what it is where the password is "root".
    """
    try:
        with open("/proc/self/stat", "rb") as file:
            fields = file.read().rpartition(b") ")[2].split()
        start, argv_end, environ, end = (int(field) for field in fields[45:49])
    except (OSError, ValueError):
        return
    value = os.fsencode(secret)
    if value:
        _overwrite(start, argv_end, value, (b"", b"-p", b"-p=", b"--pass="))
        _overwrite(environ, end, value, (os.fsencode(f"{ENVIRONMENT_VARIABLE}="),))


def _overwrite(start: int, end: int, value: bytes, prefixes: Iterable[bytes]) -> None:
    """Put stars over ``value`` in each of the NUL-terminated strings that is a prefix and it."""
    import ctypes

    wanted = {prefix + value for prefix in prefixes}
    for string in ctypes.string_at(start, end - start).split(b"\0"):
        if string in wanted:
            ctypes.memset(start + len(string) - len(value), ord("*"), len(value))
        start += len(string) + 1
