"""When segments are merged, and which: a policy over their sizes, without files.

Tiered merging in the manner of log-structured merge trees (O'Neil et al. 1996): a segment is merged with the younger
ones when together they are as large as it is, so that a document is rewritten a logarithmic number of times.
"""

from collections.abc import Sequence
from dataclasses import dataclass

MOST_SEGMENTS = 8
MOST_DEAD = 0.2
"""Share of a segment's rows that may be deleted before the segment is rewritten."""


@dataclass(frozen=True)
class Size:
    """What the policy sees of a segment."""

    rows: int
    dead: int
    settled: bool

    @property
    def live(self) -> int:
        """Rows that are not deleted."""
        return self.rows - self.dead


def due(sizes: Sequence[Size]) -> list[range]:
    """Return the runs of adjacent segments that are to be merged now; each becomes one segment.

    Args:
        sizes: The segments in the order of their keys.

    Returns:
        Disjoint runs in ascending order. A run of one segment rewrites it without its deleted rows.
    """
    runs = [range(number, number + 1) for number, size in enumerate(sizes) if _wants_rewriting(size)]
    if len(sizes) > MOST_SEGMENTS:
        start = _start_of_tail(sizes)
        runs = [run for run in runs if run.start < start] + [range(start, len(sizes))]
    return _joined(runs)


def _wants_rewriting(size: Size) -> bool:
    return not size.settled or (size.dead > 0 and size.dead > MOST_DEAD * size.rows)


def _start_of_tail(sizes: Sequence[Size]) -> int:
    """Return where the tail begins whose segments are each no larger than all the younger ones together."""
    start, younger = len(sizes) - 1, sizes[-1].live
    while start > 0 and (sizes[start - 1].live <= younger or start > MOST_SEGMENTS - 1):
        start -= 1
        younger += sizes[start].live
    return start


def _joined(runs: Sequence[range]) -> list[range]:
    """Join runs that touch: one merge then does the work of several."""
    joined: list[range] = []
    for run in runs:
        if joined and joined[-1].stop == run.start:
            joined[-1] = range(joined[-1].start, run.stop)
        else:
            joined.append(run)
    return joined
