"""Which rows of a segment may be found: all but the deleted and those that a filter leaves out."""

from functools import cached_property

import numpy as np


class Mask:
    """The rows of a segment that may be found, in the forms that searches want.

    Attributes:
        allowed: (rows,) bool.
    """

    def __init__(self, allowed: np.ndarray) -> None:
        self.allowed = allowed

    @cached_property
    def count(self) -> int:
        """Number of rows that may be found."""
        return int(np.count_nonzero(self.allowed))

    @cached_property
    def rows(self) -> np.ndarray:
        """Numbers of the rows that may be found, ascending, int64."""
        return np.flatnonzero(self.allowed)

    @cached_property
    def bits(self) -> np.ndarray:
        """Bit r % 8 of byte r // 8 says whether row r may be found, (⌈rows / 8⌉,) uint8: FAISS's bitmap."""
        return np.packbits(self.allowed, bitorder="little")

    def __and__(self, other: "Mask | None") -> "Mask":
        return self if other is None else Mask(self.allowed & other.allowed)
