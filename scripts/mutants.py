"""Break fastrr in small, realistic ways, one at a time, and see whether a test notices.

The breakages stand in ``tests/mutants/*.txt``; `breakages` says how. A mutant counts as noticed
when a test fails twice in a row. The test is remembered in ``tests/mutants/noticed-by.txt``, which
is to be committed, and tried first the next time.
"""

from __future__ import annotations

import argparse
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
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from breakages import (
    NOTICED_BY,
    REPOSITORY,
    CatalogueError,
    Mutant,
    read_catalogue,
    read_noticed_by,
    read_sources,
)

RINGS = (
    ("tests/unit", "--ignore=tests/unit/test_mutants.py"),
    ("tests/contract", "tests/integration"),
)
TEST_LIMIT_S = 60
RUN_LIMIT_S = 900
STOPPED_AFTER_S = 15
FOR_ONCE = 4
"""Tests that may fail once, and not again, before a mutant is given up as unknown."""
_FAILED = re.compile(r"^(?:FAILED|ERROR) (\S+\.py::.*?)(?: - .*)?$", re.MULTILINE)
_PASSED = re.compile(r"\b\d+ passed\b")


class Stopped(Exception):
    """Ctrl-C."""


class Outcome(NamedTuple):
    """What became of a mutant."""

    word: str
    """``noticed``, ``SURVIVED``, or ``UNKNOWN``: the tests could not be asked."""
    why: str = ""
    """The test that noticed it, or what is not known."""
    skipped: bool = False
    """The test that noticed it the last time is skipped here."""
    seconds: float = 0.0


class Answer(NamedTuple):
    """What came of a run of tests."""

    failed: list[str]
    asked: bool
    """Whether any test was run, and not just skipped."""
    trouble: str = ""


class Copy:
    """A copy of the project, to break and to test."""

    def __init__(
        self, directory: Path, sources: dict[str, str], stop: threading.Event | None = None
    ) -> None:
        self._top = directory
        self._sources = sources
        self._stop = stop or threading.Event()
        listed = subprocess.run(
            ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
            cwd=REPOSITORY, capture_output=True, check=False,
        )  # fmt: skip
        if listed.returncode:
            raise CatalogueError(f"git lists no files: {listed.stderr.decode().strip()}")
        for name in os.fsdecode(listed.stdout).split("\0"):
            if name and (REPOSITORY / name).is_file():
                target = directory / name
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(REPOSITORY / name, target)

    def outcome(self, mutant: Mutant, noticed_by: str, *, likely_only: bool) -> Outcome:
        """Break it, and ask the tests: those that are likely to notice first, then all.

        :raises Stopped: meanwhile.
        """
        begun = time.monotonic()
        name, broken = mutant.applied(self._sources)
        (self._top / name).write_text(broken, encoding="utf-8")
        try:
            outcome = self._judge(mutant, noticed_by, likely_only=likely_only)
        finally:
            (self._top / name).write_text(self._sources[name], encoding="utf-8")
        return outcome._replace(seconds=time.monotonic() - begun)

    def _judge(self, mutant: Mutant, noticed_by: str, *, likely_only: bool) -> Outcome:
        selections = [[noticed_by]] if noticed_by else []
        selections.append(mutant.likely)
        if not likely_only:
            selections += [[*ring, "--numprocesses=2", "--dist=worksteal"] for ring in RINGS]
        asked, skipped = False, False
        for selection in filter(None, selections):
            by, answer = self._noticed(selection)
            if by:
                return Outcome("noticed", by, skipped)
            asked |= answer.asked
            if selection == [noticed_by]:
                skipped = not (answer.asked or answer.trouble)
            elif answer.trouble:
                return Outcome("UNKNOWN", answer.trouble)
        if skipped:
            return Outcome("UNKNOWN", f"{noticed_by} is skipped here")
        return Outcome("SURVIVED") if asked else Outcome("UNKNOWN", "no test was asked")

    def _noticed(self, selection: list[str]) -> tuple[str, Answer]:
        """Return a test that fails twice, if there is one; and what else there is to say."""
        for_once: list[str] = []
        while len(for_once) < FOR_ONCE:
            answer = self._ask([*selection, *(f"--deselect={test}" for test in for_once)])
            if not answer.failed:
                return "", answer
            for test in answer.failed:
                if self._ask([test]).failed:
                    return test, answer
            for_once += answer.failed
        return "", Answer([], True, f"fail only now and then: {', '.join(for_once)}")

    def _ask(self, arguments: Iterable[str]) -> Answer:
        """Run tests until one fails."""
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
                output = self._hear_out(pytest)
            finally:
                with suppress(ProcessLookupError):
                    os.killpg(pytest.pid, signal.SIGKILL)
        failed = _FAILED.findall(output) if pytest.returncode == 1 else []
        trouble = "" if failed or pytest.returncode == 0 else _reason(pytest.returncode, output)
        return Answer(failed, bool(failed or _PASSED.search(output)), trouble)

    def _hear_out(self, pytest: subprocess.Popen[str]) -> str:
        """:raises Stopped: when it has cleaned up, or did not in time."""
        end = time.monotonic() + RUN_LIMIT_S
        while True:
            if self._stop.is_set():
                pytest.send_signal(signal.SIGINT)
                with suppress(subprocess.TimeoutExpired):
                    pytest.communicate(timeout=STOPPED_AFTER_S)
                raise Stopped
            with suppress(subprocess.TimeoutExpired):
                return pytest.communicate(timeout=0.2)[0]
            if time.monotonic() > end:
                return f"they took more than {RUN_LIMIT_S} s"


def _reason(status: int | None, output: str) -> str:
    """Say why tests could not be asked: what pytest says of errors, or last."""
    lines = [line for line in output.splitlines() if line.strip()]
    errors = [line for line in lines if line.startswith(("ERROR", "E  "))] or lines[-1:]
    return f"the tests could not be asked (exit code {status}): {' '.join(errors[:1])}"


class Trial:
    """All mutants, several at once, each in a copy of its own."""

    def __init__(self, mutants: list[Mutant], *, likely_only: bool) -> None:
        self.outcomes: dict[str, Outcome] = {}
        self._mutants = mutants
        self._likely_only = likely_only
        self._sources, self._noticed_by = read_sources(), read_noticed_by()
        self._stop = threading.Event()
        self._errors: list[Exception] = []
        self._waiting: queue.SimpleQueue[Mutant] = queue.SimpleQueue()
        for mutant in mutants:
            self._waiting.put(mutant)

    def run(self, jobs: int) -> bool:
        """Try them all; return whether nobody has stopped it."""
        with tempfile.TemporaryDirectory(prefix="fastrr-mutants-") as top:
            threads = [
                threading.Thread(target=self._work, args=(Path(top, str(n)),)) for n in range(jobs)
            ]
            for thread in threads:
                thread.start()
            # An interrupted join() takes its thread for ended: see that they all do end.
            while any(thread.is_alive() for thread in threads):
                try:
                    time.sleep(0.1)
                except KeyboardInterrupt:
                    self._stop.set()
        if self._errors:
            raise self._errors[0]
        return not self._stop.is_set()

    def _work(self, directory: Path) -> None:
        try:
            copy = Copy(directory, self._sources, self._stop)
            while not self._stop.is_set():
                self._try(copy, self._waiting.get_nowait())
        except (queue.Empty, Stopped):
            return
        except Exception as error:  # noqa: BLE001 - is raised where the others are waited for
            self._errors.append(error)
            self._stop.set()

    def _try(self, copy: Copy, mutant: Mutant) -> None:
        known = self._noticed_by.get(mutant.name, "")
        outcome = copy.outcome(mutant, known, likely_only=self._likely_only)
        self.outcomes[mutant.name] = outcome
        print(
            f"{len(self.outcomes):4}/{len(self._mutants)} {outcome.word} {mutant.name}"
            f" ({outcome.seconds:.0f} s) {outcome.why}",
            flush=True,
        )


def remember(outcomes: dict[str, Outcome], names: set[str]) -> None:
    """Write down which test noticed what; forget mutants that are no more.

    What is not known, because tests are skipped here, say, changes nothing.
    """
    before = read_noticed_by()
    now = {name: test for name, test in before.items() if name in names}
    for name, outcome in outcomes.items():
        if outcome.word == "noticed" and not outcome.skipped:
            now[name] = outcome.why
        elif outcome.word == "SURVIVED":
            now.pop(name, None)
    if now != before:
        lines = [f"{name} <- {test}\n" for name, test in sorted(now.items())]
        NOTICED_BY.write_text("".join(lines), encoding="utf-8")
        print(f"{NOTICED_BY.relative_to(REPOSITORY)} has changed, and is to be committed")


def several(text: str) -> int:
    number = int(text)
    if number < 1:
        raise ValueError
    return number


def main() -> int:
    parser = argparse.ArgumentParser(
        description="Break fastrr in small ways, one at a time, and see whether a test notices.",
        epilog="How they are written down: see the top of scripts/breakages.py. All of them take"
        " half an hour. Exit codes: 0 each was noticed; 1 some were not; 2 the lists are not in"
        " order, or there is none of that name; 130 interrupted.",
    )
    parser.add_argument(
        "word", nargs="*", help="only those with such a word in their name, list or file"
    )
    parser.add_argument("--likely", action="store_true", help="ask only the tests likely to notice")
    parser.add_argument("--jobs", type=several, default=2, metavar="N", help="so many at once (2)")
    parser.add_argument(
        "--list", action="store_true", help="list them, and what users would suffer"
    )
    arguments = parser.parse_args()
    # Ctrl-C, too, is ignored by whoever is started in a shell's background, and so by the tests.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
    try:
        return _main(arguments)
    except CatalogueError as error:
        print(error, file=sys.stderr)
        return 2


def _main(arguments: argparse.Namespace) -> int:
    catalogue, sources = read_catalogue(), read_sources()
    mutants = []
    for mutant in catalogue:
        about = f"{mutant.catalogue} {mutant.name} {mutant.check(sources)}".lower()
        if not arguments.word or any(word.lower() in about for word in arguments.word):
            mutants.append(mutant)
    if not mutants:
        raise CatalogueError(f"no mutant has one of these words: {', '.join(arguments.word)}")
    if arguments.list:
        for mutant in mutants:
            print(
                f"{mutant.catalogue.removesuffix('.txt')}: {mutant.name}: {' '.join(mutant.harm)}"
            )
        return 0
    trial = Trial(mutants, likely_only=arguments.likely)
    complete = trial.run(arguments.jobs)
    remember(trial.outcomes, {mutant.name for mutant in catalogue})
    words = Counter(outcome.word for outcome in trial.outcomes.values())
    missed = len(trial.outcomes) - words["noticed"]
    print(f"\n{len(trial.outcomes)} mutants, {words['noticed']} noticed, {missed} not")
    for mutant in mutants:
        outcome = trial.outcomes.get(mutant.name)
        if outcome and outcome.word != "noticed":
            print(f"{outcome.word} {mutant.name}: {' '.join(mutant.harm)} {outcome.why}".rstrip())
    if not complete:
        print(f"interrupted; {len(mutants) - len(trial.outcomes)} were not tried", file=sys.stderr)
        return 130
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
