"""Search over coded segments with the kernels: all segments as one, so that results do not depend on how they are cut.

A query's scores with the centroids are computed once. Then three passes, each over fewer documents and each more exact:
posting lists of the nearest centroids; MaxSim over the centroids of documents' tokens; MaxSim on the codes.
"""

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from ..engine import Found
from ..masks import Mask
from .codec import Codec
from .kernels import table as columns
from .kernels.instructions import Instructions, usable_sets
from .kernels.probes import accumulate, best_documents, choose_probes
from .kernels.rerank import approximate, longest_document, score_documents
from .prepared import Centroids, PreparedQuery
from .segment import CodedSegment

REACH = 3.0
MARGIN = 3.0
SHORTLIST = 4

_NO_SUMS, _NO_BYTES, _NO_SLACK = np.empty(0, np.int64), np.empty((0, 0), np.uint8), np.empty(0, np.uint8)


def default_nprobe(k: int) -> int:
    """Return how many centroids to probe for each token when k documents are asked for."""
    return 16 if k <= 10 else 32


def default_candidates(documents: int, k: int) -> int:
    """Return how many of so many documents to score exactly, at most, when k are asked for."""
    return int(np.clip(2.5 * np.sqrt(documents) * np.sqrt(k / 10), max(256, k), max(2048, k)))


@dataclass(frozen=True)
class Effort:
    """How much work a search does.

    Attributes:
        nprobe: Centroids probed for each token.
        candidates: Documents scored exactly, at most.
        shortlist: Documents scored by their centroids.
        reach: Tokens are scored exactly where the residual could make up for a farther centroid if it were this many
            standard deviations long in the query's direction; infinity scores all tokens.
        margin: The exact pass ends when the next document is expected to stay below the k-th best by this many
            standard deviations of what was expected so far; infinity scores all candidates.
    """

    nprobe: int
    candidates: int
    shortlist: int
    reach: float = REACH
    margin: float = MARGIN


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
        self._table, self._held = _table(segments, self.bounds)
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
        effort = effort or self._effort(k, nprobe, candidates)
        allowed = sum(
            segment.rows if mask is None else mask.count for segment, mask in zip(self.segments, masks, strict=True)
        )
        direct = _allowed(self.bounds, masks) if exact or allowed <= 2 * effort.candidates else None

        def one(number: int) -> tuple[np.ndarray, np.ndarray]:
            query = values[offsets[number] : offsets[number + 1]]
            if not len(query) or not allowed:
                return np.empty(0, np.float32), np.empty(0, np.int64)
            prepared = self._borrow()
            prepared.prepare(query)
            if direct is not None:
                scores, positions = self._scored(prepared, direct), direct
            else:
                scores, positions = self._reranked(prepared, query, k, masks, effort)
            self._give_back(prepared)
            return _best(scores, positions, k)

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

        def one(number: int) -> np.ndarray:
            query, rows = values[offsets[number] : offsets[number + 1]], np.asarray(positions[number], np.int64)
            if not len(query) or not len(rows):
                return np.full(len(rows), -np.inf, np.float32)
            prepared = self._borrow()
            prepared.prepare(query)
            scores = self._scored(prepared, rows)
            self._give_back(prepared)
            return scores

        return _parallel(one, len(offsets) - 1, threads)

    def _effort(self, k: int, nprobe: int | None, candidates: int | None) -> Effort:
        candidates = max(candidates or default_candidates(int(self.bounds[-1]), k), k)
        return Effort(nprobe or default_nprobe(k), candidates, SHORTLIST * candidates)

    def _reranked(
        self, prepared: PreparedQuery, query: np.ndarray, k: int, masks: Sequence[Mask | None], effort: Effort
    ) -> tuple[np.ndarray, np.ndarray]:
        positions = self._probed(prepared, masks, effort)
        nearest = np.empty((len(positions), len(prepared.units)), np.uint8)
        sums = np.empty(len(positions), np.int64)
        rows = len(self._centroids.numbers)
        longest = longest_document(self._table, positions)
        approximate(self._table, positions, rows, prepared.coarse, longest, nearest, sums)
        order = np.argsort(-sums, kind="stable")[: effort.candidates]
        positions = positions[order]
        slack = prepared.slack(query, effort.reach) if effort.reach < np.inf else _NO_SLACK
        expected = sums[order] if effort.margin < np.inf else _NO_SUMS
        scores = self._scored(prepared, positions, nearest[order], slack, expected, k, effort.margin)
        return scores, positions[: len(scores)]

    def _probed(self, prepared: PreparedQuery, masks: Sequence[Mask | None], effort: Effort) -> np.ndarray:
        """Return the documents that posting lists speak for, ascending; others where too few are."""
        rows, sums = len(self._centroids.numbers), prepared.sums
        probes = choose_probes(prepared.coarse, rows, self._centroids.numbers, prepared.units, effort.nprobe)
        sums.fill(0)
        for number, mask in enumerate(masks):
            accumulate(self._table, number, *probes, sums)
            if mask is not None:
                sums[self.bounds[number] : self.bounds[number + 1]] *= mask.allowed
        found = best_documents(sums, effort.shortlist)
        if len(found) < effort.candidates:
            others = _allowed(self.bounds, masks)
            others = others[(sums[others] == 0) & self._filled[others]][: effort.candidates - len(found)]
            found = np.sort(np.concatenate([found, others]))
        return found

    def _scored(
        self,
        prepared: PreparedQuery,
        positions: np.ndarray,
        nearest: np.ndarray = _NO_BYTES,
        slack: np.ndarray = _NO_SLACK,
        expected: np.ndarray = _NO_SUMS,
        k: int = 1,
        margin: float = 0.0,
    ) -> np.ndarray:
        scores = np.empty(len(positions), np.float32)
        count = score_documents(
            self.instructions,
            self._table,
            positions,
            len(self._centroids.numbers),
            self.codec.width,
            self.codec.padded,
            prepared.starts,
            prepared.coarse,
            prepared.far,
            prepared.units,
            1 / 510 if self.codec.scaled else 1.0,
            nearest,
            slack,
            expected,
            k,
            margin,
            longest_document(self._table, positions),
            scores,
        )
        return scores[:count]

    @cached_property
    def _filled(self) -> np.ndarray:
        """Say of each row whether it has tokens, (rows of all segments,) bool."""
        return np.concatenate([np.diff(segment.offsets) > 0 for segment in self.segments])

    def _borrow(self) -> PreparedQuery:
        try:
            return self._spare.pop()
        except IndexError:  # as many as there are threads at work
            return PreparedQuery(self.codec, self._centroids, int(self.bounds[-1]), self.instructions)

    def _give_back(self, prepared: PreparedQuery) -> None:
        if prepared.small:
            self._spare.append(prepared)


def _table(segments: Sequence[CodedSegment], bounds: np.ndarray) -> tuple[np.ndarray, list[np.ndarray]]:
    """Return the kernels' table of segments, and the arrays whose addresses it holds."""
    table, held = np.zeros((len(segments), columns.COLUMNS), np.int64), []
    for row, segment in enumerate(segments):
        arrays = {
            columns.OFFSETS: segment.offsets,
            columns.CODES: segment.codes,
            columns.RESIDUALS: segment.residuals,
            columns.SCALES: segment.scales,
            columns.POSTING_OFFSETS: segment.posting_offsets,
            columns.POSTING_ROWS: segment.posting_rows,
        }
        for column, array in arrays.items():
            if array is not None:
                held.append(np.ascontiguousarray(array))
                table[row, column] = held[-1].ctypes.data
        table[row, columns.FIRST] = bounds[row]
        table[row, columns.CODE_BYTES] = segment.codes.itemsize
        table[row, columns.CENTROIDS] = len(segment.posting_offsets) - 1
    return table, held


def _allowed(bounds: np.ndarray, masks: Sequence[Mask | None]) -> np.ndarray:
    """Return the positions of all rows that may be found, ascending."""
    parts = [
        np.arange(first, last) if mask is None else first + mask.rows
        for first, last, mask in zip(bounds[:-1], bounds[1:], masks, strict=True)
    ]
    return np.concatenate([np.empty(0, np.int64), *parts])


def _best(scores: np.ndarray, positions: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the k highest scores and their positions, best first, equal ones by position; −inf is never found."""
    order = np.lexsort((positions, -scores))[:k]
    order = order[scores[order] > -np.inf]
    return scores[order], positions[order]


def _parallel(one, count: int, threads: int | None) -> list:
    threads = min(threads or len(os.sched_getaffinity(0)), count)
    if threads <= 1:
        return [one(number) for number in range(count)]
    with ThreadPoolExecutor(threads) as pool:
        return list(pool.map(one, range(count)))
