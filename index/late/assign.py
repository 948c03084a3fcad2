"""The nearest centroid of each token.

Tokens and centroids are rounded to whole numbers so small that sums of their products are exact in float32: the fast
matrix product of floats then gives the same number in whatever order it adds, and a token's centroid depends on the
token and the codec alone, not on what is coded beside it. With many centroids, a token is compared with those alone
that are nearest to the cell it falls in.
"""

from functools import cached_property

import numpy as np

from .codec import Codec

_FLAT = 768  # centroids up to which all are compared
_SHARE = 8  # of the centroids are candidates of a cell: one in so many, and at least _FEWEST
_FEWEST = 384
_ROWS = 1024  # that are rounded at once: they stay in the cache
_BLOCK = 1 << 22  # float32 numbers of a block of products


class Assigner:
    """Finds nearest centroids.

    Attributes:
        codec: Whose centroids.
        spherical: Whether all tokens and centroids have length 1, so that the largest product is the nearest.
    """

    def __init__(self, codec: Codec, spherical: bool) -> None:
        self.codec = codec
        self.spherical = spherical
        self.largest = min(127, int(np.sqrt(2**24 / codec.dim)))

    def assign(self, tokens: np.ndarray) -> np.ndarray:
        """Return the number of the nearest centroid of each token (n, dim) float32, in the codec's type of codes."""
        rounded, scales = self._rounded(tokens)
        everything = self._all
        if len(self.codec.centroids) <= _FLAT:
            return everything.nearest(rounded, scales).astype(self.codec.code_type)
        cells = self._cells.nearest(rounded, scales)
        order = np.argsort(cells, kind="stable")
        firsts = np.searchsorted(cells[order], np.arange(len(self.codec.cells) + 1))
        found = np.empty(len(tokens), self.codec.code_type)
        for cell in np.flatnonzero(np.diff(firsts)):
            members = order[firsts[cell] : firsts[cell + 1]]
            candidates = self._candidates[cell]
            found[members] = candidates[everything.nearest(rounded[members], scales[members], candidates)]
        return found

    def _rounded(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        rounded, scales = np.empty_like(rows), np.empty((len(rows), 1), np.float32)
        for start in range(0, len(rows), _ROWS):
            part = slice(start, start + _ROWS)
            np.maximum(rows[part].max(axis=1, initial=0), -rows[part].min(axis=1, initial=0), out=scales[part, 0])
            scales[part] /= self.largest
            scales[part][scales[part] == 0] = 1
            np.multiply(rows[part], 1 / scales[part], out=rounded[part])
            np.rint(rounded[part], out=rounded[part])
        return rounded, scales

    @cached_property
    def _all(self) -> "_Rows":
        return _Rows(*self._rounded(self.codec.centroids), self.spherical)

    @cached_property
    def _cells(self) -> "_Rows":
        return _Rows(*self._rounded(self.codec.cells), False)

    @cached_property
    def _candidates(self) -> np.ndarray:
        centroids, cells = self.codec.centroids, self.codec.cells
        count = min(len(centroids), max(_FEWEST, len(centroids) // _SHARE))
        nearness = cells @ centroids.T - (centroids**2).sum(1) / 2
        return np.sort(np.argpartition(-nearness, count - 1, axis=1)[:, :count], axis=1)


class _Rows:
    """Rounded rows to choose the nearest of."""

    def __init__(self, rounded: np.ndarray, scales: np.ndarray, spherical: bool) -> None:
        self.rounded = rounded
        self.scales = scales[:, 0]
        self.halves = None if spherical else ((rounded * scales) ** 2).sum(1) / 2

    def nearest(self, tokens: np.ndarray, scales: np.ndarray, among: np.ndarray | None = None) -> np.ndarray:
        rows = self.rounded if among is None else self.rounded[among]
        row_scales = self.scales if among is None else self.scales[among]
        halves = self.halves if self.halves is None or among is None else self.halves[among]
        found = np.empty(len(tokens), np.int64)
        step = max(1, _BLOCK // len(rows))
        for start in range(0, len(tokens), step):
            products = tokens[start : start + step] @ rows.T
            products *= row_scales
            if halves is not None:
                products *= scales[start : start + step]
                products -= halves
            found[start : start + step] = products.argmax(axis=1)
        return found
