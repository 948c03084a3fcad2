"""What the index asks of a kind of vectors: to check, write, open, merge and search them.

An engine knows rows of segments and nothing of ids, keys, documents or transactions, which are the index's. Rows of all
open segments are numbered on: position = rows of the segments before + row.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from .masks import Mask

Found = tuple[list[np.ndarray], list[np.ndarray]]
"""Scores (≤ k,) float32 and positions (≤ k,) int64 of each query, best first, equal scores by position."""


class Batch(Protocol):
    """Checked vectors of some documents or queries, ready to be written or searched with."""

    @property
    def nbytes(self) -> int:
        """Bytes that they take in memory."""

    def __len__(self) -> int: ...


class Segment(Protocol):
    """An opened segment: its files, mapped into memory."""

    @property
    def rows(self) -> int:
        """Documents in it, deleted ones included."""

    @property
    def settled(self) -> bool:
        """Whether it has the form that its size calls for; one that has not is merged by the next compaction."""


class Engine(Protocol):
    """A kind of vectors; an object of it never changes, `adapted` returns another."""

    @property
    def shared(self) -> str | None:
        """Name of the file in the index folder that all segments share, such as the codec; None where there is none."""

    def accept(self, vectors: Any) -> Batch:  # noqa: ANN401 - an array, a pair, or what has values and offsets
        """Check document vectors and bring them into the form to be written.

        Raises:
            InputError: Wrong shape, or a value is not finite; the message says which vector.
        """

    def queries(self, vectors: Any) -> Batch:  # noqa: ANN401 - as above
        """Check query vectors and bring them into the form to be searched with."""

    def adapted(self, name: str, batches: Sequence[Any], segments: Sequence[Any], building: bool) -> "Engine":
        """Return the engine to write these batches with: itself, or one whose shared file is the new `name`.

        Args:
            name: Stem of a shared file, in case there is to be a new one.
            batches: What `accept` returned.
            segments: All open segments.
            building: More is to come before the next compaction.
        """

    def write(self, stem: str, batches: Sequence[Any]) -> list[str]:
        """Write batches as one segment, flushed to disk; return the names of its files, each begins with `stem`."""

    def open(self, files: Sequence[Path]) -> Any:  # noqa: ANN401 - the engine's own Segment
        """Open a segment.

        Raises:
            ModernirError: A file is missing, cut or damaged in its header.
        """

    def merge(self, stem: str, segments: Sequence[Any], kept: Sequence[Mask | None]) -> list[str]:
        """Write the kept rows of several segments, in order, as one segment in the form that its size calls for.

        It streams: memory stays within the engine's budget whatever the segments hold.
        """

    def search(
        self,
        segments: Sequence[Any],
        masks: Sequence[Mask | None],
        queries: Any,  # noqa: ANN401 - what `queries` returned
        k: int,
        options: Mapping[str, Any],
    ) -> Found:
        """Return the best k rows of each query over all segments.

        Args:
            segments: Open segments.
            masks: One a segment; None lets all its rows be found.
            queries: What `queries` returned.
            k: Rows a query, at least 1.
            options: The engine's own settings of a search; `exact` is known to all.

        Raises:
            InputError: An option is unknown or out of range.
        """

    def score(self, segments: Sequence[Any], queries: Any, positions: Sequence[np.ndarray]) -> list[np.ndarray]:  # noqa: ANN401
        """Return the exact score of each query with given rows, (n,) float32 each."""

    def vectors(self, segment: Any, start: int, stop: int) -> Any:  # noqa: ANN401 - in the form that `accept` takes
        """Return the stored vectors of a segment's rows, decoded to float32, in the form that `accept` takes."""

    def describe(self, segments: Sequence[Any]) -> dict[str, Any]:
        """Return what is worth knowing of the structure, as JSON values."""
