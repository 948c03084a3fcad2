"""What BM25 needs of a full-text index: which documents hold a term and how often, and how long documents are.

FTS5's own ranking has fixed constants, gives nothing to terms in more than half of the documents and looks up the
length of every match. This reads the same index as arrays instead: the postings through `fts5vocab`, the lengths from
the shadow tables whose format FTS5's documentation gives (`docsize`; the averages record is row 1 of `data`).
"""

import json
import sqlite3
from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from .filters import Filter

_EVERY = Filter("1", ())


@dataclass(frozen=True)
class Postings:
    """The documents that hold a term.

    Attributes:
        keys: (n,) int64, ascending.
        counts: How often each holds it, (n,) int32.
    """

    keys: np.ndarray
    counts: np.ndarray

    @property
    def bytes(self) -> int:
        """Memory taken."""
        return self.keys.nbytes + self.counts.nbytes


class PostingReader:
    """Reads a full-text index, and keeps the postings last used while the catalog stays as it is.

    Args:
        connection: Connection to the catalog, used by one thread at a time.
        memory: Bytes of postings to keep. Nothing is kept on a connection that has written: SQLite has no sign of
            its own rollbacks.
    """

    def __init__(self, connection: sqlite3.Connection, memory: int) -> None:
        self._connection = connection
        self._memory = memory
        self._kept: OrderedDict[str, Postings] = OrderedDict()
        self._held = 0
        self._version = -1
        self._identifiers = True

    def refresh(self, identifiers: bool = True) -> None:
        """Forget what is kept if the catalog has changed; to be called inside the transaction that reads it.

        Args:
            identifiers: Whether what is read next takes the words of identifiers into account.
        """
        version = self._connection.execute("PRAGMA data_version").fetchone()[0]
        changed = version != self._version or self._connection.total_changes
        if changed or identifiers != self._identifiers:
            self._kept.clear()
            self._held, self._version, self._identifiers = 0, version, identifiers

    def postings(self, term: str) -> Postings:
        """Return the documents that hold a term."""
        found = self._kept.get(term)
        if found is None:
            found = self._kept[term] = _counted(self._occurrences(term))
            self._held += found.bytes
        self._kept.move_to_end(term)
        while self._held > self._memory:
            self._held -= self._kept.popitem(last=False)[1].bytes
        return found

    def rarest(self, terms: Iterable[str], count: int) -> list[str]:
        """Return the terms that the fewest documents hold, those that none holds left out."""
        query = "SELECT doc FROM lexical_terms WHERE term = ?"
        sizes = {term: self._connection.execute(query, (term,)).fetchone() for term in terms}
        found = sorted((size[0], term) for term, size in sizes.items() if size)
        return [term for _, term in found[:count]]

    def totals(self) -> tuple[int, int]:
        """Return the number of documents and the number of tokens that they have together."""
        row = self._connection.execute("SELECT block FROM lexical_data WHERE id = 1").fetchone()
        numbers = _varints(row[0]) if row else np.empty(0, np.int64)
        return (int(numbers[0]), int(numbers[1:][self._columns].sum())) if len(numbers) else (0, 0)

    def lengths(self, keys: np.ndarray, chosen: Filter | None) -> tuple[np.ndarray, np.ndarray]:
        """Return those of some documents that a filter lets through, and their lengths.

        Args:
            keys: (n,) int64, ascending, of documents in the index.
            chosen: The filter, or None.

        Returns:
            Keys (m,) int64, ascending, and tokens (m,) int64.
        """
        condition = chosen or _EVERY
        # CROSS JOIN: in this order, or the planner may read the whole table of documents.
        documents = "CROSS JOIN documents ON documents.key = wanted.value" if chosen else ""
        rows = self._connection.execute(
            f"SELECT size.id, size.sz FROM json_each(?) AS wanted {documents} "
            f"CROSS JOIN lexical_docsize AS size ON size.id = wanted.value WHERE {condition.sql}",
            (json.dumps(keys.tolist()), *condition.parameters),
        ).fetchall()
        if not rows:
            return np.empty(0, np.int64), np.empty(0, np.int64)
        columns = _varints(b"".join(size for _, size in rows)).reshape(len(rows), -1)
        return np.array([key for key, _ in rows], np.int64), columns[:, self._columns].sum(axis=1)

    @property
    def _columns(self) -> slice:
        return slice(None) if self._identifiers else slice(0, -1)  # the words of identifiers are the last

    def _occurrences(self, term: str) -> np.ndarray:
        columns = "" if self._identifiers else " AND col != 'words'"
        query = f"SELECT {{}} FROM lexical_occurrences WHERE term = ?{columns}"
        try:
            # One text parsed at once takes half of the time of a row for every occurrence.
            row = self._connection.execute(query.format("group_concat(doc)"), (term,)).fetchone()
            return np.fromstring(row[0] or "", dtype=np.int64, sep=",")
        except sqlite3.DataError:  # longer than the longest text that SQLite makes
            rows = self._connection.execute(query.format("doc"), (term,))
            return np.fromiter((key for (key,) in rows), dtype=np.int64)


def _counted(occurrences: np.ndarray) -> Postings:
    first = np.flatnonzero(np.diff(occurrences, prepend=-1))
    counts = np.diff(first, append=len(occurrences))
    return Postings(occurrences[first], counts.astype(np.int32))


def _varints(data: bytes) -> np.ndarray:
    """Return the numbers that SQLite wrote one after the other: seven bits a byte, the last byte below 128."""
    raw = np.frombuffer(data, np.uint8)
    last = np.flatnonzero(raw < 128)
    first = np.concatenate(([0], last[:-1] + 1)) if len(last) else last
    numbers = np.zeros(len(last), np.int64)
    for place in range(int((last - first).max(initial=-1)) + 1):
        longer = first + place <= last
        numbers[longer] = numbers[longer] << 7 | raw[first[longer] + place] & 127
    return numbers
