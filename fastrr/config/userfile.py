"""Running the user's files (config, muddlers, arg parser) and saying where they went wrong."""

from __future__ import annotations

import contextlib
import difflib
import os
import re
import sys
import tokenize
import traceback
from collections.abc import Iterable, Iterator, Mapping
from types import ModuleType

from fastrr.config.component import Component
from fastrr.errors import ConfigError, Problem


def execute(path: str, names: Mapping[str, object], module: str, directory: str) -> ModuleType:
    """Run the Python file at ``path`` with ``names`` as globals; return it as a module.

    ``directory`` is the working directory meanwhile. Modules beside the file can be imported,
    also later, by its functions: `imports_undone` ends that.

    :raises ConfigError: when it can't be read or compiled, or ends with an exception.
    """
    source = _read(path)
    created = ModuleType(module)
    created.__file__ = path
    created.__dict__.update(names)
    sys.modules[module] = created
    sys.path.insert(0, os.path.dirname(path))
    with telling_where(path), _working_directory(directory):
        exec(compile(source, path, "exec", dont_inherit=True), created.__dict__)  # noqa: S102
    return created


def _read(path: str) -> str:
    try:
        with tokenize.open(path) as file:
            return file.read()
    except OSError as error:
        raise ConfigError([Problem(f"can't be read: {error.strerror}", path)]) from error
    except (SyntaxError, UnicodeDecodeError) as error:
        reason = str(error).partition(" for ")[0]  # the path follows, which is said already
        what = "save it in UTF-8, or name its encoding in the first line: # coding: latin-1"
        line = _first_line_not_utf_8(path)
        raise ConfigError([Problem(f"can't be read: {reason}; {what}", path, line)]) from error


def _first_line_not_utf_8(path: str) -> int | None:
    with open(path, encoding="utf-8", errors="surrogateescape") as file:
        lines = enumerate(file, 1)
        return next((n for n, line in lines if re.search("[\udc80-\udcff]", line)), None)


@contextlib.contextmanager
def _working_directory(directory: str) -> Iterator[None]:
    before = os.getcwd()
    os.chdir(directory)
    try:
        yield
    finally:
        os.chdir(before)


@contextlib.contextmanager
def imports_undone() -> Iterator[None]:
    """Take the directories of the user's files off the import path afterwards.

    What fastrr and its libraries import later is not to be found beside a config.
    """
    before = list(sys.path)
    try:
        yield
    finally:
        sys.path[:] = before


@contextlib.contextmanager
def telling_where(path: str, exits: bool = False) -> Iterator[None]:
    """Turn any exception of the user's code into a ConfigError with file, line and hint.

    ``exits``: SystemExit goes through with the statuses argparse and optparse end with after
    ``--help`` (0) and after an error that they have printed (2).
    """
    try:
        yield
    except (ConfigError, KeyboardInterrupt):
        raise
    except SyntaxError as error:
        raise ConfigError([_syntax_problem(error, path)]) from error
    except SystemExit as error:
        if exits and error.code in (None, 0, 2):
            raise
        code = "" if error.code is None else repr(error.code)
        raise ConfigError([_problem(error, path, f"it called sys.exit({code})")]) from error
    except BaseException as error:
        text = str(error) or "no message"
        message = text if isinstance(error, AttributeError) else f"{type(error).__name__}: {text}"
        if hint := _hint(error):
            message += f" ({hint})"
        raise ConfigError([_problem(error, path, message)]) from error


def _problem(error: BaseException, path: str, message: str) -> Problem:
    """Place ``message`` at the innermost line of ``path``, naming the place it called, if other."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if frame.filename == path]
    line = own[-1].lineno if own else None
    last = frames[-1] if frames else None
    package = os.path.dirname(os.path.dirname(__file__))
    if own and last and last.filename != path and not last.filename.startswith(package):
        message += f" [in {last.filename}:{last.lineno}]"
    return Problem(message, path, line)


def _syntax_problem(error: SyntaxError, path: str) -> Problem:
    message = f"{type(error).__name__}: {error.msg}"
    line = (error.text or "").strip()
    if not re.search(_SAYS_IT_ALL, error.msg):
        for pattern, advice in _PYTHON_2_SYNTAX.items():
            if re.search(pattern, line):
                message += f" (Python 2: {advice})"
                break
    if line:
        message += f": {line}"
    if error.filename is None or not os.path.isfile(error.filename):  # eval(), exec()
        return _problem(error, path, message)
    return Problem(message, error.filename, error.lineno)


_SAYS_IT_ALL = "unterminated|never closed|unmatched|does not match|indent"
"""Messages about something else than Python 2, whatever the line looks like."""


_PYTHON_2_SYNTAX = {
    r"^print\b(?!\s*\()": "write print(...)",
    r"^exec\b(?!\s*\()": "write exec(...)",
    r"^except\s+[\w.()\s,]+,\s*\w+\s*:": "write `except Error as name:`",
    r"^raise\s+[\w.]+\s*,": "write raise Error(message)",
    r"(?<![\w.])0\d+\b": "write octal numbers as 0o775",
    r"<>": "write !=",
    r"`": "write repr(x) for `x`",
    r"\b\d+[lL]\b": "write numbers without L",
    r"\b[uU][rR]['\"]": "write r'...' for ur'...'",
    r"lambda\s*\(": "a lambda can't unpack a tuple: take one argument and index it",
}

_PYTHON_2_NAMES = {
    "xrange": "range()",
    "raw_input": "input()",
    "unicode": "str",
    "basestring": "str",
    "long": "int",
    "unichr": "chr()",
    "file": "open()",
    "execfile": "exec(open(path).read())",
    "reduce": "functools.reduce()",
    "reload": "importlib.reload()",
    "cmp": "(a > b) - (a < b)",
}

_PYTHON_2_ATTRIBUTES = {
    "iteritems": "items()",
    "iterkeys": "keys()",
    "itervalues": "values()",
    "viewitems": "items()",
    "viewkeys": "keys()",
    "viewvalues": "values()",
    "has_key": "`key in dict`",
    "getcwdu": "getcwd()",
    "letters": "ascii_letters",
    "maketrans": "str.maketrans()",
    "decode": "needless: text is Unicode already",
    "maxint": "sys.maxsize",
    "izip": "zip()",
    "imap": "map()",
    "ifilter": "filter()",
    "izip_longest": "itertools.zip_longest()",
    "urlopen": "urllib.request.urlopen()",
    "urlencode": "urllib.parse.urlencode()",
}
"""Of objects and modules; also in ``from module import name``."""

_PYTHON_2_MODULES = {
    "ConfigParser": "configparser",
    "Queue": "queue",
    "StringIO": "io",
    "cStringIO": "io",
    "cPickle": "pickle",
    "urllib2": "urllib.request",
    "urlparse": "urllib.parse",
    "commands": "subprocess",
    "SocketServer": "socketserver",
    "__builtin__": "builtins",
}


_PYTHON_2_VALUES = {
    r"['\"](range|map|filter|zip|dict_\w+)['\"]": (
        "write list(...) around it: range, map, filter, zip and dict.keys() give no lists"
    ),
    r"'float' object cannot be interpreted as an int|indices must be integers .*not float": (
        "write // where the result of a division is to be whole"
    ),
    r"bytes-like object is required, not 'str'|concat str to bytes|not \"bytes\"\) to str": (
        "what programs print is bytes now: .decode() it"
    ),
    # The first is how Python says it up to 3.12, the second from 3.13 on.
    r"'cmp' is an invalid keyword|unexpected keyword argument 'cmp'"
    r"|^sort\(\) takes no positional|^sorted expected 1 argument": (
        "write key=functools.cmp_to_key(...)"
    ),
}


_GIVEN = ("config", "util", "options", "extra_options")
"""Names that no file needs to import."""


def _hint(error: BaseException) -> str | None:
    """Say what to change where Python 2's habits or a slip of the pen are the likely reason."""
    if isinstance(error, ModuleNotFoundError) and error.name in _GIVEN:
        return f"{error.name} is here already: leave out the import"
    return _python_2_hint(error) or _extra_options_hint(error) or _nearest(error)


def _python_2_hint(error: BaseException) -> str | None:
    match error:
        case NameError():
            old, table = error.name, _PYTHON_2_NAMES
        case ModuleNotFoundError():
            old, table = error.name, _PYTHON_2_MODULES
        case AttributeError():
            old, table = error.name, _PYTHON_2_ATTRIBUTES
        case ImportError():
            imported = re.match(r"cannot import name '(\w+)'", str(error))
            old, table = (imported[1] if imported else None), _PYTHON_2_ATTRIBUTES
        case _:
            old, table = None, {}
    if old in table:
        return f"Python 2's {old} is now {table[old]}"
    if isinstance(error, (TypeError, AttributeError)):
        for pattern, advice in _PYTHON_2_VALUES.items():
            if re.search(pattern, str(error)):
                return f"Python 2: {advice}"
    return None


def _extra_options_hint(error: BaseException) -> str | None:
    """Say where a missing ``extra_options.NAME`` comes from."""
    frames = traceback.extract_tb(error.__traceback__)
    if not isinstance(error, AttributeError) or not frames:
        return None
    if not re.search(rf"\bextra_options\.{error.name}\b", frames[-1].line or ""):
        return None
    return f"give it on the command line: -X {error.name}=..., or as the --arg-parser wants it"


def _nearest(error: BaseException) -> str | None:
    """Return the name most like the one that does not exist."""
    known: Iterable[str] = ()
    name = getattr(error, "name", None)
    if isinstance(error, AttributeError) and not isinstance(error.obj, Component):
        known = dir(error.obj)
    elif isinstance(error, NameError) and error.__traceback__ is not None:
        *_, (frame, _) = traceback.walk_tb(error.__traceback__)
        known = {**frame.f_builtins, **frame.f_globals, **frame.f_locals}
    nearest = difflib.get_close_matches(name or "", [n for n in known if n[:1] != "_"], 1, 0.7)
    return f"did you mean {nearest[0]!r}?" if nearest else None
