"""Negatives that are likely to answer the query after all, told by a teacher's scores, and left out.

Mined negatives hold texts that nobody has judged; many of them are relevant, and a contrastive loss pushes them away
from the query. Where a teacher's score for a negative comes near the positive's, or above it, the negative goes and the
next one of the example takes its place.
"""

import dataclasses
from dataclasses import dataclass

from ..readers.examples import TrainingExample


@dataclass(frozen=True)
class FalseNegativeFilter:
    """What a negative may score beside its positive.

    Moreira, Osmulski, Xu, Ak, Schifferer and Oldridge, "NV-Retriever: Improving text embedding models with effective
    hard-negative mining" (2024), arXiv 2407.15831: `ratio` is their TopK-PercPos, for which they take 0.95, and
    `margin` their TopK-MarginPos.

    Attributes:
        ratio: Largest score of a negative as a share of the positive's. A positive's score below zero is lowered by the
            same share of its size, so that the limit is below it whatever the sign.
        margin: How far below the positive's score a negative's has to stay.
    """

    ratio: float | None = None
    margin: float | None = None

    @property
    def compares(self) -> bool:
        """Whether scores are looked at."""
        return self.ratio is not None or self.margin is not None

    def limit(self, positive: float) -> float:
        """Return the largest score that a negative may have beside a positive's."""
        limits = []
        if self.ratio is not None:
            limits.append(positive - (1 - self.ratio) * abs(positive))
        if self.margin is not None:
            limits.append(positive - self.margin)
        return min(limits, default=float("inf"))

    def kept(self, example: TrainingExample) -> TrainingExample:
        """Return the example without the negatives that score too much, and without those that are its positive.

        An example without scores keeps all but the latter.
        """
        limit = self.limit(example.scores[0]) if example.scores else float("inf")
        places = [
            place
            for place, negative in enumerate(example.negatives)
            if negative != example.positive and (not example.scores or example.scores[1 + place] <= limit)
        ]
        if len(places) == len(example.negatives):
            return example
        scores = (example.scores[0], *(example.scores[1 + place] for place in places)) if example.scores else ()
        return dataclasses.replace(
            example, negatives=tuple(example.negatives[place] for place in places), scores=scores
        )
