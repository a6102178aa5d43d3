"""Quoting and framing of what is sent to a POSIX shell. Pure.

Everything fastrr runs on a host is a script for ``sh``, sent on standard input to
`SHELL_COMMAND`: the account's login shell, be it csh or fish, only ever sees that one short
command. ``sh`` reads the whole script before it runs any of it, and the script is one compound
command: a connection that breaks half-way never runs half a script.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterable, Sequence
from functools import lru_cache
from posixpath import commonpath, normpath
from posixpath import join as join_path
from typing import NamedTuple

SHELL_COMMAND = "exec sh -c 'eval \"$(cat)\"'"
"""What the login shell is asked to run; understood alike by POSIX shells, csh, tcsh and fish.

A plain ``exec sh`` would do, but bash reads a script from a pipe byte by byte: measured with
1.8 MB of script, 0.70 s as ``bash`` and 0.26 s as ``bash -c 'eval "$(cat)"'`` (dash: 0.04, 0.05).
"""

_PLAIN_WORD = re.compile(r"[A-Za-z0-9_@%+=:,./-]+")


def quote(text: str) -> str:
    """Return ``text`` as one word of a POSIX shell (POSIX.1-2017, XCU 2.2.2, single-quotes).

    :raises ValueError: for a NUL, which no argument of a Unix process can hold.
    """
    if "\0" in text:
        raise ValueError("a NUL character can't be part of an argument")
    if _PLAIN_WORD.fullmatch(text):
        return text
    return "'" + text.replace("'", "'\\''") + "'"


def join(words: Iterable[str]) -> str:
    """Return ``words`` quoted and separated by spaces."""
    return " ".join(quote(word) for word in words)


def to_bytes(text: str) -> bytes:
    """Encode as Python decodes file names and arguments: UTF-8, stray bytes as surrogates."""
    return text.encode("utf-8", "surrogateescape")


def to_text(data: bytes) -> str:
    """Undo `to_bytes`: every byte sequence survives the round trip."""
    return data.decode("utf-8", "surrogateescape")


def here_document(lines: Sequence[str]) -> str:
    """Return a redirection ``<<'MARK'`` with ``lines`` as its literal content.

    The caller puts it at the end of a command line. No line may hold a newline.
    """
    mark = "FASTRR_END_OF_LINES"
    while mark in lines:
        mark += "_"
    body = "".join(f"{line}\n" for line in lines)
    return f"<<'{mark}'\n{body}{mark}\n"


def is_plain(word: str) -> bool:
    """Whether any shell, csh and fish included, takes ``word`` as it is."""
    return _PLAIN_WORD.fullmatch(word) is not None


_GARBLED = re.compile(r"[\n\r\\]")


def fits_a_line(path: str) -> bool:
    """Whether tools that read and write a path a line give it back unchanged.

    A newline would end the line; sha1sum escapes backslashes and (coreutils 9) carriage returns.
    """
    return _GARBLED.search(path) is None


def parent(path: str) -> str:
    """Return the directory of a path on a host; ten times as fast as `posixpath.dirname`.

    The path is in the form of `fastrr.model`: no double slashes, none at the end.
    """
    directory, slash, _ = path.rpartition("/")
    return directory or slash


@lru_cache(maxsize=1 << 17)
def absolute(path: str, home: str) -> str:
    """Return a path on a host as an absolute one, ``home`` being the login directory.

    One string for all hosts with the same home: there may be 10,000 files and 64 hosts.
    """
    return path if path.startswith("/") else normpath(join_path(home, path))


def common_directory(paths: Sequence[str]) -> str:
    """Return the deepest directory that all files are in; empty where there is no telling.

    It is absolute, or begins with ``.``: so `cd` takes it as it is, whatever CDPATH says.
    """
    directories = list(dict.fromkeys(map(parent, paths)))
    if len({path.startswith("/") for path in directories}) > 1:
        return ""
    common = commonpath(directories)
    common = common if common.startswith("/") else join_path(".", common).rstrip("/")
    inside = common.rstrip("/") + "/"
    return common if all(path.startswith(inside) for path in paths) else ""


def inside(directory: str, path: str) -> str:
    """Return a path as it is from a directory that it is in."""
    return path[len(directory.rstrip("/")) + 1 :]


def below(common: str, path: str) -> str:
    """Return a path as it is from `common_directory`; never one that looks like an option."""
    return f"./{inside(common, path)}" if common else path


_STATUS_DIGITS = 3


class Script(NamedTuple):
    """A script ready to be sent, with the marks that frame its answer.

    ``text`` goes to the standard input of ``sh``. What the script prints lies between a line
    ``begin`` and a line ``end STATUS``; noise of login scripts before and after is harmless.
    """

    text: str
    nonce: str

    @property
    def data(self) -> bytes:
        return to_bytes(self.text)

    @property
    def begins(self) -> str:
        """A line of plain words: what comes after it on standard error is the script's own."""
        return f"@fastrr {self.nonce} begin"

    def errors_of(self, errors: bytes) -> bytes:
        """Return what the script wrote to standard error, freed of the noise before it."""
        mark = f"{self.begins}\n".encode()
        _, found, own = errors.partition(mark)
        return own.replace(mark, b"") if found else errors

    def body_of(self, output: bytes) -> tuple[bytes, int] | None:
        """Return what the script printed and its status, or None if the frame is not whole."""
        begin = f"@fastrr {self.nonce} begin\n".encode()
        end = f"\n@fastrr {self.nonce} end ".encode()
        start = output.find(begin)
        stop = output.rfind(end)
        if start < 0 or stop < start:
            return None
        status, newline, _ = output[stop + len(end) :].partition(b"\n")
        if not newline or not (status.isdigit() and len(status) <= _STATUS_DIGITS):
            return None
        return output[start + len(begin) : stop], int(status)


def script(body: str, nonce: str | None = None) -> Script:
    """Frame ``body`` (commands, a newline after each) as a `Script`.

    The body runs in a subshell with an empty standard input; its exit status is reported.
    """
    nonce = nonce or secrets.token_hex(8)
    text = (
        "{\n"
        f"echo '@fastrr {nonce} begin'\n"
        f"echo '@fastrr {nonce} begin' >&2\n"
        "(\n"
        f"{body}"
        f")\n"
        f'printf "\\n@fastrr {nonce} end %s\\n" "$?"\n'
        "} </dev/null\n"
    )
    return Script(text, nonce)
