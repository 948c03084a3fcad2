"""How much of the exact answer an approximate search finds, and how long it takes."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from .index import Index


@dataclass(frozen=True)
class Measured:
    """A setting of the search, measured.

    Attributes:
        options: The setting, as `Index.search` takes it.
        recall: Cut-off k to the mean share of the exact k best that were found.
        median: Milliseconds a query, one query at a time.
        p95: Milliseconds below which 95 % of the queries stay.
    """

    options: Mapping[str, Any]
    recall: Mapping[int, float]
    median: float
    p95: float


def recall_at(found: Sequence[Sequence[str]], exact: Sequence[Sequence[str]], k: int) -> float:
    """Return the mean over queries of the share of the exact k best that are among the k found.

    A query for which exact search finds nothing counts as 1.
    """
    shares = [
        len({*one[:k]} & {*other[:k]}) / len(other[:k]) if len(other) else 1.0
        for one, other in zip(found, exact, strict=True)
    ]
    return float(np.mean(shares)) if shares else 1.0


def measure_recall(
    index: Index, queries: Sequence[Any], cuts: Sequence[int], settings: Sequence[Mapping[str, Any]], warm_up: int = 5
) -> list[Measured]:
    """Measure settings of the search against exact search over the vectors that the index stores.

    Args:
        index: Where to search.
        queries: Vectors of one query each, as `Index.search` takes them.
        cuts: Values of k.
        settings: Options of `Index.search`; an empty mapping is what a search takes by itself.
        warm_up: Queries searched before the clock runs.

    Returns:
        One for each setting, in order, the exact search last.
    """
    return measure_indexes([(index, settings)], queries, cuts, warm_up)[0]


def measure_indexes(
    indexes: Sequence[tuple[Index, Sequence[Mapping[str, Any]]]],
    queries: Sequence[Any],
    cuts: Sequence[int],
    warm_up: int = 5,
) -> list[list[Measured]]:
    """Measure settings of several indexes of the same documents against exact search in the first of them.

    What the others' vectors lost counts too: their own exact search may find less than all.

    Args:
        indexes: Each with the settings to measure, as in `measure_recall`.
        queries: As there, as the others.
        cuts: Values of k.
        warm_up: Queries searched before the clock runs.

    Returns:
        For each index one for each setting, in order, its exact search last.
    """
    deepest = max(cuts)
    truth: list[list[str]] | None = None
    measured = []
    for index, settings in indexes:
        exact, exact_times = _timed(index, queries, deepest, {"exact": True}, warm_up)
        truth = exact if truth is None else truth
        of_index = []
        for options in settings:
            found, times = _timed(index, queries, deepest, options, warm_up)
            of_index.append(_measured(options, found, truth, cuts, times))
        measured.append([*of_index, _measured({"exact": True}, exact, truth, cuts, exact_times)])
    return measured


def _timed(
    index: Index, queries: Sequence[Any], k: int, options: Mapping[str, Any], warm_up: int
) -> tuple[list[list[str]], np.ndarray]:
    for query in queries[:warm_up]:
        index.search(query, k, **options)
    found, times = [], []
    for query in queries:
        start = time.perf_counter()
        ids, _ = index.search(query, k, **options)
        times.append(time.perf_counter() - start)
        found.append(ids[0])
    return found, np.array(times) * 1000


def _measured(
    options: Mapping[str, Any],
    found: Sequence[Sequence[str]],
    exact: Sequence[Sequence[str]],
    cuts: Sequence[int],
    times: np.ndarray,
) -> Measured:
    recall = {k: recall_at(found, exact, k) for k in cuts}
    return Measured(options, recall, float(np.median(times)), float(np.percentile(times, 95)))
