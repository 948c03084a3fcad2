"""The loops over documents, queries and their tokens, compiled.

Query tokens come in panels as `tiles` has them, (panels, width, 16) float32; what comes out has 16 lanes for each.
"""

import numpy as np
from numba import njit

from ..jit.compile import compiled
from ..jit.vector import LANES
from .tiles import (
    CHUNK,
    COLUMNS,
    GROUP,
    ROWS,
    fold_few_1,
    fold_few_2,
    fold_full_1,
    fold_full_2,
    fold_most_1,
    fold_most_2,
    widen_1,
    widen_16,
    win_few_1,
    win_few_2,
    win_full_1,
    win_full_2,
    win_most_1,
    win_most_2,
)

_BLOCK_BYTES = 1 << 18
"""Bytes of document tokens that are laid out at once: they stay in the second-level cache while the panels pass."""
_DOCUMENTS = 8
"""Documents whose tokens are gathered by one query token after the other, while they are in cache."""


@njit(nogil=True)
def _lay_out(kind, values, start, rows, dim, slot):
    """Write some tokens into a slot, (chunks, ROWS, CHUNK); the last one again in the rows that are left."""
    for row in range(ROWS):
        base = (start + min(row, rows - 1)) * dim
        for chunk in range(slot.shape[0]):
            size = min(CHUNK, dim - CHUNK * chunk)
            source = values + (base + CHUNK * chunk) * kind.itemsize
            to = slot.ctypes.data + (chunk * ROWS + row) * CHUNK * 4
            whole = size // LANES * LANES
            for place in range(0, whole, LANES):
                widen_16(kind, source + place * kind.itemsize, to + 4 * place)
            for place in range(whole, size):
                widen_1(kind, source + place * kind.itemsize, to + 4 * place)


@njit(nogil=True)
def _fold(rows, columns, slot, panel, step, groups, best):
    if columns == COLUMNS:
        if rows <= ROWS // 3:
            fold_few_2(slot, panel, step, groups, best, 0, 0)
        elif rows <= 2 * ROWS // 3:
            fold_most_2(slot, panel, step, groups, best, 0, 0)
        else:
            fold_full_2(slot, panel, step, groups, best, 0, 0)
    elif rows <= ROWS // 3:
        fold_few_1(slot, panel, step, groups, best, 0, 0)
    elif rows <= 2 * ROWS // 3:
        fold_most_1(slot, panel, step, groups, best, 0, 0)
    else:
        fold_full_1(slot, panel, step, groups, best, 0, 0)


@njit(nogil=True)
def _win(rows, columns, slot, panel, step, groups, best, winners, first):
    if columns == COLUMNS:
        if rows <= ROWS // 3:
            win_few_2(slot, panel, step, groups, best, winners, first)
        elif rows <= 2 * ROWS // 3:
            win_most_2(slot, panel, step, groups, best, winners, first)
        else:
            win_full_2(slot, panel, step, groups, best, winners, first)
    elif rows <= ROWS // 3:
        win_few_1(slot, panel, step, groups, best, winners, first)
    elif rows <= 2 * ROWS // 3:
        win_most_1(slot, panel, step, groups, best, winners, first)
    else:
        win_full_1(slot, panel, step, groups, best, winners, first)


@compiled()
def maximise(kind, values, dim, starts, stops, panels, firsts, counts, places, best, winners):
    """Find the largest product of each query token with the tokens of each document.

    Args:
        kind: An empty array of the type of the documents' numbers: float32, int16 for float16, uint16 for bfloat16.
        values: Address of their token vectors, (tokens, dim).
        dim: Their length.
        starts: (n,) int64, where each document's tokens begin.
        stops: (n,) int64, where they end.
        panels: Of the queries.
        firsts: (n,) int64, the first panel that a document is scored with.
        counts: (n,) int64, how many panels it is scored with.
        places: (n,) int64, the first panel of the output that belongs to it.
        best: (output panels · 16,) float32, which is raised; to be -inf at first. NaN where a product is NaN.
        winners: (output panels · 16,) int32, the numbers of the winning tokens within their documents, 0 at first; or
            empty, if they are not wanted.
    """
    width = panels.shape[1]
    groups, step = width // GROUP, width * LANES * 4
    chunks = (width + CHUNK - 1) // CHUNK
    block = max(1, _BLOCK_BYTES // (4 * ROWS * CHUNK * chunks))
    most = 0
    for count in counts:
        most = max(most, count)
    if most <= COLUMNS:
        block = 1
    slots = np.zeros((block, chunks, ROWS, CHUNK), np.float32)
    owners, tokens = np.empty(block, np.int64), np.empty(block, np.int64)
    winning = winners.size > 0
    document, done = 0, 0
    while document < starts.size:
        used = 0
        while used < block and document < starts.size:
            left = stops[document] - starts[document] - done
            if left > 0:
                _lay_out(kind, values, starts[document] + done, min(left, ROWS), dim, slots[used])
                owners[used], tokens[used] = document, done
                used += 1
                done += ROWS
            if left <= ROWS:
                document, done = document + 1, 0
        for panel in range(0, most, COLUMNS):
            for number in range(used):
                owner = owners[number]
                columns = min(COLUMNS, counts[owner] - panel)
                if columns <= 0:
                    continue
                rows = stops[owner] - starts[owner] - tokens[number]
                slot = slots.ctypes.data + number * chunks * ROWS * CHUNK * 4
                source = panels.ctypes.data + (firsts[owner] + panel) * step
                to = (places[owner] + panel) * LANES * 4
                if winning:
                    _win(
                        rows,
                        columns,
                        slot,
                        source,
                        step,
                        groups,
                        best.ctypes.data + to,
                        winners.ctypes.data + to,
                        tokens[number],
                    )
                else:
                    _fold(rows, columns, slot, source, step, groups, best.ctypes.data + to)


@compiled()
def add_up(best, lanes, firsts, scores):
    """Sum the largest products of each query's tokens.

    Args:
        best: (documents, lanes) float32.
        lanes: (tokens,) int64, the lane of each query token.
        firsts: (queries + 1,) int64, where each query's tokens begin in `lanes`.
        scores: (documents, queries) float32 out; 0 for queries without tokens.
    """
    for document in range(best.shape[0]):
        for query in range(firsts.size - 1):
            total = 0.0
            for token in range(firsts[query], firsts[query + 1]):
                total += best[document, lanes[token]]
            scores[document, query] = total


@compiled(fastmath={"contract"})
def send_to_documents(grads, firsts, queries, starts, winners, sums):
    """Add to the gradient of each winning token what it gets.

    Args:
        grads: (documents, queries) float32, of the scores.
        firsts: (queries + 1,) int64, where each query's tokens begin.
        queries: (tokens, dim) float32.
        starts: (documents,) int64, where each document's tokens begin.
        winners: (documents, lanes) int32.
        sums: (tokens of documents, dim) float32 out.
    """
    for document in range(starts.size):
        for query in range(firsts.size - 1):
            weight = grads[document, query]
            for token in range(firsts[query], firsts[query + 1]):
                source, to = queries[token], sums[starts[document] + winners[document, token]]
                for place in range(source.size):
                    to[place] += weight * source[place]


@compiled(fastmath={"contract"})
def send_to_queries(grads, query_of, documents, starts, winners, first, last, sums):
    """Add to the gradients of some query tokens what each gets from the tokens that won.

    Args:
        grads: (documents, queries) float32, of the scores.
        query_of: (tokens,) int64, each token's query.
        documents: (tokens of documents, dim) float32.
        starts: (documents,) int64, where each document's tokens begin.
        winners: (documents, lanes) int32.
        first: The first query token to compute, so that threads can share the work.
        last: The one to stop before.
        sums: (tokens, dim) float32 out.
    """
    for block in range(0, starts.size, _DOCUMENTS):
        for token in range(first, last):
            to = sums[token]
            for document in range(block, min(block + _DOCUMENTS, starts.size)):
                weight = grads[document, query_of[token]]
                source = documents[starts[document] + winners[document, token]]
                for place in range(source.size):
                    to[place] += weight * source[place]
