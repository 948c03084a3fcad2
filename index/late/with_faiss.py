"""Search over coded segments with NumPy and FAISS alone, for where numba cannot be had.

It does what the kernels do, in floats: probe the centroids nearest to each token of the query, add up what they say of
the documents in their postings, and score the best of these exactly on their codes.
"""

from collections.abc import Sequence
from functools import cached_property
from itertools import pairwise

import numpy as np

from ..engine import Found
from ..masks import Mask
from .codec import Codec
from .effort import chosen_effort
from .findable import Findable, filled_rows
from .ragged import concatenated
from .segment import CodedSegment
from .tokens import Tokens
from .uncompressed import Decode, best, decoded_scores, query_blocks

_MEMORY = 1 << 28  # bytes of scores at once


class FaissSearch:
    """Finds the documents of coded segments; an object of it never changes.

    Attributes:
        codec: Of the segments, or a later version of it.
        segments: Searched as one; positions count on from one to the next.
    """

    def __init__(self, codec: Codec, segments: Sequence[CodedSegment]) -> None:
        import faiss

        self.codec = codec
        self.segments = segments
        self.bounds = np.cumsum([0, *(segment.rows for segment in segments)])
        self._centroids = faiss.IndexFlatIP(codec.dim)
        self._centroids.add(codec.centroids)

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
            threads: Taken for the sake of the kernels; FAISS and the matrix products use their own.
        """
        queries = Tokens(values, offsets)
        effort = chosen_effort(int(self.bounds[-1]), k, nprobe, candidates)
        findable = Findable(self.bounds, masks)
        direct = findable.direct(effort, exact)
        if direct is not None:
            return self._exact(queries, k, direct)
        found: Found = ([], [])
        for number in range(len(queries)):
            query = values[offsets[number] : offsets[number + 1]]
            rows = self._probed(query, effort.nprobe, effort.candidates, masks)
            rows = findable.filled_up(rows, effort, self._filled)
            single = Tokens(query, np.array([0, len(query)]))
            for results, part in zip(found, best(self._scored(single, rows)[0], rows, k), strict=True):
                results.append(part)
        return found

    def score(self, values: np.ndarray, offsets: np.ndarray, positions: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Return the exact score of each query with given rows, (n,) float32 each."""
        queries = [values[start:stop] for start, stop in pairwise(offsets)]
        return [
            self._scored(Tokens(query, np.array([0, len(query)])), rows)[0]
            for query, rows in zip(queries, positions, strict=True)
        ]

    @cached_property
    def _filled(self) -> np.ndarray:
        return filled_rows(self.segments)

    def _exact(self, queries: Tokens, k: int, positions: np.ndarray) -> Found:
        results = [
            best(scores, positions, k)
            for _, block in query_blocks(queries, len(positions), _MEMORY)
            for scores in self._scored(block, positions)
        ]
        return [scores for scores, _ in results], [found for _, found in results]

    def _scored(self, queries: Tokens, positions: np.ndarray) -> np.ndarray:
        """Return exact scores (queries, n) of rows in any order."""
        scores = np.empty((len(queries), len(positions)), np.float32)
        owners = np.searchsorted(self.bounds, positions, side="right") - 1
        for number in np.unique(owners):
            segment, here = self.segments[number], np.flatnonzero(owners == number)
            rows = positions[here] - self.bounds[number]
            scores[:, here] = decoded_scores(decoder(self.codec, segment), segment.offsets, rows, queries)
        return scores

    def _probed(self, query: np.ndarray, nprobe: int, count: int, masks: Sequence[Mask | None]) -> np.ndarray:
        """Return the rows that look best by the centroids alone, ascending."""
        nprobe = min(nprobe, len(self.codec.centroids))
        nearness, probed = self._centroids.search(query, nprobe)
        rows, gains = [], []
        for first, segment, mask in zip(self.bounds, self.segments, masks, strict=False):
            sums = _gains(segment, nearness, probed)
            touched = np.flatnonzero(sums > -np.inf if mask is None else (sums > -np.inf) & mask.allowed)
            rows.append(touched + first)
            gains.append(sums[touched])
        positions = np.concatenate(rows)
        return np.sort(best(np.concatenate(gains), positions, count)[1])


def _gains(segment: CodedSegment, nearness: np.ndarray, probed: np.ndarray) -> np.ndarray:
    """Return, for each row, by how much its probed centroids exceed the least one probed; −inf for rows in none."""
    sums = np.full(segment.rows, -np.inf, np.float32)
    known = len(segment.posting_offsets) - 1
    for scores, centroids in zip(nearness, probed, strict=True):
        inside = centroids < known  # appended after this segment was written: in none of its rows
        firsts = segment.posting_offsets[centroids[inside]]
        counts = segment.posting_offsets[centroids[inside] + 1] - firsts
        rows, places = np.unique(segment.posting_rows[concatenated(firsts, counts)].astype(np.int64), return_index=True)
        gains = np.repeat(scores[inside] - scores[-1], counts)[places]  # the first place is the nearest centroid
        sums[rows] = np.maximum(sums[rows], 0) + gains
    return sums


def decoder(codec: Codec, segment: CodedSegment) -> Decode:
    """Return the function that gives a segment's tokens as vectors."""

    def decode(tokens: slice | np.ndarray) -> np.ndarray:
        scales = None if segment.scales is None else segment.scales[tokens]
        return codec.decode(segment.codes[tokens], segment.residuals[tokens], scales)

    return decode
