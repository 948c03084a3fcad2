"""Reading a catalog: one connection that the threads of a process take turns with."""

import json
import sqlite3
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import RLock
from typing import Any

import numpy as np

from ..errors import InputError
from . import lexical
from .bm25 import BM25, DEFAULT
from .connection import connect, is_immutable
from .documents import Document
from .filters import Filter

CATALOG_FILE = "catalog.sqlite"
FORMAT = 2


@dataclass(frozen=True)
class FileRow:
    """What the catalog says of a file: its name in the folder, size in bytes and XXH3-128."""

    name: str
    bytes: int
    checksum: str


@dataclass(frozen=True)
class SegmentRow:
    """What the catalog says of a segment: `rows` documents whose keys lie between first_key and last_key."""

    number: int
    first_key: int
    last_key: int
    rows: int
    files: tuple[FileRow, ...]


def in_parts(connection: sqlite3.Connection, query: str, values: Iterable[Any]) -> Iterator[tuple[Any, ...]]:
    """Yield the rows of a query with `IN ({})` for any number of values."""
    wanted = list(dict.fromkeys(values))
    for start in range(0, len(wanted), 500):
        part = wanted[start : start + 500]
        yield from connection.execute(query.format(",".join("?" * len(part))), part)


class CatalogReader:
    """What a catalog says; every method fetches all it returns in one turn.

    Attributes:
        path: The catalog's file.

    Raises:
        InputError: The folder holds no catalog, or one of a newer format.
    """

    def __init__(self, folder: Path, writable: bool) -> None:
        self.path = folder / CATALOG_FILE
        if not self.path.is_file():
            raise InputError(f"{folder}: no index here (no {CATALOG_FILE}); make one with: modernir index corpus")
        self._reading = RLock()
        self._connect(writable)
        found = self.setting("format")
        if found != FORMAT:
            self.close()
            raise InputError(f"{folder}: an index of format {found}, this version of modernir reads format {FORMAT}")

    def _connect(self, writable: bool) -> None:
        self._reader = connect(self.path, writable)
        self._state = self._on_disk() if is_immutable(self._reader) else None
        self._lexical = lexical.Lexical(self._reader)

    def close(self) -> None:
        """Close the connection."""
        self._reader.close()

    def version(self) -> int:
        """Return a number that changes when another connection commits."""
        with self._reading:
            if self._state is None:
                return int(self._reader.execute("PRAGMA data_version").fetchone()[0])
            if not self._reader.in_transaction and self._state != self._on_disk():
                self._reader.close()
                self._connect(writable=False)
            return hash(self._state)

    def _on_disk(self) -> tuple[int, ...]:
        """Return what tells of a change to one who sees none of SQLite's own signs: times and sizes of the files."""
        files = (self.path, self.path.with_name(f"{self.path.name}-wal"))
        found = [file.stat() for file in files if file.exists()]
        return tuple(value for stat in found for value in (stat.st_ino, stat.st_size, stat.st_mtime_ns))

    @contextmanager
    def snapshot(self) -> Iterator[None]:
        """Read one state of the catalog throughout the block, whatever a writer commits meanwhile.

        One thread at a time; others wait for the block to end. A block inside another is part of it.
        """
        with self._reading:
            if self._reader.in_transaction:
                yield
                return
            try:
                self._reader.execute("BEGIN")
                self._reader.execute("SELECT 1 FROM settings LIMIT 1").fetchone()  # only a read fixes the snapshot
                yield
            finally:
                if self._reader.in_transaction:
                    self._reader.execute("COMMIT")

    def _rows(self, query: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        with self._reading:
            return self._reader.execute(query, parameters).fetchall()

    def _by_value(self, query: str, values: Iterable[Any]) -> list[tuple[Any, ...]]:
        with self._reading:
            return list(in_parts(self._reader, query, values))

    def setting(self, name: str) -> Any:  # noqa: ANN401 - whatever JSON can hold
        """Return a setting's value, or None."""
        rows = self._rows("SELECT value FROM settings WHERE name = ?", (name,))
        return json.loads(rows[0][0]) if rows else None

    def segments(self) -> list[SegmentRow]:
        """Return the segments in the order of their keys."""
        with self.snapshot():
            files = self._files_by_segment()
            rows = self._rows("SELECT number, first_key, last_key, rows FROM segments ORDER BY first_key")
        return [SegmentRow(number, first, last, count, tuple(files[number])) for number, first, last, count in rows]

    def shared_file(self) -> FileRow | None:
        """Return the file that all segments share, such as a codec, or None."""
        return next(iter(self._files_by_segment()[None]), None)

    def _files_by_segment(self) -> dict[int | None, list[FileRow]]:
        found = defaultdict(list)
        for segment, *row in self._rows("SELECT segment, name, bytes, checksum FROM files ORDER BY name"):
            found[segment].append(FileRow(*row))
        return found

    def tombstones(self, after: int = 0) -> tuple[np.ndarray, int]:
        """Return the keys of documents deleted after the tombstone of a number, and the number of the last one.

        Returns:
            (n,) int64, ascending; `after` where there is none.
        """
        rows = self._rows("SELECT key, number FROM tombstones WHERE number > ? ORDER BY key", (after,))
        found = np.array(rows, np.int64).reshape(-1, 2)
        return np.ascontiguousarray(found[:, 0]), int(found[:, 1].max(initial=after))

    def count(self) -> int:
        """Return the number of documents."""
        return int(self._rows("SELECT count(*) FROM documents")[0][0])

    def keys(self, ids: Iterable[str]) -> dict[str, int]:
        """Return id to key for the ids that the index holds."""
        return dict(self._by_value("SELECT id, key FROM documents WHERE id IN ({})", ids))

    def matching(self, condition: Filter) -> np.ndarray:
        """Return the keys of the documents that fulfil a filter, (n,) int64, ascending."""
        rows = self._rows(f"SELECT key FROM documents WHERE {condition.sql} ORDER BY key", condition.parameters)
        return np.array(rows, np.int64).reshape(-1)

    def documents(self, ids: Iterable[str]) -> dict[str, Document]:
        """Return id to document for the ids that the index holds."""
        query = "SELECT id, text, title, metadata FROM documents WHERE id IN ({})"
        return {
            identifier: Document(identifier, text, title, json.loads(metadata))
            for identifier, text, title, metadata in self._by_value(query, ids)
        }

    def search_text(
        self, query: str, k: int, condition: Filter | None, bm25: BM25 = DEFAULT
    ) -> list[tuple[str, float]]:
        """Return (id, BM25 score) of the k best documents, best first."""
        with self.snapshot():
            found = self._lexical.search(query, k, condition, bm25)
            names = dict(self._by_value("SELECT key, id FROM documents WHERE key IN ({})", [key for key, _ in found]))
        return [(names[key], score) for key, score in found]

    def score_text(self, query: str, ids: Sequence[str], bm25: BM25 = DEFAULT) -> dict[str, float]:
        """Return id to BM25 score for the ids that the index holds; 0 for one without a word of the query."""
        with self.snapshot():
            found = sorted((key, identifier) for identifier, key in self.keys(ids).items())
            scores = self._lexical.score(query, np.array([key for key, _ in found], np.int64), bm25)
        return {identifier: float(score) for (_, identifier), score in zip(found, scores, strict=True)}

    def documents_after(self, key: int, count: int) -> tuple[list[Document], int]:
        """Return the next documents in the order of adding, at most `count`, and the key of the last of them."""
        query = "SELECT key, id, text, title, metadata FROM documents WHERE key > ? ORDER BY key LIMIT ?"
        rows = self._rows(query, (key, count))
        found = [Document(identifier, text, title, json.loads(data)) for _, identifier, text, title, data in rows]
        return found, rows[-1][0] if rows else key

    def damage(self) -> list[str]:
        """Return what is wrong with the file, one line a fault."""
        try:
            found = [line for (line,) in self._rows("PRAGMA integrity_check") if line != "ok"]
            if not found and (missing := lexical.incomplete(self._reader)):
                found = [f"the full-text index misses {missing} documents; rebuild it with: modernir index compact"]
        except sqlite3.DatabaseError as error:
            found = [str(error)]
        return [f"{self.path}: {line}" for line in found]
