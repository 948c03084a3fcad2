"""The changes of one batch: documents go to the open transaction at once, vectors to files whenever enough wait."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ..errors import ModernirError
from ..files import sync_folder
from .catalog import Catalog, SegmentRow
from .documents import Document
from .engine import Batch, Engine
from .folder import describe_file, segment_stem, shared_stem
from .rows import ENDING, merge_rows, write_rows
from .view import OpenSegment, View, open_segment

SPILL_SHARE = 4
"""A quarter of the memory holds vectors that wait to be written; the rest is for writing them."""


class Writer:
    """Adds, deletes and merges inside a transaction of the catalog, which its owner begins and ends.

    Attributes:
        engine: Writes the segments; follows from one shared file to the next.
        segments: Those of the state that the batch began with, and those written since.
        replaced: Whether files of that state are not needed any more.
    """

    def __init__(self, folder: Path, catalog: Catalog, view: View, memory: int, building: bool) -> None:
        self.engine: Engine = view.engine
        self.segments: list[OpenSegment] = list(view.segments)
        self.replaced = False
        self._folder = folder
        self._catalog = catalog
        self._spill = memory // SPILL_SHARE
        self._building = building
        self._next_key = catalog.number("next_key")
        self._next_file = catalog.number("next_file")
        self._ids: list[str] = []
        self._batches: list[Batch] = []
        self._waiting = 0
        self._broken = self._spilled = False

    def add(self, documents: Sequence[Document], batch: Batch) -> None:
        """Add documents with their vectors; those of the same ids are replaced."""
        with self._catalog.savepoint():  # an owner may catch the failure of one add and go on
            self._catalog.put_documents(self._next_key, documents)
        self._next_key += len(documents)
        self._ids += [document.id for document in documents]
        self._batches.append(batch)
        self._waiting += batch.nbytes
        if self._waiting >= self._spill:
            self._flush(building=True)  # more may follow, which a codec should be trained on too
            self._spilled = True

    def _flush(self, building: bool) -> None:
        """Write what waits as a segment, and name it in the transaction.

        Raises:
            ModernirError: It failed before in this batch, and the caller went on.
        """
        if self._broken:
            raise ModernirError(f"{self._folder}: a write of this batch failed; nothing of it was committed")
        if not self._ids:
            return
        self._broken = True  # until it is done: what was named by half must not be committed
        self.adapt(self._batches, building)
        number = self._number()
        stem = segment_stem(number)
        first_key = self._next_key - len(self._ids)
        write_rows(self._folder / f"{stem}{ENDING}", first_key, self._ids)
        names = self.engine.write(stem, self._batches)
        self._name(number, first_key, self._next_key - 1, len(self._ids), [f"{stem}{ENDING}", *names])
        self._ids, self._batches, self._waiting = [], [], 0
        self._broken = False

    def adapt(self, batches: Sequence[Batch] = (), building: bool = False) -> bool:
        """Let the engine change what the segments share, such as the codec; say whether it did.

        Args:
            batches: What is to be written.
            building: More is to come.
        """
        number = self._number()
        vectors = [segment.vectors for segment in self.segments]
        engine = self.engine.adapted(shared_stem(number), batches, vectors, building)
        changed = engine.shared is not None and engine.shared != self.engine.shared
        if changed and engine.shared is not None:
            self._catalog.put_shared_file(describe_file(self._folder, engine.shared))
            self.replaced = True
        self.engine = engine
        return changed

    def merge(self, run: range, dead: np.ndarray) -> None:
        """Write adjacent segments as one, without their deleted rows.

        Args:
            run: Their numbers in `segments`.
            dead: Keys of deleted documents, ascending, int64.
        """
        parts = self.segments[run.start : run.stop]
        kept = [part.rows.alive(dead) for part in parts]
        rows = sum(len(part.rows) if mask is None else mask.count for part, mask in zip(parts, kept, strict=True))
        number = self._number()
        stem = segment_stem(number)
        self.replaced = True
        for part in parts:
            self._catalog.drop_segment(part.row)
        self._catalog.drop_tombstones(parts[0].row.first_key, parts[-1].row.last_key)
        tail = self.segments[run.stop :]
        del self.segments[run.start :]
        if rows:
            merge_rows(self._folder / f"{stem}{ENDING}", [part.rows for part in parts], kept)
            names = self.engine.merge(stem, [part.vectors for part in parts], kept)
            self._name(number, parts[0].row.first_key, parts[-1].row.last_key, rows, [f"{stem}{ENDING}", *names])
        self.segments += tail

    def finish(self) -> None:
        """Write what waits, and the counters, so that no key and no file name is ever given twice."""
        waiting = bool(self._ids)
        self._flush(self._building)
        if self._spilled and not waiting and not self._building:
            self.adapt()  # what was written while more was to come has not been looked at as a whole
        if self._next_file > self._catalog.number("next_file"):
            sync_folder(self._folder)  # before the commit that names the files
        self._catalog.put_setting("next_key", self._next_key)
        self._catalog.put_setting("next_file", self._next_file)

    def _number(self) -> int:
        self._next_file += 1
        return self._next_file - 1

    def _name(self, number: int, first_key: int, last_key: int, rows: int, names: Sequence[str]) -> None:
        files = tuple(describe_file(self._folder, name) for name in sorted(names))
        row = SegmentRow(number, first_key, last_key, rows, files)
        self._catalog.put_segment(row)
        self.segments.append(open_segment(self._folder, row, self.engine))
