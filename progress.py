"""Progress of long work on stderr: a bar in a terminal, a line now and then in a log."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

LOG_SECONDS = 30.0


class Progress(Protocol):
    """What reports how far the work is."""

    def __call__(self, done: int) -> None:
        """Say that `done` units are done in all."""


@contextmanager
def progress(label: str, total: int | None, unit: str, start: int = 0, quiet: bool = False) -> Iterator[Progress]:
    """Show a label, the share done, units per second and the time left, on stderr.

    Args:
        label: What is being done.
        total: Units in all, or None where nobody knows.
        unit: What is counted, such as "docs".
        start: Units done before; they do not count for the rate.
        quiet: Show nothing.
    """
    if quiet:
        yield lambda done: None
    elif sys.stderr.isatty():
        with _bar(label, total, unit, start) as report:
            yield report
    else:
        yield _Log(label, total, unit, start)


@contextmanager
def _bar(label: str, total: int | None, unit: str, start: int) -> Iterator[Progress]:
    from rich.console import Console
    from rich.progress import BarColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.completed:,.0f}" + (f"/{total:,}" if total else "") + f" {unit}"),
        TextColumn("{task.fields[rate]}"),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    began = time.monotonic()
    with Bar(*columns, console=Console(stderr=True), refresh_per_second=4) as bar:
        task = bar.add_task(label, total=total, completed=start, rate="")

        def report(done: int) -> None:
            bar.update(task, completed=done, rate=f"{_rate(done - start, began):,.1f} {unit}/s")

        yield report


class _Log:
    """A line at once at the end, and one every half minute until then."""

    def __init__(self, label: str, total: int | None, unit: str, start: int) -> None:
        self.label, self.total, self.unit, self.start = label, total, unit, start
        self.began = self.last = time.monotonic()

    def __call__(self, done: int) -> None:
        now = time.monotonic()
        if now - self.last < LOG_SECONDS and done != self.total:
            return
        self.last = now
        rate = _rate(done - self.start, self.began)
        left = f", {(self.total - done) / rate:,.0f} s left" if self.total and rate else ""
        of = f"/{self.total:,}" if self.total else ""
        sys.stderr.write(f"{self.label}: {done:,}{of} {self.unit}, {rate:,.1f} {self.unit}/s{left}\n")


def _rate(done: int, began: float) -> float:
    return done / max(time.monotonic() - began, 1e-9)
