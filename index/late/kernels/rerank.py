"""MaxSim of chosen documents: by their centroids alone, and exactly on the codes.

The exact pass leaves a document, and ends, when no more can be expected among the k best.
"""

import numpy as np

from ....jit.compile import compiled
from .memory import byte_at, long_at, short_at, word_at
from .nearness import nearest_16, nearest_32
from .products import maximise, unpack
from .queries import CHUNK
from .table import CODE_BYTES, CODES, FIRST, OFFSETS, RESIDUALS, SCALES

LOWEST = np.int32(-(2**31))
FEWEST = 16
"""Documents scored before one is judged by what those before it scored."""
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
            source, out = coarse.ctypes.data + rows * lane, nearest.ctypes.data + number * lanes + lane
            if lanes - lane >= 32:
                nearest_32(codes.ctypes.data, tokens, source, out)
            else:
                nearest_16(codes.ctypes.data, tokens, source, out)
        total = 0
        for byte in nearest[number]:
            total += byte
        sums[number] = total if tokens else -1


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
def _note(moments, x, y):
    """Add a point to the sums that a line through all points is found from."""
    moments[0] += 1.0
    moments[1] += x
    moments[2] += y
    moments[3] += x * x
    moments[4] += x * y
    moments[5] += y * y


@compiled()
def _highest(moments, x, margin):
    """Return the upper end of the interval in which a document with this x is expected.

    That is what the line (least squares, through n > 2 points) says of x, and `margin` standard deviations of a
    prediction more, which grow with the distance of x from the points, the less these say of the slope the faster.
    """
    n, sum_x, sum_y, sum_xx, sum_xy, sum_yy = moments
    spread, common = n * sum_xx - sum_x * sum_x, n * sum_xy - sum_x * sum_y
    slope = common / spread if spread > 0 else 0.0
    variance = (n * sum_yy - sum_y * sum_y - slope * common) / (n * n)
    away = n * x - sum_x
    doubt = 1.0 + 1.0 / n
    if spread > 0:
        doubt += away * away / (n * spread)
    elif away != 0:
        return np.inf
    return (sum_y + slope * away) / n + margin * np.sqrt(max(variance, 0.0) * n / (n - 2.0) * doubt)


@compiled()
def _raise_maxima(
    instructions, table, segment, first, codes, tokens, width, padded, starts, rows, far, lanes, last, tile, maxima
):
    """Raise the maxima of lanes [lanes, last) over all tokens of a document."""
    chosen, scales, levels = tile
    maxima[lanes:last] = LOWEST
    for start in range(0, tokens, TILE):
        size = min(TILE, tokens - start)
        for index in range(size):
            token = start + index
            chosen[index] = codes[token]
            if table[segment, SCALES] != 0:
                scales[index] = 255 + 2 * byte_at(table[segment, SCALES], first + token)
            source = table[segment, RESIDUALS] + (first + token) * width
            unpack(instructions, source, width, levels.ctypes.data + index * padded)
        for lane in range(lanes, last, 16):
            maximise(
                instructions,
                levels.ctypes.data,
                size,
                padded // 4,
                far.ctypes.data + lane * padded,
                starts.ctypes.data + 4 * lane * rows,
                chosen.ctypes.data,
                scales.ctypes.data,
                maxima.ctypes.data + 4 * lane,
            )


@compiled()
def score_documents(
    instructions,
    table,
    positions,
    rows,
    width,
    padded,
    starts,
    far,
    worths,
    nearest,
    expected,
    k,
    margin,
    longest,
    scores,
):
    """Write the MaxSim of documents, in the order given, as far as they can be expected among the k best.

    What a document's lanes score is predicted from their sum of bytes by the line through those scored so far (least
    squares), plus `margin` standard deviations. The pass ends at the first document whose prediction stays below the
    k-th best score, and leaves a document after half of its lanes if these and the prediction for the others do.

    Args:
        instructions: Of what the kernel is made.
        table: Of segments.
        positions: (n,) int64.
        rows: How many centroids `starts` holds.
        width: Bytes of a token's residual.
        padded: Its levels.
        starts: (rows · lanes,) int32, as `score_centroids` writes them.
        far: (lanes · padded,) int8.
        worths: (lanes,) float64, what 1 in a lane's maxima is worth.
        nearest: (n, lanes) uint8: the largest byte of each lane. Not read where all are scored.
        expected: (n,) int64, the sum of bytes of each document, largest first, or empty: score all.
        k: Documents wanted, at least 1.
        margin: In standard deviations.
        longest: Tokens of the longest of these documents.
        scores: (n,) float32 out; -inf for documents without tokens and those that were left.

    Returns:
        How many documents were looked at.
    """
    lanes, whole = worths.size, expected.size == 0
    half = lanes if whole else (lanes // 16 + 1) // 2 * 16
    fewest = max(k, FEWEST)
    codes, maxima = np.empty(longest, np.uint32), np.empty(lanes, np.int32)
    tile = (np.empty(TILE, np.uint32), np.full(TILE, 510, np.uint32), np.empty(TILE * padded, np.uint8))
    heap = np.full(k, -np.inf, np.float32)
    all_moments, rest_moments = np.zeros(6), np.zeros(6)
    for number in range(positions.size):
        judged = not whole and all_moments[0] >= fewest
        if judged and _highest(all_moments, float(expected[number]), margin) < heap[0]:
            return number
        segment = _segment_of(table, positions[number])
        first, last = _bounds(table, segment, positions[number])
        tokens = last - first
        scores[number] = -np.inf
        if tokens == 0:
            continue
        _read_codes(table, segment, first, last, codes)
        _raise_maxima(
            *(instructions, table, segment, first, codes, tokens, width, padded, starts, rows, far),
            *(0, half, tile, maxima),
        )
        total = 0.0
        for lane in range(half):
            total += worths[lane] * maxima[lane]
        if half < lanes:
            rest_expected, known = 0, total
            for lane in range(half, lanes):
                rest_expected += nearest[number, lane]
            if judged and total + _highest(rest_moments, float(rest_expected), margin) < heap[0]:
                continue
            _raise_maxima(
                *(instructions, table, segment, first, codes, tokens, width, padded, starts, rows, far),
                *(half, lanes, tile, maxima),
            )
            for lane in range(half, lanes):
                total += worths[lane] * maxima[lane]
            _note(rest_moments, float(rest_expected), total - known)
        scores[number] = total
        if not whole:
            _note(all_moments, float(expected[number]), total)
            if scores[number] > heap[0]:
                _replace_least(heap, scores[number])
    return positions.size
