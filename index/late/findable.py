"""Which rows a search over coded segments looks at beside those that probing finds, alike in every such search."""

from collections.abc import Sequence
from functools import cached_property

import numpy as np

from ..masks import Mask
from .effort import Effort
from .segment import CodedSegment

_DIRECT = 2  # rows for each candidate up to which all are scored: probing would cost as much


def filled_rows(segments: Sequence[CodedSegment]) -> np.ndarray:
    """Say of each row whether it has tokens, (rows of all segments,) bool."""
    return np.concatenate([np.empty(0, bool), *(np.diff(segment.offsets) > 0 for segment in segments)])


class Findable:
    """The rows that a search may find.

    Attributes:
        bounds: (segments + 1,) int64, rows before each segment, and in all.
        masks: One a segment; None lets all its rows be found.
        count: How many rows may be found.
    """

    def __init__(self, bounds: np.ndarray, masks: Sequence[Mask | None]) -> None:
        self.bounds = bounds
        self.masks = masks
        sizes = np.diff(bounds)
        self.count = sum(int(size) if mask is None else mask.count for size, mask in zip(sizes, masks, strict=True))

    @cached_property
    def positions(self) -> np.ndarray:
        """Their positions, ascending, int64."""
        parts = [
            np.arange(first, last) if mask is None else first + mask.rows
            for first, last, mask in zip(self.bounds[:-1], self.bounds[1:], self.masks, strict=True)
        ]
        return np.concatenate([np.empty(0, np.int64), *parts])

    def direct(self, effort: Effort, exact: bool) -> np.ndarray | None:
        """Return the positions to score without probing: all, if that is asked for or they are few; else None."""
        return self.positions if exact or self.count <= _DIRECT * effort.candidates else None

    def filled_up(self, probed: np.ndarray, effort: Effort, filled: np.ndarray) -> np.ndarray:
        """Return what probing found, with the first other rows where that is fewer than there are to be candidates.

        Args:
            probed: (n,) int64, ascending positions of rows that may be found.
            effort: Of the search.
            filled: What `filled_rows` returned.

        Returns:
            Positions, ascending.
        """
        missing = effort.candidates - len(probed)
        if missing <= 0:
            return probed
        free = filled.copy()
        free[probed] = False
        others = self.positions[free[self.positions]][:missing]
        return np.sort(np.concatenate([probed, others]))
