"""Small, realistic breakages of fastrr, as they are written down, and made in a text.

They stand in ``tests/mutants/*.txt``. After the tests that are likely to notice them, the
most likely first, each is a name, what a user would suffer, and a change, as in a diff: a sign, and
right after it the line, with its indentation:

@ tests/unit/test_delta.py

# a file that could not be read counts as unchanged
> the file stays old for ever
-    if there.signature is None:
+    if False:

A change is found by its text, in whatever file it is: it must be there exactly once. A line with a
file's name before it (``fastrr/files/compare.py``) says which is meant where several have it. An
``@`` line below a name is for that mutant alone. Names are those of all lists together.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
CATALOGUE = REPOSITORY / "tests" / "mutants"
NOTICED_BY = CATALOGUE / "noticed-by.txt"
PRODUCT = "fastrr"


class CatalogueError(Exception):
    """A breakage that can't be read, or can't be done."""


@dataclass
class Mutant:
    """A breakage: text to be found once, and what is put in its place."""

    name: str
    catalogue: str
    harm: list[str] = field(default_factory=list)
    likely: list[str] = field(default_factory=list)
    file: str = ""
    before: str = ""
    after: str = ""

    def applied(self, sources: dict[str, str]) -> tuple[str, str]:
        """Return the file that it breaks, and the text of the broken one.

        :raises CatalogueError: the text is not there, is there several times, or what comes of it
            is no Python.
        """
        if self.file and self.file not in sources:
            raise self._error(f"there is no {self.file}")
        where = [self.file] if self.file else list(sources)
        found = {name: count for name in where if (count := sources[name].count(self.before))}
        if not found:
            raise self._error(f"its text is found nowhere in {self.file or PRODUCT}")
        if sum(found.values()) > 1:
            told = [f"{name} ({count})" for name, count in found.items()]
            more = [f"and in {len(told) - 3} files more"] if len(told) > 3 else []
            raise self._error(
                f"its text is found more than once, in {', '.join(told[:3] + more)}: "
                "add lines around it, or the name of the file"
            )
        (name,) = found
        broken = sources[name].replace(self.before, self.after)
        if not name.endswith(".py"):
            return name, broken
        try:
            ast.parse(broken, name)
        except SyntaxError as error:
            raise self._error(f"{name} would be no Python any more: {error}") from error
        return name, broken

    def check(self, sources: dict[str, str]) -> str:
        """Return the file that it breaks.

        :raises CatalogueError: the same, or a test that is likely to notice it is not there.
        """
        name, _ = self.applied(sources)
        for test in self.likely:
            file, *parts = re.split(r"::|\[", test)
            text = _text(REPOSITORY / file)
            if not text or (len(parts) and f"def {parts[0]}(" not in text):
                raise self._error(f"there is no test {test}")
        return name

    def whole(self) -> Mutant:
        """:raises CatalogueError: something is missing."""
        for what, there in (
            ("no name", self.name),
            ("no line with >, which says what a user would suffer", self.harm),
            ("no text to be found", self.before),
            ("no change", self.before != self.after),
        ):
            if not there:
                raise self._error(f"it has {what}")
        return self

    def _error(self, text: str) -> CatalogueError:
        return CatalogueError(f"{self.catalogue}: {self.name}: {text}")


@lru_cache
def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8") if path.is_file() else ""


def read_catalogue(directory: Path = CATALOGUE) -> list[Mutant]:
    """Read all mutants.

    :raises CatalogueError: with the list and the mutant that can't be understood.
    """
    mutants: list[Mutant] = []
    for path in sorted(directory.glob("*.txt")):
        if path.name != NOTICED_BY.name:
            mutants += _read(path)
    lists: dict[str, str] = {}
    for mutant in mutants:
        if other := lists.get(mutant.name):
            raise CatalogueError(f"{mutant.catalogue}: {mutant.name}: {other} has one so called")
        lists[mutant.name] = mutant.catalogue
    return mutants


def _read(path: Path) -> Iterator[Mutant]:
    # No splitlines(): sources may hold other ends of lines, inside strings.
    head, *blocks = re.split(r"^#", path.read_text(encoding="utf-8"), flags=re.MULTILINE)
    likely = [test for line in head.split("\n") if line[:1] == "@" for test in line[1:].split()]
    for block in blocks:
        name, *lines = block.rstrip("\n").split("\n")
        mutant = Mutant(name.strip(), path.name, likely=likely)
        for line in lines:
            _take(mutant, line[:1], line[1:])
        yield mutant.whole()


def _take(mutant: Mutant, sign: str, rest: str) -> None:
    """Take one line of a mutant's."""
    if sign == ">":
        mutant.harm.append(rest.strip())
    elif sign == "@":
        mutant.likely = rest.split()
    elif sign in {" ", "-", "+"} or (not sign and (mutant.before or mutant.after)):
        # Editors make a lone space an empty line.
        mutant.before += f"{rest}\n" if sign != "+" else ""
        mutant.after += f"{rest}\n" if sign != "-" else ""
    elif (sign + rest).startswith(f"{PRODUCT}/"):
        mutant.file = (sign + rest).strip()
    elif rest.strip():
        raise CatalogueError(f"{mutant.catalogue}: {mutant.name}: not understood: {sign}{rest}")


def read_sources(top: Path = REPOSITORY) -> dict[str, str]:
    """Return the text of each file of the product, by its path below ``top``."""
    return {
        str(path.relative_to(top)): path.read_text(encoding="utf-8")
        for path in sorted((top / PRODUCT).rglob("*"))
        if path.suffix in {".py", ".sh"}
    }


def read_noticed_by(path: Path = NOTICED_BY) -> dict[str, str]:
    """Return the test that noticed each mutant when it was last tried.

    :raises CatalogueError: with the number of a line that can't be understood.
    """
    known: dict[str, str] = {}
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    for number, line in enumerate(lines, 1):
        name, arrow, test = line.partition(" <- ")
        if not arrow:
            raise CatalogueError(f"{path.name}:{number}: not understood: {line}")
        known[name] = test
    return known
