"""MaxSim of chosen documents: by their centroids alone, and exactly on the codes.

The exact pass leaves out tokens whose centroid is too far from the document's best in every lane for a residual to make
up for, and ends when no further document can be expected among the k best.
"""

import numpy as np

from ....jit.compile import compiled
from .memory import byte_at, long_at, short_at, word_at
from .nearness import nearest_1, nearest_2, nearest_3, nearest_4, reaching_1, reaching_2, reaching_3, reaching_4
from .products import maximise_1, maximise_2, maximise_3, maximise_4, unpack
from .queries import CHUNK
from .table import CODE_BYTES, CODES, FIRST, OFFSETS, RESIDUALS, SCALES

LOWEST = np.int32(-(2**31))
TILE = 8
"""Tokens that are unpacked at once: the next ones arrive from memory while these are multiplied."""


@compiled()
def _segment_of(table, position):
    low, high = 0, table.shape[0]
    while high - low > 1:
        middle = (low + high) // 2
        if table[middle, FIRST] <= position:
            low = middle
        else:
            high = middle
    return low


@compiled()
def _bounds(table, segment, position):
    row = position - table[segment, FIRST]
    return long_at(table[segment, OFFSETS], row), long_at(table[segment, OFFSETS], row + 1)


@compiled()
def _read_codes(table, segment, first, last, codes):
    address = table[segment, CODES]
    if table[segment, CODE_BYTES] == 2:
        for token in range(first, last):
            codes[token - first] = short_at(address, token)
    else:
        for token in range(first, last):
            codes[token - first] = word_at(address, token)


@compiled()
def longest_document(table, positions):
    """Return the largest number of tokens of these documents."""
    longest = 0
    for position in positions:
        first, last = _bounds(table, _segment_of(table, position), position)
        longest = max(longest, last - first)
    return longest


@compiled()
def approximate(table, positions, rows, coarse, longest, nearest, sums):
    """Score documents by their centroids.

    Args:
        table: Of segments.
        positions: (n,) int64.
        rows: How many centroids `coarse` holds.
        coarse: (rows · lanes,) uint8.
        longest: Tokens of the longest of these documents.
        nearest: (n, lanes) uint8 out: the largest byte of each lane, 0 for documents without tokens.
        sums: (n,) int64 out: their sum; -1 for documents without tokens.
    """
    lanes = nearest.shape[1]
    codes = np.empty(longest, np.uint32)
    for number in range(positions.size):
        segment = _segment_of(table, positions[number])
        first, last = _bounds(table, segment, positions[number])
        _read_codes(table, segment, first, last, codes)
        tokens = last - first
        for lane in range(0, lanes, CHUNK):
            groups = min(CHUNK, lanes - lane) // 16
            source, out = coarse.ctypes.data + rows * lane, nearest.ctypes.data + number * lanes + lane
            if groups == 4:
                nearest_4(codes.ctypes.data, tokens, source, out)
            elif groups == 3:
                nearest_3(codes.ctypes.data, tokens, source, out)
            elif groups == 2:
                nearest_2(codes.ctypes.data, tokens, source, out)
            else:
                nearest_1(codes.ctypes.data, tokens, source, out)
        total = 0
        for byte in nearest[number]:
            total += byte
        sums[number] = total if tokens else -1


@compiled()
def _near_tokens(groups, codes, tokens, coarse, limits, out):
    if groups == 4:
        return reaching_4(codes, tokens, coarse, limits, out)
    if groups == 3:
        return reaching_3(codes, tokens, coarse, limits, out)
    if groups == 2:
        return reaching_2(codes, tokens, coarse, limits, out)
    return reaching_1(codes, tokens, coarse, limits, out)


@compiled()
def _maximise(instructions, groups, levels, tokens, steps, query, starts, codes, scales, maxima):
    if groups == 4:
        maximise_4(instructions, levels, tokens, steps, query, starts, codes, scales, maxima)
    elif groups == 3:
        maximise_3(instructions, levels, tokens, steps, query, starts, codes, scales, maxima)
    elif groups == 2:
        maximise_2(instructions, levels, tokens, steps, query, starts, codes, scales, maxima)
    else:
        maximise_1(instructions, levels, tokens, steps, query, starts, codes, scales, maxima)


@compiled()
def _replace_least(heap, value):
    """Put a value in the place of the least of a heap, whose children are not below their parents."""
    place, count = 0, heap.size
    while True:
        child = 2 * place + 1
        if child + 1 < count and heap[child + 1] < heap[child]:
            child += 1
        if child >= count or heap[child] >= value:
            break
        heap[place] = heap[child]
        place = child
    heap[place] = value


@compiled()
def score_documents(
    instructions,
    table,
    positions,
    rows,
    width,
    padded,
    starts,
    coarse,
    far,
    units,
    worth,
    nearest,
    slack,
    expected,
    k,
    margin,
    longest,
    scores,
):
    """Write the MaxSim of documents, in the order given, until none that follows can be expected among the k best.

    What a document scores is predicted from its sum of bytes by the line through those scored so far (least squares);
    the pass ends when the prediction for the next one stays below the k-th best by `margin` standard deviations.

    Args:
        instructions: Of what the kernel is made.
        table: Of segments.
        positions: (n,) int64.
        rows: How many centroids `starts` and `coarse` hold.
        width: Bytes of a token's residual.
        padded: Its levels.
        starts: (rows · lanes,) int32, as `score_centroids` writes them.
        coarse: (rows · lanes,) uint8.
        far: (lanes · padded,) int8.
        units: (lanes,) float64.
        worth: Units in a number of the maxima, less than 1 where tokens have scales.
        nearest: (n, lanes) uint8: the largest byte of each lane. Not read without slack.
        slack: (lanes,) uint8: tokens whose byte is lower than the largest by more, in every lane, are left out; or
            empty: all tokens count.
        expected: (n,) int64, the sum of bytes of each document, largest first, or empty: score all.
        k: Documents wanted, at least 1.
        margin: In standard deviations.
        longest: Tokens of the longest of these documents.
        scores: (n,) float32 out; -inf for documents without tokens.

    Returns:
        How many documents were scored.
    """
    lanes = units.size
    codes, kept = np.empty(longest + 1, np.uint32), np.empty(longest + 1, np.uint32)
    chosen, scales, levels = np.empty(TILE, np.uint32), np.full(TILE, 510, np.uint32), np.empty(TILE * padded, np.uint8)
    limits, maxima = np.empty(lanes, np.uint8), np.empty(CHUNK, np.int32)
    heap = np.full(k, -np.inf, np.float32)
    n, sum_x, sum_y, sum_xx, sum_xy, sum_yy = 0.0, 0.0, 0.0, 0.0, 0.0, 0.0
    for number in range(positions.size):
        if expected.size and number >= max(k, 16) and number % 4 == 0:
            spread = n * sum_xx - sum_x * sum_x
            slope = (n * sum_xy - sum_x * sum_y) / spread if spread > 0 else 0.0
            variance = ((n * sum_yy - sum_y * sum_y) - slope * (n * sum_xy - sum_x * sum_y)) / (n * n)
            reach = (sum_y + slope * (n * expected[number] - sum_x)) / n + margin * np.sqrt(max(variance, 0.0))
            if reach < heap[0]:
                return number
        segment = _segment_of(table, positions[number])
        first, last = _bounds(table, segment, positions[number])
        tokens = last - first
        if tokens == 0:
            scores[number] = -np.inf
            continue
        _read_codes(table, segment, first, last, codes)
        total = 0.0
        for lane in range(0, lanes, CHUNK):
            groups = min(CHUNK, lanes - lane) // 16
            count = tokens
            if slack.size:
                for place in range(lane, lane + 16 * groups):
                    byte = nearest[number, place]
                    limits[place] = 255 if units[place] == 0 else byte - min(byte, slack[place])
                source = coarse.ctypes.data + rows * lane
                limit = limits.ctypes.data + lane
                count = _near_tokens(groups, codes.ctypes.data, tokens, source, limit, kept.ctypes.data)
                count = max(count, 1)  # a chunk of zero lanes
            query, start = far.ctypes.data + lane * padded, starts.ctypes.data + 4 * rows * lane
            maxima[:] = LOWEST
            for tile in range(0, count, TILE):
                size = min(TILE, count - tile)
                for index in range(size):
                    token = kept[tile + index] if slack.size else tile + index
                    chosen[index] = codes[token]
                    if table[segment, SCALES] != 0:
                        scales[index] = 255 + 2 * byte_at(table[segment, SCALES], first + token)
                    source = table[segment, RESIDUALS] + (first + token) * width
                    unpack(instructions, source, width, levels.ctypes.data + index * padded)
                _maximise(
                    instructions,
                    groups,
                    levels.ctypes.data,
                    size,
                    padded // 4,
                    query,
                    start,
                    chosen.ctypes.data,
                    scales.ctypes.data,
                    maxima.ctypes.data,
                )
            for place in range(lane, lane + 16 * groups):
                total += units[place] * maxima[place - lane]
        total *= worth
        score = np.float32(total)
        scores[number] = score
        if expected.size:
            x, y = float(expected[number]), total
            n, sum_x, sum_y = n + 1.0, sum_x + x, sum_y + y
            sum_xx, sum_xy, sum_yy = sum_xx + x * x, sum_xy + x * y, sum_yy + y * y
            if score > heap[0]:
                _replace_least(heap, score)
    return positions.size
