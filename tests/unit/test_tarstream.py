"""Archives: what tarfile, GNU tar and busybox tar make of them."""

from __future__ import annotations

import io
import os
import subprocess
import tarfile
from pathlib import Path

import pytest
from testbed.needs import need

from fastrr.files.transports.tarstream import END, header, padding

NAMES = [
    b"a",
    b"d/with space",
    b"d/\xff\xfe",
    b"x" * 99,
    b"x" * 100,
    b"x" * 101,
    b"x" * 199,
    b"deep/" * 60 + b"file",
    b"n\nl",
]


def archive(files: dict[bytes, bytes]) -> bytes:
    parts = [header(name, len(data)) + data + padding(len(data)) for name, data in files.items()]
    return b"".join((*parts, END))


def test_headers_are_those_of_tarfile() -> None:
    for name in NAMES:
        info = tarfile.TarInfo(name.decode("utf-8", "surrogateescape"))
        info.size, info.mode = 5, 0o600
        expected = info.tobuf(tarfile.GNU_FORMAT, "utf-8", "surrogateescape")
        assert header(name, 5)[-512:] == expected[-512:]


@pytest.mark.parametrize("size", [0, 8**11 - 1, 8**11, 10**13])
def test_any_size_can_be_written(size: int) -> None:
    assert tarfile.TarInfo.frombuf(header(b"f", size), "utf-8", "strict").size == size


@pytest.mark.parametrize("tar", [["tar"], ["busybox", "tar"]], ids=["gnu", "busybox"])
def test_what_was_put_in_comes_out(tar: list[str], tmp_path: Path) -> None:
    need(tar[0])
    files = {name: b"%d" % number * number * 100 for number, name in enumerate(NAMES)}
    command = [*tar, "-x", "-o", "-m", "-f", "-", "-C", str(tmp_path)]
    subprocess.run(command, input=archive(files), check=True)
    for name, data in files.items():
        path = bytes(tmp_path) + b"/" + name
        with open(path, "rb") as file:
            assert file.read() == data
        assert os.stat(path).st_mode & 0o777 == 0o600


def test_the_end_is_seen() -> None:
    with tarfile.open(fileobj=io.BytesIO(archive({b"a": b"b"}) + b"noise")) as opened:
        assert opened.getnames() == ["a"]
