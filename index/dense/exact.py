"""Exact search over stored vectors, equal scores in the order of the rows.

FAISS keeps any of the rows that tie for the last place; one row more than asked for shows where that happened, and
there the search is widened until all that tie are in it.
"""

from typing import Any

import faiss
import numpy as np

from ..masks import Mask
from .proposing import Rows

DECODED_BYTES = 16 << 20
"""Allowed rows of a quantised index that are decoded at once rather than looked for in a scan of all."""


def search(flat: Any, queries: np.ndarray, k: int, mask: Mask | None) -> Rows:  # noqa: ANN401 - FAISS's
    """Return the best rows of each query; of rows that tie for place k, the lowest are among the first k.

    Args:
        flat: The stored vectors.
        queries: (n, dim) float32.
        k: Rows a query, at most as many as are allowed.
        mask: Rows that may be found; None for all.

    Returns:
        scores (n, ≤ k + 1) float32 and rows (n, ≤ k + 1) int64; −inf and −1 in place of those whose scores are NaN or
        −inf, which FAISS leaves out.
    """
    numbers = None
    parameters = None
    if mask is not None:
        if not isinstance(flat, faiss.IndexFlat) and 4 * flat.d * mask.count <= DECODED_BYTES:
            numbers = mask.rows
            vectors = flat.reconstruct_batch(numbers)
            flat = faiss.IndexFlatIP(flat.d)
            flat.add(vectors)
        else:
            parameters = faiss.SearchParameters(sel=_selector(flat, mask))
    allowed = flat.ntotal if mask is None else mask.count
    scores, rows = _untied(flat, queries, k, allowed, parameters)
    if rows.min() < 0:
        scores[rows < 0] = -np.inf
        return scores, rows if numbers is None else np.where(rows < 0, -1, numbers[rows])
    return scores, rows if numbers is None else numbers[rows]


def _selector(flat: Any, mask: Mask) -> Any:  # noqa: ANN401
    """Return the selector that FAISS is quickest with: it walks along few rows, and tests the bits of many."""
    if isinstance(flat, faiss.IndexFlat) and mask.count <= len(mask.allowed) // 2:
        return faiss.IDSelectorArray(mask.rows)
    return faiss.IDSelectorBitmap(mask.bits)


def _untied(flat: Any, queries: np.ndarray, k: int, allowed: int, parameters: Any) -> Rows:  # noqa: ANN401
    width = min(k + 1, allowed)
    scores, rows = flat.search(queries, width, params=parameters)
    if k < allowed:
        for number in np.flatnonzero((scores[:, k - 1] == scores[:, k]) & (rows[:, k] >= 0)):
            query = queries[number : number + 1]
            scores[number], rows[number] = _widened(flat, query, k, allowed, parameters)
    return scores, rows


def _widened(flat: Any, query: np.ndarray, k: int, allowed: int, parameters: Any) -> Rows:  # noqa: ANN401
    """Search for more and more rows until all that tie for place k are there; return the first k + 1."""
    width = k + 1
    while True:
        width = min(2 * width, allowed)
        scores, rows = (found[0] for found in flat.search(query, width, params=parameters))
        if width == allowed or scores[-1] < scores[k - 1]:
            order = np.lexsort((rows, -scores))[: k + 1]
            return scores[order], rows[order]
