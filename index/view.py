"""One committed state of an index, opened: it stays as it is while a writer goes on.

A view holds the mapped files of its segments, so that it can be searched also after a compaction has removed them.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np

from ..errors import ModernirError
from .catalog import Catalog, SegmentRow
from .engine import Engine
from .folder import check_size
from .kinds import make_engine
from .masks import Mask
from .rows import ENDING, Rows

KEPT_FILTERS = 8
"""Filters whose masks a view keeps."""
ROWS_PER_BLOCK = 4096
ATTEMPTS = 100
"""Compactions that may overtake one opening before it gives up."""


@dataclass(frozen=True)
class OpenSegment:
    """A segment with its mapped files: what the catalog says of it, its documents, the engine's part."""

    row: SegmentRow
    rows: Rows
    vectors: Any


def open_segment(folder: Path, row: SegmentRow, engine: Engine) -> OpenSegment:
    """Map a segment's files.

    Raises:
        ModernirError: A file is missing or damaged.
    """
    paths = [check_size(folder, file) for file in row.files]
    own = next(path for path in paths if path.suffix == ENDING)
    return OpenSegment(row, Rows(own), engine.open([path for path in paths if path != own]))


class View:
    """A committed state; see `read_view`.

    Attributes:
        version: The catalog's, see `Catalog.version`.
        shared: Name of the engine's shared file.
        engine: Searches the segments.
        segments: In the order of their keys.
        dead: Keys of deleted documents, ascending, int64.
        last_tombstone: Number of the last of them in the catalog.
        masks: One a segment: its rows that are not deleted, or None where none is.
    """

    def __init__(
        self,
        version: int,
        shared: str | None,
        engine: Engine,
        segments: Sequence[OpenSegment],
        tombstones: tuple[np.ndarray, int],
        masks: Mapping[SegmentRow, Mask | None],
    ) -> None:
        self.version = version
        self.shared = shared
        self.engine = engine
        self.segments = tuple(segments)
        self.dead, self.last_tombstone = tombstones
        self.masks = [_alive(segment, self.dead, masks.get(segment.row)) for segment in self.segments]
        self._filtered: dict[str, list[Mask]] = {}
        self._filtering = Lock()
        self._starts = np.cumsum([0, *(len(segment.rows) for segment in self.segments)])

    @cached_property
    def vectors(self) -> list[Any]:
        """The engine's parts of the segments."""
        return [segment.vectors for segment in self.segments]

    @property
    def segments_and_masks(self) -> list[tuple[OpenSegment, Mask | None]]:
        """Each segment with its mask."""
        return list(zip(self.segments, self.masks, strict=True))

    def ids(self, positions: np.ndarray) -> list[str]:
        """Return the document ids of rows, by positions (n,) int64."""
        if len(self.segments) == 1:
            return self.segments[0].rows.ids(positions)
        names = np.empty(len(positions), object)
        numbers = np.searchsorted(self._starts, positions, side="right") - 1
        for number in np.unique(numbers).tolist():
            here = numbers == number
            names[here] = self.segments[number].rows.ids(positions[here] - self._starts[number])
        return list(names)

    def positions(self, keys: np.ndarray) -> np.ndarray:
        """Return the positions of documents by their keys, (n,) int64 both; −1 for a key that no segment holds."""
        found = np.full(len(keys), -1, np.int64)
        for start, segment in zip(self._starts.tolist(), self.segments, strict=False):
            rows = segment.rows.places(keys)
            found = np.where(rows >= 0, start + rows, found)
        return found

    def filtered(self, expression: str) -> list[Mask] | None:
        """Return the masks of the documents that a filter lets be found, if they are kept."""
        with self._filtering:
            return self._filtered.get(expression)

    def remember(self, expression: str, keys: np.ndarray) -> list[Mask]:
        """Return and keep the masks of the documents that a filter lets be found, by their ascending keys, int64."""
        masks = [segment.rows.holding(keys) & alive for segment, alive in self.segments_and_masks]
        with self._filtering:
            while len(self._filtered) >= KEPT_FILTERS:
                self._filtered.pop(next(iter(self._filtered)))
            self._filtered[expression] = masks
        return masks

    def blocks(self) -> Iterator[tuple[list[str], Any]]:
        """Yield ids and decoded vectors of the live documents, in the order of their keys."""
        for segment, mask in self.segments_and_masks:
            for start, stop in _runs(len(segment.rows), mask):
                ids = segment.rows.ids(np.arange(start, stop))
                yield ids, self.engine.vectors(segment.vectors, start, stop)


def _alive(segment: OpenSegment, dead: np.ndarray, before: Mask | None) -> Mask | None:
    """Return the mask of a segment's live rows; the one before where nothing was deleted since."""
    first, last = segment.row.first_key, segment.row.last_key
    low, high = np.searchsorted(dead, [first, last + 1])
    if before is not None and len(segment.rows) - before.count == high - low:
        return before
    return segment.rows.alive(dead[low:high]) if low < high else None


def _runs(rows: int, mask: Mask | None) -> Iterator[tuple[int, int]]:
    """Yield the beginnings and ends of unbroken runs of allowed rows, none longer than a block."""
    edges = np.arange(0, rows + ROWS_PER_BLOCK, ROWS_PER_BLOCK).clip(max=rows)
    if mask is not None:
        edges = np.union1d(edges, np.flatnonzero(np.diff(mask.allowed)) + 1)
    for start, stop in pairwise(edges.tolist()):
        if start < stop and (mask is None or mask.allowed[start]):
            yield start, stop


def read_view(folder: Path, catalog: Catalog, memory: int, before: View | None = None) -> View:
    """Open the state that the catalog names now.

    Args:
        folder: The index folder.
        catalog: Its catalog.
        memory: Bytes that the engine may take to build.
        before: An older view, whose files stay open where they are still the same.

    Raises:
        ModernirError: A file is missing or damaged.
    """
    for _ in range(ATTEMPTS):
        with catalog.snapshot():
            version = catalog.version()
            try:
                return _read(folder, catalog, memory, before, version)
            except (ModernirError, OSError) as error:
                failure = error
        if catalog.version() == version:  # no writer has merged the file away: it is lost
            break
    raise failure


def _read(folder: Path, catalog: Catalog, memory: int, before: View | None, version: int) -> View:
    file = catalog.shared_file()
    shared = file.name if file else None
    if file:
        check_size(folder, file)
    same = before if before is not None and before.shared == shared else None
    engine = same.engine if same else engine_of(folder, catalog, memory, shared)
    opened = {segment.row: segment for segment in same.segments} if same else {}
    segments = [opened.get(row) or open_segment(folder, row, engine) for row in catalog.segments()]
    masks = {segment.row: mask for segment, mask in same.segments_and_masks} if same else {}
    return View(version, shared, engine, segments, _tombstones(catalog, before, segments), masks)


def _tombstones(catalog: Catalog, before: View | None, segments: Sequence[OpenSegment]) -> tuple[np.ndarray, int]:
    """Read the tombstones, or those that came since the view before, unless segments have gone and theirs with them."""
    if before is None or not {segment.row for segment in before.segments} <= {segment.row for segment in segments}:
        return catalog.tombstones()
    added, last = catalog.tombstones(before.last_tombstone)
    return np.insert(before.dead, np.searchsorted(before.dead, added), added), last


def engine_of(folder: Path, catalog: Catalog, memory: int, shared: str | None) -> Engine:
    """Return the engine that the catalog's settings call for."""
    settings: Mapping[str, Any] = catalog.setting("engine") or {}
    kind, dim, metric = (catalog.setting(name) for name in ("kind", "dim", "metric"))
    return make_engine(kind, folder, int(dim), metric, settings, memory, shared)
