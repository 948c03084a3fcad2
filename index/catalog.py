"""The catalog of an index: one SQLite file that is the truth about what the index holds.

Files count only once a transaction here names them, so a crash leaves the old state or the new one. A document's key is
an integer that is never given twice; a segment holds the vectors of ascending keys, all greater than those of the
segments before, and a deleted or replaced document leaves its key behind as a tombstone until a compaction.
"""

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
from ..files import sync_folder
from . import lexical
from .connection import connect
from .documents import Document
from .filters import Filter

CATALOG_FILE = "catalog.sqlite"
FORMAT = 2
SCHEMA = """
PRAGMA auto_vacuum = INCREMENTAL;
CREATE TABLE settings (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE documents (
    key INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, title TEXT NOT NULL, text TEXT NOT NULL, metadata TEXT NOT NULL
);
CREATE TABLE segments (
    number INTEGER PRIMARY KEY, first_key INTEGER NOT NULL UNIQUE, last_key INTEGER NOT NULL, rows INTEGER NOT NULL
);
CREATE TABLE files (
    name TEXT PRIMARY KEY, segment INTEGER REFERENCES segments, bytes INTEGER NOT NULL, checksum TEXT NOT NULL
) WITHOUT ROWID;
CREATE TABLE tombstones (key INTEGER PRIMARY KEY);
"""


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


class Catalog:
    """A connection to a catalog; one for reading and, with `writable`, one more for writing.

    Raises:
        InputError: The folder holds no catalog, or one of a newer format.
    """

    def __init__(self, folder: Path, writable: bool = False) -> None:
        self.path = folder / CATALOG_FILE
        if not self.path.is_file():
            raise InputError(f"{folder}: no index here (no {CATALOG_FILE}); make one with: modernir index corpus")
        self._reading = RLock()
        self._reader = connect(self.path, writable)
        self._writer = connect(self.path, writable) if writable else None
        self._lexical = lexical.Lexical(self._reader)
        found = self.setting("format")
        if found != FORMAT:
            self.close()
            raise InputError(f"{folder}: an index of format {found}, this version of modernir reads format {FORMAT}")

    @classmethod
    def create(cls, folder: Path, settings: dict[str, Any]) -> None:
        """Make the catalog of a new, empty index.

        Raises:
            InputError: The folder already holds an index.
        """
        path = folder / CATALOG_FILE
        if path.exists():
            raise InputError(f"{folder}: an index is here already")
        folder.mkdir(parents=True, exist_ok=True)
        temporary = folder / f".{CATALOG_FILE}.tmp"
        temporary.unlink(missing_ok=True)
        connection = sqlite3.connect(temporary)
        try:
            lexical.register(connection)
            connection.executescript(SCHEMA + lexical.SCHEMA)
            rows = [(name, json.dumps(value)) for name, value in (settings | {"format": FORMAT}).items()]
            connection.executemany("INSERT INTO settings VALUES (?, ?)", rows)
            connection.commit()
        finally:
            connection.close()
        temporary.rename(path)
        sync_folder(folder)

    def close(self) -> None:
        """Close the connections; an open transaction is rolled back."""
        for connection in (self._writer, self._reader):
            if connection is not None:
                connection.close()

    # Reading

    def version(self) -> int:
        """Return a number that changes when another connection commits."""
        return int(self._reader.execute("PRAGMA data_version").fetchone()[0])

    @contextmanager
    def snapshot(self) -> Iterator[None]:
        """Read one state of the catalog throughout the block, whatever a writer commits meanwhile.

        One thread at a time; others wait for the block to end. A block inside another is part of it.
        """
        with self._reading:
            if self._reader.in_transaction:
                yield
                return
            self._reader.execute("BEGIN")
            try:
                self._reader.execute("SELECT 1 FROM settings LIMIT 1").fetchone()  # only a read fixes the snapshot
                yield
            finally:
                self._reader.execute("COMMIT")

    def setting(self, name: str) -> Any:  # noqa: ANN401 - whatever JSON can hold
        """Return a setting's value, or None."""
        row = self._reader.execute("SELECT value FROM settings WHERE name = ?", (name,)).fetchone()
        return json.loads(row[0]) if row else None

    def segments(self) -> list[SegmentRow]:
        """Return the segments in the order of their keys."""
        files = self._files_by_segment()
        rows = self._reader.execute("SELECT number, first_key, last_key, rows FROM segments ORDER BY first_key")
        return [SegmentRow(number, first, last, count, tuple(files[number])) for number, first, last, count in rows]

    def shared_file(self) -> FileRow | None:
        """Return the file that all segments share, such as a codec, or None."""
        return next(iter(self._files_by_segment()[None]), None)

    def _files_by_segment(self) -> dict[int | None, list[FileRow]]:
        found = defaultdict(list)
        for segment, *row in self._reader.execute("SELECT segment, name, bytes, checksum FROM files ORDER BY name"):
            found[segment].append(FileRow(*row))
        return found

    def tombstones(self) -> np.ndarray:
        """Return the keys of deleted documents, (n,) int64, ascending."""
        rows = self._reader.execute("SELECT key FROM tombstones ORDER BY key")
        return np.fromiter((key for (key,) in rows), dtype=np.int64)

    def count(self) -> int:
        """Return the number of documents."""
        return int(self._reader.execute("SELECT count(*) FROM documents").fetchone()[0])

    def keys(self, ids: Iterable[str]) -> dict[str, int]:
        """Return id to key for the ids that the index holds."""
        return dict(self._by_value("SELECT id, key FROM documents WHERE id IN ({})", ids))

    def matching(self, condition: str, parameters: Sequence[Any]) -> np.ndarray:
        """Return the keys of the documents for which an SQL condition holds, (n,) int64, ascending."""
        rows = self._reader.execute(f"SELECT key FROM documents WHERE {condition} ORDER BY key", parameters)
        return np.fromiter((key for (key,) in rows), dtype=np.int64)

    def all_documents(self) -> Iterator[tuple[int, Document]]:
        """Yield key and document in the order of the keys; not to be mixed with other reading."""
        query = "SELECT key, id, text, title, metadata FROM documents ORDER BY key"
        for key, identifier, text, title, metadata in self._reader.execute(query):
            yield key, Document(identifier, text, title, json.loads(metadata))

    def documents(self, ids: Sequence[str]) -> dict[str, Document]:
        """Return id to document for the ids that the index holds."""
        query = "SELECT id, text, title, metadata FROM documents WHERE id IN ({})"
        return {
            identifier: Document(identifier, text, title, json.loads(metadata))
            for identifier, text, title, metadata in self._by_value(query, ids)
        }

    def search_text(self, query: str, k: int, condition: Filter | None) -> list[tuple[str, float]]:
        """Return (id, BM25 score) of the k best documents, best first."""
        found = self._lexical.search(query, k, condition)
        names = dict(self._by_value("SELECT key, id FROM documents WHERE key IN ({})", [key for key, _ in found]))
        return [(names[key], score) for key, score in found]

    def damage(self) -> list[str]:
        """Return what SQLite finds wrong with the file, one line a fault."""
        try:
            found = [line for (line,) in self._reader.execute("PRAGMA integrity_check")]
        except sqlite3.DatabaseError as error:
            found = [str(error)]
        if found == ["ok"] and self._writer is not None:  # the check of the full-text index takes the writer's lock
            found = lexical.damage(self._writer)
        return [f"{self.path}: {line}" for line in found if line != "ok"]

    def _by_value(self, query: str, values: Iterable[Any]) -> Iterator[tuple[Any, ...]]:
        return self._in_parts(self._reader, query, values)

    @staticmethod
    def _in_parts(connection: sqlite3.Connection, query: str, values: Iterable[Any]) -> Iterator[tuple[Any, ...]]:
        wanted = list(dict.fromkeys(values))
        for start in range(0, len(wanted), 500):
            part = wanted[start : start + 500]
            yield from connection.execute(query.format(",".join("?" * len(part))), part)

    # Writing

    def require_writer(self) -> sqlite3.Connection:
        """Return the writing connection.

        Raises:
            InputError: The catalog was opened for reading only.
        """
        if self._writer is None:
            raise InputError(f"{self.path.parent}: opened for reading only")
        return self._writer

    @property
    def writer(self) -> sqlite3.Connection:
        """The writing connection; see `require_writer`."""
        return self.require_writer()

    def begin(self) -> None:
        """Start the transaction that a commit or rollback ends."""
        self.writer.execute("BEGIN IMMEDIATE")

    @contextmanager
    def savepoint(self) -> Iterator[None]:
        """Undo what the block wrote, and nothing else of the transaction, where it fails."""
        self.writer.execute("SAVEPOINT part")
        try:
            yield
        except BaseException:
            self.writer.execute("ROLLBACK TO part")
            raise
        finally:
            self.writer.execute("RELEASE part")

    def commit(self) -> None:
        """Make everything since `begin` durable at once."""
        self.writer.execute("COMMIT")

    def rollback(self) -> None:
        """Forget everything since `begin`."""
        if self.writer.in_transaction:
            self.writer.execute("ROLLBACK")

    def number(self, name: str) -> int:
        """Return a counter as the writer sees it; it begins at 1."""
        row = self.writer.execute("SELECT value FROM settings WHERE name = ?", (name,)).fetchone()
        return int(json.loads(row[0])) if row else 1

    def has(self, identifier: str) -> bool:
        """Say whether the writer sees a document of this id, its own uncommitted ones included."""
        row = self.writer.execute("SELECT 1 FROM documents WHERE id = ?", (identifier,)).fetchone()
        return row is not None

    def put_documents(self, first_key: int, documents: Sequence[Document]) -> None:
        """Name new documents by consecutive keys; those of the same ids are buried."""
        self.bury([document.id for document in documents])
        rows = (
            (key, document.id, document.title, document.text, document.metadata_json())
            for key, document in enumerate(documents, first_key)
        )
        self.writer.executemany("INSERT INTO documents VALUES (?, ?, ?, ?, ?)", rows)

    def bury(self, ids: Sequence[str]) -> set[str]:
        """Delete documents, leave their keys as tombstones, and return the ids of those that there were."""
        known = dict(self._in_parts(self.writer, "SELECT id, key FROM documents WHERE id IN ({})", ids))
        keys = json.dumps(sorted(known.values()))
        for change in (
            "INSERT INTO tombstones SELECT value FROM json_each(?)",
            "DELETE FROM documents WHERE key IN (SELECT value FROM json_each(?))",
        ):
            self.writer.execute(change, (keys,))
        return set(known)

    def put_segment(self, segment: SegmentRow) -> None:
        """Name a segment whose files are already flushed to disk."""
        row = (segment.number, segment.first_key, segment.last_key, segment.rows)
        self.writer.execute("INSERT INTO segments VALUES (?, ?, ?, ?)", row)
        for file in segment.files:
            self._put_file(segment.number, file)

    def put_shared_file(self, file: FileRow) -> None:
        """Name the file that all segments share, in place of the one before."""
        self.writer.execute("DELETE FROM files WHERE segment IS NULL")
        self._put_file(None, file)

    def _put_file(self, segment: int | None, file: FileRow) -> None:
        row = (file.name, segment, file.bytes, file.checksum)
        self.writer.execute("INSERT INTO files VALUES (?, ?, ?, ?)", row)

    def drop_segment(self, segment: SegmentRow) -> None:
        """Forget a segment."""
        self.writer.execute("DELETE FROM files WHERE segment = ?", (segment.number,))
        self.writer.execute("DELETE FROM segments WHERE number = ?", (segment.number,))

    def drop_tombstones(self, first_key: int, last_key: int) -> None:
        """Forget the tombstones of keys that no segment holds any more."""
        self.writer.execute("DELETE FROM tombstones WHERE key BETWEEN ? AND ?", (first_key, last_key))

    def tidy(self) -> None:
        """Give back what deleted documents took, and empty the write-ahead log where no reader is in its way."""
        lexical.optimize(self.writer)
        self.writer.execute("PRAGMA incremental_vacuum").fetchall()
        self.writer.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()

    def put_setting(self, name: str, value: Any) -> None:  # noqa: ANN401 - whatever JSON can hold
        """Store a setting as JSON."""
        self.writer.execute("INSERT OR REPLACE INTO settings VALUES (?, ?)", (name, json.dumps(value)))
