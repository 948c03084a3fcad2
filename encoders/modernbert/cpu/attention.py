"""Attention on a CPU for a whole stream of texts, local and global, in one kernel.

Each token sees one run of the stream: its text, or the part of it within the window. So no mask is ever made: a block
of queries takes the keys from the lowest to the highest that one of them sees, in chunks, and the softmax of each query
covers its own run (computed online over the chunks, Dao et al. 2022, arXiv 2205.14135). Costs tokens × window in local
layers, and the sum of squared lengths in global ones, and memory for one block of scores.

Products run on tiles of accumulators that stay in registers: fused multiply-adds in float32, or dot products of pairs
in bfloat16 (AVX512-BF16), accumulated in float32. Keys and values lie in panels of 16 tokens, as the tiles read them:

    queries  (rows, heads, width)
    keys     (rows / 16, heads, width / pair, 16, pair)
    values   (rows / 16, heads, 16 / pair, width, pair)

with pair 1 in float32 and 2 in bfloat16, and rows the tokens rounded up to 16, zeros in those beyond. NumPy holds
bfloat16 as uint16.
"""

import numpy as np
from numba import njit

from ....jit.compile import compiled
from ....jit.vector import LANES, compiled_features
from .softmax import CHUNK, LOG2_E, LOWEST_REFERENCE, ROWS_AT_ONCE, exponentials, find_largest, scaled
from .tiles import TILE_ROWS, mix_1, mix_2, mix_3, mix_4, score_1, score_2, score_3, score_4

BLOCK = 16


def has_bf16() -> bool:
    """Say whether this processor has the dot product that the bfloat16 kernel is made of."""
    return {"avx512f", "avx512bf16"} <= compiled_features()


@njit(nogil=True)
def _score(panels, queries, query, keys, key, scores, to):
    heads, width = queries.shape[1], queries.shape[2]
    row, step, panel = heads * width, LANES * (4 // queries.itemsize), heads * width * LANES
    if panels >= 4:
        score_4(queries, query, row, keys, key, step, LANES * LANES, panel, width // LANES, scores, to, CHUNK)
    elif panels == 3:
        score_3(queries, query, row, keys, key, step, LANES * LANES, panel, width // LANES, scores, to, CHUNK)
    elif panels == 2:
        score_2(queries, query, row, keys, key, step, LANES * LANES, panel, width // LANES, scores, to, CHUNK)
    else:
        score_1(queries, query, row, keys, key, step, LANES * LANES, panel, width // LANES, scores, to, CHUNK)


@njit(nogil=True)
def _mix(columns, weights, weight, values, value, panels, mixed, to, width):
    pair = 4 // weights.itemsize
    step, panel, vector = width * pair, values.shape[1] * width * LANES, LANES * pair
    if columns >= 4:
        mix_4(weights, weight, CHUNK, values, value, step, panel, vector, panels, mixed, to, width)
    elif columns == 3:
        mix_3(weights, weight, CHUNK, values, value, step, panel, vector, panels, mixed, to, width)
    elif columns == 2:
        mix_2(weights, weight, CHUNK, values, value, step, panel, vector, panels, mixed, to, width)
    else:
        mix_1(weights, weight, CHUNK, values, value, step, panel, vector, panels, mixed, to, width)


@compiled()
def attend(queries, keys, values, low, high, out, first_head, last_head):
    """Write the attention of some heads.

    Args:
        queries: As the module says, already scaled by 1/√width; width is a multiple of 16.
        keys: In panels.
        values: In panels.
        low: (rows,) int32, where the run of the stream begins that each token sees; in rows beyond, any other token's.
        high: (rows,) int32, where it ends; the token itself lies in it.
        out: (tokens, heads · width), float32, or bfloat16 as uint16, like the inputs.
        first_head: The first head to compute, so that threads can share the work.
        last_head: The head to stop before.
    """
    heads, width = queries.shape[1:]
    pair = 4 // queries.itemsize
    tokens = out.shape[0]
    scores = np.empty(BLOCK * CHUNK, np.float32)
    weights = np.empty(BLOCK * CHUNK, queries.dtype)
    mixed = np.empty(BLOCK * width, np.float32)
    reference = np.empty(BLOCK, np.float32)
    largest = np.empty(BLOCK, np.float32)
    total = np.empty(BLOCK, np.float32)
    columns = width // LANES
    for head in range(first_head, last_head):
        for token in range(0, tokens, BLOCK):
            last = min(token + BLOCK, tokens)
            lowest, highest = low[token], high[token]
            for number in range(token + 1, last):
                lowest, highest = min(lowest, low[number]), max(highest, high[number])
            lowest = lowest // LANES * LANES
            mixed[:] = 0.0
            total[:] = 0.0
            reference[:] = LOWEST_REFERENCE
            for chunk in range(lowest, highest, CHUNK):
                panels = (min(CHUNK, highest - chunk) + LANES - 1) // LANES
                panel = 0
                while panel < panels:
                    tiles = (panels - panel + 3) // 4
                    together = (panels - panel + tiles - 1) // tiles
                    key = ((chunk // LANES + panel) * heads + head) * LANES * width
                    for row in range(0, BLOCK, TILE_ROWS):
                        query, to = ((token + row) * heads + head) * width, row * CHUNK + panel * LANES
                        _score(together, queries, query, keys, key, scores, to)
                    panel += together
                for row in range(0, BLOCK, ROWS_AT_ONCE):
                    find_largest(scores, row * CHUNK, panels, low, high, token + row, chunk, largest, row)
                for row in range(BLOCK):
                    # a query that sees nothing yet has a reference far above any score of what it does not see
                    new = max(largest[row] * np.float32(LOG2_E), reference[row])
                    if new > reference[row]:
                        if chunk > lowest:
                            factor = np.float32(2.0) ** max(reference[row] - new, np.float32(-126.0))
                            total[row] *= factor
                            scaled(mixed, row * width, mixed, row * width, columns, factor)
                        reference[row] = new
                for row in range(0, BLOCK, ROWS_AT_ONCE):
                    exponentials(scores, row * CHUNK, panels, reference, total, row, weights)
                value = (chunk // LANES * heads + head) * LANES * width
                for row in range(0, BLOCK, TILE_ROWS):
                    for column in range(0, columns, 4):
                        vector, to = value + column * LANES * pair, row * width + column * LANES
                        _mix(columns - column, weights, row * CHUNK, values, vector, panels, mixed, to, width)
            for row in range(last - token):
                to = (token + row) * heads * width + head * width
                scaled(mixed, row * width, out, to, columns, np.float32(1.0) / total[row])
