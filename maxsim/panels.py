"""Query tokens as the kernels read them, and the kernels run on several threads."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from ..jit.vector import LANES, compiled_features
from .kernels import maximise
from .tiles import GROUP


@dataclass(frozen=True)
class Panels:
    """Queries in panels of 16 tokens.

    Attributes:
        values: (panels, width, 16) float32.
        lanes: (tokens,) int64, the lane of each query token, counted over all panels.
    """

    values: np.ndarray
    lanes: np.ndarray

    @classmethod
    def of(cls, tokens: np.ndarray, lanes: np.ndarray | None = None) -> "Panels":
        """Lay out query tokens.

        Args:
            tokens: (tokens, dim) float32.
            lanes: (tokens,) int64, where each goes; None for one after the other.
        """
        lanes = np.arange(len(tokens)) if lanes is None else lanes
        count = int(lanes.max(initial=-1)) // LANES + 1
        rows = np.zeros((count * LANES, -(-tokens.shape[1] // GROUP) * GROUP), np.float32)
        rows[lanes, : tokens.shape[1]] = tokens
        values = np.ascontiguousarray(rows.reshape(count, LANES, rows.shape[1]).transpose(0, 2, 1))
        return cls(values, lanes)

    @classmethod
    def aligned(cls, tokens: np.ndarray, offsets: np.ndarray) -> tuple["Panels", np.ndarray, np.ndarray]:
        """Lay out queries so that each begins a panel; return also each one's first panel and number of panels."""
        lengths = np.diff(offsets)
        counts = -(-lengths // LANES)
        firsts = np.cumsum(counts) - counts
        lanes = np.arange(len(tokens)) + np.repeat(firsts * LANES - offsets[:-1], lengths)
        return cls.of(tokens, lanes), firsts, counts

    def __len__(self) -> int:
        return len(self.values)


def _kind(dtype: np.dtype) -> Any:  # noqa: ANN401 - a type of NumPy
    """Return how the kernels name a type that they read, or None; a processor may lack instructions for float16."""
    if dtype == np.float16:
        return np.int16 if {"f16c", "neon"} & compiled_features() else None
    return dtype.type if dtype in (np.float32, np.uint16) else None


def reads(documents: np.ndarray) -> bool:
    """Say whether the kernels read vectors where they are, row after row and of a type that they know."""
    return documents.flags.c_contiguous and _kind(documents.dtype) is not None


def copy_bytes(dim: int) -> int:
    """Return the bytes that a token's copy takes at most, its number included."""
    return 4 * dim + 32


def _copy(documents: np.ndarray, starts: np.ndarray, stops: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the vectors of these documents alone, as the kernels read them, and where each one's begin and end."""
    lengths = stops - starts
    ends = np.cumsum(lengths)
    rows = np.arange(lengths.sum()) + np.repeat(starts - (ends - lengths), lengths)
    dtype = documents.dtype if _kind(documents.dtype) else np.float32
    return np.ascontiguousarray(documents[rows], dtype), ends - lengths, ends


def largest(
    documents: np.ndarray,
    bounds: tuple[np.ndarray, np.ndarray],
    panels: Panels,
    runs: tuple[np.ndarray, np.ndarray] | None,
    *,
    winning: bool,
    threads: int,
) -> tuple[np.ndarray, np.ndarray]:
    """Find the largest product of each query token with the tokens of each document.

    Args:
        documents: (tokens, dim) float32, float16, or bfloat16 seen as uint16; what the kernels cannot read in place is
            copied, of these documents alone.
        bounds: Where each document's tokens begin, and where they end, (n,) int64 each.
        panels: The queries.
        runs: The first panel that each document is scored with, and how many, (n,) int64 each; None for all.
        winning: Whether the winners are wanted.
        threads: Threads to use.

    Returns:
        The largest products, (output panels · 16,) float32, the panels of one document after those of the one before
        it, -inf for documents without tokens, NaN where one of the products is; and the winners, their numbers within
        the document, int32, or an empty array.
    """
    starts, stops = bounds
    count = len(starts)
    firsts, counts = runs or (np.zeros(count, np.int64), np.full(count, len(panels), np.int64))
    places = np.cumsum(counts) - counts
    total = int(counts.sum()) * LANES
    best = np.full(total, -np.inf, np.float32)
    winners = np.zeros(total if winning else 0, np.int32)
    if not reads(documents):
        documents, starts, stops = _copy(documents, starts, stops)
    kind = _kind(documents.dtype)

    def run(part: slice) -> None:
        maximise(
            np.empty(0, kind),
            documents.ctypes.data,
            documents.shape[1],
            starts[part],
            stops[part],
            panels.values,
            firsts[part],
            counts[part],
            places[part],
            best,
            winners,
        )

    in_threads(run, shares((stops - starts) * counts, threads))
    return best, winners


def shares(work: np.ndarray, threads: int) -> list[slice]:
    """Cut a list of things, given the work of each, into as many runs of about equal work as there are threads."""
    if threads < 2 or len(work) < 2:
        return [slice(0, len(work))]
    ends = np.cumsum(work)
    cuts = np.searchsorted(ends, ends[-1] * np.arange(1, threads) / threads)
    edges = np.unique([0, *cuts, len(work)])
    return [slice(int(first), int(last)) for first, last in pairwise(edges)]


def in_threads(run: Callable[[slice], None], parts: list[slice]) -> None:
    """Run a function on each of the parts, all at once."""
    if len(parts) == 1:
        run(parts[0])
        return
    with ThreadPoolExecutor(len(parts)) as pool:
        list(pool.map(run, parts))
