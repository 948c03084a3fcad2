"""Rows of vectors by the hash of their text: one file that only grows, and an SQLite table that says what is in it.

Rows are written and flushed behind the last committed one before the table names them. A process that dies in between
leaves bytes that nothing names and the next one writes over, so that a kill costs what was being put and nothing else.
What is named never changes: any number of processes read while SQLite's lock lets one write. Each text's rows have a
checksum in the table, so that what a disk or a copy has damaged is told and not used.
"""

import os
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import xxhash

from ...encoders.tokens import TokenMatrix
from ...errors import ModernirError
from ...files import sync_folder

TABLE, ROWS = "texts.sqlite", "rows.bin"
WAIT_SECONDS = 60.0
KEYS_AT_ONCE = 10_000
"""SQLite takes at most 32,766 values at once."""

SCHEMA = """
CREATE TABLE IF NOT EXISTS texts (key BLOB PRIMARY KEY, start INTEGER, count INTEGER, checksum INTEGER)
    WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS layout (dtype TEXT, dim INTEGER, dense INTEGER, rows INTEGER);
"""

Vectors = np.ndarray | TokenMatrix
"""A row a text, (n, dim) float32, or the rows of n texts end to end."""


def text_key(text: str) -> bytes:
    """Return the 16 bytes that a text is found by, its XXH3-128."""
    return xxhash.xxh3_128(text.encode("utf-8", "surrogatepass")).digest()


class VectorStore:
    """The vectors of texts, in a folder of their own. One thread uses it.

    Args:
        folder: Made where it is not there.

    Raises:
        ModernirError: The folder's table cannot be read.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        with self._explained():
            self._table = sqlite3.connect(folder / TABLE, timeout=WAIT_SECONDS, isolation_level=None)
            self._table.executescript(SCHEMA)

    def close(self) -> None:
        """Close the table."""
        self._table.close()

    @property
    def size(self) -> int:
        """Bytes on disk."""
        return sum(file.stat().st_size for file in self.folder.iterdir() if file.is_file())

    def known(self, keys: Sequence[bytes]) -> dict[bytes, tuple[int, int, int]]:
        """Return first row, number of rows and their checksum of those of some keys that are here."""
        found: dict[bytes, tuple[int, int, int]] = {}
        query = "SELECT key, start, count, checksum FROM texts WHERE key IN ({})"
        with self._explained():
            for first in range(0, len(keys), KEYS_AT_ONCE):
                part = keys[first : first + KEYS_AT_ONCE]
                marks = ",".join("?" * len(part))
                rows = self._table.execute(query.format(marks), part)
                found |= {key: (start, count, checksum) for key, start, count, checksum in rows.fetchall()}
        return found

    def get(self, keys: Sequence[bytes]) -> Vectors:
        """Return the vectors of texts that are all here, in the order of `keys`, as they were put.

        Raises:
            KeyError: One is not here.
            ModernirError: The file has lost rows, or they are not those that were put.
        """
        places = self.known(list(dict.fromkeys(keys)))
        starts, counts, checksums = np.array([places[key] for key in keys], np.int64).reshape(-1, 3).T
        offsets = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
        rows, dense = self._rows()
        taken = rows[np.arange(offsets[-1]) + np.repeat(starts - offsets[:-1], counts)]
        if _checksums(taken, counts) != checksums.tolist():
            raise ModernirError(f"{self.folder / ROWS}: damaged, rows are not as they were written; {self._remedy}")
        values = np.ascontiguousarray(taken["values"])
        if dense:
            return values
        scales = np.ascontiguousarray(taken["scale"]) if values.dtype == np.int8 else None
        return TokenMatrix(values, offsets, scales)

    def put(self, keys: Sequence[bytes], vectors: Vectors) -> None:
        """Keep the vectors of texts; durable when it returns. Those of keys that are here already are left as they are.

        Args:
            keys: One a text.
            vectors: In the same order; of one type and length for all of a store.

        Raises:
            ModernirError: They are of another type or length than those here, or the table cannot be written.
            OSError: The disk is full; nothing is then kept of them.
        """
        dense = isinstance(vectors, np.ndarray)
        counts = np.ones(len(keys), np.int64) if isinstance(vectors, np.ndarray) else vectors.lengths
        if len(keys) != len(counts):
            raise ValueError(f"{len(keys)} keys for the vectors of {len(counts)} texts")
        records = _records(vectors)
        with self._explained(), self._transaction():
            end = self._begin(records.dtype, dense)
            there = self.known(keys)
            fresh = {key: place for place, key in enumerate(keys) if key not in there}
            chosen = np.zeros(len(keys), np.bool_)
            chosen[list(fresh.values())] = True
            self._append(records[np.repeat(chosen, counts)], end)
            starts, checksums = end + np.cumsum(counts * chosen) - counts, _checksums(records, counts)
            named = [(key, int(starts[n]), int(counts[n]), checksums[n]) for key, n in fresh.items()]
            self._table.executemany("INSERT INTO texts VALUES (?, ?, ?, ?)", named)
            self._table.execute("UPDATE layout SET rows = ?", (end + int(counts[chosen].sum()),))

    def _begin(self, dtype: np.dtype, dense: bool) -> int:
        """Return the number of rows so far, noting the layout of the first."""
        values = dtype["values"]
        wanted = (str(values.base), values.shape[0], int(dense))
        found = self._table.execute("SELECT dtype, dim, dense, rows FROM layout").fetchone()
        if found is None:
            self._table.execute("INSERT INTO layout VALUES (?, ?, ?, 0)", wanted)
            return 0
        if found[:3] != wanted:
            raise ModernirError(f"{self.folder}: holds vectors in {found[0]} of length {found[1]}, not {wanted[:2]}")
        return int(found[3])

    def _append(self, records: np.ndarray, end: int) -> None:
        path = self.folder / ROWS
        self._check_size(end, records.dtype)  # or a hole would take the place of what is lost
        created = not path.exists()
        with path.open("wb" if created else "r+b") as stream:
            stream.seek(end * records.dtype.itemsize)
            stream.write(records.data.cast("B") if records.size else b"")
            stream.flush()
            os.fsync(stream.fileno())
        if created:
            sync_folder(self.folder)

    def _check_size(self, rows: int, dtype: np.dtype) -> None:
        path = self.folder / ROWS
        if (path.stat().st_size if path.is_file() else 0) < rows * dtype.itemsize:
            raise ModernirError(f"{path}: damaged, shorter than {rows:,} rows; {self._remedy}")

    @property
    def _remedy(self) -> str:
        return f"delete {self.folder}"

    def _rows(self) -> tuple[np.ndarray, bool]:
        """Return all rows, and whether each of them is a text.

        They are mapped anew each time: pages of a map that stays count as memory of the process until it holds all.
        """
        with self._explained():
            found = self._table.execute("SELECT dtype, dim, dense, rows FROM layout").fetchone()
        if found is None:
            raise KeyError("nothing was put yet")
        dtype, dense = _record_type(np.dtype(found[0]), found[1]), bool(found[2])
        self._check_size(found[3], dtype)
        if not found[3]:
            return np.empty(0, dtype), dense
        return np.asarray(np.memmap(self.folder / ROWS, dtype, "r", shape=(found[3],))), dense

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self._table.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._table.execute("COMMIT")
        except BaseException:
            if self._table.in_transaction:  # SQLite may have ended it by itself
                self._table.execute("ROLLBACK")
            raise

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            if "disk is full" in str(error):
                raise
            raise ModernirError(f"{self.folder / TABLE}: cannot be used ({error}); {self._remedy}") from error


def _record_type(values: np.dtype, dim: int) -> np.dtype:
    scale = [("scale", np.float32)] if values == np.int8 else []
    return np.dtype([("values", values, (dim,)), *scale])


def _checksums(records: np.ndarray, counts: np.ndarray) -> list[int]:
    """Return the checksum of each text's rows, which lie end to end."""
    stops = np.cumsum(counts).tolist()
    return [
        xxhash.xxh32_intdigest(np.ascontiguousarray(records[stop - count : stop]).data.cast("B") if count else b"")
        for stop, count in zip(stops, counts.tolist(), strict=True)
    ]


def _records(vectors: Vectors) -> np.ndarray:
    values = vectors if isinstance(vectors, np.ndarray) else vectors.values
    records = np.empty(len(values), _record_type(values.dtype, values.shape[1]))
    records["values"] = values
    if isinstance(vectors, TokenMatrix) and vectors.scales is not None:
        records["scale"] = vectors.scales
    return records
