"""What it is measured on and with."""

from __future__ import annotations

import os
import platform
import re
import shlex
import shutil
import subprocess
import sys

import docker
from benchmark.lab import REPOSITORY, Lab
from benchmark.network import PATH
from fastrr import __version__


def about(lab: Lab) -> dict[str, str]:
    """Return the machine and the versions."""
    found = {
        "machine": f"{os.cpu_count()} cores ({_cpu()}), {_memory_gib():.0f} GiB of memory",
        "kernel": f"{platform.system()} {platform.release()}",
        "hosts": _hosts(lab),
        "fastrr": __version__,
        "Python": platform.python_version(),
        "OpenSSH": _first_number(lab, "ssh", "-V"),
        "rsync": _first_number(lab, "rsync", "--version"),
    }
    for tool in ("ansible", "pyinfra"):
        if shutil.which(tool, path=PATH):
            found[tool] = _first_number(lab, tool, "--version")
    return found


def missing_tools(lab: Lab) -> dict[str, str]:
    """Say which of the other tools are not measured, and why."""
    missing = {
        tool: f"{tool}: it is not on PATH."
        for tool in ("ansible", "pyinfra")
        if not shutil.which(tool, path=PATH)
    }
    if "ansible" not in missing and not lab.host_python:
        missing["ansible"] = "ansible: it needs Python on the hosts."
    return missing


def commit() -> str:
    """Return the commit that is measured, and whether it is quite that."""
    name = _git("rev-parse", "--short", "HEAD")
    return f"{name} with changes" if _git("status", "--porcelain", "--", "fastrr") else name


def _hosts(lab: Lab) -> str:
    if lab.bridge is None:
        return "sshds on loopback: all hosts are one machine"
    engine = docker.from_env().version()["Version"]
    (host,) = lab.reach(1).hosts
    home = host.sh("df --output=fstype . | tail -n 1").strip()
    rsync = host.sh("rsync --version | head -n 1 | tr -s ' ' | cut -d ' ' -f 3").strip()
    return (
        f"containers of Docker {engine} with a network of their own, home directories on volumes "
        f"({home}; small files that are new or replaced: tmpfs), rsync {rsync}"
    )


def _cpu() -> str:
    with open("/proc/cpuinfo", encoding="utf-8") as file:
        found = re.search(r"^model name\s*: (.*)$", file.read(), re.MULTILINE)
    return found[1] if found else platform.machine()


def _memory_gib() -> float:
    return float(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / (1 << 30))


def _first_number(lab: Lab, *command: str) -> str:
    done = lab.run(shlex.join(command))
    found = re.search(r"\d+(\.\d+)+\w*", done.stdout + done.stderr)
    return found[0] if found else "?"


def _git(*words: str) -> str:
    done = subprocess.run(
        ["git", "-C", REPOSITORY, *words], capture_output=True, text=True, check=False
    )
    return done.stdout.strip()


def same_checkout(lab: Lab) -> bool:
    """Whether ``python -m fastrr`` of the measured commands is the one beside this file."""
    code = "import fastrr; print(fastrr.__file__)"
    printed = lab.run(f"{sys.executable} -c '{code}'").stdout.strip()
    return os.path.dirname(os.path.dirname(printed)) == str(REPOSITORY)
