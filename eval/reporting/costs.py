"""What a report tells of costs, as figures for people: a table of them, each with its unit."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ..evaluate import Report

MB = 1e6


@dataclass(frozen=True)
class Cost:
    """A figure.

    Attributes:
        name: In files, with its unit.
        head: In tables.
        read: Takes it from a report; None where it was not measured.
        form: How it is written in tables.
        printed: Whether it stands in a paper's table too.
    """

    name: str
    head: str
    read: Callable[[Report], float | None]
    form: str
    printed: bool = False

    def shown(self, value: float | None) -> str:
        """Return the figure as tables write it."""
        return "" if value is None else format(value, self.form)


def _of(name: str, unit: float = 1) -> Callable[[Report], float | None]:
    def read(report: Report) -> float | None:
        value = report.costs.get(name)
        return None if value is None else value / unit

    return read


def _queries_per_second(report: Report) -> float | None:
    seconds = report.seconds.get("search")
    return (report.counts["queries"] - report.counts["queries_without_text"]) / seconds if seconds else None


def _bytes_per_document(report: Report) -> float | None:
    size, documents = report.costs.get("vector_bytes"), report.counts.get("documents")
    return size / documents if size is not None and documents else None


COSTS = (
    Cost("documents", "documents", lambda report: report.counts.get("documents"), ",.0f"),
    Cost("documents_per_second", "docs/s", _of("documents_per_second"), ",.1f", printed=True),
    Cost("queries_per_second", "queries/s", _queries_per_second, ",.1f", printed=True),
    Cost("p50_ms", "p50 ms", _of("p50_ms"), ",.1f", printed=True),
    Cost("p95_ms", "p95 ms", _of("p95_ms"), ",.1f"),
    Cost("bytes_per_document", "B/doc", _bytes_per_document, ",.0f", printed=True),
    Cost("index_mb", "index MB", _of("index_bytes", MB), ",.1f"),
    Cost("peak_memory_mb", "peak MB", _of("peak_memory_bytes", MB), ",.0f"),
    Cost("peak_device_mb", "GPU MB", _of("peak_device_bytes", MB), ",.0f"),
)

MEANINGS = (
    "docs/s: documents encoded a second while the index was built; queries/s: queries searched a second, all at once, "
    "from text to results; p50 and p95: milliseconds of queries one at a time; B/doc: the index on disk without the "
    "texts; index: with them; peak: resident memory of the process. Costs are of one machine and run."
)


def costs_of(report: Report) -> dict[str, float]:
    """Return those figures that a report has, by their names."""
    found = ((cost.name, cost.read(report)) for cost in COSTS)
    return {name: value for name, value in found if value is not None}


def measured(costs: Sequence[dict[str, float]]) -> list[Cost]:
    """Return the figures that at least one report has."""
    return [cost for cost in COSTS if any(cost.name in one for one in costs)]
