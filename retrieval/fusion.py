"""One ranking from several: the lists that dense, late-interaction and lexical search give for the same query.

Plain functions over lists of (document id, score), best first. A list holds a document at most once. Equal fused
scores are ordered by the best place that a document has in any list, then by the first list that has it there.
"""

from collections.abc import Sequence
from typing import Literal

import numpy as np

from ..errors import InputError

Ranking = Sequence[tuple[str, float]]
Normalisation = Literal["minmax", "zscore", "none"]


def reciprocal_rank_fusion(
    lists: Sequence[Ranking], k: int = 60, weights: Sequence[float] | None = None, depth: int | None = None
) -> list[tuple[str, float]]:
    """Fuse by ranks alone (Cormack, Clarke and Büttcher 2009): the sum of weight / (k + rank) over the lists.

    Args:
        lists: Rankings, best first; their scores are not looked at.
        k: How slowly a rank's worth falls; above 0.
        weights: One a list, 0 or more; all 1 if not given.
        depth: Number of first places of each list that count; all if not given.

    Returns:
        Every document of the lists with its fused score, best first.

    Raises:
        InputError: A number is out of its range, or there are not as many weights as lists.
    """
    if k <= 0 or (depth is not None and depth <= 0):
        raise InputError(f"reciprocal rank fusion: k = {k}, depth = {depth}: both must be above 0")
    used = [ranking[:depth] for ranking in lists]
    scores: dict[str, float] = {}
    for ranking, weight in zip(used, _weights(lists, weights), strict=True):
        for rank, (identifier, _) in enumerate(ranking, 1):
            scores[identifier] = scores.get(identifier, 0.0) + weight / (k + rank)
    return _ordered(scores, used)


def weighted_sum(
    lists: Sequence[Ranking], weights: Sequence[float], normalise: Normalisation = "minmax"
) -> list[tuple[str, float]]:
    """Fuse by scores: the sum of weight × normalised score over the lists.

    A document that a list does not hold gets that list's lowest score, under minmax 0: it would have scored no better.
    An empty list adds nothing.

    Args:
        lists: Rankings, best first, of finite scores.
        weights: One a list, 0 or more.
        normalise: What happens to each list's scores first: "minmax" maps them to [0, 1] (all to 1 where they are
            equal), "zscore" to mean 0 and standard deviation 1 (all to 0 where they are equal), "none" leaves them.

    Returns:
        Every document of the lists with its fused score, best first.

    Raises:
        InputError: A weight is out of range or missing, a score is not finite, or the normalisation is unknown.
    """
    if normalise not in ("minmax", "zscore", "none"):
        raise InputError(f"normalise = {normalise!r}: expected minmax, zscore or none")
    scores: dict[str, float] = dict.fromkeys((name for ranking in lists for name, _ in ranking), 0.0)
    for ranking, weight in zip(lists, _weights(lists, weights), strict=True):
        if not ranking:
            continue
        own = dict(zip((name for name, _ in ranking), _normalised(ranking, normalise), strict=True))
        # Where all are equal, a found document is still better than one that is not.
        lowest = 0.0 if normalise == "minmax" else min(own.values())
        for name in scores:
            scores[name] += weight * own.get(name, lowest)
    return _ordered(scores, lists)


def _normalised(ranking: Ranking, normalise: Normalisation) -> list[float]:
    scores = np.array([score for _, score in ranking], np.float64)
    if not np.isfinite(scores).all():
        worst = next(name for name, score in ranking if not np.isfinite(score))
        raise InputError(f"weighted sum: the score of document {worst!r} is not a finite number")
    if normalise == "none":
        return scores.tolist()
    if np.ptp(scores) == 0:
        return [1.0 if normalise == "minmax" else 0.0] * len(scores)
    if normalise == "minmax":
        return ((scores - scores.min()) / np.ptp(scores)).tolist()
    return ((scores - scores.mean()) / scores.std()).tolist()


def _weights(lists: Sequence[Ranking], weights: Sequence[float] | None) -> list[float]:
    found = [1.0] * len(lists) if weights is None else [float(weight) for weight in weights]
    if len(found) != len(lists):
        raise InputError(f"fusion: {len(lists)} lists and {len(found)} weights; give one weight a list")
    if not all(np.isfinite(weight) and weight >= 0 for weight in found):
        raise InputError(f"fusion: weights {found}: each must be a finite number of at least 0")
    return found


def _ordered(scores: dict[str, float], lists: Sequence[Ranking]) -> list[tuple[str, float]]:
    places: dict[str, tuple[int, int]] = {}
    for number, ranking in enumerate(lists):
        for rank, (name, _) in enumerate(ranking):
            places[name] = min(places.get(name, (rank, number)), (rank, number))
    return sorted(scores.items(), key=lambda item: (-item[1], places[item[0]]))
