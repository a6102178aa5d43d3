"""Measure fastrr beside what people use instead, on the same hosts in the same run.

Every row is a piece of work for all hosts at once. The tools take turns, round after round, so
that a machine that gets slower gets slower for all; the figures are medians, and the ratios are
to 8 parallel ``rsync -a``. Absolute times are worth little on a shared machine.
"""

from __future__ import annotations

import argparse
import os
import shlex
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(REPOSITORY / "tests"))

from testbed import Bed, TestHost, open_bed  # noqa: E402

DESTINATION = "bench"
COMPARED_WITH = "rsync -a"


@dataclass
class Lab:
    """The hosts, the files to be copied, and a clean environment to measure in."""

    bed: Bed
    hosts: list[TestHost]
    work: Path
    environment: dict[str, str]

    def on_all_hosts(self, command: str) -> None:
        for host in self.hosts:
            host.sh(command)

    def run(self, command: str) -> float:
        """Run a shell command; return the seconds it took.

        :raises RuntimeError: when it fails: a failed run is no measurement.
        """
        began = time.monotonic()
        completed = subprocess.run(
            ["sh", "-c", command],
            cwd=self.work,
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
        )
        seconds = time.monotonic() - began
        if completed.returncode != 0:
            raise RuntimeError(f"{command}\n{completed.stdout}{completed.stderr}")
        return seconds

    @property
    def ssh(self) -> str:
        return f"ssh -F {self.bed.ssh_config}"

    def for_each_host(self, command: str) -> str:
        """A shell command that runs ``command`` for all hosts at once, {} being the host."""
        names = " ".join(host.name for host in self.hosts)
        each = f"xargs -P {len(self.hosts)} -I {{}} sh -c {shlex.quote(command)}"
        return f"printf '%s\\n' {names} | {each}"


@dataclass(frozen=True)
class Row:
    """One piece of work: how to make it, and the tools' commands for it."""

    name: str
    prepare: Callable[[Lab], None]
    """Brings the hosts to the state each measurement starts from."""
    commands: dict[str, Callable[[Lab], str]]
    """Shell command of each tool, by its name."""


def fastrr(config: str, *options: str) -> Callable[[Lab], str]:
    def command(lab: Lab) -> str:
        words = [sys.executable, "-m", "fastrr", "-F", lab.bed.ssh_config, "-c", config, *options]
        return shlex.join(map(str, words))

    return command


def rsync(tree: str, *options: str) -> Callable[[Lab], str]:
    def command(lab: Lab) -> str:
        flags = shlex.join(options)
        return lab.for_each_host(f"rsync -a {flags} -e '{lab.ssh}' {tree}/ {{}}:{DESTINATION}/")

    return command


def tar(tree: str) -> Callable[[Lab], str]:
    def command(lab: Lab) -> str:
        unpack = f"mkdir -p {DESTINATION} && tar -x -C {DESTINATION}"
        return lab.for_each_host(f"tar -c -C {tree} . | {lab.ssh} {{}} '{unpack}'")

    return command


def emptied(lab: Lab) -> None:
    lab.on_all_hosts(f"rm -rf {DESTINATION}")


def filled(tree: str) -> Callable[[Lab], None]:
    """Every host has the files already, as rsync leaves them: its own check trusts the times."""
    return lambda lab: void(lab.run(rsync(tree)(lab)))


def void(_: object) -> None:
    return


def copy_rows(tree: str, what: str) -> list[Row]:
    config = f"{tree}.py"
    peers = {COMPARED_WITH: rsync(tree), "rsync -ac": rsync(tree, "--checksum")}
    return [
        Row(f"{what}, new", emptied,
            {"fastrr": fastrr(config, "--copy-only"), COMPARED_WITH: rsync(tree),
             "tar | ssh": tar(tree)}),
        Row(f"{what}, unchanged", filled(tree),
            {"fastrr": fastrr(config, "--copy-only"), **peers}),
        Row(f"{what}, --always-copy", filled(tree),
            {"fastrr": fastrr(config, "--copy-only", "--always-copy"),
             COMPARED_WITH: rsync(tree, "--ignore-times")}),
    ]  # fmt: skip


def write_work(lab: Lab, big_mib: int, small_files: int) -> None:
    """Make the files and the configs."""
    (lab.work / "big").mkdir()
    (lab.work / "big" / "file").write_bytes(os.urandom(1 << 20) * big_mib)
    for number in range(small_files):
        path = lab.work / "small" / f"{number // 100:02d}" / f"{number:05d}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(os.urandom(4096))
    hosts = [host.name for host in lab.hosts]
    for tree in ("big", "small"):
        (lab.work / f"{tree}.py").write_text(
            "c = Component(name='bench', executable='/bin/true', start_index=1)\n"
            f"c.base_dir, c.files = '{DESTINATION}', util.recursive_files_dict('{tree}', '.')\n"
            f"for c.host in {hosts}:\n    config.add_component(c)\n"
        )
    (lab.work / "start.py").write_text(
        "c = Component(executable='/bin/sleep', args=['600'], base_dir='/tmp')\n"
        f"for c.host in {hosts}:\n"
        "    for n in range(6):\n"
        "        c.name, c.start_index = f'component {n}', n % 2\n"
        "        config.add_component(c)\n"
    )


@dataclass
class Measured:
    """Seconds of each run, by tool."""

    row: str
    seconds: dict[str, list[float]] = field(default_factory=dict)

    def median(self, tool: str) -> float:
        return statistics.median(self.seconds[tool])

    def line(self) -> str:
        cells = []
        for tool in self.seconds:
            ratio = ""
            if COMPARED_WITH in self.seconds and tool != COMPARED_WITH:
                ratio = f" ({self.median(tool) / self.median(COMPARED_WITH):.2f})"
            cells.append(f"{tool} {self.median(tool):.2f} s{ratio}")
        return f"{self.row:<34} {'   '.join(cells)}"


def measure(lab: Lab, row: Row, rounds: int) -> Measured:
    measured = Measured(row.name, {tool: [] for tool in row.commands})
    for round_number in range(rounds + 1):
        for tool, command in row.commands.items():
            row.prepare(lab)
            seconds = lab.run(command(lab))
            if round_number:  # the first round warms the caches
                measured.seconds[tool].append(seconds)
    return measured


def measure_start(lab: Lab, rounds: int) -> Measured:
    """48 components on 8 hosts in 2 stages: the whole run, and the time its log gives to start."""
    measured = Measured("start of 6 components a host", {"whole run": [], "start": []})
    for _ in range(rounds):
        log = lab.work / "log"
        measured.seconds["whole run"].append(
            lab.run(f"{fastrr('start.py')(lab)} 2>{shlex.quote(str(log))}")
        )
        stages = [x.split() for x in log.read_text().splitlines() if x.startswith("INFO: start ")]
        measured.seconds["start"].append(sum(float(words[-2]) for words in stages))
    return measured


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--hosts", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--big-mib", type=int, default=256)
    parser.add_argument("--small-files", type=int, default=2000)
    parser.add_argument("--only", default="", help="rows whose name has this in it")
    options = parser.parse_args(arguments)
    if shutil.which("rsync") is None:
        subprocess.run([REPOSITORY / "scripts" / "system-packages", "rsync"], check=True)
    with (
        tempfile.TemporaryDirectory(prefix="fr-") as screens,
        tempfile.TemporaryDirectory(prefix="fastrr-bench-") as work,
        open_bed() as bed,
    ):
        os.chmod(screens, 0o700)
        environment = {**os.environ, "SCREENDIR": screens, "PYTHONPATH": str(REPOSITORY)}
        environment.pop("PYTHONDONTWRITEBYTECODE", None)
        lab = Lab(bed, bed.need(options.hosts), Path(work), environment)
        write_work(lab, options.big_mib, options.small_files)
        lab.run(lab.for_each_host(f"{lab.ssh} -o StrictHostKeyChecking=accept-new {{}} true"))
        print(f"{options.hosts} hosts by {bed.kind}, medians of {options.rounds}, "
              f"ratios to {COMPARED_WITH}", flush=True)  # fmt: skip
        rows = copy_rows("big", f"{options.big_mib} MiB")
        rows += copy_rows("small", f"{options.small_files} x 4 KiB")
        for row in rows:
            if options.only in row.name:
                print(measure(lab, row, options.rounds).line(), flush=True)
        if options.only in "start":
            print(measure_start(lab, options.rounds).line(), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
