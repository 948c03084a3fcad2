"""Exact scores in bounded memory, and the ranking of what they find."""

from collections.abc import Callable, Iterator

import numpy as np

from ...maxsim.scores import maxsim
from .ragged import concatenated
from .tokens import Tokens

_BLOCK = 8192  # tokens that are decoded at once
_QUERY_TOKENS = 1024

Decode = Callable[[slice | np.ndarray], np.ndarray]
"""Returns tokens of a segment, by slice or numbers, as (n, dim) float32."""


def decoded_scores(decode: Decode, offsets: np.ndarray, rows: np.ndarray, queries: Tokens) -> np.ndarray:
    """Score documents whose tokens are to be decoded first, a block at a time.

    Args:
        decode: Gives the tokens.
        offsets: (n + 1,) int64.
        rows: Numbers of the documents wanted.
        queries: Queries.

    Returns:
        (queries, documents) float32, as `maxsim` has them.
    """
    scores = np.empty((len(queries), len(rows)), np.float32)
    lengths = offsets[rows + 1] - offsets[rows]
    ends = np.cumsum(lengths)
    first = 0
    while first < len(rows):
        before = ends[first] - lengths[first]
        last = max(first + 1, int(np.searchsorted(ends, before + _BLOCK, side="right")))
        numbers, counts = rows[first:last], lengths[first:last]
        tokens = decode(concatenated(offsets[numbers], counts)), np.concatenate([[0], np.cumsum(counts)])
        scores[:, first:last] = maxsim((queries.values, queries.offsets), tokens)
        first = last
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
