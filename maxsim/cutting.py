"""Runs of documents that fit in memory."""

from collections.abc import Iterator

import numpy as np


def cut(costs: np.ndarray, limit: int, *, alike: bool = False) -> Iterator[slice]:
    """Cut a list of things into runs that cost no more than a limit, or hold one thing.

    Args:
        costs: (n,) whole numbers, the bytes that each takes; if `alike`, none more than the one before it.
        limit: The most that a run may cost.
        alike: Whether everything in a run takes what its first does, as rows that are filled up to the longest do.
    """
    ends = np.cumsum(costs, dtype=np.int64)
    first = 0
    while first < len(costs):
        if alike:
            last = min(first + limit // max(1, int(costs[first])), len(costs))
        else:
            last = int(np.searchsorted(ends, (ends[first - 1] if first else 0) + limit, side="right"))
        last = max(last, first + 1)
        yield slice(first, last)
        first = last
