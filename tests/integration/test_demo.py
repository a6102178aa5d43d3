"""The demo, on hosts of the kind the tests use."""

from __future__ import annotations

import os
import subprocess
import sys

from testbed import Bed
from testbed.bed import REPOSITORY, REQUIRE


def test_the_demo_shows_what_it_promises(session_bed: Bed) -> None:
    done = subprocess.run(
        [sys.executable, REPOSITORY / "scripts" / "demo.py"],
        env={**os.environ, REQUIRE: session_bed.kind},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done
    first, look, second = done.stdout.split("\n== ")[1:]
    for number in (1, 2, 3):
        assert f"\nhost{number}           5          0  " in first
        assert f"\nhost{number}           0          5  " in second
    assert look.count(".runner\t") == 3
    assert look.count("\nfastrr-example/bin/service.sh\n") == 3
    assert "\n  [it's $5 & up]\n" in look
    assert "service 1  1(L)Z client light" in look
    assert "(exit status" in look
    assert look.count("(exit status 0, ") == look.count("(exit status ")
