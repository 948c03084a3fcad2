"""From the scores of centroids to candidate documents: which lists to walk, walking them, choosing the best documents.

A document gets, for each lane, the byte of its best probed centroid less the byte of the lane's weakest probed one: the
most that a centroid outside the probes can have, which stands for the lanes that miss the document (missing similarity
imputation, Scheerer et al. 2025, WARP, arXiv 2501.17788). Bytes are integers, so no result depends on the order of
sums, and equal sums are told apart by position.
"""

import numpy as np

from ....jit.compile import compiled
from .memory import long_at, short_at, word_at
from .nearness import counting_16, counting_32, reaching_16, reaching_32
from .queries import CHUNK
from .table import CENTROIDS, FIRST, POSTING_BYTES, POSTING_OFFSETS, POSTING_ROWS

SUM_BITS = 20
SUM_MASK = (1 << SUM_BITS) - 1
TAGS = (1 << (32 - SUM_BITS)) - 1
"""An accumulator is one word: the number of the lane that touched it last, of 1 to TAGS, above the sum so far."""
BLOCK = 255


@compiled()
def _count(coarse, rows, limits, part, counts):
    lanes = counts.size
    counts[:] = 0
    for first in range(0, rows, BLOCK):
        block, start = min(BLOCK, rows - first), coarse + first * lanes
        if lanes == 32:
            counting_32(start, block, limits.ctypes.data, part.ctypes.data)
        else:
            counting_16(start, block, limits.ctypes.data, part.ctypes.data)
        for lane in range(lanes):
            counts[lane] += part[lane]


@compiled()
def _reaching(lanes, coarse, rows, limits, out):
    return reaching_32(coarse, rows, limits, out) if lanes == 32 else reaching_16(coarse, rows, limits, out)


@compiled()
def choose_probes(coarse, rows, units, nprobe):
    """Choose for each lane its nearest centroids: all whose byte is not below that of the nprobe-th.

    Args:
        coarse: (rows · lanes,) uint8, as `score_centroids` writes it.
        rows: How many centroids.
        units: (lanes,) float64, 0 for lanes that are zero.
        nprobe: Centroids for each lane; more where bytes are equal.

    Returns:
        Where a lane's probes begin, (lanes + 1,) int64; their centroids, uint32; what each adds to a document, uint32.
    """
    lanes = units.size
    starts, limits, sizes = np.zeros(lanes + 1, np.int64), np.zeros(lanes, np.uint8), np.zeros(lanes, np.int64)
    for first in range(0, lanes, CHUNK):
        count = min(CHUNK, lanes - first)
        least, trial, part = np.zeros(count, np.uint8), np.zeros(count, np.uint8), np.empty(count, np.uint8)
        counts = np.empty(count, np.int64)
        sizes[first : first + count] = rows
        for bit in range(7, -1, -1):
            for lane in range(count):
                trial[lane] = least[lane] | (1 << bit)
            _count(coarse.ctypes.data + first * rows, rows, trial, part, counts)
            for lane in range(count):
                if counts[lane] >= nprobe:
                    least[lane], sizes[first + lane] = trial[lane], counts[lane]
        for lane in range(count):
            limits[first + lane] = least[lane] if units[first + lane] > 0 else 255
    for lane in range(lanes):
        starts[lane + 1] = starts[lane] + (sizes[lane] if units[lane] > 0 else 0)
    centroids, gains = np.empty(starts[lanes], np.uint32), np.empty(starts[lanes], np.uint32)
    found, ends, bins = np.empty(rows + 1, np.uint32), starts[:-1].copy(), np.zeros(257, np.int64)
    some, values = np.empty(starts[lanes], np.uint32), np.empty(starts[lanes], np.uint8)
    for first in range(0, lanes, CHUNK):
        count = min(CHUNK, lanes - first)
        part = coarse[first * rows :]
        least = limits[first : first + count]
        number = _reaching(count, part.ctypes.data, rows, least.ctypes.data, found.ctypes.data)
        for index in range(number):
            row = found[index]
            for lane in range(count):
                value = part[row * count + lane]
                if value >= least[lane] and units[first + lane] > 0:
                    some[ends[first + lane]], values[ends[first + lane]] = row, value
                    ends[first + lane] += 1
    for lane in range(lanes):  # best first, by counting
        bins[:] = 0
        for place in range(starts[lane], starts[lane + 1]):
            bins[256 - values[place]] += 1
        for value in range(1, 257):
            bins[value] += bins[value - 1]
        for place in range(starts[lane], starts[lane + 1]):
            at = 255 - values[place]
            centroids[starts[lane] + bins[at]] = some[place]
            gains[starts[lane] + bins[at]] = values[place] - limits[lane]
            bins[at] += 1
    return starts, centroids, gains


@compiled()
def accumulate(table, segment, starts, centroids, gains, sums):
    """Walk the posting lists of one segment; the first that names a document is its best of the lane.

    Args:
        table: Of segments, see `table`.
        segment: Its number.
        starts: As `choose_probes` returns them, like the next two.
        centroids: (probes,) uint32.
        gains: (probes,) uint32.
        sums: (documents of all segments,) uint32, zeros before the first segment: words as this module says; 0 in
            documents that no list named.
    """
    offsets, rows = table[segment, POSTING_OFFSETS], table[segment, POSTING_ROWS]
    known, first, short = table[segment, CENTROIDS], table[segment, FIRST], table[segment, POSTING_BYTES] == 2
    lanes, shift = starts.size - 1, 0
    while (255 >> shift) * lanes > SUM_MASK:
        shift += 1
    for lane in range(lanes):
        tag = np.uint32(lane % TAGS + 1)
        for probe in range(starts[lane], starts[lane + 1]):
            if centroids[probe] >= known:
                continue
            gain = np.uint32(gains[probe] >> np.uint32(shift))
            for place in range(long_at(offsets, centroids[probe]), long_at(offsets, centroids[probe] + 1)):
                document = first + (short_at(rows, place) if short else word_at(rows, place))
                word = sums[document]
                added = np.uint32(0) if word >> np.uint32(SUM_BITS) == tag else gain
                sums[document] = ((word & np.uint32(SUM_MASK)) + added) | (tag << np.uint32(SUM_BITS))


@compiled()
def best_documents(sums, count):
    """Return the positions of the `count` largest sums of touched documents, ascending; of equal ones the first.

    Args:
        sums: As `accumulate` writes them.
        count: At least 1.

    Returns:
        (≤ count,) int64.
    """
    largest, touched = np.uint32(0), 0
    for word in sums:
        largest = max(largest, word & np.uint32(SUM_MASK))
        touched += word != 0
    least, ties = np.int64(0), touched
    if touched > count:
        bins = np.zeros(np.int64(largest) + 1, np.int64)
        for word in sums:
            if word:
                bins[word & np.uint32(SUM_MASK)] += 1
        above, least = 0, np.int64(largest)
        while above + bins[least] < count:
            above += bins[least]
            least -= 1
        ties = count - above
    found, number = np.empty(min(count, touched), np.int64), 0
    for position in range(sums.size):
        value = np.int64(sums[position] & np.uint32(SUM_MASK))
        if sums[position] == 0 or value < least:
            continue
        if value == least:
            if ties == 0:
                continue
            ties -= 1
        found[number] = position
        number += 1
    return found
