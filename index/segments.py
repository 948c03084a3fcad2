"""Segment files: immutable, checksummed, mapped into memory, each a FAISS index over consecutive keys."""

import re
from collections.abc import Iterable
from pathlib import Path

import faiss
import numpy as np

from ..errors import ModernirError
from ..files import atomic_write, file_checksum
from .catalog import SegmentRow

SEGMENT_NAME = "dense-{:012d}.faiss"
_OWN_NAME = re.compile(r"dense-\d{12,}\.faiss|\.dense-\d{12,}\.faiss\..+\.tmp")


def is_segment_file(name: str) -> bool:
    """Say whether a file name is one that `write_segment` gives, to a whole file or to one under way."""
    return _OWN_NAME.fullmatch(name) is not None


def write_segment(folder: Path, first_key: int, vectors: np.ndarray) -> SegmentRow:
    """Write vectors as a flat inner-product index, flushed to disk.

    Args:
        folder: The index folder.
        first_key: Key of the first row.
        vectors: (n, dim) float32.

    Returns:
        What the catalog has to be told of it.
    """
    flat = faiss.IndexFlatIP(vectors.shape[1])
    flat.add(vectors)
    path = folder / SEGMENT_NAME.format(first_key)
    atomic_write(path, lambda stream: stream.write(faiss.serialize_index(flat).data))
    return SegmentRow(first_key, len(vectors), path.name, path.stat().st_size, file_checksum(path))


class Segment:
    """An opened segment; `search` is exact.

    Raises:
        ModernirError: The file is missing, or shorter or longer than the catalog says.
    """

    def __init__(self, folder: Path, row: SegmentRow) -> None:
        path = folder / row.file
        found = path.stat().st_size if path.is_file() else None
        if found != row.bytes:
            state = "is missing" if found is None else f"has {found} bytes, expected {row.bytes}"
            raise ModernirError(f"{path}: segment file {state}; rebuild the index or restore the file")
        self.row = row
        self._index = faiss.read_index(str(path), faiss.IO_FLAG_MMAP_IFC)

    def search(self, queries: np.ndarray, k: int, dead: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the best rows of each query; of rows that tie for the last place, those of the lowest keys.

        Args:
            queries: (n, dim) float32.
            k: Rows a query.
            dead: Ascending keys of all deleted documents, int64.

        Returns:
            scores (n, ≤ k + 1) float32 and keys (n, ≤ k + 1) int64; where rows are missing, −inf and −1.
        """
        low, high = np.searchsorted(dead, [self.row.first_key, self.row.first_key + self.row.rows])
        parameters = None
        if low < high:
            gone = faiss.IDSelectorBatch(dead[low:high] - self.row.first_key)
            parameters = faiss.SearchParameters(sel=faiss.IDSelectorNot(gone))  # type: ignore[call-arg]
        # FAISS keeps any of the rows that tie for the last place; one row more shows where that happened.
        width = min(k + 1, self.row.rows)
        scores, rows = self._index.search(queries, width, params=parameters)
        if k < self.row.rows:
            for number in np.flatnonzero((scores[:, k - 1] == scores[:, k]) & (rows[:, k] >= 0)):
                scores[number], rows[number] = self._break_ties(queries[number : number + 1], k, parameters)
        missing = rows < 0
        scores[missing] = -np.inf
        return scores, np.where(missing, -1, rows + self.row.first_key)

    def _break_ties(
        self, query: np.ndarray, k: int, parameters: faiss.SearchParameters | None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Search for more and more rows until all that tie for place k are there; return the first k + 1."""
        width = k + 1
        while True:
            width = min(2 * width, self.row.rows)
            scores, rows = (found[0] for found in self._index.search(query, width, params=parameters))
            if width == self.row.rows or rows[-1] < 0 or scores[-1] < scores[k - 1]:
                order = np.lexsort((rows, -scores, rows < 0))[: k + 1]
                return scores[order], rows[order]


def merge(results: Iterable[tuple[np.ndarray, np.ndarray]], k: int) -> tuple[np.ndarray, np.ndarray]:
    """Merge the segments' lists to the best k a query, equal scores in the order of their keys.

    Args:
        results: (scores, keys) of each segment, as `Segment.search` returns them; at least one.
        k: Rows a query.

    Returns:
        scores (n, ≤ k) float32 and keys (n, ≤ k) int64.
    """
    parts = list(results)
    scores = np.concatenate([scores for scores, _ in parts], axis=1)
    keys = np.concatenate([keys for _, keys in parts], axis=1)
    order = np.lexsort((keys, -scores), axis=1)[:, :k]
    return np.take_along_axis(scores, order, axis=1), np.take_along_axis(keys, order, axis=1)


def damaged(folder: Path, row: SegmentRow) -> str | None:
    """Say what is wrong with a segment file, or None: its presence, size and checksum."""
    path = folder / row.file
    if not path.is_file():
        return f"{path}: missing"
    if path.stat().st_size != row.bytes:
        return f"{path}: {path.stat().st_size} bytes, expected {row.bytes}"
    if file_checksum(path) != row.checksum:
        return f"{path}: checksum differs; the file was changed or damaged"
    return None
