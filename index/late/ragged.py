"""Walks over documents of many tokens in pieces of a bounded number of tokens.

Documents of any length, chosen rows only, and no padding: a piece is a slice of the tokens where its rows are
neighbours, and an array of token numbers where they are not.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Piece:
    """Some tokens of some documents.

    Attributes:
        tokens: Which they are: index into an array of all tokens.
        rows: (documents,) int64, position of each document in the list of rows that is walked.
        starts: (documents,) int64, where each one's tokens begin within the piece.
    """

    tokens: slice | np.ndarray
    rows: np.ndarray
    starts: np.ndarray


def pieces(offsets: np.ndarray, rows: np.ndarray | None, limit: int) -> Iterator[Piece]:
    """Walk over the tokens of documents, in order.

    Documents without tokens are left out, one that is longer than the limit is cut.

    Args:
        offsets: (n + 1,) int64.
        rows: Numbers of the documents wanted, ascending; None for all.
        limit: Largest number of tokens in a piece, at least 1.
    """
    firsts = offsets[:-1] if rows is None else offsets[rows]
    lengths = np.diff(offsets) if rows is None else offsets[rows + 1] - firsts
    filled = np.flatnonzero(lengths)
    firsts, lengths = firsts[filled], lengths[filled]
    ends = np.cumsum(lengths)
    done, total = 0, int(ends[-1]) if len(ends) else 0
    while done < total:
        stop = min(done + limit, total)
        low = int(np.searchsorted(ends, done, side="right"))
        high = int(np.searchsorted(ends, stop, side="left")) + 1
        begins = np.maximum(ends[low:high] - lengths[low:high], done)
        counts = np.minimum(ends[low:high], stop) - begins
        from_token = firsts[low:high] + begins - (ends[low:high] - lengths[low:high])
        yield Piece(_index(from_token, counts), filled[low:high], begins - done)
        done = stop


def _index(firsts: np.ndarray, counts: np.ndarray) -> slice | np.ndarray:
    if np.array_equal(firsts[:-1] + counts[:-1], firsts[1:]):
        return slice(int(firsts[0]), int(firsts[-1] + counts[-1]))
    return concatenated(firsts, counts)


def concatenated(firsts: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Return the numbers first, first + 1, … of each of several runs, one after the other, int64."""
    ends = np.cumsum(counts)
    return np.repeat(firsts - (ends - counts), counts) + np.arange(ends[-1] if len(ends) else 0)
