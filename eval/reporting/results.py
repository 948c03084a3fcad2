"""One system's saved results on some sets, read and seen to be one system's, each set once.

All figures are those of the reports; only the means over sets are computed here.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from ...errors import InputError
from ..evaluate import Report
from ..measures import parse_measures
from ..report import intervals_over_sets, means_over_sets
from ..results import load_system
from .costs import costs_of

OF_ONE_SET = ("data", "corpus", "depth", "measures")
"""Settings in which the sets of one system may differ."""


@dataclass(frozen=True)
class ResultRow:
    """One set, or the mean of all.

    Attributes:
        name: The set's with its split, or what it is the mean of.
        queries: Number of judged queries.
        means: Measure's name to mean.
        intervals: Measure's name to the ends of its 95 % interval.
        costs: See `costs.COSTS`; the mean of several sets has none.
    """

    name: str
    queries: int
    means: dict[str, float]
    intervals: dict[str, tuple[float, float]]
    costs: dict[str, float]

    def to_json(self) -> dict[str, Any]:
        """Return the row as JSON values."""
        intervals = {name: list(ends) for name, ends in self.intervals.items()}
        values = {"means": self.means, "intervals": intervals, "costs": self.costs}
        return {"set": self.name, "queries": self.queries} | values


@dataclass(frozen=True)
class SystemResults:
    """What one system reached.

    Attributes:
        name: What tables call it.
        reports: Of each set, with the measures that are shown.
        measures: Their names.
    """

    name: str
    reports: tuple[Report, ...]
    measures: tuple[str, ...]

    @cached_property
    def rows(self) -> list[ResultRow]:
        """A row for each set and, of several, one for their mean; of measures that all sets have."""
        rows = [
            ResultRow(
                f"{report.benchmark} ({report.split})",
                report.counts["queries"],
                report.metrics,
                {name: (low, high) for name, (low, high) in report.intervals.items()},
                costs_of(report),
            )
            for report in self.reports
        ]
        if len(rows) > 1:
            means = means_over_sets(self.reports)
            intervals = intervals_over_sets(self.reports, list(means))
            queries = sum(row.queries for row in rows)
            rows.append(ResultRow(f"mean of {len(rows)} sets", queries, means, intervals, {}))
        return rows

    @property
    def several(self) -> bool:
        """Whether the last row is a mean."""
        return len(self.reports) > 1

    def to_json(self) -> dict[str, Any]:
        """Return everything but the scores of single queries as JSON values."""
        first = self.reports[0]
        return {
            "system": self.name,
            "model": first.model,
            "fingerprint": first.fingerprint,
            "measures": list(self.measures),
            "rows": [row.to_json() for row in self.rows],
        }


def read_results(
    sources: Sequence[str | Path], measures: Sequence[str] = (), datasets: Sequence[str] = (), name: str | None = None
) -> SystemResults:
    """Read what one system reached.

    Args:
        sources: Results folders of `modernir eval`, of one set or several.
        measures: The only ones to show; by default all that the reports have.
        datasets: The only sets to show.
        name: What to call the system; by default its model and way to search.

    Raises:
        InputError: A folder holds no results, they are of several systems or settings, a set comes twice, or a measure
            or set that was asked for is not there.
    """
    places = [Path(source) for source in sources]
    found = [saved for place in places for saved in load_system(place)]
    chosen = [(folder, report) for folder, report in found if not datasets or report.benchmark in datasets]
    for wanted in datasets:
        there = dict.fromkeys(report.benchmark for _, report in found)
        if wanted not in there:
            raise InputError(f"{places[0]}: no results of {wanted}; there: {', '.join(there)}")
    _check_one_system(chosen)
    names = tuple(str(measure) for measure in parse_measures(measures)) if measures else ()
    for folder, report in chosen:
        if lacking := [one for one in names if one not in report.metrics]:
            raise InputError(f"{folder}: has no {lacking[0]} (but {', '.join(report.metrics)}); evaluate it with that")
    shown = names or tuple(dict.fromkeys(measure for _, report in chosen for measure in report.metrics))
    reports = tuple(_restricted(report, shown) for _, report in chosen)
    return SystemResults(name or reports[0].system, reports, shown)


def _check_one_system(saved: Sequence[tuple[Path, Report]]) -> None:
    first_folder, first = saved[0]
    seen: dict[tuple[str, str], Path] = {}
    for folder, report in saved:
        if (report.system, report.fingerprint) != (first.system, first.fingerprint):
            raise InputError(
                f"{folder}: results of {report.system}, where {first_folder} has those of {first.system}; put systems "
                "beside each other with `modernir eval compare`"
            )
        key = report.benchmark, report.split
        if key in seen:
            raise InputError(f"{folder}: {report.benchmark} ({report.split}) is in {seen[key]} too; name one of them")
        seen[key] = folder
        for setting in dict.fromkeys([*first.settings, *report.settings]):
            ours, theirs = first.settings.get(setting), report.settings.get(setting)
            if setting not in OF_ONE_SET and ours != theirs:
                raise InputError(
                    f"{folder}: evaluated with {setting} {theirs}, {first_folder} with {ours}; choose sets that were "
                    "evaluated alike with --dataset"
                )


def _restricted(report: Report, measures: Sequence[str]) -> Report:
    kept = [name for name in measures if name in report.metrics]
    return replace(
        report,
        metrics={name: report.metrics[name] for name in kept},
        intervals={name: report.intervals[name] for name in kept},
    )
