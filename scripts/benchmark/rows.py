"""Everything that is measured."""

from __future__ import annotations

import re
import shutil
import statistics
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from benchmark import alone
from benchmark.copies import Before, Copying, clear, measure
from benchmark.lab import KIB, MIB, Lab, Reach
from benchmark.network import PATH, DelayingProxy, far_away, rate_limit
from benchmark.results import Line, Row
from benchmark.tools import Job, Tool, ansible, fastrr, pyinfra, rsync, tar

SMALL = 4 * KIB
RATE_MBIT = 100
ROUND_TRIP_MS = 50
TRACE = "trace.json"


@dataclass(frozen=True)
class Settings:
    """How much of everything."""

    hosts: int = 8
    limited_hosts: int = 2
    many_hosts: int = 64
    large_mib: int = 256
    small_files: int = 2000
    few_files: int = 200
    files_for_many: int = 100
    files_for_memory: int = 10_000
    rounds: int = 5
    few_rounds: int = 3
    start_up_rounds: int = 10


QUICK = Settings(
    hosts=2, many_hosts=4, large_mib=16, small_files=3, few_files=2, files_for_many=10,
    files_for_memory=100, rounds=1, few_rounds=1, start_up_rounds=2,
)  # fmt: skip


@dataclass(frozen=True)
class Series:
    """Rows that are measured together."""

    group: str
    names: tuple[str, ...]
    measure: Callable[[Lab, Path], Iterable[Row]]
    """Is told where it may leave other results than rows."""

    def wanted(self, parts: Sequence[str]) -> bool:
        """Whether one of its rows has one of ``parts`` in its name, or none is asked for."""
        labels = [f"{self.group}: {name}" for name in self.names]
        return not parts or any(part in label for part in parts for label in labels)


def all_series(s: Settings) -> list[Series]:
    """Return what there is to measure, in the order of the documents."""
    return [
        *_large(s), *_small(s), _changed(s), _far_new(s), _far_unchanged(s), _many_new(s),
        _many_unchanged(s), _starting(s), _start_up(s), _memory_large(s), _memory_many(s),
    ]  # fmt: skip


def _large(s: Settings) -> list[Series]:
    return _usual("large file", f"{s.large_mib} MiB", 1, s.large_mib * MIB, s)


def _small(s: Settings) -> list[Series]:
    return _usual("small files", f"{s.small_files} files of 4 KiB", s.small_files, SMALL, s)


def _usual(group: str, what: str, count: int, size: int, s: Settings) -> list[Series]:
    """Return what is measured of large and small files alike."""
    new = (fastrr(), rsync(), tar())
    unchanged = (fastrr(), fastrr("--rehash"), rsync(), rsync("--checksum"))
    always = (
        fastrr("--always-copy"), rsync("--ignore-times"), rsync("--ignore-times", "--whole-file"),
    )  # fmt: skip

    def series(name: str, tools: Sequence[Tool], before: Before, *, peers: bool = True) -> Series:
        def rows(lab: Lab, _: Path) -> Iterable[Row]:
            copying = Copying(
                lab.tree(count, size),
                lab.reach(s.hosts),
                (*tools, *(_peers(lab) if peers else ())),
                before,
                s.rounds,
                unchanged=name == "unchanged",
                # To make and replace many files costs ext4 from one to four times its time,
                # depending on what was removed in the last minutes (inodes are not used again at
                # once).
                in_memory=count > 1 and name != "unchanged",
            )
            yield Row(group, f"{what}, {name}", s.hosts, measure(lab, copying))

        return Series(group, (f"{what}, {name}",), rows)

    return [
        series("new", new, Before.NOTHING),
        series("unchanged", unchanged, Before.THE_SAME),
        series("--always-copy", always, Before.THE_SAME, peers=False),
    ]


def _peers(lab: Lab) -> list[Tool]:
    """Return those other tools that are here."""
    found = {
        tool.name: tool for tool in (ansible(), pyinfra()) if shutil.which(tool.name, path=PATH)
    }
    if "ansible" in found and not lab.host_python:
        del found["ansible"]
    return list(found.values())


def _changed(s: Settings) -> Series:
    group, name = "changed parts", f"1 % of {s.large_mib} MiB changed"

    def rows(lab: Lab, _: Path) -> Iterable[Row]:
        limit = partial(rate_limit, lab.bridge, RATE_MBIT)
        with limit():  # if that can't be, nothing else need be done
            pass
        copying = Copying(
            lab.tree(1, s.large_mib * MIB, "edited-"),
            lab.reach(s.limited_hosts),
            (fastrr(), fastrr("--transport", "stream"), rsync()),
            Before.AN_OLDER_VERSION,
            s.few_rounds,
            during=limit,
        )
        yield Row(group, name, s.limited_hosts, measure(lab, copying))

    return Series(group, (name,), rows)


def _far_new(s: Settings) -> Series:
    group = "far away"
    counts = (s.few_files, s.small_files)
    names = [f"{count} files of 4 KiB, new" for count in counts]
    more = f"{counts[1] - counts[0]} files more"
    trips = [f"round trips, {name}" for name in names]
    ways = [fastrr("--transport", way) for way in ("stream", "rsync", "sftp")]

    def rows(lab: Lab, _: Path) -> Iterable[Row]:
        near = lab.reach(s.hosts)
        tools = (*ways, rsync())
        found: list[tuple[Line, ...]] = []
        with _far(near) as proxy:
            far = _through(lab, near, proxy)
            for count, name, trip in zip(counts, names, trips, strict=True):
                made: dict[str, list[float]] = {tool.name: [] for tool in tools}

                def note(tool: Tool, made: dict[str, list[float]] = made) -> None:
                    made[tool.name].append(proxy.take_round_trips())

                copying = Copying(
                    lab.tree(count, SMALL), far, tools, Before.NOTHING, s.few_rounds,
                    after_run=note,
                )  # fmt: skip
                proxy.take_round_trips()
                found.append(measure(lab, copying))
                yield Row(group, name, s.hosts, found[-1])
                lines = tuple(Line(tool, tuple(values)) for tool, values in made.items())
                yield Row(group, trip, s.hosts, lines, unit="")
        yield Row(group, more, s.hosts, _differences(*found), unit="s more")

    return Series(group, (*names, more, *trips), rows)


def _differences(few: Sequence[Line], many: Sequence[Line]) -> tuple[Line, ...]:
    """Return how much longer each tool needed for many."""
    return tuple(
        Line(a.tool, (b.median - a.median,) if a.values and b.values else (), b.note)
        for a, b in zip(few, many, strict=True)
    )


def _far_unchanged(s: Settings) -> Series:
    group, name = "far away", f"{s.small_files} files of 4 KiB, unchanged"

    def rows(lab: Lab, _: Path) -> Iterable[Row]:
        near = lab.reach(s.hosts)
        with _far(near) as proxy:
            copying = Copying(
                lab.tree(s.small_files, SMALL), _through(lab, near, proxy), (fastrr(), rsync()),
                Before.THE_SAME, s.few_rounds, unchanged=True,
            )  # fmt: skip
            yield Row(group, name, s.hosts, measure(lab, copying))

    return Series(group, (name,), rows)


def _far(near: Reach) -> AbstractContextManager[DelayingProxy]:
    return far_away([(host.address, host.port) for host in near.hosts], ROUND_TRIP_MS / 2000)


def _through(lab: Lab, near: Reach, proxy: DelayingProxy) -> Reach:
    """Return the same hosts, reached through the proxy."""
    blocks = [
        f"Host {host.name}\n  HostName 127.0.0.1\n  Port {port}\n"
        for host, port in zip(near.hosts, proxy.ports, strict=True)
    ]  # which win over what is said later
    config = lab.work / "far_ssh_config"
    config.write_text("".join((*blocks, near.ssh_config.read_text())))
    far = Reach(near.hosts, config)
    lab.meet(far)
    return far


def _many_new(s: Settings) -> Series:
    group, name = "many hosts", f"{s.files_for_many} files of 4 KiB, new"

    def rows(lab: Lab, results: Path) -> Iterable[Row]:
        reach, tree = lab.reach(s.many_hosts), lab.tree(s.files_for_many, SMALL)
        copying = Copying(tree, reach, (fastrr(), rsync()), Before.NOTHING, s.few_rounds)
        lines = measure(lab, copying)
        once_more = fastrr("--timings", "--trace", str(results / TRACE))
        done = lab.run(once_more.command(Job(lab, tree, once_more.slug, reach)))
        clear(reach, "bench-*")
        yield Row(group, name, s.many_hosts, lines, text=summary_of_timings(done.stdout))

    return Series(group, (name,), rows)


def summary_of_timings(printed: str) -> str:
    """Shorten fastrr's table of timings: the least, middle and most of the hosts' times."""
    headings, *rows = _cells(printed[printed.index("\nseconds ") + 1 :].splitlines())
    hosts = [row for row in rows if not row[0].startswith("(")]
    here = [row for row in rows if row[0].startswith("(")]
    columns = [[float(row[n]) for row in hosts if row[n]] for n in range(1, len(headings))]
    summary = [
        [title, *(f"{choose(column):.2f}" if column else "" for column in columns)]
        for title, choose in (("least", min), ("median", statistics.median), ("most", max))
    ]
    lines = [headings, *summary, *here]
    widths = [max(len(line[n]) for line in lines) for n in range(len(headings))]
    return "\n".join(
        "  ".join((first.ljust(widths[0]), *map(str.rjust, others, widths[1:]))).rstrip()
        for first, *others in lines
    )


def _cells(table: Sequence[str]) -> list[list[str]]:
    """Take a table apart by where the headings of its right-aligned columns end."""
    ends = [match.end() for match in re.finditer(r"\S+( \S+)*", table[0])]
    cells = []
    for line in filter(str.strip, table):
        first = line.partition("  ")[0]
        begins = [len(first), *ends[1:]]
        others = [line[a:b].strip() for a, b in zip(begins, ends[1:], strict=False)]
        cells.append([first, *others])
    return cells


def _many_unchanged(s: Settings) -> Series:
    group, name = "many hosts", f"{s.files_for_many} files of 4 KiB, unchanged"

    def rows(lab: Lab, _: Path) -> Iterable[Row]:
        copying = Copying(
            lab.tree(s.files_for_many, SMALL), lab.reach(s.many_hosts), (fastrr(), rsync()),
            Before.THE_SAME, s.few_rounds, unchanged=True,
        )  # fmt: skip
        yield Row(group, name, s.many_hosts, measure(lab, copying))

    return Series(group, (name,), rows)


def _starting(s: Settings) -> Series:
    group = "starting"
    name = f"{alone.COMPONENTS * s.hosts} components in {alone.STAGES} stages"

    def rows(lab: Lab, _: Path) -> Iterable[Row]:
        yield Row(group, name, s.hosts, alone.start(lab, lab.reach(s.hosts), s.rounds))

    return Series(group, (name,), rows)


def _start_up(s: Settings) -> Series:
    group, name = "start-up", "until it has answered"

    def rows(lab: Lab, _: Path) -> Iterable[Row]:
        yield Row(group, name, 0, alone.start_up(lab, s.start_up_rounds))

    return Series(group, (name,), rows)


def _memory_large(s: Settings) -> Series:
    name = f"{s.large_mib} MiB, new"
    return _memory(name, 1, s.large_mib * MIB, s.hosts, [fastrr(), rsync()])


def _memory_many(s: Settings) -> Series:
    name = f"{s.files_for_memory} files of 4 KiB, new"
    return _memory(name, s.files_for_memory, SMALL, s.many_hosts, [fastrr()])


def _memory(name: str, count: int, size: int, hosts: int, tools: list[Tool]) -> Series:
    def rows(lab: Lab, _: Path) -> Iterable[Row]:
        lines = alone.memory(lab, lab.reach(hosts), lab.tree(count, size), tools)
        yield Row("memory", name, hosts, lines, unit="MB")

    return Series("memory", (name,), rows)
