"""Exact MaxSim over token vectors as they are, and the ranking of what it finds.

Matrix products over blocks of tokens and a maximum over each document's stretch of them: nothing is padded, and memory
is bounded whatever the lengths of documents and queries.
"""

from collections.abc import Callable, Iterator

import numpy as np

from .ragged import pieces
from .tokens import Tokens

_BLOCK = 8192  # tokens of documents in a matrix product
_QUERY_TOKENS = 1024

Decode = Callable[[slice | np.ndarray], np.ndarray]
"""Returns tokens of a segment, by slice or numbers, as (n, dim) float32."""


def maxsim(decode: Decode, offsets: np.ndarray, rows: np.ndarray | None, queries: Tokens) -> np.ndarray:
    """Score documents.

    Args:
        decode: Gives the tokens.
        offsets: (n + 1,) int64.
        rows: Numbers of the documents wanted; None for all.
        queries: Queries.

    Returns:
        (queries, documents) float32: for each query the sum over its tokens of the largest product with a token of the
        document; −inf where the document or the query has no tokens.
    """
    count = len(offsets) - 1 if rows is None else len(rows)
    scores = np.full((len(queries), count), -np.inf, np.float32)
    filled = np.flatnonzero(np.diff(queries.offsets))
    if not len(filled):
        return scores
    best = np.full((len(queries.values), count), -np.inf, np.float32)
    for piece in pieces(offsets, rows, _BLOCK):
        products = queries.values @ decode(piece.tokens).T
        highest = np.maximum.reduceat(products, piece.starts, axis=1)
        best[:, piece.rows] = np.maximum(best[:, piece.rows], highest)
    scores[filled] = np.add.reduceat(best, queries.offsets[filled], axis=0)
    return scores


def query_blocks(queries: Tokens, documents: int, memory: int) -> Iterator[tuple[int, Tokens]]:
    """Cut queries into blocks whose scores against so many documents fit in memory; yield first number and block."""
    limit = max(1, min(_QUERY_TOKENS, memory // (8 * max(documents, 1))))
    first = 0
    while first < len(queries):
        fitting = int(np.searchsorted(queries.offsets, queries.offsets[first] + limit, side="right")) - 1
        last = min(max(fitting, first + 1), len(queries))
        start, stop = queries.offsets[first], queries.offsets[last]
        yield first, Tokens(queries.values[start:stop], queries.offsets[first : last + 1] - start)
        first = last


def best(scores: np.ndarray, positions: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the k highest scores and their positions, best first, equal ones by position; −inf is never found."""
    found = scores > -np.inf
    if np.count_nonzero(found) > k:
        found = scores >= np.partition(scores, len(scores) - k)[len(scores) - k]
    chosen = np.flatnonzero(found)
    order = np.lexsort((positions[chosen], -scores[chosen]))[:k]
    return scores[chosen[order]], positions[chosen[order]]
