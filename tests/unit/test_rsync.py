"""Understanding what rsync says."""

from __future__ import annotations

import pytest

from fastrr.transports.rsync import _Progress, _refused


@pytest.mark.parametrize("cut", [1, 3, 7, 1000])
def test_progress_is_told_once_whatever_the_pieces(cut: int) -> None:
    output = (
        b"\r          32768   0%    0.00kB/s    0:00:00  "
        b"\r       50331648  50%   48.00MB/s    0:00:01  "
        b"\r      100663296 100%   50.00MB/s    0:00:01 (xfr#1, to-chk=1/2)"
        b"\r      100663299 100%   50.00MB/s    0:00:01 (xfr#2, to-chk=0/2)\n"
    )
    counts: list[int] = []
    progress = _Progress(counts.append)
    for start in range(0, len(output), cut):
        progress.hear(output[start : start + cut])
    progress.hear(b"")
    progress.hear(b"\nsent 4321 bytes  received 99 bytes  8840.00 bytes/sec\ntotal size is 9\n")
    assert progress.wire_bytes == 4321
    assert sum(counts) == 100663299
    assert min(counts) == 0


def test_other_output_counts_nothing() -> None:
    counts: list[int] = []
    progress = _Progress(counts.append)
    for piece in (b"", b"skipping directory 12 50% \n", b"sent 10 bytes\n", b"12%\r"):
        progress.hear(piece)
    assert sum(counts) == 0


@pytest.mark.parametrize(
    ("line", "failures"),
    [
        (
            b'rsync: [receiver] mkstemp "/srv/.fastrr-1/.a b.Xy12_z" failed: Permission denied',
            {},
        ),
        (
            b'rsync: [receiver] mkstemp "/srv/.fastrr-1/.a b.Xy12Zz" failed: No such thing (13)',
            {0: "No such thing"},
        ),
        (
            b'rsync: [receiver] rename "/srv/.fastrr-1/.c.aa" -> "srv/.fastrr-1/c": No space (28)',
            {},
        ),
        (
            b'rsync: [receiver] write failed on "/srv/.fastrr-1/c": No space left on device (28)',
            {1: "No space left on device"},
        ),
        (b'rsync: [sender] read errors mapping "/tmp/farm/c": Input/output error (5)', {}),
        (b"rsync error: some files/attrs were not transferred (code 23) at main.c(1338)", {}),
        (b"", {}),
    ],
)
def test_complaints_are_laid_to_their_files(line: bytes, failures: dict[int, str]) -> None:
    names = {"srv/.fastrr-1/a b": 0, "srv/.fastrr-1/c": 1}
    assert _refused(names, b"noise\n" + line + b"\n") == failures
