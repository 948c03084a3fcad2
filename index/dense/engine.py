"""The engine of single vectors: checked, stored as FAISS's flat indexes, searched exactly or through a structure.

Segments are written flat, so adding is quick; merging gives the merged segment the structure that its size calls for.
"""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import faiss
import numpy as np

from ...errors import InputError
from ..engine import Found
from ..masks import Mask
from .building import build_structure
from .proposing import Rows
from .results import merged
from .segment import STRUCTURE, VECTORS, Segment, write_about
from .settings import NAMED, Options, checked_options, checked_settings
from .storage import block_rows, bounds_of, open_index, scores_of, seal, stored_bounds, write_vectors
from .structures import factory_for, make

LEAST_SQUARES = 1e-20
"""Sums of squares between this and its inverse are exact enough in single precision."""
MOST_SQUARES = 1e37
"""Sum of squares that a vector may have: the inner product of two such, and of sums of some, is finite in single
precision, whose greatest value is 3.4e38. FAISS leaves out rows whose score is NaN or negative infinity."""
HALF_MOST = 65504.0
"""The greatest value in half precision."""


class DenseEngine:
    """One vector a document, compared by inner product.

    Attributes:
        folder: The index folder.
        dim: Length of a vector.
        metric: "cosine" (vectors are normalised on the way in; one of zeros stays) or "dot".
        settings: As `checked_settings` returns them.
        memory: Bytes that building may take.
    """

    shared: str | None = None

    def __init__(
        self, folder: Path, dim: int, metric: str, settings: Mapping[str, Any], memory: int, shared: str | None = None
    ) -> None:
        self.folder = folder
        self.dim = dim
        self.metric = metric
        self.settings = checked_settings(settings)
        self.memory = memory
        if self.settings["structure"] not in NAMED:
            make(self.settings["structure"], dim)

    def accept(self, vectors: Any) -> np.ndarray:  # noqa: ANN401 - what converts to an array
        """Check document vectors, and normalise them for cosines; the caller may change the array afterwards.

        Args:
            vectors: (n, dim) float32, or what converts to it.

        Returns:
            (n, dim) float32.

        Raises:
            InputError: The shape is another, a vector is not finite or, where it is not normalised, its sum of squares
                is above `MOST_SQUARES`, or a value is beyond the range of the storage "float16".
        """
        rows = self.queries(vectors)
        if self.settings["storage"] == "float16":
            _check_half(rows)
        return rows.copy() if np.may_share_memory(rows, vectors) else rows

    def queries(self, vectors: Any) -> np.ndarray:  # noqa: ANN401
        """Check query vectors, and normalise them for cosines; as `accept`, for any storage and without its copy."""
        try:
            rows: np.ndarray = np.ascontiguousarray(vectors, dtype=np.float32)
        except (TypeError, ValueError) as error:
            raise InputError(f"vectors that are no array of numbers ({error}); expected (n, {self.dim})") from error
        if rows.ndim != 2 or rows.shape[1] != self.dim:
            raise InputError(f"vectors of shape {rows.shape}; this index holds (n, {self.dim})")
        if len(rows) == 1:  # a tenth of a search's time goes by in the general way
            squares = float(np.vdot(rows, rows))
            if LEAST_SQUARES < squares < 1 / LEAST_SQUARES:
                return rows * np.float32(1 / math.sqrt(squares)) if self.metric == "cosine" else rows
        # In double precision the sum of squares of finite values is finite.
        norms = np.einsum("ij,ij->i", rows, rows, dtype=np.float64)
        if not np.isfinite(norms).all():
            raise InputError(f"vector {int(np.argmin(np.isfinite(norms)))} holds NaN or infinity")
        if self.metric == "cosine":
            np.sqrt(norms, out=norms)
            norms[norms == 0] = 1
            rows = (rows / norms[:, None]).astype(np.float32)
        elif norms.max(initial=0) > MOST_SQUARES:
            number = int(np.argmax(norms > MOST_SQUARES))
            raise InputError(
                f"vector {number} is too long: its squares add up to {norms[number]:.4g}, and above {MOST_SQUARES:g} "
                "scores overflow single precision; scale the vectors down"
            )
        return rows

    def adapted(self, name: str, batches: Sequence[Any], segments: Sequence[Any], building: bool) -> "DenseEngine":
        """Return this engine: nothing is shared by its segments."""
        return self

    def write(self, stem: str, batches: Sequence[np.ndarray]) -> list[str]:
        """Write batches as one flat segment; return the names of its files."""
        rows = sum(len(batch) for batch in batches)
        bounds = bounds_of(batches, self.dim) if self.settings["storage"] == "int8" else None
        self._write_vectors(stem, rows, batches, bounds)
        return write_about(self.folder, stem, self.settings["storage"], self.dim, rows, None)

    def open(self, files: Sequence[Path]) -> Segment:
        """Open a segment.

        Raises:
            ModernirError: A file is missing, cut or damaged at its beginning, or holds vectors of another length.
        """
        segment = Segment(files, self.dim)
        segment.settled = segment.structure is not None or self._factory(segment.rows) is None
        return segment

    def merge(self, stem: str, segments: Sequence[Segment], kept: Sequence[Mask | None]) -> list[str]:
        """Write the kept rows of segments as one, with the structure that their number calls for.

        Stored as "int8" they are rounded anew where the segments differ in the range of a dimension.
        """
        rows = sum(segment.rows if mask is None else mask.count for segment, mask in zip(segments, kept, strict=True))
        step = block_rows(self.dim, self.memory)
        bounds = None
        if self.settings["storage"] == "int8":
            bounds = bounds_of([stored_bounds(segment.flat) for segment in segments], self.dim)
        self._write_vectors(stem, rows, _kept_blocks(segments, kept, step), bounds)
        factory = self._factory(rows)
        facts = None
        if factory is not None:
            path = self.folder / (stem + VECTORS)
            flat = open_index(path, seal(path))
            target, seed = self.settings["target_recall"], self.settings["seed"]
            facts = build_structure(self.folder / (stem + STRUCTURE), factory, flat, target, seed, self.memory)
        return write_about(self.folder, stem, self.settings["storage"], self.dim, rows, facts)

    def search(
        self,
        segments: Sequence[Segment],
        masks: Sequence[Mask | None],
        queries: np.ndarray,
        k: int,
        options: Mapping[str, Any],
    ) -> Found:
        """Return the best k rows of each query over all segments.

        Args:
            segments: Open segments.
            masks: One a segment; None lets all its rows be found.
            queries: (n, dim) float32, as `queries` returns them.
            k: Rows a query, at least 1.
            options: exact, nprobe, k_factor, ef, threads, device; see `Options`.

        Returns:
            Of each query, scores (≤ k,) float32 and positions (≤ k,) int64: k of them wherever k may be found.

        Raises:
            InputError: An option is unknown or out of range.
        """
        asked = checked_options(options)
        if not segments or not len(queries):
            return [np.empty(0, np.float32) for _ in queries], [np.empty(0, np.int64) for _ in queries]
        if asked.threads is None:
            lists = _searched(segments, masks, queries, k, asked)
        else:
            with _threads(asked.threads):
                lists = _searched(segments, masks, queries, k, asked)
        return merged(lists, _starts(segments), k)

    def score(
        self, segments: Sequence[Segment], queries: np.ndarray, positions: Sequence[np.ndarray]
    ) -> list[np.ndarray]:
        """Return the exact score of each query with given rows, (n,) float32 each."""
        starts = np.asarray(_starts(segments), dtype=np.int64)
        found = []
        for number, asked in enumerate(positions):
            scores = np.empty(len(asked), np.float32)
            owners = np.searchsorted(starts, asked, side="right") - 1
            for owner in np.unique(owners):
                here = owners == owner
                rows = (asked[here] - starts[owner])[None].astype(np.int64)
                scores[here] = scores_of(segments[owner].flat, queries[number : number + 1], rows)[0]
            found.append(scores)
        return found

    def vectors(self, segment: Segment, start: int, stop: int) -> np.ndarray:
        """Return the stored vectors of a segment's rows, (stop − start, dim) float32."""
        return segment.vectors(start, stop)

    def describe(self, segments: Sequence[Segment]) -> dict[str, Any]:
        """Return the settings and the structure of each segment, as JSON values."""
        shown = [{"rows": segment.rows, "structure": segment.describe()} for segment in segments]
        return {**self.settings, "segments": shown}

    def _factory(self, rows: int) -> str | None:
        return factory_for(self.settings["structure"], rows, self.dim, self.settings["storage"], self.memory)

    def _write_vectors(self, stem: str, rows: int, blocks: Iterable[np.ndarray], bounds: np.ndarray | None) -> None:
        path = self.folder / (stem + VECTORS)
        write_vectors(path, self.settings["storage"], self.dim, rows, blocks, bounds)


def _searched(
    segments: Sequence[Segment], masks: Sequence[Mask | None], queries: np.ndarray, k: int, asked: Options
) -> list[Rows]:
    return [segment.search(queries, k, asked, mask) for segment, mask in zip(segments, masks, strict=True)]


def _kept_blocks(segments: Sequence[Segment], kept: Sequence[Mask | None], step: int) -> Iterator[np.ndarray]:
    for segment, mask in zip(segments, kept, strict=True):
        for start in range(0, segment.rows, step):
            stop = min(start + step, segment.rows)
            rows = None if mask is None else start + np.flatnonzero(mask.allowed[start:stop])
            if rows is None or len(rows) == stop - start:
                yield segment.vectors(start, stop)
            elif len(rows):
                yield segment.vectors_of(rows)


def _check_half(rows: np.ndarray) -> None:
    """Refuse vectors with a value that half precision does not hold."""
    if max(rows.max(initial=0), -rows.min(initial=0)) <= HALF_MOST:
        return
    beyond = np.abs(rows) > HALF_MOST
    number = int(np.argmax(beyond.any(axis=1)))
    raise InputError(
        f"vector {number} holds {rows[number][beyond[number]][0]:.8g}, beyond the ±{HALF_MOST:g} of storage 'float16'; "
        "scale the vectors down or choose storage 'float32'"
    )


def _starts(segments: Sequence[Segment]) -> list[int]:
    """Return the rows of the segments before each."""
    starts = [0]
    for segment in segments[:-1]:
        starts.append(starts[-1] + segment.rows)
    return starts


@contextmanager
def _threads(count: int) -> Iterator[None]:
    """Let FAISS run with so many threads, in the calling thread only, as OpenMP keeps the number for each."""
    before = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(count)
    try:
        yield
    finally:
        faiss.omp_set_num_threads(before)
