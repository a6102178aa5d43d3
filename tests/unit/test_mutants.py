"""The list of breakages that tests notice is in order, and `make mutants` tells the truth."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from testbed.bed import REPOSITORY
from testbed.shells import eventually

sys.path.insert(0, str(REPOSITORY / "scripts"))
import breakages
import mutants
from breakages import CatalogueError, Mutant
from mutants import Outcome

SOURCES = {"fastrr/a.py": "one = 1\ntwo = 2\n", "fastrr/b.py": "two = 2\nif two:\n    two = 3\n"}


def read(directory: Path, *blocks: str) -> list[Mutant]:
    (directory / "some.txt").write_text("".join(f"{block}\n" for block in blocks))
    return breakages.read_catalogue(directory)


def test_each_can_still_be_done() -> None:
    sources = breakages.read_sources()
    catalogue = breakages.read_catalogue()
    assert len(catalogue) >= 100
    for mutant in catalogue:
        mutant.check(sources)


def test_what_noticed_them_is_there() -> None:
    names = {mutant.name for mutant in breakages.read_catalogue()}
    for name, test in breakages.read_noticed_by().items():
        file, function, *_ = test.split("::")
        text = (REPOSITORY / file).read_text()
        assert name in names
        assert f"def {function.split('[')[0]}(" in text or f"class {function}" in text, test


def test_a_block_is_a_name_a_harm_and_a_change(tmp_path: Path) -> None:
    (mutant,) = read(tmp_path, "@ tests/x.py\n", "# a\n> bad\n  one = 1\n-two = 2\n+two = 3")
    assert (mutant.name, mutant.harm, mutant.likely) == ("a", ["bad"], ["tests/x.py"])
    assert mutant.before == " one = 1\ntwo = 2\n"


def test_a_change_is_made_where_the_text_is(tmp_path: Path) -> None:
    (mutant,) = read(tmp_path, "# a\n> bad\n one = 1\n-two = 2\n+two = 4")
    assert mutant.applied(SOURCES) == ("fastrr/a.py", "one = 1\ntwo = 4\n")
    (mutant,) = read(tmp_path, "# a\n> bad\nfastrr/a.py\n-two = 2\n+two = 4")
    assert mutant.applied(SOURCES)[0] == "fastrr/a.py"


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ("-gone = 1\n+gone = 2", "its text is found nowhere in fastrr"),
        ("-two = 2\n+two = 4", r"more than once, in fastrr/a\.py \(1\), fastrr/b\.py \(1\)"),
        ("fastrr/moved.py\n-two = 2\n+two = 4", "there is no fastrr/moved.py"),
        ("-one = 1\n+one =", "fastrr/a.py would be no Python"),
        ("@ tests/unit/test_gone.py\n-one = 1\n+one = 2", "no test tests/unit/test_gone.py"),
        ("@ tests/unit/test_shell.py::gone\n-one = 1\n+one = 2", "no test .*::gone"),
    ],
)
def test_a_change_that_can_not_be_made_is_told(tmp_path: Path, change: str, told: str) -> None:
    (mutant,) = read(tmp_path, f"# a\n> bad\n{change}")
    with pytest.raises(CatalogueError, match=f"some.txt: a: .*{told}"):
        mutant.check(SOURCES)


def test_an_empty_line_within_a_change_is_one_of_the_text(tmp_path: Path) -> None:
    (mutant, _) = read(tmp_path, "# a\n> bad\n one = 1\n\n-two = 2\n+two = 4\n", "# b\n> x\n-y")
    assert mutant.before == "one = 1\n\ntwo = 2\n"


@pytest.mark.parametrize(
    ("blocks", "told"),
    [
        (["# a\n-x\n+y"], "a: it has no line with >"),
        (["# a\n> bad\n x"], "a: it has no change"),
        (["# a\n> bad"], "a: it has no text"),
        (["# a\n> bad\nwhat?\n-x\n+y"], "a: not understood: what?"),
        (["# a\n> bad\n-x\n+y", "# a\n> bad\n-x\n+z"], "a: some.txt has one so called"),
    ],
)
def test_a_list_that_is_not_in_order_is_told(tmp_path: Path, blocks: list[str], told: str) -> None:
    with pytest.raises(CatalogueError, match=f"some.txt: {told}"):
        read(tmp_path, *blocks)


def test_what_noticed_a_mutant_is_remembered_as_long_as_it_may_be_true(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    remembered = tmp_path / "noticed-by.txt"
    monkeypatch.setattr(mutants, "NOTICED_BY", remembered)
    monkeypatch.setattr(mutants, "REPOSITORY", tmp_path)
    monkeypatch.setattr(mutants, "read_noticed_by", lambda: breakages.read_noticed_by(remembered))
    remembered.write_text("gone <- t\nlives <- t\nskipped <- t\nunknown <- t\n")
    outcomes = {
        "lives": Outcome("SURVIVED"),
        "new": Outcome("noticed", "n"),
        "skipped": Outcome("noticed", "n", skipped=True),
        "unknown": Outcome("UNKNOWN", "why"),
    }
    mutants.remember(outcomes, set(outcomes))
    assert remembered.read_text() == "new <- n\nskipped <- t\nunknown <- t\n"
    remembered.write_text("a <- t\n<<<<<<< ours\n")
    with pytest.raises(CatalogueError, match=r"noticed-by\.txt:2: not understood"):
        breakages.read_noticed_by(remembered)


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> mutants.Copy:
    return mutants.Copy(tmp_path_factory.mktemp("copy"), breakages.read_sources())


KEPT = "self._spans.append(event)"


@pytest.mark.parametrize(
    ("after", "likely", "word"),
    [
        (f"{KEPT}  # a note", "tests/unit/test_timings.py", "SURVIVED"),
        ("pass", "tests/unit/test_timings.py", "noticed"),
        ("pass", "", "UNKNOWN"),
    ],
)
def test_what_breaks_something_is_noticed(
    copy: mutants.Copy, after: str, likely: str, word: str
) -> None:
    mutant = Mutant("", "", [], likely.split(), "fastrr/ui/timings.py", KEPT, after)
    assert copy.outcome(mutant, "", likely_only=True).word == word


def test_ctrl_c_ends_it_with_all_that_it_runs(tmp_path: Path) -> None:
    project = tmp_path / "project"
    mutants.Copy(project, {})
    subprocess.run(["git", "init", "--quiet"], cwd=project, check=True)
    command = [sys.executable, str(project / "scripts" / "mutants.py"), "--jobs=1", "ledger"]
    with subprocess.Popen(command, env=os.environ | {"TMPDIR": str(tmp_path)}) as process:
        eventually(
            lambda: list(tmp_path.glob("fastrr-mutants-*/0/fastrr/components/endings.py")), 60
        )
        time.sleep(0.3)
        for _ in range(2):
            process.send_signal(signal.SIGINT)
        assert process.wait(30) == 130
    assert not list(tmp_path.glob("fastrr-mutants-*"))
