"""The table through which kernels reach the arrays of all segments: one row of int64 each, addresses and sizes."""

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
"""Address of uint32: rows of documents, each once a centroid."""
CENTROIDS = 8
"""Centroids that the posting lists know."""
COLUMNS = 9
