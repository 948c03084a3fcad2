"""A query in integers, and its scores with all centroids: computed once, used by every segment.

The score of a lane with a token is an integer times the lane's unit: start[code] + Σ level · query, where the start is
the score with the token's centroid, rounded to units, and the sum the one with its residual. So maxima are compared
exactly, and every instruction set finds the same.

Lanes are the tokens of a query, rounded up to 16. Arrays with many numbers a lane are cut by lanes, and the parts
follow each other: numbers to multiply with levels are (lanes / 16, padded / 4, 16, 4), starts (lanes / 16, rows, 16),
and bytes (rows, 32) for each 32 lanes, (rows, 16) for 16 that are left at the end.
"""

import numpy as np

from ....jit.compile import compiled
from .nearness import coarsen
from .products import score

CHUNK = 32
"""Lanes whose bytes lie side by side."""
LARGEST_START = 1 << 20
"""A start stays below, so that sums of products and, at 2 bits, their scaling by up to 765 fit 32 bits."""
INT8_MAX = np.float32(127)


@compiled()
def quantise(values, steps, nbits, longest, near, far, corrections, factors, summands, units):
    """Quantise the tokens of a query, for centroids and for residuals; lanes beyond the tokens are all zero.

    Args:
        values: (tokens, dim) float32.
        steps: (dim,) float32, what one level of a residual stands for.
        nbits: Bits of a level.
        longest: Norm of the longest centroid.
        near: (lanes · padded,) int8 out, zeros: the query to multiply with centroids.
        far: (lanes · padded,) int8 out, zeros: the query to multiply with residual levels.
        corrections: (lanes,) int32 out: what to add to the product with bytes of centroids, whose zero is 128.
        factors: (lanes,) float32 out: units in a corrected product.
        summands: (lanes,) float32 out: units by which levels begin below zero.
        units: (lanes,) float64 out: what one unit is worth; 0 for lanes that are zero.
    """
    tokens, dim = values.shape
    lanes = units.size
    padded = near.size // lanes
    half = np.float32(0.5) * np.float32((1 << nbits) - 1)
    for lane in range(lanes):
        corrections[lane], factors[lane], summands[lane], units[lane] = 0, 0, 0, 0
        if lane >= tokens:
            continue
        largest, largest_step, square = np.float32(0), np.float32(0), 0.0
        for place in range(dim):
            largest = max(largest, abs(values[lane, place]))
            largest_step = max(largest_step, abs(values[lane, place] * steps[place]))
            square += np.float64(values[lane, place]) ** 2
        unit = max(largest_step / INT8_MAX, np.float32(np.sqrt(square)) * longest / np.float32(LARGEST_START))
        if not unit > 0:
            continue
        scale = largest / INT8_MAX
        near_sum, far_sum = np.int32(0), np.int32(0)
        for place in range(dim):
            at = lane // 16 * 16 * padded + (place // 4 * 16 + lane % 16) * 4 + place % 4
            one = np.int32(np.rint(values[lane, place] / scale))
            other = np.int32(np.rint(values[lane, place] * steps[place] / unit))
            near[at], far[at] = one, other
            near_sum += one
            far_sum += other
        corrections[lane] = -128 * near_sum
        factors[lane] = scale / unit
        summands[lane] = -half * np.float32(far_sum)
        units[lane] = unit


@compiled()
def score_centroids(
    instructions, levels, rows, padded, near, row_factors, corrections, factors, summands, units, starts, coarse
):
    """Score all centroids with all lanes, in units and in bytes.

    A byte is the distance to the lane's best centroid, 255 for the best, in steps that are the same for all lanes.

    Args:
        instructions: Of what the kernel is made.
        levels: Address of the centroids, (rows, padded) uint8 with zero at 128.
        rows: How many.
        padded: Bytes of one.
        near: As `quantise` wrote it, like the following arrays.
        row_factors: Address of (rows,) float32, what one level of a centroid is worth.
        corrections: (lanes,) int32.
        factors: (lanes,) float32.
        summands: (lanes,) float32.
        units: (lanes,) float64.
        starts: (rows · lanes,) int32 out.
        coarse: (rows · lanes,) uint8 out, 0 in lanes that are zero.

    Returns:
        What a step of a byte is worth.
    """
    lanes = units.size
    largest = np.empty(lanes, np.int32)
    for lane in range(0, lanes, 16):
        score(
            instructions,
            levels,
            rows,
            padded // 4,
            near.ctypes.data + lane * padded,
            corrections.ctypes.data + 4 * lane,
            row_factors,
            factors.ctypes.data + 4 * lane,
            summands.ctypes.data + 4 * lane,
            starts.ctypes.data + 4 * lane * rows,
            largest.ctypes.data + 4 * lane,
        )
    reach = 0.0
    for lane in range(lanes):
        reach = max(reach, (largest[lane] - summands[lane]) * units[lane])
    reach = reach if reach > 0 else 1.0
    steps, ends = np.empty(lanes, np.float32), np.empty(lanes, np.float32)
    for lane in range(lanes):
        steps[lane] = units[lane] * 255.0 / reach
        ends[lane] = 255.5 if units[lane] > 0 else 0.0
    for lane in range(0, lanes, 16):
        first = lane // CHUNK * CHUNK
        width = min(CHUNK, lanes - first)
        source, target = starts.ctypes.data + 4 * lane * rows, coarse.ctypes.data + first * rows + lane - first
        top, times, plus = largest.ctypes.data + 4 * lane, steps.ctypes.data + 4 * lane, ends.ctypes.data + 4 * lane
        coarsen(source, rows, top, times, plus, target, width)
    return reach / 255.0
