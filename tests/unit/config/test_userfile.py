"""Running the user's files: their surroundings, and what is said where they go wrong."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from fastrr.config import userfile
from fastrr.config.component import Component, Config
from fastrr.config.userfile import execute, imports_undone, telling_where
from fastrr.errors import ConfigError, Problem


@pytest.fixture(autouse=True)
def import_path_as_before() -> Iterator[None]:
    with imports_undone():
        yield


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "config.py"


def run(path: Path, text: str, **names: object) -> ModuleType:
    path.write_text(text)
    return execute(str(path), names, "fastrr_config", str(path.parent))


def problem(path: Path, text: str, **names: object) -> Problem:
    """Return the one problem with ``text``."""
    with pytest.raises(ConfigError) as caught:
        run(path, text, **names)
    (found,) = caught.value.problems
    return found


# surroundings


def test_the_file_is_run_with_the_names_as_globals(path: Path) -> None:
    module = run(path, "y = x + 1\nwhere = __file__", x=1)
    assert (module.y, module.where) == (2, str(path))


def test_the_working_directory_is_the_one_wanted_and_then_as_before(
    path: Path, tmp_path: Path
) -> None:
    before = os.getcwd()
    assert run(path, "import os\nhere = os.getcwd()").here == str(tmp_path)
    assert os.getcwd() == before
    problem(path, "raise ValueError")
    assert os.getcwd() == before


def test_modules_beside_it_can_be_imported_now_and_later(path: Path, tmp_path: Path) -> None:
    (tmp_path / "fastrr_test_now.py").write_text("x = 1")
    (tmp_path / "fastrr_test_later.py").write_text("x = 2")
    with imports_undone():
        module = run(
            path,
            "from fastrr_test_now import x\n"
            "def later():\n    from fastrr_test_later import x\n    return x\n",
        )
        assert (module.x, module.later()) == (1, 2)


def test_the_import_path_is_as_before_afterwards(path: Path, tmp_path: Path) -> None:
    with imports_undone():
        run(path, "import sys\nsys.path.append('/of/the/users')")
        assert sys.path[0] == str(tmp_path)
    assert str(tmp_path) not in sys.path
    assert "/of/the/users" not in sys.path


def test_our_future_imports_are_not_the_users(path: Path) -> None:
    assert run(path, "def f(x: int): pass").f.__annotations__ == {"x": int}


def test_a_declared_encoding_is_honoured(path: Path) -> None:
    path.write_bytes(b"# coding: latin-1\nx = '\xe9'\n")
    assert execute(str(path), {}, "fastrr_config", "/").x == "é"


def test_its_classes_and_dataclasses_work(path: Path) -> None:
    text = "from dataclasses import dataclass\n@dataclass\nclass P:\n    x: int = 3\np = P()"
    assert run(path, text).p.x == 3


# what is said


def test_any_exception_is_told_with_file_and_line(path: Path) -> None:
    assert problem(path, "x = 1\n\nraise KeyError('k')\n") == Problem("KeyError: 'k'", str(path), 3)


def test_one_without_a_message_is_told_by_its_class(path: Path) -> None:
    assert problem(path, "raise ValueError").message == "ValueError: no message"


def test_the_line_is_the_innermost_of_the_file_itself(path: Path) -> None:
    text = "import json\ndef f():\n    return json.loads('{')\nf()\n"
    found = problem(path, text)
    assert (found.file, found.line) == (str(path), 3)
    assert found.message.startswith("JSONDecodeError: ")
    assert found.message.endswith("]")
    assert f" [in {os.path.dirname(os.__file__)}/json/decoder.py:" in found.message


def test_an_error_inside_fastrr_names_the_users_line_only(path: Path) -> None:
    found = problem(path, "config.add_component(3)", config=Config())
    assert str(found) == f"{path}:1: TypeError: add_component() takes a Component, not 3"


def test_an_unknown_attribute_of_a_component_is_told_once(path: Path) -> None:
    found = problem(path, "c = Component()\nc.nam = 1\n", Component=Component)
    assert str(found) == (f"{path}:2: a component has no attribute 'nam': did you mean 'name'?")


def test_a_syntax_error_shows_the_line(path: Path) -> None:
    found = problem(path, "x = 1\nif x\n    pass\n")
    assert (found.line, found.message) == (2, "SyntaxError: expected ':': if x")


def test_a_syntax_error_in_an_imported_module_is_told_there(path: Path, tmp_path: Path) -> None:
    broken = tmp_path / "fastrr_test_broken.py"
    broken.write_text("\nx = = 1\n")
    found = problem(path, "import fastrr_test_broken\n")
    assert (found.file, found.line) == (str(broken), 2)


@pytest.mark.parametrize("call", ["eval('1 +')", "exec('x = = 1')"])
def test_a_syntax_error_in_a_string_is_told_where_it_is_run(path: Path, call: str) -> None:
    found = problem(path, f"\n{call}\n")
    assert (found.file, found.line) == (str(path), 2)
    assert found.message.startswith("SyntaxError: invalid syntax: ")


@pytest.mark.parametrize(
    ("call", "shown"),
    [("sys.exit()", ""), ("sys.exit(3)", "3"), ("sys.exit('no')", "'no'"), ("exit()", "")],
)
def test_ending_the_program_is_an_error(path: Path, call: str, shown: str) -> None:
    found = problem(path, f"import sys\n{call}\n")
    assert found.message.startswith(f"it called sys.exit({shown})")
    assert found.line == 2


@pytest.mark.parametrize("status", [None, 0, 2])
def test_an_arg_parser_may_end_as_argparse_does(status: int | None) -> None:
    with pytest.raises(SystemExit) as ended, telling_where("/parser.py", exits=True):
        sys.exit(status)
    assert ended.value.code == status


@pytest.mark.parametrize("status", [1, 3, "no such thing"])
def test_but_not_with_a_status_that_means_something_else(status: int | str) -> None:
    with pytest.raises(ConfigError) as caught, telling_where("/parser.py", exits=True):
        sys.exit(status)
    assert str(caught.value) == f"/parser.py: it called sys.exit({status!r})"


def test_problems_pass_through_as_they_are() -> None:
    error = ConfigError([Problem("x")])
    with pytest.raises(ConfigError) as caught, telling_where("/config.py"):
        raise error
    assert caught.value is error


def test_an_interrupt_is_not_the_configs_error(path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        run(path, "raise KeyboardInterrupt")


def test_an_exception_of_any_kind_is(path: Path) -> None:
    assert str(problem(path, "raise BaseException('x')")) == f"{path}:1: BaseException: x"


def test_a_file_that_can_not_be_opened(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        execute(str(tmp_path), {}, "fastrr_config", "/")
    assert str(caught.value) == f"{tmp_path}: can't be read: Is a directory"


@pytest.mark.parametrize("line", [1, 2, 5000])
def test_a_file_that_is_not_utf_8_says_where_and_what_to_do(path: Path, line: int) -> None:
    path.write_bytes(b"# fine\n" * (line - 1) + b"x = '\xe9'\n")
    with pytest.raises(ConfigError) as caught:
        execute(str(path), {}, "fastrr_config", "/")
    told = str(caught.value)
    assert told.startswith(f"{path}:{line}: can't be read: ")
    assert told.endswith(
        "save it in UTF-8, or name its encoding in the first line: # coding: latin-1"
    )


def test_an_unknown_encoding_is_named(path: Path) -> None:
    assert "can't be read: unknown encoding" in problem(path, "# coding: klingon\n").message


def test_a_nul_byte_is_told_without_a_traceback(path: Path) -> None:
    assert "null bytes" in problem(path, "x = 1\n\0").message


# slips of the pen


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("c = Componet()", "Component"),
        ("confg.add_component(3)", "config"),
        ("config.add_componnet(3)", "add_component"),
        ("utill.hosts('a')", "util"),
        ("config.all_componets()", "all_components"),
        ("def f(number):\n    return numbr\nf(1)", "number"),
        ("pritn(1)", "print"),
    ],
)
def test_the_nearest_name_is_told(path: Path, text: str, meant: str) -> None:
    names = {"config": Config(), "Component": Component, "util": object()}
    assert problem(path, text, **names).message.endswith(f" (did you mean {meant!r}?)")


@pytest.mark.parametrize("text", ["import util", "from options import x"])
def test_what_is_given_needs_no_import(path: Path, text: str) -> None:
    name = text.split()[1]
    assert problem(path, text).message == (
        f"ModuleNotFoundError: No module named '{name}' "
        f"({name} is here already: leave out the import)"
    )


def test_where_no_name_is_near_none_is_told(path: Path) -> None:
    assert problem(path, "xyzzy()").message == "NameError: name 'xyzzy' is not defined"


def test_private_names_are_not_told(path: Path) -> None:
    assert problem(path, "_secret = 1\nsecret").message == "NameError: name 'secret' is not defined"


@pytest.mark.parametrize("extra_options", [None, object()])
def test_a_missing_extra_option_says_how_to_give_it(path: Path, extra_options: object) -> None:
    found = problem(path, "x = extra_options.nodes", extra_options=extra_options)
    assert "(give it on the command line: -X nodes=..., or as the --arg-parser" in found.message


# Python 2


@pytest.mark.parametrize(
    ("text", "advice"),
    [
        ('print "x"', "write print(...)"),
        ('exec "x = 1"', "write exec(...)"),
        ("try:\n    pass\nexcept ValueError, e:\n    pass", "write `except Error as name:`"),
        ("try:\n    pass\nexcept (OSError, IOError), e:\n    pass", "write `except Error as name"),
        ('raise ValueError, "x"', "write raise Error(message)"),
        ("mode = 0775", "write octal numbers as 0o775"),
        ("if 1 <> 2: pass", "write !="),
        ("x = `1`", "write repr(x) for `x`"),
        ("x = 10L", "write numbers without L"),
        ("x = ur'x'", "write r'...' for ur'...'"),
        ("f = lambda (a, b): a", "a lambda can't unpack a tuple"),
    ],
)
def test_python_2_syntax_says_what_to_change(path: Path, text: str, advice: str) -> None:
    found = problem(path, f"x = 1\n{text}\n")
    assert found.message.startswith("SyntaxError: ")
    assert f" (Python 2: {advice}" in found.message
    assert found.line == (4 if text.startswith("try") else 2)


def test_all_python_2_syntax_is_pinned_above() -> None:
    assert len(userfile._PYTHON_2_SYNTAX) == 10


@pytest.mark.parametrize(
    "text",
    ["host = '10.0.0.05", "x = ('a <> b',", "x = [1, '10L')", "x = 1\n  print('`')", "x = 10.05.5"],
)
def test_other_syntax_errors_are_not_blamed_on_python_2(path: Path, text: str) -> None:
    assert "Python 2" not in problem(path, text).message


@pytest.mark.parametrize(("old", "new"), userfile._PYTHON_2_NAMES.items())
def test_python_2_names_say_what_they_are_now(path: Path, old: str, new: str) -> None:
    assert str(problem(path, f"\n{old}(1)")) == (
        f"{path}:2: NameError: name '{old}' is not defined (Python 2's {old} is now {new})"
    )


@pytest.mark.parametrize(("old", "new"), userfile._PYTHON_2_MODULES.items())
def test_python_2_modules_say_what_they_are_now(path: Path, old: str, new: str) -> None:
    assert problem(path, f"import {old}").message == (
        f"ModuleNotFoundError: No module named '{old}' (Python 2's {old} is now {new})"
    )


@pytest.mark.parametrize(("old", "new"), userfile._PYTHON_2_ATTRIBUTES.items())
def test_python_2_attributes_say_what_they_are_now(path: Path, old: str, new: str) -> None:
    found = problem(path, f"import string\nstring.{old}")
    assert found.message.endswith(f"no attribute '{old}' (Python 2's {old} is now {new})")
    found = problem(path, f"from string import {old}")
    assert found.message.endswith(f"(Python 2's {old} is now {new})")


@pytest.mark.parametrize(
    ("text", "advice"),
    [
        ("range(3) + [1]", "write list(...) around it"),
        ("[1] + range(3)", "write list(...) around it"),
        ("map(str, [1])[0]", "write list(...) around it"),
        ("len(filter(None, [1]))", "write list(...) around it"),
        ("zip([1], [2])[0]", "write list(...) around it"),
        ("{}.keys()[0]", "write list(...) around it"),
        ("{}.items().sort()", "write list(...) around it"),
        ("import random\nrandom.shuffle(range(3))", "write list(...) around it"),
        ("range(4 / 2)", "write // where the result of a division is to be whole"),
        ("x = [1, 2]\nx[2 / 2]", "write // where the result of a division is to be whole"),
        ("b'x y'.split(' ')", "what programs print is bytes now: .decode() it"),
        ("b'x' + 'y'", "what programs print is bytes now: .decode() it"),
        ("'x' + b'y'", "what programs print is bytes now: .decode() it"),
        ("[1].sort(cmp=max)", "write key=functools.cmp_to_key(...)"),
        ("sorted([1], cmp=max)", "write key=functools.cmp_to_key(...)"),
        ("[1].sort(max)", "write key=functools.cmp_to_key(...)"),
        ("sorted([1], max)", "write key=functools.cmp_to_key(...)"),
    ],
)
def test_python_2_values_say_what_to_write(path: Path, text: str, advice: str) -> None:
    found = problem(path, text)
    assert f" (Python 2: {advice}" in found.message
    assert found.line == text.count("\n") + 1


@pytest.mark.parametrize("text", ["range()", "max(1)", "int([])", "'x' + 1", "from os import nope"])
def test_other_errors_are_not_blamed_on_python_2(path: Path, text: str) -> None:
    assert "Python 2" not in problem(path, text).message
