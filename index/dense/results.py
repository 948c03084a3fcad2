"""The lists of several segments made one list a query, equal scores in the order of positions."""

from collections.abc import Sequence

import numpy as np

from ..engine import Found
from .proposing import Rows


def merged(lists: Sequence[Rows], starts: Sequence[int], k: int) -> Found:
    """Return the best k of each query.

    Args:
        lists: Of each segment, scores (n, m) float32 and rows (n, m) int64, −1 for none.
        starts: Of each segment, the rows of those before it.
        k: Rows a query.

    Returns:
        Of each query, scores (≤ k,) float32 and positions (≤ k,) int64, none made from a row of −1.
    """
    if len(lists) == 1 and not starts[0]:
        scores, rows = lists[0]
        positions = rows
    else:
        scores = np.concatenate([found for found, _ in lists], axis=1)
        rows = np.concatenate([rows for _, rows in lists], axis=1)
        positions = rows + np.repeat(starts, [found.shape[1] for _, found in lists])
    if rows.size and rows.min() < 0:
        return _without_none(scores, positions, rows >= 0, k)
    if len(lists) > 1 or _has_ties(scores):
        order = np.lexsort((positions, -scores), axis=1)[:, :k]
        scores, positions = np.take_along_axis(scores, order, axis=1), np.take_along_axis(positions, order, axis=1)
    return list(scores[:, :k]), list(positions[:, :k])


def _without_none(scores: np.ndarray, positions: np.ndarray, given: np.ndarray, k: int) -> Found:
    """Return the best k of each query among the places where a row is given."""
    found: Found = ([], [])
    for line, places, there in zip(scores, positions, given, strict=True):
        order = np.lexsort((places[there], -line[there]))[:k]
        found[0].append(line[there][order])
        found[1].append(places[there][order])
    return found


def _has_ties(scores: np.ndarray) -> bool:
    """Say whether a query has equal scores; of one query, without NumPy, whose calls cost more than the work."""
    if len(scores) == 1:
        line = scores[0].tolist()
        return len({*line}) < len(line)
    return bool((scores[:, 1:] == scores[:, :-1]).any())
