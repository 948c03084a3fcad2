"""Exact MaxSim by matrix products over all documents: what recall is measured against.

MaxSim (Khattab and Zaharia, 2020, ColBERT, equation 3): the sum over a query's tokens of the largest inner product with
a token of the document.
"""

import numpy as np

from modernir.progress import progress

from .cached import TOP, Tokens

BLOCK_TOKENS = 16_384
QUERY_TOKENS = 2_048


def maxsim(queries: Tokens, documents: Tokens, what: str = "exact MaxSim") -> np.ndarray:
    """Return (queries, documents) float32 scores, computed in float32; no text may be without tokens."""
    scores = np.empty((len(queries), len(documents)), np.float32)
    texts = max(1, BLOCK_TOKENS * len(documents) // len(documents.values))
    first = 0
    with progress(what, len(documents), "docs") as report:
        for block in documents.blocks(texts):
            values = block.values.astype(np.float32)
            for start, end in query_blocks(queries.offsets):
                part = queries.part(start, end)
                best = np.maximum.reduceat(values @ part.values.T, block.offsets[:-1], axis=0)
                scores[start:end, first : first + len(block)] = np.add.reduceat(best, part.offsets[:-1], axis=1).T
            first += len(block)
            report(first)
    return scores


def query_blocks(offsets: np.ndarray) -> list[tuple[int, int]]:
    """Cut queries into runs of at most QUERY_TOKENS tokens, so that the products stay in the cache's reach."""
    blocks, start = [], 0
    for end in range(1, len(offsets)):
        if end == len(offsets) - 1 or offsets[end + 1] - offsets[start] > QUERY_TOKENS:
            blocks.append((start, end))
            start = end
    return blocks


def best_of(scores: np.ndarray, k: int = TOP) -> tuple[np.ndarray, np.ndarray]:
    """Return (queries, k) int64 positions and their scores, best first, equal scores by position."""
    order = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    return order, np.take_along_axis(scores, order, axis=1)
