"""The list of breakages that tests notice is in order, and `make mutants` tells the truth."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from testbed.bed import REPOSITORY

sys.path.insert(0, str(REPOSITORY / "scripts"))
import mutants
from mutants import CatalogueError, Mutant

SOURCES = {"fastrr/a.py": "one = 1\ntwo = 2\n", "fastrr/b.py": "two = 2\nif two:\n    two = 3\n"}


def read(directory: Path, *blocks: str) -> list[Mutant]:
    (directory / "some.txt").write_text("".join(f"{block}\n" for block in blocks))
    return mutants.read_catalogue(directory)


def test_each_can_still_be_done() -> None:
    sources = mutants.read_sources()
    catalogue = mutants.read_catalogue()
    assert len(catalogue) >= 100
    for mutant in catalogue:
        mutant.applied(sources)
        for test in mutant.likely:
            assert (REPOSITORY / test.split("::")[0]).exists(), f"{mutant.name}: no {test}"


def test_what_noticed_them_is_there() -> None:
    names = {mutant.name for mutant in mutants.read_catalogue()}
    for name, test in mutants.read_noticed_by().items():
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
        ("-gone = 1\n+gone = 2", "nowhere"),
        ("-two = 2\n+two = 4", r"fastrr/a\.py \(1\), fastrr/b\.py \(1\)"),
        ("fastrr/moved.py\n-two = 2\n+two = 4", "nowhere"),
        ("-one = 1\n+one =", "no Python"),
    ],
)
def test_a_change_that_can_not_be_made_is_told(tmp_path: Path, change: str, told: str) -> None:
    (mutant,) = read(tmp_path, f"# a\n> bad\n{change}")
    with pytest.raises(CatalogueError, match=f"some.txt: a: .*{told}"):
        mutant.applied(SOURCES)


@pytest.mark.parametrize(
    "blocks",
    [
        ["# a\n-x\n+y"],  # nobody suffers
        ["# a\n> bad\n x"],  # nothing changes
        ["# a\n> bad\n-x\n+y\nwhat?"],
        ["# a\n> bad\n-x\n+y", "# a\n> bad\n-x\n+z"],
    ],
)
def test_a_catalogue_that_is_not_in_order_is_told(tmp_path: Path, blocks: list[str]) -> None:
    with pytest.raises(CatalogueError):
        read(tmp_path, *blocks)


def test_what_breaks_nothing_survives_and_what_breaks_something_is_noticed(tmp_path: Path) -> None:
    copy = mutants.Copy(tmp_path, mutants.read_sources())

    def outcome(before: str, after: str) -> str:
        likely = ["tests/unit/test_timings.py"]
        mutant = Mutant("", "", likely=likely, file="fastrr/timings.py", before=before, after=after)
        return copy.outcome(mutant, "", likely_only=True).word

    kept = "self._spans.append(event)"
    assert outcome(kept, f"{kept}  # a note") == "SURVIVED"
    assert outcome(kept, "pass") == "noticed"
