"""Late-interaction scores of NumPy arrays, exact: all queries with all documents, or with some of them.

With numba, compiled kernels read float32 and float16 as they are, from memory or from a mapped file, and their results
depend neither on the blocks nor on the number of threads. Without it, NumPy multiplies blocks.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from ..errors import InputError
from ..jit.cores import cores
from . import plain
from .checks import check_memory, check_offsets, check_shapes, has_kernels
from .cutting import cut

MEMORY = 1 << 28
Ragged = Any
"""Token vectors of queries or documents: a pair (values, offsets), or something with these attributes; values
(tokens, dim) float32 or float16, offsets (n + 1,) whole numbers."""


def maxsim(
    queries: Ragged,
    documents: Ragged,
    memory: float = MEMORY,
    *,
    rows: np.ndarray | Sequence[int] | None = None,
    threads: int | None = None,
) -> np.ndarray:
    """Score queries with documents (Khattab and Zaharia 2020, arXiv 2004.12832).

    Args:
        queries: Token vectors of queries.
        documents: Token vectors of documents.
        memory: Bytes that may be taken beside the inputs, copies of the queries and the result; one document is scored
            at once even if that takes more.
        rows: Numbers of the documents wanted, in any order; None for all.
        threads: Threads to use; None for one a core.

    Returns:
        (queries, documents) float32: for each query the sum over its tokens of the largest product with a token of the
        document; -inf where the document or the query has no tokens, NaN where a product is NaN.

    Raises:
        InputError: A shape, a type, an offset or a row is wrong; the message says which.
    """
    memory = check_memory(memory)
    query_values, query_offsets, values, offsets = _checked(queries, documents)
    starts, stops = offsets[:-1], offsets[1:]
    if rows is not None:
        rows = np.asarray(rows) if len(rows) else np.empty(0, np.int64)
        if rows.ndim != 1 or rows.dtype.kind not in "iu" or ((rows < 0) | (rows >= len(starts))).any():
            raise InputError(f"rows are {rows.dtype} of shape {rows.shape}; give numbers from 0 to {len(starts) - 1}")
        starts, stops = starts[rows], stops[rows]
    scores = np.full((len(query_offsets) - 1, len(starts)), -np.inf, np.float32)
    filled = np.flatnonzero(np.diff(query_offsets))
    if not len(filled):
        return scores
    score = _all_by_kernels if has_kernels() else _all_by_numpy
    for block, found in score(query_values, query_offsets, values, (starts, stops), memory, threads):
        scores[filled, block] = found[:, filled].T
    return scores


def _all_by_kernels(
    queries: np.ndarray,
    query_offsets: np.ndarray,
    documents: np.ndarray,
    bounds: tuple[np.ndarray, np.ndarray],
    memory: int,
    threads: int | None,
) -> Iterator[tuple[slice, np.ndarray]]:
    """Yield blocks of documents and their scores, (documents, queries)."""
    from .kernels import add_up
    from .panels import LANES, Panels, copy_bytes, largest, reads

    panels = Panels.of(queries)
    width = len(panels) * LANES
    copied = 0 if reads(documents) else copy_bytes(documents.shape[1])
    costs = 4 * (width + len(query_offsets)) + copied * (bounds[1] - bounds[0])
    for block in cut(costs, memory):
        inside = bounds[0][block], bounds[1][block]
        best, _ = largest(documents, inside, panels, None, winning=False, threads=threads or cores())
        found = np.empty((len(inside[0]), len(query_offsets) - 1), np.float32)
        add_up(best.reshape(-1, width), panels.lanes, query_offsets, found)
        yield block, found


def _all_by_numpy(
    queries: np.ndarray,
    query_offsets: np.ndarray,
    documents: np.ndarray,
    bounds: tuple[np.ndarray, np.ndarray],
    memory: int,
    threads: int | None,
) -> Iterator[tuple[slice, np.ndarray]]:
    """Do the same in NumPy, which uses threads of its own."""
    filled = np.flatnonzero(np.diff(query_offsets))
    for block in cut(np.full(len(bounds[0]), 8 * len(queries)), memory // 2):
        best = plain.largest(documents, bounds[0][block], bounds[1][block], queries, memory // 2)
        found = np.zeros((len(best), len(query_offsets) - 1), np.float32)
        found[:, filled] = np.add.reduceat(best, query_offsets[filled], axis=1)
        yield block, found


def _checked(queries: Ragged, documents: Ragged) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    query_values, query_offsets = _pair(queries, "query")
    values, offsets = _pair(documents, "document")
    check_shapes(query_values.shape, values.shape)
    query_offsets = check_offsets(query_offsets, len(query_values), "query")
    return query_values.astype(np.float32), query_offsets, values, check_offsets(offsets, len(values), "document")


def _pair(vectors: Ragged, what: str) -> tuple[np.ndarray, np.ndarray]:
    if hasattr(vectors, "offsets"):
        vectors = vectors.values, vectors.offsets
    if not isinstance(vectors, (tuple, list)) or len(vectors) != 2:
        raise InputError(f"{what} token vectors came as {type(vectors).__name__}; give the pair (values, offsets)")
    values = np.asarray(vectors[0])
    if values.dtype not in (np.float32, np.float16):
        raise InputError(f"{what} token vectors are {values.dtype}; give float32 or float16")
    return values, np.asarray(vectors[1])
