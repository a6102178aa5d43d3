"""What the attributes of a component may be: names, types, characters. Nothing is looked up."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Callable, Mapping
from functools import lru_cache

from fastrr.components.state import directory_name
from fastrr.config.component import REQUIRED_ATTRIBUTES, Component
from fastrr.hosts.ssh.target import Address
from fastrr.model import LOCALHOST

MAX_NAME_BYTES = 200
"""A component's name becomes a directory's; NAME_MAX is 255."""


def check_attributes(component: Component, wrong: Callable[[str], None]) -> None:
    """Check presence and types of a component's attributes; ``wrong`` gets each problem."""
    values = component.__dict__
    if missing := [name for name in REQUIRED_ATTRIBUTES if values.get(name) is None]:
        *others, last = missing
        wrong(f"{', '.join(others)}{' and ' if others else ''}{last} must be set")
    for attribute, check in _CHECKS.items():
        value = values.get(attribute)
        if value is not None and (reason := check(value)):
            wrong(f"{attribute}{'' if reason.startswith('[') else ' '}{reason}")
        elif value is None and attribute in _NEVER_NONE:
            wrong(f"{attribute} is None: leave it out, or give it a value")
    if values.get("host") != LOCALHOST:
        _check_home(values, wrong)


def _check_home(values: Mapping[str, object], wrong: Callable[[str], None]) -> None:
    """Refuse what a shell on the host would expand, and fastrr does not."""
    base_dir, executable = str(values.get("base_dir", "")), str(values.get("executable", ""))
    if re.match(r"~[^/]", base_dir):
        wrong(f"base_dir {base_dir!r}: of homes, only one's own is known (~/...): write the path")
    if executable.startswith("~"):
        wrong(
            f"executable {executable!r}: ~ is not expanded here: write an absolute path, or one "
            "relative to base_dir"
        )


def _check_name(value: object) -> str | None:
    if not isinstance(value, str) or not value.strip():
        return f"must be a string that is not empty, not {value!r}"
    if re.search(r"[\x00-\x1f\x7f]", value):
        return "has a control character in it"
    if reason := _check_text(value):
        return reason
    if len(os.fsencode(directory_name(value))) > MAX_NAME_BYTES:
        return f"is too long: it names a directory, which takes {MAX_NAME_BYTES} bytes"
    return None


def _check_path(value: object) -> str | None:
    if type(value) is str and value:
        return _check_text(value)
    path = os.fspath(value) if isinstance(value, (str, os.PathLike)) else None
    if not isinstance(path, str) or not path:
        return f"must be a path, not {value!r}"
    return _check_text(path)


@lru_cache(maxsize=1 << 17)
def _check_text(value: str) -> str | None:
    """Return why a string can't be the bytes of a name, an argument or a variable."""
    try:
        encoded = os.fsencode(value)
    except UnicodeEncodeError as error:
        return f"has a character that can't be encoded: {error.object[error.start]!r} in {value!r}"
    return f"has a NUL character in it: {value!r}" if b"\0" in encoded else None


def _check_host(value: object) -> str | None:
    if not isinstance(value, str):
        return f"must be a string, not {value!r}"
    try:
        Address.parse(value)
    except ValueError as error:
        return str(error)
    return None


def _check_args(value: object) -> str | None:
    if not isinstance(value, (list, tuple)):
        return f"must be a list of strings, not {value!r}"
    for number, arg in enumerate(value):
        if not isinstance(arg, (str, bytes, os.PathLike)):
            return f"[{number}] must be a string, not {arg!r}: write {str(arg)!r}"
        if reason := _check_text(os.fsdecode(arg)):
            return f"[{number}] {reason}"
    return None


def check_files(value: object) -> str | None:
    """Return what is wrong with a value of ``files``."""
    if not isinstance(value, Mapping):
        return f"must be a dict of local path: path on the host, not {value!r}"
    for key, destination in value.items():
        if reason := _check_path(key):
            return f"has a key that {reason}"
        if reason := _check_path(destination):
            return f"[{os.fspath(key)!r}] {reason}"
    return None


def _check_dirs(value: object) -> str | None:
    if not isinstance(value, (list, tuple, set)):
        return f"must be a list of paths, not {value!r}"
    for number, path in enumerate(value):
        if reason := _check_path(path):
            return f"[{number}] {reason}"
    return None


def _check_env(value: object) -> str | None:
    if not isinstance(value, Mapping):
        return f"must be a dict of name: value, not {value!r}"
    for name, setting in value.items():
        if not isinstance(name, str) or not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name):
            return f"has a name that is none for an environment variable: {name!r}"
        if not isinstance(setting, str):
            return f"[{name!r}] must be a string, not {setting!r}: write {str(setting)!r}"
        if reason := _check_text(setting):
            return f"[{name!r}] {reason}"
    return None


def _check_start_index(value: object) -> str | None:
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not is_number or (isinstance(value, float) and math.isnan(value)):
        return f"must be a number, not {value!r}"
    return None


def _check_bool(value: object) -> str | None:
    return None if isinstance(value, (bool, int)) else f"must be True or False, not {value!r}"


_CHECKS: dict[str, Callable[[object], str | None]] = {
    "name": _check_name,
    "executable": _check_path,
    "host": _check_host,
    "start_index": _check_start_index,
    "args": _check_args,
    "base_dir": _check_path,
    "files": check_files,
    "dirs": _check_dirs,
    "env": _check_env,
    "wait": _check_bool,
    "expand": _check_bool,
}
_NEVER_NONE = ("args", "files", "dirs", "env")
