"""The largest products in NumPy alone: for machines without numba, and for numbers that the kernels do not read.

A block of products at a time and a maximum over each document's stretch of it.
"""

import numpy as np

_TOKENS = 8192
"""Most tokens of documents in a matrix product."""


def largest(
    documents: np.ndarray, starts: np.ndarray, stops: np.ndarray, queries: np.ndarray, memory: int
) -> np.ndarray:
    """Find the largest product of each query token with the tokens of each document.

    Args:
        documents: (tokens, dim) of any floating type.
        starts: (n,) int64, where each document's tokens begin.
        stops: (n,) int64, where they end.
        queries: (query tokens, dim) float32.
        memory: Bytes that a block of products and its vectors may take.

    Returns:
        (n, query tokens) float32, -inf for documents without tokens, NaN where one of the products is.
    """
    best = np.full((len(starts), len(queries)), -np.inf, np.float32)
    limit = min(_TOKENS, max(1, memory // (4 * len(queries) + 8 * queries.shape[1] + 16)))
    filled = np.flatnonzero(stops > starts)
    first, done = 0, 0
    while first < len(filled):
        last, rows, counts, room = first, [], [], limit
        while last < len(filled) and room:
            start, stop = starts[filled[last]] + done, stops[filled[last]]
            count = min(room, int(stop - start))
            rows.append(np.arange(start, start + count))
            counts.append(count)
            room -= count
            done = done + count if count < stop - start else 0
            if done:
                break
            last += 1
        numbers = filled[first : first + len(counts)]
        products = np.asarray(documents[np.concatenate(rows)], np.float32) @ queries.T
        edges = np.cumsum([0, *counts[:-1]])
        best[numbers] = np.maximum(best[numbers], np.maximum.reduceat(products, edges, axis=0))
        first = last
    return best
