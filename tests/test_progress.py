"""Progress goes to stderr: a bar for people, now and then a line for logs, nothing for the quiet."""

import io
import sys

import pytest

from modernir import progress as module
from modernir.progress import progress


def test_a_log_gets_its_last_line_with_rate_and_no_other_within_half_a_minute(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with progress("indexing", 1000, "docs", start=200) as report:
        for done in range(300, 1001, 100):
            report(done)
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("indexing: 1,000/1,000 docs, ")
    assert captured.err.endswith(" docs/s, 0 s left\n")
    assert captured.err.count("\n") == 1


def test_a_log_tells_the_time_left_by_the_rate_of_this_run(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 0.0
    monkeypatch.setattr(module.time, "monotonic", lambda: now)
    with progress("indexing", 1000, "docs", start=400) as report:
        now = 60.0
        report(700)
        now = 61.0
        report(701)
    assert capsys.readouterr().err == "indexing: 700/1,000 docs, 5.0 docs/s, 60 s left\n"


def test_an_unknown_total_is_left_out(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LOG_SECONDS", 0.0)
    with progress("indexing", None, "docs") as report:
        report(7)
    line = capsys.readouterr().err
    assert line.startswith("indexing: 7 docs, ")
    assert "left" not in line


def test_the_quiet_hear_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    with progress("indexing", 3, "docs", quiet=True) as report:
        report(3)
    assert capsys.readouterr() == ("", "")


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize("total", [10, None])
def test_a_terminal_gets_a_bar(monkeypatch: pytest.MonkeyPatch, total: int | None) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "120")
    with progress("indexing [a]", total, "docs") as report:
        report(10)
    assert "10/10 docs" in terminal.getvalue() if total else "10 docs" in terminal.getvalue()
    assert "docs/s" in terminal.getvalue()
