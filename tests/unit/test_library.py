"""Shell code in files of its own: only functions, in what is installed, and quickly read."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import pytest
from testbed.bed import REPOSITORY
from testbed.shells import Box

from fastrr.hosts.library import library
from fastrr.hosts.shell import script

FILES = sorted((REPOSITORY / "fastrr").rglob("*.sh"))
NAMES = [str(path.relative_to(REPOSITORY)) for path in FILES]


def text_of(path: Path) -> str:
    return library(str(path), path.name)


@pytest.mark.parametrize("path", FILES, ids=NAMES)
def test_a_file_does_nothing_but_define(box: Box, path: Path) -> None:
    """What is printed, and what there is of variables, is the same without it."""
    variables = "set | sed '/^[A-Za-z_][A-Za-z_0-9]*=/!d; s/=.*//; /^_$/d; /^BASH/d'\n"
    loaded = box.ask(script(f"{text_of(path)}{variables}"))
    assert loaded == box.ask(script(variables))


@pytest.mark.parametrize("path", FILES, ids=NAMES)
def test_a_file_is_read_without_its_comments(path: Path) -> None:
    text = text_of(path)
    assert path.read_text().startswith("# ")
    assert not re.search(r"^\s*#", text, re.MULTILINE)
    assert "{" in text


def test_they_are_read_in_no_time() -> None:
    times = []
    for _ in range(5):
        began = time.perf_counter()
        for path in FILES:
            text_of(path)
        times.append(time.perf_counter() - began)
    assert min(times) < 0.003


def test_what_is_installed_has_them(tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(REPOSITORY / "fastrr", copy / "fastrr")
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(REPOSITORY / name, copy)
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps"]
    subprocess.run([*command, "--no-build-isolation", copy], cwd=tmp_path, check=True, timeout=120)
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        assert set(NAMES) <= set(archive.namelist())
