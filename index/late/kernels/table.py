"""The table through which kernels reach the arrays of all segments: one row of int64 each, addresses and sizes."""

from collections.abc import Sequence
from typing import Any

import numpy as np

FIRST = 0
"""Position of the segment's first document."""
OFFSETS = 1
"""Address of (documents + 1,) int64: where a document's tokens begin."""
CODES = 2
"""Address of (tokens,) uint16 or uint32: a token's centroid."""
CODE_BYTES = 3
RESIDUALS = 4
"""Address of (tokens, width) uint8: packed levels."""
SCALES = 5
"""Address of (tokens,) uint8: a token's factor is 0.5 + scale / 255; 0 where tokens have none."""
POSTING_OFFSETS = 6
"""Address of (centroids + 1,) int64: where a centroid's documents begin."""
POSTING_ROWS = 7
"""Address of uint16 or uint32: rows of documents, each once a centroid."""
POSTING_BYTES = 8
CENTROIDS = 9
"""Centroids that the posting lists know."""
COLUMNS = 10


def segment_table(segments: Sequence[Any], bounds: np.ndarray) -> tuple[np.ndarray, list[np.ndarray]]:
    """Return the table of segments, and the arrays whose addresses it holds.

    Args:
        segments: `CodedSegment`s.
        bounds: (segments + 1,) positions of their first documents.
    """
    table, held = np.zeros((len(segments), COLUMNS), np.int64), []
    for row, segment in enumerate(segments):
        arrays = {
            OFFSETS: segment.offsets,
            CODES: segment.codes,
            RESIDUALS: segment.residuals,
            SCALES: segment.scales,
            POSTING_OFFSETS: segment.posting_offsets,
            POSTING_ROWS: segment.posting_rows,
        }
        for column, array in arrays.items():
            if array is not None:
                held.append(np.ascontiguousarray(array))
                table[row, column] = held[-1].ctypes.data
        table[row, FIRST] = bounds[row]
        table[row, CODE_BYTES] = segment.codes.itemsize
        table[row, POSTING_BYTES] = segment.posting_rows.itemsize
        table[row, CENTROIDS] = len(segment.posting_offsets) - 1
    return table, held
