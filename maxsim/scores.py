"""Late-interaction scores of NumPy arrays, exact: all pairs, chosen pairs, and which token met which.

With numba, compiled kernels read float32 and float16 as they are, from memory or from a mapped file, and their results
depend neither on the blocks nor on the number of threads. Without it, NumPy multiplies blocks.
"""

import os
from collections.abc import Iterator
from typing import Any

import numpy as np

from ..errors import InputError
from . import plain
from .checks import check_numbers, check_offsets, check_shapes, has_kernels

MEMORY = 1 << 28
Ragged = Any
"""Token vectors of queries or documents: a pair (values, offsets), or something with these attributes; values
(tokens, dim) float32 or float16, offsets (n + 1,) whole numbers."""


def maxsim(
    queries: Ragged,
    documents: Ragged,
    memory: int = MEMORY,
    *,
    rows: np.ndarray | None = None,
    threads: int | None = None,
) -> np.ndarray:
    """Score queries with documents (Khattab and Zaharia 2020, arXiv 2004.12832).

    Args:
        queries: Token vectors of queries.
        documents: Token vectors of documents.
        memory: Bytes that may be taken beside the inputs and the result; one document is scored at once even if that
            takes more.
        rows: Numbers of the documents wanted, in any order; None for all.
        threads: Threads to use; None for one a core.

    Returns:
        (queries, documents) float32: for each query the sum over its tokens of the largest product with a token of the
        document; -inf where the document or the query has no tokens.

    Raises:
        InputError: A shape, a type, an offset or a row is wrong; the message says which.
    """
    query_values, query_offsets, values, offsets = _checked(queries, documents, memory)
    starts, stops = offsets[:-1], offsets[1:]
    if rows is not None:
        rows = np.asarray(rows)
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


def maxsim_pairs(
    queries: Ragged, documents: Ragged, query_of: np.ndarray, memory: int = MEMORY, *, threads: int | None = None
) -> np.ndarray:
    """Score each document with one query.

    Args:
        queries: Token vectors of queries.
        documents: Token vectors of documents.
        query_of: (documents,) whole numbers, the number of each document's query.
        memory: As in `maxsim`.
        threads: As in `maxsim`.

    Returns:
        (documents,) float32; -inf where the document or its query has no tokens.

    Raises:
        InputError: A shape, a type, an offset or a number of a query is wrong; the message says which.
    """
    query_values, query_offsets, values, offsets = _checked(queries, documents, memory)
    numbers = check_numbers(np.asarray(query_of), len(offsets) - 1, len(query_offsets) - 1)
    scores = np.full(len(numbers), -np.inf, np.float32)
    for query in np.unique(numbers):
        first, last = query_offsets[query : query + 2]
        mine = np.flatnonzero(numbers == query)
        single = query_values[first:last], np.array([0, last - first])
        scores[mine] = maxsim(single, (values, offsets), memory, rows=mine, threads=threads)[0]
    return scores


def matches(query: np.ndarray, document: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Say which document token each query token met.

    Args:
        query: (query tokens, dim) float32 or float16.
        document: (tokens, dim) float32 or float16, one token at least.

    Returns:
        The largest product of each query token, (query tokens,) float32, and the number of the document token that it
        is with, the first of equal ones, (query tokens,) int64.

    Raises:
        InputError: A shape or a type is wrong, or the document has no tokens.
    """
    query, document = _floats(np.asarray(query), "query"), _floats(np.asarray(document), "document")
    check_shapes(query.shape, document.shape)
    if not len(document):
        raise InputError("the document has no tokens, so that none of the query's meets one")
    products = query.astype(np.float32) @ document.astype(np.float32).T
    winners = products.argmax(axis=1)
    return products[np.arange(len(query)), winners], winners


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
    from .panels import LANES, Panels, largest

    panels = Panels.of(queries)
    width = len(panels) * LANES
    for block in _blocks(len(bounds[0]), 4 * (width + len(query_offsets)), memory):
        inside = bounds[0][block], bounds[1][block]
        best, _ = largest(documents, inside, panels, None, winning=False, threads=threads or _cores())
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
    for block in _blocks(len(bounds[0]), 8 * len(queries), memory):
        best = plain.largest(documents, bounds[0][block], bounds[1][block], queries, memory // 2)
        found = np.zeros((len(best), len(query_offsets) - 1), np.float32)
        found[:, filled] = np.add.reduceat(best, query_offsets[filled], axis=1)
        yield block, found


def _blocks(count: int, each: int, memory: int) -> Iterator[slice]:
    step = max(1, memory // each)
    for first in range(0, count, step):
        yield slice(first, min(first + step, count))


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _checked(queries: Ragged, documents: Ragged, memory: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    if memory < 1:
        raise InputError(f"memory {memory}: give a number of bytes above 0")
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
    return _floats(np.asarray(vectors[0]), what), np.asarray(vectors[1])


def _floats(values: np.ndarray, what: str) -> np.ndarray:
    if values.dtype not in (np.float32, np.float16):
        raise InputError(f"{what} token vectors are {values.dtype}; give float32 or float16")
    return values
