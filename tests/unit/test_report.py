"""The table at the end of a run."""

from __future__ import annotations

import pytest

from fastrr.errors import Interrupted, TimeLimitPassed
from fastrr.exitcodes import ExitCode
from fastrr.run.report import HostReport, RunReport
from fastrr.ui.table import table


def report(*hosts: HostReport) -> RunReport:
    return RunReport({host.host: host for host in hosts})


def test_a_row_a_host_in_the_order_of_the_config() -> None:
    text = table(
        report(
            HostReport("web.example.org", 12, 340, 268_435_456, 3, 4.321),
            HostReport("db", 0, 1, 0, 1, 0.1),
        )
    )
    assert text == (
        "host             copied  unchanged    sent  started  seconds\n"
        "web.example.org      12        340  268 MB        3     4.32\n"
        "db                    0          1     0 B        1     0.10\n"
    )


def test_a_failure_stands_in_its_row_and_others_are_counted() -> None:
    text = table(report(HostReport("db", failures=["no screen", "no openssl"])))
    assert text.splitlines()[1].split("  ")[-1] == "FAILED: no screen (and 1 more)"


def test_a_long_failure_is_cut_where_the_log_has_it_in_full() -> None:
    text = table(report(HostReport("db", failures=["x" * 71 + " y" * 50])))
    assert text.splitlines()[1].endswith("FAILED: " + "x" * 71 + "…")
    assert "y" not in text


def test_a_failure_of_many_lines_stays_in_its_row() -> None:
    text = table(report(HostReport("db", failures=["one\ntwo"])))
    assert len(text.splitlines()) == 2


def test_no_host_no_rows() -> None:
    assert len(table(report()).splitlines()) == 1


@pytest.mark.parametrize(
    ("made", "code"),
    [
        (report(HostReport("a")), ExitCode.OK),
        (report(HostReport("a"), HostReport("b", failures=["x"])), ExitCode.HOST_FAILED),
        (RunReport({}, ended_badly=True), ExitCode.COMPONENT_FAILED),
        (
            RunReport({"b": HostReport("b", failures=["x"])}, ended_badly=True),
            ExitCode.HOST_FAILED,
        ),
        (RunReport({}, stopped_by=Interrupted("x")), ExitCode.INTERRUPTED),
        (RunReport({}, True, TimeLimitPassed("x")), ExitCode.TIME_LIMIT),
    ],
)
def test_exit_codes(made: RunReport, code: ExitCode) -> None:
    assert made.exit_code is code


def test_a_host_that_a_stopped_run_has_not_finished_says_where_it_was() -> None:
    text = table(report(HostReport("db", unfinished="copy"), HostReport("web")))
    first, second = text.splitlines()[1:]
    assert first.endswith("stopped in the copy step")
    assert "stopped" not in second


@pytest.mark.parametrize(
    ("length", "told"), [(72, "x" * 72), (73, "x" * 71 + "…")], ids=["fits", "cut"]
)
def test_no_more_of_a_failure_is_cut_than_need_be(length: int, told: str) -> None:
    text = table(report(HostReport("db", failures=["x" * length])))
    assert text.splitlines()[1].endswith(f"FAILED: {told}")


def test_no_space_is_left_before_a_cut() -> None:
    text = table(report(HostReport("db", failures=[f"{'x' * 70} {'y' * 50}"])))
    assert text.splitlines()[1].endswith(f"{'x' * 70}…")


def test_a_failure_is_shown_and_not_obeyed() -> None:
    text = table(report(HostReport("d\x1bb", failures=["why\x1b[2J \x9b \u202e\nFAILED: y"])))
    assert text.isascii()
    assert text.splitlines()[1].startswith("d\\x1bb ")
    assert text.endswith("FAILED: why\\x1b[2J \\x9b \\u202e FAILED: y\n")
    assert len({line.find("  0 B") for line in text.splitlines()[1:]}) == 1
