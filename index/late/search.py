"""Search over coded segments with the kernels: all segments as one, so that results do not depend on how they are cut.

A query's scores with the centroids are computed once. Then three passes, each over fewer documents and each more exact:
posting lists of the nearest centroids; MaxSim over the centroids of documents' tokens; MaxSim on the codes.
"""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from typing import TypeVar

import numpy as np

from ...jit.cores import cores
from ..engine import Found
from ..masks import Mask
from .codec import Codec
from .effort import Effort, chosen_effort
from .findable import Findable, filled_rows
from .kernels.instructions import Instructions, usable_sets
from .kernels.probes import accumulate, best_documents, choose_probes
from .kernels.rerank import approximate, longest_document, score_documents
from .kernels.table import segment_table
from .prepared import Centroids, PreparedQuery
from .segment import CodedSegment
from .uncompressed import best

Result = TypeVar("Result")

_NO_SUMS, _NO_BYTES = np.empty(0, np.int64), np.empty((0, 0), np.uint8)


class LateSearch:
    """Finds the documents of coded segments; an object of it never changes, and many threads may use it.

    Attributes:
        codec: Of the segments, or a later version of it.
        segments: Searched as one; positions count on from one to the next.
        instructions: What the kernels are compiled for.
    """

    def __init__(self, codec: Codec, segments: Sequence[CodedSegment], instructions: str | None = None) -> None:
        self.codec = codec
        self.segments = segments
        self.instructions = Instructions(instructions or usable_sets()[0], codec.nbits)
        self.bounds = np.cumsum([0, *(segment.rows for segment in segments)])
        self._centroids = Centroids.of(codec)
        self._table, self._held = segment_table(segments, self.bounds)
        self._spare: list[PreparedQuery] = []

    def search(
        self,
        values: np.ndarray,
        offsets: np.ndarray,
        k: int,
        masks: Sequence[Mask | None],
        *,
        nprobe: int | None = None,
        candidates: int | None = None,
        exact: bool = False,
        threads: int | None = None,
        effort: Effort | None = None,
    ) -> Found:
        """Return the best rows of each query.

        Args:
            values: (tokens, dim) float32, of all queries.
            offsets: (queries + 1,) int64.
            k: Rows a query.
            masks: One a segment; None lets all its rows be found.
            nprobe: Centroids probed for each token.
            candidates: Documents scored exactly.
            exact: Whether to score all documents.
            threads: Queries searched at once; None for one a core.
            effort: All settings at once, instead of `nprobe` and `candidates`.

        Returns:
            Scores and positions, at most k a query; none for a query without tokens.
        """
        values = np.require(values, np.float32, ["C", "W"])  # what kernels are compiled for
        effort = effort or chosen_effort(int(self.bounds[-1]), k, nprobe, candidates)
        findable = Findable(self.bounds, masks)
        direct = findable.direct(effort, exact)

        def one(number: int) -> tuple[np.ndarray, np.ndarray]:
            query = values[offsets[number] : offsets[number + 1]]
            if not len(query) or not findable.count:
                return np.empty(0, np.float32), np.empty(0, np.int64)
            prepared = self._borrow()
            prepared.prepare(query)
            if direct is not None:
                scores, positions = self._scored(prepared, direct), direct
            else:
                scores, positions = self._reranked(prepared, k, findable, effort)
            self._give_back(prepared)
            return best(scores, positions, k)

        results = _parallel(one, len(offsets) - 1, threads)
        return [scores for scores, _ in results], [found for _, found in results]

    def score(
        self, values: np.ndarray, offsets: np.ndarray, positions: Sequence[np.ndarray], threads: int | None = None
    ) -> list[np.ndarray]:
        """Return the exact score of each query with given rows, (n,) float32 each.

        Args:
            values: (tokens, dim) float32, of all queries.
            offsets: (queries + 1,) int64.
            positions: (n,) int64 of each query, in any order.
            threads: Queries scored at once; None for one a core.

        Returns:
            −inf for rows without tokens, and for queries without.
        """
        values = np.require(values, np.float32, ["C", "W"])

        def one(number: int) -> np.ndarray:
            query, rows = values[offsets[number] : offsets[number + 1]], np.array(positions[number], np.int64)
            if not len(query) or not len(rows):
                return np.full(len(rows), -np.inf, np.float32)
            prepared = self._borrow()
            prepared.prepare(query)
            scores = self._scored(prepared, rows)
            self._give_back(prepared)
            return scores

        return _parallel(one, len(offsets) - 1, threads)

    def _reranked(
        self, prepared: PreparedQuery, k: int, findable: Findable, effort: Effort
    ) -> tuple[np.ndarray, np.ndarray]:
        positions = self._probed(prepared, findable, effort)
        nearest = np.empty((len(positions), len(prepared.units)), np.uint8)
        sums = np.empty(len(positions), np.int64)
        rows = len(self.codec.centroids)
        longest = longest_document(self._table, positions)
        approximate(self._table, positions, rows, prepared.coarse, longest, nearest, sums)
        order = np.argsort(-sums, kind="stable")[: effort.candidates]
        positions = positions[order]
        expected = sums[order] if effort.margin < np.inf else _NO_SUMS
        scores = self._scored(prepared, positions, nearest[order], expected, k, effort.margin)
        return scores, positions[: len(scores)]

    def _probed(self, prepared: PreparedQuery, findable: Findable, effort: Effort) -> np.ndarray:
        """Return the documents that posting lists speak for, ascending; others where too few are."""
        rows, sums = len(self.codec.centroids), prepared.sums
        starts, centroids, gains = choose_probes(prepared.coarse, rows, prepared.units, effort.nprobe)
        sums.fill(0)
        for number, mask in enumerate(findable.masks):
            accumulate(self._table, number, starts, centroids, gains, sums)
            if mask is not None:
                sums[self.bounds[number] : self.bounds[number + 1]] *= mask.allowed
        return findable.filled_up(best_documents(sums, effort.shortlist), effort, self._filled)

    def _scored(
        self,
        prepared: PreparedQuery,
        positions: np.ndarray,
        nearest: np.ndarray = _NO_BYTES,
        expected: np.ndarray = _NO_SUMS,
        k: int = 1,
        margin: float = 0.0,
    ) -> np.ndarray:
        scores = np.empty(len(positions), np.float32)
        count = score_documents(
            self.instructions,
            self._table,
            positions,
            len(self.codec.centroids),
            self.codec.width,
            self.codec.padded,
            prepared.starts,
            prepared.far,
            prepared.worths,
            nearest,
            expected,
            k,
            margin,
            longest_document(self._table, positions),
            scores,
        )
        return scores[:count]

    @cached_property
    def _filled(self) -> np.ndarray:
        return filled_rows(self.segments)

    def _borrow(self) -> PreparedQuery:
        try:
            return self._spare.pop()
        except IndexError:  # as many as there are threads at work
            return PreparedQuery(self.codec, self._centroids, int(self.bounds[-1]), self.instructions)

    def _give_back(self, prepared: PreparedQuery) -> None:
        if prepared.small:
            self._spare.append(prepared)


def _parallel(one: Callable[[int], Result], count: int, threads: int | None) -> list[Result]:
    threads = min(threads or cores(), count)
    if threads <= 1:
        return [one(number) for number in range(count)]
    with ThreadPoolExecutor(threads) as pool:
        return list(pool.map(one, range(count)))
