"""Bring up three SSH hosts, run the example on them, and show what came of it.

With ``--keep`` the hosts stay up, to be looked at, until Enter is pressed.
"""

from __future__ import annotations

import argparse
import os
import shlex
import subprocess
import sys
import tempfile
import time
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(REPOSITORY / "tests"))

from testbed import Bed, open_bed  # noqa: E402

EXAMPLE = REPOSITORY / "example"


def heading(text: str) -> None:
    print(f"\n\033[1m{text}\033[0m" if sys.stdout.isatty() else f"\n== {text}", flush=True)


def show(command: list[str], environment: dict[str, str]) -> int:
    """Print a command, run it with its output passing through, and return its exit status."""
    words = ["fastrr", *command[3:]] if command[1:3] == ["-m", "fastrr"] else command
    print(f"$ {shlex.join(words)}", flush=True)
    began = time.monotonic()
    status = subprocess.run(command, env=environment, cwd=REPOSITORY, check=False).returncode
    print(f"(exit status {status}, {time.monotonic() - began:.2f} s)", flush=True)
    return status


def demonstrate(bed: Bed, environment: dict[str, str], *, keep: bool) -> int:
    hosts = bed.need(3)
    fastrr = [sys.executable, "-m", "fastrr", "-F", str(bed.ssh_config)]
    run = [*fastrr, "-c", "example/config.py", "-X", "hosts=host[1-3]"]
    statuses = []

    heading("The first run copies and starts everything")
    statuses.append(show(run, environment))

    heading("What is there now: sessions, files and a log on each host")
    ssh = ["ssh", "-F", str(bed.ssh_config)]
    # An sshd on loopback begins in the account's own home, not in the host's.
    look = "cd; screen -ls; find fastrr-example -type f | sort; cat fastrr-example/results/*"
    statuses.extend(show([*ssh, host.name, look], environment) for host in hosts)
    log = "cd; cat .local/state/fastrr/*/runner/service*/log"
    statuses.append(show([*ssh, hosts[0].name, log], environment))
    windows = "screen -S runner -Q windows; echo"
    statuses.append(show([*ssh, hosts[0].name, windows], environment))

    heading("The second run, with a muddler, copies nothing")
    statuses.append(show([*run, "-m", "example/verbose_muddler.py"], environment))

    if keep:
        heading("The hosts are yours; for example:")
        print(f"  ssh -t -F {bed.ssh_config} {hosts[0].name} screen -r runner   (C-a d leaves)")
        input("Press Enter to remove them. ")
    return max(statuses)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--keep", action="store_true", help="leave the hosts up for a while")
    arguments = parser.parse_args()
    with (
        tempfile.TemporaryDirectory(prefix="fr-", ignore_cleanup_errors=True) as own,
        open_bed() as bed,
    ):
        print(f"three hosts, by {bed.kind}")
        # What fastrr keeps on the controller is to go when the demo does.
        environment = {
            **os.environ,
            "PYTHONPATH": str(REPOSITORY),
            "SCREENDIR": f"{own}/screens",
            "XDG_CACHE_HOME": f"{own}/cache",
            "XDG_STATE_HOME": f"{own}/state",
        }
        os.mkdir(environment["SCREENDIR"], 0o700)
        try:
            return demonstrate(bed, environment, keep=arguments.keep)
        finally:
            subprocess.run(
                ["screen", "-S", "runner", "-X", "quit"], env=environment,
                stdout=subprocess.DEVNULL, check=False,
            )  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
