"""The catalog of an index: one SQLite file that is the truth about what the index holds.

Segment files count only once a transaction here names them, so a crash leaves the old state or the new one.
A document's key is an integer that is never given twice; a segment holds the vectors of consecutive keys, and a
deleted or replaced document leaves its key behind as a tombstone.
"""

import json
import os
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import RLock
from typing import Any

import numpy as np

from ..errors import InputError
from ..files import sync_folder
from .documents import Document

CATALOG_FILE = "catalog.sqlite"
FORMAT = 1
SCHEMA = """
CREATE TABLE settings (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE documents (
    key INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, title TEXT NOT NULL, text TEXT NOT NULL, metadata TEXT NOT NULL
);
CREATE TABLE segments (
    first_key INTEGER PRIMARY KEY, rows INTEGER NOT NULL, file TEXT NOT NULL UNIQUE,
    bytes INTEGER NOT NULL, checksum TEXT NOT NULL
);
CREATE TABLE tombstones (key INTEGER PRIMARY KEY);
"""


@dataclass(frozen=True)
class SegmentRow:
    """What the catalog says of a segment file: the vectors of keys first_key to first_key + rows − 1."""

    first_key: int
    rows: int
    file: str
    bytes: int
    checksum: str


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
        self._reader = self._connect(writable)
        self._writer = self._connect(writable) if writable else None
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
            connection.executescript(SCHEMA)
            rows = [(name, json.dumps(value)) for name, value in (settings | {"format": FORMAT}).items()]
            connection.executemany("INSERT INTO settings VALUES (?, ?)", rows)
            connection.commit()
        finally:
            connection.close()
        temporary.rename(path)
        sync_folder(folder)

    def _connect(self, writable: bool) -> sqlite3.Connection:
        try:
            if not writable:
                return self._connect_for_reading("mode=rw")
            connection = sqlite3.connect(self.path, isolation_level=None, check_same_thread=False)
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = FULL")
            connection.execute("SELECT 1 FROM settings")
        except sqlite3.DatabaseError as error:
            raise InputError(f"{self.path}: not a readable catalog ({error})") from error
        return connection

    def _connect_for_reading(self, mode: str) -> sqlite3.Connection:
        # A connection that could write, and is told not to, takes SQLite's side files away when it closes.
        uri = f"{self.path.absolute().as_uri()}?{mode}"
        connection = sqlite3.connect(uri, uri=True, isolation_level=None, check_same_thread=False)
        try:
            connection.execute("PRAGMA query_only = ON")
            connection.execute("SELECT 1 FROM settings")
        except sqlite3.OperationalError:
            connection.close()
            # A folder that may not be written has no place for those files, and no writer to share them with.
            if mode == "immutable=1" or os.access(self.path.parent, os.W_OK):
                raise
            return self._connect_for_reading("immutable=1")
        return connection

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

        One thread at a time; others wait for the block to end.
        """
        with self._reading:
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
        query = "SELECT first_key, rows, file, bytes, checksum FROM segments ORDER BY first_key"
        return [SegmentRow(*row) for row in self._reader.execute(query)]

    def tombstones(self) -> np.ndarray:
        """Return the keys of deleted documents, (n,) int64, ascending."""
        rows = self._reader.execute("SELECT key FROM tombstones ORDER BY key")
        return np.fromiter((key for (key,) in rows), dtype=np.int64)

    def count(self) -> int:
        """Return the number of documents."""
        return int(self._reader.execute("SELECT count(*) FROM documents").fetchone()[0])

    def ids(self, keys: Iterable[int]) -> dict[int, str]:
        """Return key to document id for the keys that are live."""
        return dict(self._by_key("SELECT key, id FROM documents WHERE key IN ({})", keys))

    def documents(self, ids: Sequence[str]) -> dict[str, Document]:
        """Return id to document for the ids that the index holds."""
        query = "SELECT id, text, title, metadata FROM documents WHERE id IN ({})"
        return {
            identifier: Document(identifier, text, title, json.loads(metadata))
            for identifier, text, title, metadata in self._by_key(query, ids)
        }

    def damage(self) -> list[str]:
        """Return what SQLite finds wrong with the file, one line a fault."""
        try:
            found = [line for (line,) in self._reader.execute("PRAGMA integrity_check")]
        except sqlite3.DatabaseError as error:
            found = [str(error)]
        return [f"{self.path}: {line}" for line in found if line != "ok"]

    def _by_key(self, query: str, values: Iterable[Any]) -> Iterator[tuple[Any, ...]]:
        wanted = list(dict.fromkeys(values))
        for start in range(0, len(wanted), 500):
            part = wanted[start : start + 500]
            yield from self._reader.execute(query.format(",".join("?" * len(part))), part)

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

    def next_key(self) -> int:
        """Return the first key that no document and no segment ever had."""
        queries = (
            "SELECT coalesce(max(first_key + rows), 1) FROM segments",
            "SELECT coalesce(max(key) + 1, 1) FROM documents",
            "SELECT coalesce(max(key) + 1, 1) FROM tombstones",
        )
        return max(int(self.writer.execute(query).fetchone()[0]) for query in queries)

    def has(self, identifier: str) -> bool:
        """Say whether the writer sees a document of this id, its own uncommitted ones included."""
        row = self.writer.execute("SELECT 1 FROM documents WHERE id = ?", (identifier,)).fetchone()
        return row is not None

    def put_document(self, key: int, document: Document) -> None:
        """Name a new document; its id must be free."""
        row = (key, document.id, document.title, document.text, document.metadata_json())
        self.writer.execute("INSERT INTO documents VALUES (?, ?, ?, ?, ?)", row)

    def bury(self, identifier: str) -> bool:
        """Delete a document, leave its key as a tombstone, and say whether there was one."""
        row = self.writer.execute("DELETE FROM documents WHERE id = ? RETURNING key", (identifier,)).fetchone()
        if row:
            self.writer.execute("INSERT INTO tombstones VALUES (?)", row)
        return row is not None

    def put_segment(self, segment: SegmentRow) -> None:
        """Name a segment file that is already flushed to disk."""
        row = (segment.first_key, segment.rows, segment.file, segment.bytes, segment.checksum)
        self.writer.execute("INSERT INTO segments VALUES (?, ?, ?, ?, ?)", row)

    def put_setting(self, name: str, value: Any) -> None:  # noqa: ANN401 - whatever JSON can hold
        """Store a setting as JSON."""
        self.writer.execute("INSERT OR REPLACE INTO settings VALUES (?, ?)", (name, json.dumps(value)))
