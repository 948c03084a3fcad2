"""Bootstrap intervals of means over queries: how far a figure would move with other queries of the same kind.

The percentile bootstrap (Efron and Tibshirani 1993, chapter 13; Sakai 2006 for retrieval): draw n of the n queries with
replacement, take the mean, repeat, and report the quantiles (1 − level) / 2 and (1 + level) / 2 of those means. The
generator is seeded, so that the same scores always have the same interval.
"""

from collections.abc import Sequence

import numpy as np

from .measures import PerQuery

RESAMPLES = 10_000
LEVEL = 0.95
SEED = 20_070_723
BLOCK_BYTES = 1 << 25

Interval = tuple[float, float]
"""Lower and upper end."""


def resampled_means(values: np.ndarray, resamples: int = RESAMPLES, seed: int = SEED) -> np.ndarray:
    """Return the means of resampled queries.

    Args:
        values: (n_queries, n_columns) float64, one column a measure or system; all columns see the same resamples.
        resamples: How many.
        seed: Of the generator.

    Returns:
        (resamples, n_columns) float64.
    """
    n_queries, n_columns = values.shape
    generator = np.random.default_rng(seed)
    found = np.empty((resamples, n_columns))
    block = max(1, BLOCK_BYTES // (16 * n_queries))  # a drawn number and a count, 8 bytes each
    for start in range(0, resamples, block):
        rows = min(block, resamples - start)
        drawn = generator.integers(0, n_queries, (rows, n_queries)) + n_queries * np.arange(rows)[:, None]
        counts = np.bincount(drawn.ravel(), minlength=rows * n_queries).reshape(rows, n_queries)
        found[start : start + rows] = counts @ values / n_queries
    return found


def means_of_sets(samples: Sequence[np.ndarray], seed: int = SEED) -> np.ndarray:
    """Return the means over sets of their resampled means, the sets being resampled independently.

    Args:
        samples: For each set what `resampled_means` returned, (resamples, n_columns) float64.
        seed: Of the order in which each set's resamples meet those of the others.

    Returns:
        (resamples, n_columns) float64.
    """
    generator = np.random.default_rng(seed)
    total = samples[0]
    for others in samples[1:]:  # sets of one size were drawn alike, and must not move together
        total = total + generator.permutation(others)
    return total / len(samples)


def percentile_intervals(samples: np.ndarray, level: float = LEVEL) -> list[Interval]:
    """Return the central interval of each column of (resamples, n_columns) samples."""
    low, high = np.quantile(samples, [(1 - level) / 2, (1 + level) / 2], axis=0)
    return list(zip(low.tolist(), high.tolist(), strict=True))


def mean_intervals(per_query: PerQuery, names: Sequence[str], level: float = LEVEL) -> dict[str, list[float]]:
    """Return the interval of each measure's mean over all queries.

    Args:
        per_query: Query id to measure's name to value.
        names: The measures' names.
        level: Share of resampled means within the interval.

    Returns:
        Measure's name to [lower, upper], as JSON holds it.
    """
    intervals = percentile_intervals(resampled_means(matrix(per_query, names)), level)
    return {name: list(interval) for name, interval in zip(names, intervals, strict=True)}


def shown(interval: Sequence[float], sign: str = "") -> str:
    """Return the two ends in as few signs as a table needs: `.646 .733`, or with the sign "+" `-.012 +.034`."""
    return " ".join(f"{end:{sign}.3f}".replace("0.", ".", 1) for end in interval)


def matrix(per_query: PerQuery, names: Sequence[str]) -> np.ndarray:
    """Return the scores of some measures as (n_queries, n_measures) float64."""
    return np.array([[scores[name] for name in names] for scores in per_query.values()], np.float64)
