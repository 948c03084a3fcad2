"""The rows of a segment: which document each one is, mapped into memory beside the vectors.

A result is named from here without asking the catalog, which would take longer than the search itself.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from .arrays import Blocks, read_arrays, write_arrays
from .masks import Mask

ENDING = ".rows"


class Rows:
    """Keys and ids of a segment's rows.

    Attributes:
        keys: (n,) int64, ascending.
    """

    def __init__(self, path: Path) -> None:
        arrays, _ = read_arrays(path)
        self.keys = arrays["keys"]
        self._offsets = arrays["id_offsets"]
        self._text = arrays["id_bytes"]
        self._view = self._text.data  # slices of it are cheaper than the array's

    def __len__(self) -> int:
        return len(self.keys)

    def ids(self, rows: np.ndarray) -> list[str]:
        """Return the document ids of rows, (n,) int64."""
        text, starts, ends = self._view, self._offsets[rows].tolist(), self._offsets[rows + 1].tolist()
        return [str(text[start:end], "utf-8") for start, end in zip(starts, ends, strict=True)]

    def alive(self, dead: np.ndarray) -> Mask | None:
        """Return the mask that leaves out the rows of dead keys, or None where there are none.

        Args:
            dead: Ascending keys, int64.
        """
        if not len(self.keys):
            return None
        low, high = np.searchsorted(dead, [self.keys[0], self.keys[-1] + 1])
        if low == high:
            return None
        allowed = np.ones(len(self), np.bool_)
        allowed[self.find(dead[low:high])] = False
        return Mask(allowed)

    def holding(self, keys: np.ndarray) -> Mask:
        """Return the mask of the rows whose keys are among these.

        Args:
            keys: Ascending, int64; those of other segments too.
        """
        allowed = np.zeros(len(self), np.bool_)
        allowed[self.find(keys)] = True
        return Mask(allowed)

    def find(self, keys: np.ndarray) -> np.ndarray:
        """Return the rows of those of `keys` that are here, int64."""
        rows = self.places(keys)
        return rows[rows >= 0]

    def places(self, keys: np.ndarray) -> np.ndarray:
        """Return the row of each key, int64; −1 for one that is not here."""
        rows = np.searchsorted(self.keys, keys)
        here = rows < len(self)
        here[here] = self.keys[rows[here]] == keys[here]
        return np.where(here, rows, -1)

    def kept(self, mask: Mask | None) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
        """Yield keys, lengths of the ids in bytes, and the ids' bytes of the rows that a mask leaves."""
        lengths = np.diff(self._offsets)
        if mask is None:
            yield self.keys, lengths, self._text
        else:
            yield self.keys[mask.allowed], lengths[mask.allowed], self._text[np.repeat(mask.allowed, lengths)]


def write_rows(path: Path, first_key: int, ids: Sequence[str]) -> None:
    """Write the rows of consecutive keys."""
    encoded = [identifier.encode() for identifier in ids]
    lengths = np.fromiter(map(len, encoded), np.int64, len(encoded))
    keys = np.arange(first_key, first_key + len(ids), dtype=np.int64)
    _write(path, [(keys, lengths, np.frombuffer(b"".join(encoded), np.uint8))])


def merge_rows(path: Path, parts: Sequence[Rows], kept: Sequence[Mask | None]) -> None:
    """Write the kept rows of several segments, in order, as one."""
    _write(path, [piece for rows, mask in zip(parts, kept, strict=True) for piece in rows.kept(mask)])


def _write(path: Path, pieces: Sequence[tuple[np.ndarray, np.ndarray, np.ndarray]]) -> None:
    keys = np.concatenate([piece[0] for piece in pieces])
    offsets = np.concatenate([np.zeros(1, np.int64), np.cumsum(np.concatenate([piece[1] for piece in pieces]))])
    text = Blocks(np.uint8, (int(offsets[-1]),), (piece[2] for piece in pieces))
    write_arrays(path, {"keys": keys, "id_offsets": offsets, "id_bytes": text}, {})
