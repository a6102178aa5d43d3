"""The tools that are compared, each as the shell command that does a job with it."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Callable
from dataclasses import dataclass

from benchmark.lab import Done, Failed, Lab, Reach
from benchmark.results import is_baseline

COPY_CONFIG = """
c = Component(name='bench', executable='/bin/true', start_index=1)
c.base_dir = extra_options.to
c.files = util.recursive_files_dict(extra_options.tree, '.')
for c.host in extra_options.hosts.split(','):
    config.add_component(c)
"""

SYNC = """
from pyinfra import host
from pyinfra.operations import files

files.sync(src=host.data.tree, dest=f"{host.data.home}/{host.data.to}")
"""


@dataclass(frozen=True)
class Job:
    """The files of a directory here are to be in one below every host's home."""

    lab: Lab
    tree: str
    to: str
    reach: Reach


@dataclass(frozen=True)
class Tool:
    """A way to do a job."""

    name: str
    command: Callable[[Job], str]
    remembers: bool = False
    """Whether a second run without changes makes the third one faster."""
    fills_by: Tool | None = None
    """What brings about in its place, and faster, that nothing is left to do."""
    patient: bool = False
    """Whether it is measured in every round, however slow it is."""
    copied: Callable[[Done], int] | None = None
    """Finds in what it printed how many files it has copied, to all hosts together."""

    @property
    def slug(self) -> str:
        """Its destination directory."""
        return "bench-" + "".join(c if c.isalnum() else "-" for c in self.name).strip("-")


def python_fastrr(*words: str) -> str:
    return shlex.join([sys.executable, "-m", "fastrr", *words])


def fastrr(*options: str) -> Tool:
    def command(job: Job) -> str:
        config = job.lab.work / "bench-copy.py"
        config.write_text(COPY_CONFIG)
        pairs = {"tree": job.tree, "to": job.to, "hosts": ",".join(job.reach.names)}
        words = ["-F", str(job.reach.ssh_config), "-c", str(config), "--copy-only", *options]
        words += [word for key, value in pairs.items() for word in ("-X", f"{key}={value}")]
        return python_fastrr(*words)

    return Tool(
        shlex.join(["fastrr", *options]), command,
        remembers=True, patient="--transport" not in options, copied=_copied_by_fastrr,
    )  # fmt: skip


def _copied_by_fastrr(done: Done) -> int:
    """Sum up the second column of the table it prints."""
    lines = iter(done.stdout.splitlines())
    for line in lines:
        if line.split()[:2] == ["host", "copied"]:
            return sum(int(row.split()[1]) for row in lines if row.strip())
    raise Failed(f"fastrr printed no table: {done.stdout}")


def rsync(*options: str) -> Tool:
    def command(job: Job) -> str:
        words = shlex.join(["rsync", "-a", *options, "-e", job.reach.ssh, f"{job.tree}/"])
        return job.reach.for_each(f'{words} "$1:$2/{job.to}/"')

    name = shlex.join(["rsync", "-a", *options]).replace("-a --checksum", "-ac")
    return Tool(name, command, patient=is_baseline(name))


def tar() -> Tool:
    def command(job: Job) -> str:
        unpack = f'"mkdir -p $2/{job.to} && tar -x -C $2/{job.to}"'
        return job.reach.for_each(f'tar -c -C {job.tree} . | {job.reach.ssh} "$1" {unpack}')

    return Tool("tar | ssh", command)


def ansible() -> Tool:
    """With what its manual advises for speed: as many forks as hosts, and pipelining."""

    def command(job: Job) -> str:
        inventory = job.lab.work / "inventory.ini"
        inventory.write_text("".join(f"{h.name} home={h.home}\n" for h in job.reach.hosts))
        shared = "-o ControlMaster=auto -o ControlPersist=10s"
        arguments = f"src={job.tree}/ dest={{{{ home }}}}/{job.to}/"
        words = ["ansible", "all", "-i", str(inventory), "-m", "copy", "-a", arguments]
        return (
            f"ANSIBLE_SSH_ARGS='-F {job.reach.ssh_config} {shared}' ANSIBLE_PIPELINING=true "
            # Its connections outlive it: the next run is not to find them.
            f"ANSIBLE_SSH_CONTROL_PATH_DIR={job.lab.work}/ssh-$$ "
            f"ANSIBLE_FORKS={len(job.reach.hosts)} {shlex.join(words)}"
        )

    return Tool("ansible", command, fills_by=rsync())


def pyinfra() -> Tool:
    def command(job: Job) -> str:
        work = job.lab.work
        (work / "bench-sync.py").write_text(SYNC)
        common = {
            "ssh_config_file": str(job.reach.ssh_config),
            "ssh_known_hosts_file": str(job.lab.bed.known_hosts),
        }
        hosts = [(host.name, {"home": host.home, **common}) for host in job.reach.hosts]
        (work / "bench-inventory.py").write_text(f"hosts = {hosts!r}\n")
        data = ["--data", f"to={job.to}", "--data", f"tree={os.path.join(work, job.tree)}"]
        forks = ["--parallel", str(len(job.reach.hosts))]
        return shlex.join(
            ["pyinfra", "--yes", *forks, *data, "bench-inventory.py", "bench-sync.py"]
        )

    return Tool("pyinfra", command, fills_by=rsync())
