"""What tests need of this machine: programs that ``make setup`` installs.

A test that is skipped notices nothing. Where everything is to be tested, which is where Docker is
required, one that lacks what it needs has failed.
"""

from __future__ import annotations

import os
import shutil
from typing import NoReturn

import pytest

from testbed.bed import REQUIRE

_SYSTEM = "/usr/local/sbin:/usr/sbin:/sbin"
"""Not in the PATH of ordinary users."""


def need(program: str) -> str:
    """Return where a program is, for a test that can't do without."""
    path = shutil.which(program, path=f"{os.environ['PATH']}:{_SYSTEM}")
    return path or lack(f"there is no {program} (make setup)")


def lack(reason: str) -> NoReturn:
    """End a test that lacks what it needs: skipped, or where Docker is required failed."""
    if os.environ.get(REQUIRE) == "docker":
        pytest.fail(reason)
    pytest.skip(reason)
