"""Systems compared with a baseline by one measure: means, differences, intervals, tests, wins and losses.

Every query counts for every system, so that all figures are of paired scores.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np

from ..intervals import LEVEL, RESAMPLES, Interval, means_of_sets, percentile_intervals, resampled_means
from ..significance import EXACT_QUERIES, FLIPS, holm, paired_t_test, randomization_test

TIE = 1e-9
"""Smaller differences are rounding: a tie."""
ALPHA = 0.05
TOP = 10


@dataclass(frozen=True)
class ComparedSet:
    """One set's scores of all systems.

    Attributes:
        name: The set's.
        split: Whose judgements.
        queries: Ids of the judged queries.
        scores: (n_systems, n_queries) float64, the baseline first.
        texts: Query id to text, of the queries whose texts are at hand.
    """

    name: str
    split: str
    queries: tuple[str, ...]
    scores: np.ndarray
    texts: dict[str, str] = field(default_factory=dict)

    @property
    def differences(self) -> np.ndarray:
        """Each system's scores less the baseline's, (n_systems − 1, n_queries) float64, ties exactly 0."""
        differences = self.scores[1:] - self.scores[0]
        return np.where(np.abs(differences) <= TIE, 0.0, differences)


@dataclass(frozen=True)
class Difference:
    """How a system differs from the baseline.

    Attributes:
        mean: The system's mean less the baseline's.
        interval: Ends of its bootstrap interval.
        p_randomization: Of the paired randomization test.
        p_t: Of the paired t test.
        corrected_randomization: The p value corrected for the number of comparisons, by Holm.
        corrected_t: The same of the t test.
        wins: Queries that the system scores higher.
        ties: Queries that both score alike.
        losses: Queries that the baseline scores higher.
    """

    mean: float
    interval: Interval
    p_randomization: float
    p_t: float
    corrected_randomization: float
    corrected_t: float
    wins: int
    ties: int
    losses: int


@dataclass(frozen=True)
class Row:
    """One set, or the mean of all.

    Attributes:
        name: The set's, with its split; or what it is the mean of.
        queries: Number of judged queries.
        means: Of each system.
        intervals: Of each system's mean.
        differences: Of each system but the baseline.
    """

    name: str
    queries: int
    means: tuple[float, ...]
    intervals: tuple[Interval, ...]
    differences: tuple[Difference, ...]


@dataclass(frozen=True)
class Change:
    """A query that a system scores otherwise than the baseline; `text` is empty where it is not at hand."""

    set: str
    query: str
    text: str
    baseline: float
    score: float
    difference: float


@dataclass(frozen=True)
class Comparison:
    """What came out.

    Attributes:
        measure: Its name.
        systems: Their names, the baseline first.
        sets: Scores query by query.
        rows: A row for each set and, of several, one for their mean.
        changes: For each system but the baseline the queries that changed most, the largest change first.
        alpha: A corrected p value below it is called significant.
    """

    measure: str
    systems: tuple[str, ...]
    sets: tuple[ComparedSet, ...]
    rows: tuple[Row, ...]
    changes: tuple[tuple[Change, ...], ...]
    alpha: float = ALPHA

    @property
    def baseline(self) -> str:
        """Name of the system that the others are compared with."""
        return self.systems[0]

    def significant(self, difference: Difference) -> bool:
        """Say whether the randomization test, corrected, calls it a difference."""
        return difference.corrected_randomization < self.alpha

    @property
    def method(self) -> str:
        """How the figures were computed, in words for the foot of a table."""
        single = sum(len(row.differences) for row in self.rows[: len(self.sets)])
        family = f"Holm-corrected for {single} comparison{'s' if single > 1 else ''}"
        if len(self.rows) > len(self.sets):
            family += f" (of the mean: {len(self.systems) - 1})"
        return (
            f"{LEVEL:.0%} percentile bootstrap intervals over queries ({RESAMPLES:,} resamples); paired randomization "
            f"test ({FLIPS:,} patterns of signs, all where at most {EXACT_QUERIES} queries differ) and paired t test, "
            f"two-sided, {family}"
        )

    def to_json(self) -> dict[str, Any]:
        """Return everything but the scores of single queries as JSON values."""
        rows = []
        for row in self.rows:
            figures = zip(self.systems, row.means, row.intervals, (None, *row.differences), strict=True)
            systems = [
                {"system": name, "mean": mean, "interval": list(interval), "difference": _json(difference)}
                for name, mean, interval, difference in figures
            ]
            rows.append({"set": row.name, "queries": row.queries, "systems": systems})
        changes = zip(self.systems[1:], self.changes, strict=True)
        return {
            "measure": self.measure,
            "baseline": self.baseline,
            "systems": list(self.systems),
            "alpha": self.alpha,
            "method": self.method,
            "rows": rows,
            "changes": {name: [asdict(change) for change in found] for name, found in changes},
        }


def compare(
    measure: str, systems: Sequence[str], sets: Sequence[ComparedSet], alpha: float = ALPHA, top: int = TOP
) -> Comparison:
    """Compare systems by their scores; see `Comparison`.

    All tests on single sets are corrected together, and so are all tests of the mean over sets.
    """
    samples = [resampled_means(found.scores.T) for found in sets]
    rows = _corrected(
        [_row(f"{one.name} ({one.split})", [one], [drawn]) for one, drawn in zip(sets, samples, strict=True)]
    )
    if len(sets) > 1:
        rows += _corrected([_row(f"mean of {len(sets)} sets", sets, samples)])
    changes = tuple(_changes(number, sets, top) for number in range(1, len(systems)))
    return Comparison(measure, tuple(systems), tuple(sets), tuple(rows), changes, alpha)


def _row(name: str, sets: Sequence[ComparedSet], samples: Sequence[np.ndarray]) -> Row:
    """Return the figures of the mean over sets; of one set, its own."""
    drawn = means_of_sets(samples)
    means = np.mean([one.scores.mean(axis=1) for one in sets], axis=0)
    apart = percentile_intervals(drawn[:, 1:] - drawn[:, :1])
    differences = tuple(
        _difference([one.differences[number] for one in sets], interval) for number, interval in enumerate(apart)
    )
    queries = sum(len(one.queries) for one in sets)
    return Row(name, queries, tuple(means.tolist()), tuple(percentile_intervals(drawn)), differences)


def _difference(strata: Sequence[np.ndarray], interval: Interval) -> Difference:
    by_randomization, by_t = randomization_test(strata), paired_t_test(strata)
    signs = np.sign(np.concatenate(strata)).tolist()
    return Difference(
        mean=float(np.mean([differences.mean() for differences in strata])),
        interval=interval,
        p_randomization=by_randomization,
        p_t=by_t,
        corrected_randomization=by_randomization,
        corrected_t=by_t,
        wins=signs.count(1.0),
        ties=signs.count(0.0),
        losses=signs.count(-1.0),
    )


def _corrected(rows: Sequence[Row]) -> list[Row]:
    """Correct the p values of all rows' differences for their number."""
    together = [difference for row in rows for difference in row.differences]
    by_randomization = iter(holm([difference.p_randomization for difference in together]))
    by_t = iter(holm([difference.p_t for difference in together]))
    return [
        replace(
            row,
            differences=tuple(
                replace(one, corrected_randomization=next(by_randomization), corrected_t=next(by_t))
                for one in row.differences
            ),
        )
        for row in rows
    ]


def _changes(number: int, sets: Sequence[ComparedSet], top: int) -> tuple[Change, ...]:
    found = [
        Change(one.name, query, one.texts.get(query, ""), before, after, difference)
        for one in sets
        for query, before, after, difference in zip(
            one.queries,
            one.scores[0].tolist(),
            one.scores[number].tolist(),
            one.differences[number - 1].tolist(),
            strict=True,
        )
        if difference
    ]
    return tuple(sorted(found, key=lambda change: -abs(change.difference))[:top])


def _json(difference: Difference | None) -> dict[str, Any] | None:
    return None if difference is None else asdict(difference) | {"interval": list(difference.interval)}
