"""The catalog of an index: one SQLite file that is the truth about what the index holds.

Files count only once a transaction here names them, so a crash leaves the old state or the new one. A document's key is
an integer that is never given twice; a segment holds the vectors of ascending keys, all greater than those of the
segments before, and a deleted or replaced document leaves its key behind as a tombstone until a compaction.
"""

import json
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ..errors import InputError
from ..files import sync_folder
from . import lexical
from .catalog_reader import CATALOG_FILE, FORMAT, CatalogReader, FileRow, SegmentRow, in_parts
from .connection import connect
from .documents import Document

BUSY_MILLISECONDS = 5000
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
CREATE TABLE tombstones (number INTEGER PRIMARY KEY, key INTEGER NOT NULL UNIQUE);
"""


class Catalog(CatalogReader):
    """The catalog of an index, for reading and, with `writable`, for writing.

    Raises:
        InputError: The folder holds no catalog, or one of a newer format.
    """

    def __init__(self, folder: Path, writable: bool = False) -> None:
        self._writer: sqlite3.Connection | None = None
        super().__init__(folder, writable)
        self._writer = connect(self.path, writable) if writable else None

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
        if self._writer is not None:
            self._writer.close()
        super().close()

    @property
    def writer(self) -> sqlite3.Connection:
        """The writing connection.

        Raises:
            InputError: The catalog was opened for reading only.
        """
        if self._writer is None:
            raise InputError(f"{self.path.parent}: opened for reading only")
        return self._writer

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
        known = dict(in_parts(self.writer, "SELECT id, key FROM documents WHERE id IN ({})", ids))
        keys = json.dumps(sorted(known.values()))
        for change in (
            "INSERT INTO tombstones (key) SELECT value FROM json_each(?)",
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
        if lexical.incomplete(self.writer):
            lexical.rebuild(self.writer)
        lexical.optimize(self.writer)
        self.writer.execute("PRAGMA incremental_vacuum").fetchall()
        self.writer.execute("PRAGMA busy_timeout = 0")  # a reader that is in the way is not waited for
        self.writer.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        self.writer.execute(f"PRAGMA busy_timeout = {BUSY_MILLISECONDS}")

    def text_damage(self) -> list[str]:
        """Return where the full-text index differs from the documents' texts, one line a fault; it reads all texts.

        The check takes a connection that may write: nothing is told of a catalog that is open for reading only.
        """
        return [] if self._writer is None else [f"{self.path}: {line}" for line in lexical.damage(self._writer)]

    def put_setting(self, name: str, value: Any) -> None:  # noqa: ANN401 - whatever JSON can hold
        """Store a setting as JSON."""
        self.writer.execute("INSERT OR REPLACE INTO settings VALUES (?, ?)", (name, json.dumps(value)))
