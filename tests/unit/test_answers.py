"""What a command prints, within bounds."""

from __future__ import annotations

import pytest

from fastrr.errors import CommandFailed
from fastrr.hosts import answers
from fastrr.hosts.answers import Answer, AnsweredTooMuch, Errors, Lines, Pace, bound, bound_to
from fastrr.hosts.base import Completed, answer_of
from fastrr.hosts.shell import script


def test_the_bound_follows_from_what_was_asked() -> None:
    assert bound(0) == answers.LEAST_BYTES
    assert bound(1_000_000, 10_000) == answers.LEAST_BYTES + 3_000_000 + 2_000_000
    assert bound_to(b"look at\nthis\n") == answers.LEAST_BYTES + 3 * 13 + 2 * 200


def test_what_an_honest_host_says_is_within_the_bound() -> None:
    """Of many files with short names the answer is longest beside what was asked."""
    asked = b"".join(b"%d 1000 - ./%x\n" % (n, n) for n in range(50_000))
    described = "49999 81a4 1000 1733034532.123456789 1733034532.123456789 1234567890 2431"
    answer = sum(len(f"{described} {'0' * 40}\n") for _ in range(50_000))
    assert answers.LEAST_BYTES < answer < bound_to(asked) < 4 * answer


def test_an_answer_is_kept_as_far_as_the_bound() -> None:
    answer = Answer(6)
    answer.add(b"abc")
    answer.add(b"def")
    assert answer.end() == b"abcdef"
    with pytest.raises(AnsweredTooMuch, match=r"answered more than 0\.0 MB"):
        answer.add(b"g")


@pytest.mark.parametrize("cut", [1, 2, 3, 100])
def test_lines_are_heard_whatever_the_pieces(cut: int) -> None:
    text = b"one\n\ntwo\r\nlast"
    heard: list[bytes] = []
    lines = Lines(heard.append, 1000)
    for start in range(0, len(text), cut):
        lines.add(text[start : start + cut])
    assert lines.end() == text
    assert heard == [b"one", b"", b"two\r", b"last"]


@pytest.mark.parametrize("end", [b"", b"\n"])
def test_a_line_without_end_is_given_up(end: bytes) -> None:
    lines = Lines(lambda _line: None, bound(0))
    with pytest.raises(AnsweredTooMuch, match="a line of more than"):
        lines.add(b"x" * (answers.LONGEST_LINE_BYTES + 1) + end)


def test_lines_without_end_are_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(answers, "BYTES_A_SECOND", 0)
    heard: list[bytes] = []
    lines = Lines(heard.append, 1000)
    for _ in range(200):
        lines.add(b"beat\n")
    with pytest.raises(AnsweredTooMuch):
        lines.add(b"beat\n")
    assert len(heard) == 200


def test_of_lines_only_the_end_is_kept() -> None:
    lines = Lines(lambda _line: None, bound(0))
    for _ in range(1000):
        lines.add(b"x" * 999 + b"\n")
    assert len(lines.end()) == answers.TAIL_BYTES


def test_more_may_come_as_time_goes_by(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr("fastrr.hosts.answers.time.monotonic", lambda: now)
    pace = Pace(10)
    pace.add(10)
    now = 2.0
    pace.add(2 * answers.BYTES_A_SECOND)
    with pytest.raises(AnsweredTooMuch):
        pace.add(1)


def test_of_much_on_standard_error_beginning_and_end_are_kept() -> None:
    errors = Errors(10)
    errors.add(b"begins")
    for _ in range(1000):
        errors.add(b"x" * 1000)
    errors.add(b"the end")
    kept = errors.end()
    assert kept.startswith(b"beginsxxxx")
    assert kept.endswith(b"xthe end")
    assert len(kept) == 10 + answers.TAIL_BYTES


def test_standard_error_without_end_is_given_up() -> None:
    errors = Errors(10)
    for _ in range(64):
        errors.add(bytes(answers.ERRORS_READ_BYTES // 64))
    with pytest.raises(AnsweredTooMuch, match="complained of more than"):
        errors.add(b"x")


def test_lines_that_nobody_asked_for_are_not_understood() -> None:
    """Each of them takes some 60 bytes, were it split off, and more when it is understood."""
    asked = script("true\n" * 1000)
    most = answers.line_bound(len(asked.text))

    def answered(lines: int) -> bytes:
        body = b"x\n" * lines
        framed = f"@fastrr {asked.nonce} begin\n".encode() + body
        framed += f"\n@fastrr {asked.nonce} end 0\n".encode()
        return answer_of(Completed(0, framed, b""), asked, "looking")

    assert answered(most).count(b"\n") == most
    with pytest.raises(CommandFailed, match=f"looking: the host answered {most + 1:,} lines"):
        answered(most + 1)


def test_last_words_are_short() -> None:
    said = b"first\n" + b"x" * 200_000 + b"\n" + b"y" * 1000 + b"\nlast\n"
    words = Completed(1, b"", said).last_words()
    assert words.endswith(" | last")
    assert len(words) < 1500
