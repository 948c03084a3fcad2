"""Which of the documents that a search found become negatives, and why the others do not."""

from collections import Counter
from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field

import numpy as np

from .settings import Mining


@dataclass
class Candidates:
    """What was found for one example, in the order of the ranks.

    Attributes:
        query: The example's.
        positive: The example's.
        ids: Of documents that may become negatives.
        scores: Theirs, (n,) float64.
        positive_score: The positive's, in the same measure; None where nothing asks for it, or nobody knows it.
        negatives: (place in `ids`, text) of those that became negatives.
    """

    query: str
    positive: str
    ids: list[str]
    scores: np.ndarray
    positive_score: float | None = None
    negatives: list[tuple[int, str]] = field(default_factory=list)


def in_range(
    hits: Sequence[tuple[str, float]], answers: AbstractSet[str], settings: Mining, dropped: Counter[str]
) -> tuple[list[str], np.ndarray]:
    """Return ids and scores of the documents within the ranks that do not answer the query.

    Args:
        hits: (id, score), best first.
        answers: Ids of the documents that do.
        settings: Name the ranks.
        dropped: Is told how many are left out, by reason.
    """
    first, last = settings.rank_range
    found = hits[first - 1 : last]
    kept = [(identifier, score) for identifier, score in found if identifier not in answers]
    dropped["positive"] += len(found) - len(kept)
    return [identifier for identifier, _ in kept], np.array([score for _, score in kept], np.float64)


def allowed(candidates: Candidates, settings: Mining, dropped: Counter[str]) -> np.ndarray:
    """Return the places of the candidates that the limits on scores let through, (n,) int64, ascending.

    Sousa et al. name the limits of the positive's score in "NV-Retriever: Improving text embedding models with
    effective hard-negative mining" (2024), arXiv 2407.15831: `margin` is TopK-MarginPos, `ratio` TopK-PercPos. The
    share is taken of the score's size, so that it lies below the positive's also where that is negative.
    """
    scores, positive = candidates.scores, candidates.positive_score
    kept = np.ones(len(scores), bool)
    limits = {
        "max-score": settings.max_score,
        "margin": None if settings.margin is None or positive is None else positive - settings.margin,
        "ratio": None
        if settings.ratio is None or positive is None
        else positive - abs(positive) * (1 - settings.ratio),
    }
    for reason, limit in limits.items():
        if limit is not None:
            above = kept & (scores > limit)
            dropped[reason] += int(above.sum())
            kept &= ~above
    return np.flatnonzero(kept)


def order_of_picks(places: np.ndarray, settings: Mining, number: int) -> list[int]:
    """Return places in the order in which they are taken.

    Args:
        places: (n,) int64, ascending.
        settings: Say how to pick, and the seed.
        number: The example's in the whole input, so that a draw depends neither on blocks nor on interruptions.
    """
    if settings.pick == "random":
        places = np.random.default_rng((settings.seed, number)).permutation(places)
    return [int(place) for place in places]
