"""Break fastrr in small, realistic ways, one at a time, and see whether a test notices.

The breakages stand in ``tests/mutants/*.txt``, each with what a user would suffer:

    @ tests/unit/test_delta.py          tests that are likely to notice; most likely first

    # a name
    > what a user would suffer
    fastrr/delta.py                     only where the text is found in several files
      a line that stays
    - a line that goes
    + a line that comes

They are found by their text, in whatever file it is: it must be there exactly once. A mutant counts
as noticed when a test fails twice in a row. The test that noticed it is remembered in
``tests/mutants/noticed-by.txt``, and tried first the next time.
"""

from __future__ import annotations

import argparse
import ast
import os
import queue
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
CATALOGUE = REPOSITORY / "tests" / "mutants"
NOTICED_BY = CATALOGUE / "noticed-by.txt"
PRODUCT = "fastrr"
RINGS = (("tests/unit",), ("tests/contract", "tests/integration"))
TEST_LIMIT_S = 60
RUN_LIMIT_S = 900
FOR_ONCE = 4
"""Tests that may fail once, and not again, before a mutant is given up as unknown."""
_FAILED = re.compile(r"^(?:FAILED|ERROR) (\S+\.py::.*?)(?: - .*)?$", re.MULTILINE)


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
        where = [self.file] if self.file else sources
        found = {name: sources.get(name, "").count(self.before) for name in where}
        places = Counter({name: count for name, count in found.items() if count})
        if places.total() != 1:
            told = ", ".join(f"{name} ({count})" for name, count in places.items()) or "nowhere"
            raise CatalogueError(f"{self.catalogue}: {self.name}: its text is to be once: {told}")
        (name,) = places
        broken = sources[name].replace(self.before, self.after)
        try:
            ast.parse(broken, name)
        except SyntaxError as error:
            raise CatalogueError(f"{self.catalogue}: {self.name}: no Python: {error}") from error
        return name, broken


@dataclass(frozen=True)
class Outcome:
    """What became of a mutant: ``noticed``, ``SURVIVED`` or ``UNKNOWN``, and who noticed it."""

    word: str
    by: str
    seconds: float


def read_catalogue(directory: Path = CATALOGUE) -> list[Mutant]:
    """Read all mutants.

    :raises CatalogueError: with the file and line of what can't be understood.
    """
    mutants: list[Mutant] = []
    for path in sorted(directory.glob("*.txt")):
        if path.name != NOTICED_BY.name:
            mutants += _read(path)
    for name, count in Counter(mutant.name for mutant in mutants).items():
        if count > 1:
            raise CatalogueError(f"{count} mutants are called {name!r}")
    return mutants


def _read(path: Path) -> Iterator[Mutant]:
    # No splitlines(): sources may hold other ends of lines, inside strings.
    head, *blocks = re.split(r"^#", path.read_text(encoding="utf-8"), flags=re.MULTILINE)
    likely = [test for line in head.split("\n") if line[:1] == "@" for test in line[1:].split()]
    for block in blocks:
        name, *lines = block.split("\n")
        mutant = Mutant(name.strip(), path.name, likely=likely)
        for line in lines:
            _take(mutant, line[:1], line[1:])
        yield _whole(mutant)


def _take(mutant: Mutant, sign: str, rest: str) -> None:
    """Take one line of a mutant's."""
    if sign == ">":
        mutant.harm.append(rest.strip())
    elif sign == "@":
        mutant.likely = rest.split()
    elif sign in {" ", "-", "+"}:
        mutant.before += f"{rest}\n" if sign != "+" else ""
        mutant.after += f"{rest}\n" if sign != "-" else ""
    elif (sign + rest).startswith(f"{PRODUCT}/"):
        mutant.file = (sign + rest).strip()
    elif rest.strip():
        raise CatalogueError(f"{mutant.catalogue}: {mutant.name}: not understood: {sign}{rest}")


def _whole(mutant: Mutant) -> Mutant:
    if not (mutant.name and mutant.harm and mutant.before and mutant.before != mutant.after):
        raise CatalogueError(
            f"{mutant.catalogue}: {mutant.name}: a mutant has a name, a harm and a change"
        )
    return mutant


def read_sources(top: Path = REPOSITORY) -> dict[str, str]:
    """Return the text of each file of the product, by its path below ``top``."""
    return {
        str(path.relative_to(top)): path.read_text(encoding="utf-8")
        for path in sorted((top / PRODUCT).rglob("*.py"))
    }


def read_noticed_by(path: Path = NOTICED_BY) -> dict[str, str]:
    """Return the test that noticed each mutant when it was last tried."""
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    return dict(line.split(" <- ", 1) for line in lines)


class Copy:
    """A copy of the project, to break and to test."""

    def __init__(self, directory: Path, sources: dict[str, str]) -> None:
        self._top = directory
        self._sources = sources
        listed = subprocess.run(
            ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
            cwd=REPOSITORY, capture_output=True, check=True,
        ).stdout  # fmt: skip
        for name in os.fsdecode(listed).split("\0"):
            if name and (REPOSITORY / name).is_file():
                target = directory / name
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(REPOSITORY / name, target)

    def outcome(self, mutant: Mutant, noticed_by: str, *, likely_only: bool) -> Outcome:
        """Break it, and ask the tests: those that are likely to notice first, then all."""
        begun = time.monotonic()
        name, broken = mutant.applied(self._sources)
        (self._top / name).write_text(broken, encoding="utf-8")
        try:
            word, by = self._judge(mutant, noticed_by, likely_only=likely_only)
        finally:
            (self._top / name).write_text(self._sources[name], encoding="utf-8")
        return Outcome(word, by, time.monotonic() - begun)

    def _judge(self, mutant: Mutant, noticed_by: str, *, likely_only: bool) -> tuple[str, str]:
        selections = [[noticed_by]] if noticed_by else []
        selections.append([x for x in mutant.likely if (self._top / x.split("::")[0]).exists()])
        if not likely_only:
            selections += [[*ring, "--numprocesses=2", "--dist=worksteal"] for ring in RINGS]
        unknown = ""
        for selection in filter(None, selections):
            by, unknown = self._noticed(selection)
            if by:
                return "noticed", by
            if unknown and selection != [noticed_by]:
                return "UNKNOWN", unknown
        return "SURVIVED", ""

    def _noticed(self, selection: list[str]) -> tuple[str, str]:
        """Return a test that fails twice; or else what kept the tests from being run."""
        for_once: list[str] = []
        while len(for_once) < FOR_ONCE:
            skipped = [f"--deselect={test}" for test in for_once]
            failed, unknown = self._failed([*selection, *skipped])
            for test in failed:
                again, _ = self._failed([test])
                if again:
                    return test, ""
            for_once += failed
            if not failed:
                return "", unknown
        return "", f"fail only now and then: {', '.join(for_once)}"

    def _failed(self, arguments: Iterable[str]) -> tuple[list[str], str]:
        """Run tests; return those that failed, or else what kept them from being run."""
        with subprocess.Popen(
            [
                *(sys.executable, "-m", "pytest", "-x", "-q", "--no-header", "--tb=no"),
                *("-p", "no:cacheprovider", f"--timeout={TEST_LIMIT_S}", *arguments),
            ],
            cwd=self._top,
            env=os.environ | {"PYTHONPATH": str(self._top), "PYTHONDONTWRITEBYTECODE": "1"},
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            text=True, errors="replace", start_new_session=True,
        ) as pytest:  # fmt: skip
            try:
                output, _ = pytest.communicate(timeout=RUN_LIMIT_S)
            except subprocess.TimeoutExpired:
                return [], f"the tests took more than {RUN_LIMIT_S} s"
            finally:
                with suppress(ProcessLookupError):
                    os.killpg(pytest.pid, signal.SIGKILL)
        if pytest.returncode == 0:
            return [], ""
        failed = _FAILED.findall(output)
        return failed, "" if failed else f"exit code {pytest.returncode}: {output[-300:]!r}"


def run(mutants: list[Mutant], jobs: int, *, likely_only: bool) -> dict[str, Outcome]:
    """Try all mutants, ``jobs`` at once, each in a copy of its own."""
    sources, noticed_by = read_sources(), read_noticed_by()
    waiting: queue.SimpleQueue[Mutant] = queue.SimpleQueue()
    for mutant in mutants:
        waiting.put(mutant)
    outcomes: dict[str, Outcome] = {}

    def work(directory: Path) -> None:
        copy = Copy(directory, sources)
        while True:
            try:
                mutant = waiting.get_nowait()
            except queue.Empty:
                return
            known = noticed_by.get(mutant.name, "")
            outcome = copy.outcome(mutant, known, likely_only=likely_only)
            outcomes[mutant.name] = outcome
            print(
                f"{len(outcomes):4}/{len(mutants)} {outcome.word} {mutant.name}"
                f" ({outcome.seconds:.0f} s) {outcome.by}",
                flush=True,
            )

    with tempfile.TemporaryDirectory(prefix="fastrr-mutants-") as top:
        threads = [threading.Thread(target=work, args=(Path(top, str(n)),)) for n in range(jobs)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    return outcomes


def remember(outcomes: dict[str, Outcome], names: set[str]) -> None:
    """Write down which test noticed what; forget mutants that are no more."""
    known = read_noticed_by()
    for name, outcome in outcomes.items():
        known.pop(name, None)
        if outcome.word == "noticed":
            known[name] = outcome.by
    lines = [f"{name} <- {test}\n" for name, test in sorted(known.items()) if name in names]
    NOTICED_BY.write_text("".join(lines), encoding="utf-8")


def main() -> int:
    parser = argparse.ArgumentParser(
        description="Break fastrr in small ways, one at a time, and see whether a test notices.",
        epilog="Exit codes: 0 each was noticed; 1 some were not; 2 the catalogue is not in order.",
    )
    parser.add_argument("word", nargs="*", help="only those whose name or file has one of these")
    parser.add_argument("--likely", action="store_true", help="ask only the tests likely to notice")
    parser.add_argument("--jobs", type=int, default=2, metavar="N", help="so many at once (2)")
    parser.add_argument(
        "--list", action="store_true", help="list them, and what users would suffer"
    )
    arguments = parser.parse_args()
    try:
        catalogue = read_catalogue()
        sources = read_sources()
        mutants = [
            mutant for mutant in catalogue
            if not arguments.word
            or any(w in f"{mutant.catalogue} {mutant.name}" for w in arguments.word)
        ]  # fmt: skip
        for mutant in mutants:
            mutant.applied(sources)
    except CatalogueError as error:
        print(error, file=sys.stderr)
        return 2
    if arguments.list:
        for mutant in mutants:
            print(
                f"{mutant.catalogue.removesuffix('.txt')}: {mutant.name}: {' '.join(mutant.harm)}"
            )
        return 0
    outcomes = run(mutants, arguments.jobs, likely_only=arguments.likely)
    remember(outcomes, {mutant.name for mutant in catalogue})
    missed = [mutant for mutant in mutants if outcomes[mutant.name].word != "noticed"]
    print(f"\n{len(mutants)} mutants, {len(mutants) - len(missed)} noticed, {len(missed)} not")
    for mutant in missed:
        print(f"{outcomes[mutant.name].word} {mutant.name}: {' '.join(mutant.harm)}")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
