"""Fixtures: boxes, in which the scripts are run by real shells."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from testbed.needs import need
from testbed.shells import SHELLS, Box, Shell, install_applets, open_box

FAMILIES = tuple(shell for shell in SHELLS if shell.name in {"dash", "bash", "busybox"})


@pytest.fixture(scope="session")
def applets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with busybox's utilities."""
    directory = tmp_path_factory.mktemp("applets")
    install_applets(directory)
    return directory


def _box(shell: Shell, applets: Path) -> Iterator[Box]:
    need(shell.words[0])
    with open_box(shell, applets) as box:
        yield box


@pytest.fixture(params=SHELLS, ids=lambda shell: shell.name)
def box(request: pytest.FixtureRequest, applets: Path) -> Iterator[Box]:
    """A box for each shell that is installed."""
    yield from _box(request.param, applets)


@pytest.fixture(params=FAMILIES, ids=lambda shell: shell.name)
def some_box(request: pytest.FixtureRequest, applets: Path) -> Iterator[Box]:
    """A box for one shell of each family: where the others of a family would tell nothing new."""
    yield from _box(request.param, applets)


@pytest.fixture
def one_box(applets: Path) -> Iterator[Box]:
    """A box of the first shell: for what does not depend on the shell."""
    yield from _box(next(shell for shell in SHELLS if shell.installed), applets)
