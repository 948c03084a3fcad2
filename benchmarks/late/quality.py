"""What the positions that a system found are worth, and which of our settings match a peer's recall."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from math import log2

import numpy as np

from .cached import Collection
from .measure import Track

EQUAL = 0.0005
"""Difference of recall that is none: float16 vectors swap documents whose scores are the same but for rounding."""


@dataclass(frozen=True)
class Scored:
    """A track with the collection that it was searched in.

    Attributes:
        track: What was measured.
        collection: Its size's.
        queries: How many of the queries count, from the first.
    """

    track: Track
    collection: Collection
    queries: int

    @property
    def p50(self) -> float:
        """Median milliseconds of a query."""
        return float(np.median(self.track.seconds[: self.queries]) * 1e3)

    @property
    def p95(self) -> float:
        """Milliseconds that 95 % of the queries stay below."""
        return float(np.percentile(self.track.seconds[: self.queries], 95) * 1e3)

    @property
    def processor(self) -> float:
        """Median milliseconds of processor time, all threads together: less than `p50` where a thread had to wait."""
        return float(np.median(self.track.processor[: self.queries]) * 1e3)

    def recall(self, k: int) -> float:
        """Share of the exact best k that was found among the first k, a mean over the queries."""
        pairs = zip(self.track.found[: self.queries], self.collection.exact, strict=False)
        return float(np.mean([len(set(found[:k]) & set(exact[:k].tolist())) / k for found, exact in pairs]))

    @cached_property
    def recalls(self) -> tuple[float, float]:
        """R@10 and R@100."""
        return self.recall(10), self.recall(100)

    @property
    def ndcg(self) -> float:
        """nDCG@10 with the judgements of the set, all grades taken as 1."""
        return mean_ndcg(self.track.found[: self.queries], self.collection.relevant)

    @property
    def exact_ndcg(self) -> float:
        """nDCG@10 of exact MaxSim on the same queries."""
        return mean_ndcg(self.collection.exact[: self.queries].tolist(), self.collection.relevant)

    def on(self, queries: int) -> "Scored":
        """Return the same with the first queries only."""
        return Scored(self.track, self.collection, queries)


def mean_ndcg(found: Sequence[Sequence[int]], relevant: Sequence[Sequence[int]], k: int = 10) -> float:
    """Return the mean nDCG@k; a query without relevant documents counts as 0 (Järvelin and Kekäläinen, 2002)."""
    gains = [1 / log2(rank + 2) for rank in range(k)]
    values = []
    for positions, wanted in zip(found, relevant, strict=False):
        reached = sum(gain for gain, position in zip(gains, positions, strict=False) if position in wanted)
        values.append(reached / sum(gains[: len(wanted)]) if wanted else 0.0)
    return float(np.mean(values))


def matching(peer: Scored, own: Sequence[Scored]) -> Scored | None:
    """Return the quickest of our settings that has the peer's R@10 and R@100, on the peer's queries, or None."""
    least10, least100 = peer.recalls
    same = [result.on(peer.queries) for result in own if len(result.track.seconds) >= peer.queries]
    able = [result for result in same if result.recalls[0] >= least10 - EQUAL and result.recalls[1] >= least100 - EQUAL]
    return min(able, key=lambda result: result.p50, default=None)
