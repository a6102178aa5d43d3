"""Measure fastrr beside what people use instead, on the same hosts in the same run.

Results are kept in bench-results/, from where docs/benchmarks.md and docs/benchmarks.svg are
written: by a run of everything, with --write, or without measuring with --render. Rows measured
one by one take the place of earlier ones.
"""

from __future__ import annotations

import argparse
import datetime as dt
import signal
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(REPOSITORY / "scripts"), str(REPOSITORY / "tests")]

from benchmark import about, chart, documents  # noqa: E402
from benchmark.lab import Failed, Lab, TooSlow, open_lab  # noqa: E402
from benchmark.network import install  # noqa: E402
from benchmark.results import Results, Skipped, load, one_line  # noqa: E402
from benchmark.rows import QUICK, Series, Settings, all_series  # noqa: E402

RESULTS = REPOSITORY / "bench-results"
DOCS = REPOSITORY / "docs"


def parsed(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="make bench", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument(
        "--only", action="append", default=[], metavar="SUBSTRING",
        help="measure rows whose name has this in it; may be repeated",
    )  # fmt: skip
    parser.add_argument("--list", action="store_true", help="list the rows' names")
    parser.add_argument("--rounds", type=int, help="rounds of every row (default: 5, 3 or 10)")
    parser.add_argument("--hosts", type=int, help="hosts of most rows (default: 8)")
    parser.add_argument("--many-hosts", type=int, help="hosts of the row of many (default: 64)")
    parser.add_argument(
        "--quick", action="store_true",
        help="everything small, to try the benchmark itself; its documents, too, are written to\n"
        "bench-results/quick/",
    )  # fmt: skip
    parser.add_argument(
        "--write", action="store_true", help="write the documents, even with --only"
    )
    parser.add_argument(
        "--render", action="store_true", help="write the documents without measuring anything"
    )
    return parser.parse_args(arguments)


def settings_of(options: argparse.Namespace) -> Settings:
    settings = QUICK if options.quick else Settings()
    if options.hosts:
        settings = replace(settings, hosts=options.hosts)
    if options.many_hosts:
        settings = replace(settings, many_hosts=options.many_hosts)
    if options.rounds:
        n = options.rounds
        settings = replace(settings, rounds=n, few_rounds=n, start_up_rounds=n)
    return settings


def measure(lab: Lab, all_of_them: Sequence[tuple[int, Series]], path: Path) -> Results:
    """Measure series of rows; what is measured is put among the results of ``path`` at once."""
    results = load(path)
    results.about |= about.about(lab)
    missing = about.missing_tools(lab)
    commit = about.commit()
    for place, series in all_of_them:
        label = f"{series.group}: {series.names[0]}"
        results.notes.pop(label, None)
        try:
            for row in series.measure(lab, path.parent):
                today = dt.datetime.now(dt.timezone.utc).date().isoformat()
                results.put([replace(row, place=place, date=today, commit=commit)])
                print(one_line(row), flush=True)
        except Skipped as why:
            results.notes[label] = [f"{label}: {why}."]
            print(f"{label}\n    skipped: {why}", flush=True)
        except (Failed, TooSlow) as error:
            results.notes[label] = [f"{label}: it failed."]
            lab.fail(f"{label}: {error}")
        measured = {line.tool for row in results.rows for line in row.lines}
        results.notes["tools"] = [why for tool, why in missing.items() if tool not in measured]
        results.save(path)
    return results


def write(results: Results, directory: Path) -> None:
    for name, text in (
        ("benchmarks.md", documents.markdown(results)),
        ("benchmarks.svg", chart.svg(results)),
    ):
        (directory / name).write_text(text)
        print(f"wrote {(directory / name).relative_to(REPOSITORY)}")


def main(arguments: Sequence[str] | None = None) -> None:
    options = parsed(arguments)
    series = list(enumerate(all_series(settings_of(options))))
    wanted = [(place, one) for place, one in series if one.wanted(options.only)]
    directory = RESULTS / "quick" if options.quick else RESULTS
    results_in = directory / "results.json"
    documents_in = directory if options.quick else DOCS
    if options.list:
        print("\n".join(f"{one.group}: {name}" for _, one in wanted for name in one.names))
    elif options.render:
        write(load(results_in), documents_in)
    elif not wanted:
        sys.exit("no row has such a name; --list shows all")
    else:
        if not options.only:
            results_in.unlink(missing_ok=True)
        results = run(wanted, results_in)
        if options.write or not options.only:
            write(results, documents_in)


def run(wanted: Sequence[tuple[int, Series]], path: Path) -> Results:
    """Measure, with everything that takes; exit where something failed."""
    if not install("rsync", "rsync"):
        sys.exit("there is no rsync to compare with")
    path.parent.mkdir(parents=True, exist_ok=True)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    with open_lab() as lab:
        if not about.same_checkout(lab):
            sys.exit("python -m fastrr is not the one in this checkout")
        results = measure(lab, wanted, path)
    if lab.failures:
        sys.exit(f"{len(lab.failures)} failures: see above; no documents were written")
    return results


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(128 + signal.SIGINT)
