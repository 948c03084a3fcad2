"""Postings: the documents of each centroid, every one once, ascending.

They are made by sorting, a range of centroids at a time, so that memory stays within its budget.
"""

from collections.abc import Callable, Iterable, Iterator
from itertools import pairwise

import numpy as np

Codes = Callable[[], Iterable[tuple[np.ndarray, np.ndarray]]]
"""Walks over codes (n,) and the row that each token belongs to, (n,) ascending, in blocks; may be called again."""

_ENTRY = 40  # bytes that a token's entry takes while it is sorted
_LEAST = 1 << 10  # tokens that are sorted at once, however small the memory


class Postings:
    """The postings of a segment that is being written.

    Attributes:
        counts: (centroids,) int64, documents of each centroid.
    """

    def __init__(self, codes: Codes, centroids: int, memory: int) -> None:
        self._codes = codes
        tokens = np.zeros(centroids, np.int64)
        for block, _ in codes():
            tokens += np.bincount(block, minlength=centroids)
        self._ranges = _ranges(tokens, max(memory // _ENTRY, _LEAST))
        self.counts = np.zeros(centroids, np.int64)
        self._kept: np.ndarray | None = None
        for first, last in self._ranges:
            entries = self._entries(first, last)
            self.counts += np.bincount((entries >> np.uint64(32)).astype(np.int64), minlength=centroids)
            self._kept = entries if len(self._ranges) == 1 else None

    @property
    def offsets(self) -> np.ndarray:
        """(centroids + 1,) int64, where each centroid's documents begin."""
        return np.concatenate([[0], np.cumsum(self.counts)])

    def rows(self) -> Iterator[np.ndarray]:
        """Yield all documents, centroid after centroid, uint32, in pieces."""
        for first, last in self._ranges:
            entries = self._kept if self._kept is not None else self._entries(first, last)
            yield entries.astype(np.uint32)

    def _entries(self, first: int, last: int) -> np.ndarray:
        """Return centroid · 2³² + row of the centroids first … last − 1, sorted, each once."""
        found = []
        for codes, rows in self._codes():
            here = (codes >= first) & (codes < last) if len(self._ranges) > 1 else slice(None)
            found.append((codes[here].astype(np.uint64) << np.uint64(32)) | rows[here].astype(np.uint64))
        entries = np.concatenate(found) if found else np.empty(0, np.uint64)
        entries.sort()
        keep = np.ones(len(entries), bool)
        np.not_equal(entries[1:], entries[:-1], out=keep[1:])
        return entries[keep]


def _ranges(tokens: np.ndarray, limit: int) -> list[tuple[int, int]]:
    """Cut the centroids into ranges of at most so many tokens each (one centroid may have more)."""
    ends = np.cumsum(tokens)
    bounds = [0]
    while bounds[-1] < len(tokens):
        done = ends[bounds[-1] - 1] if bounds[-1] else 0
        bounds.append(max(int(np.searchsorted(ends, done + limit, side="right")), bounds[-1] + 1))
    return list(pairwise(bounds))
