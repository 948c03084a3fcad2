"""Lexical search: BM25 over the documents' titles and texts, in the catalog's own transactions.

FTS5 keeps the inverted index, so that adding, deleting and rolling back documents needs nothing of its own; the
scores are computed here, exactly, from its postings.
"""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np

from ..errors import InputError
from .bm25 import BM25, DEFAULT
from .filters import Filter
from .lexical_postings import PostingReader, Postings
from .lexical_terms import TOKENIZER, identifier_words, query_terms

SCHEMA = f"""
CREATE VIEW lexical_content AS
    SELECT key, title, text, identifier_words(title, text) AS words FROM documents;
CREATE VIRTUAL TABLE lexical USING fts5(
    title, text, words, content = 'lexical_content', content_rowid = 'key', tokenize = '{TOKENIZER}'
);
CREATE VIRTUAL TABLE lexical_terms USING fts5vocab(lexical, 'row');
CREATE VIRTUAL TABLE lexical_occurrences USING fts5vocab(lexical, 'instance');
CREATE TRIGGER lexical_insert AFTER INSERT ON documents BEGIN
    INSERT INTO lexical(rowid, title, text, words)
        VALUES (new.key, new.title, new.text, identifier_words(new.title, new.text));
END;
CREATE TRIGGER lexical_delete AFTER DELETE ON documents BEGIN
    INSERT INTO lexical(lexical, rowid, title, text, words)
        VALUES ('delete', old.key, old.title, old.text, identifier_words(old.title, old.text));
END;
CREATE TRIGGER lexical_update AFTER UPDATE OF key, title, text ON documents BEGIN
    INSERT INTO lexical(lexical, rowid, title, text, words)
        VALUES ('delete', old.key, old.title, old.text, identifier_words(old.title, old.text));
    INSERT INTO lexical(rowid, title, text, words)
        VALUES (new.key, new.title, new.text, identifier_words(new.title, new.text));
END;
"""
"""The index and what keeps it in step with `documents`, for a connection that `register` has seen.

`INSERT OR REPLACE` would leave the replaced document in the index (SQLite runs no delete trigger for it): delete first.
"""

MAX_TERMS = 256
"""Of a query of more different terms, the rarest are searched for."""

KEPT_BYTES = 64 << 20
"""Memory for the postings last used."""

_FIRST_BLOCK = 128


def register(connection: sqlite3.Connection) -> None:
    """Give a connection the function that the schema calls; needed to create the schema and to change documents."""
    connection.execute("PRAGMA trusted_schema = ON")  # else builds with a strict default refuse it inside triggers
    connection.create_function("identifier_words", 2, identifier_words, deterministic=True)


def optimize(connection: sqlite3.Connection) -> None:
    """Merge the full-text index into one tree, inside the transaction at hand: smaller, and quicker to search."""
    connection.execute("INSERT INTO lexical(lexical) VALUES ('optimize')")


def rebuild(connection: sqlite3.Connection) -> None:
    """Build the full-text index anew from the documents, inside the transaction at hand."""
    connection.execute("INSERT INTO lexical(lexical) VALUES ('rebuild')")


def incomplete(connection: sqlite3.Connection) -> int:
    """Return how many documents the full-text index misses or holds in excess; it takes a scan of their keys."""
    query = """
        SELECT (SELECT count(*) FROM documents WHERE key NOT IN (SELECT id FROM lexical_docsize))
             + (SELECT count(*) FROM lexical_docsize WHERE id NOT IN (SELECT key FROM documents))
    """
    return int(connection.execute(query).fetchone()[0])


def damage(connection: sqlite3.Connection) -> list[str]:
    """Return what is wrong with the full-text index, or that it does not hold the documents' texts, one line a fault.

    Args:
        connection: A connection that may write (FTS5 wants a lock) and that `register` has seen.
    """
    try:
        connection.execute("INSERT INTO lexical(lexical, rank) VALUES ('integrity-check', 1)")
    except sqlite3.DatabaseError as error:
        return [f"the full-text index does not fit the documents ({error}); rebuild it"]
    return []


def search(
    connection: sqlite3.Connection, query: str, k: int, filter: Filter | None = None, bm25: BM25 = DEFAULT
) -> list[tuple[int, float]]:
    """Return the best documents for a query; see `Lexical.search`, which is quicker for several queries."""
    return Lexical(connection, kept_bytes=0).search(query, k, filter, bm25)


class Lexical:
    """Lexical search over one connection.

    Args:
        connection: To a catalog; used by one thread at a time. Reading is enough.
        kept_bytes: Memory for the postings last used.
    """

    def __init__(self, connection: sqlite3.Connection, kept_bytes: int = KEPT_BYTES) -> None:
        self._connection = connection
        self._reader = PostingReader(connection, kept_bytes)

    def search(self, query: str, k: int, filter: Filter | None = None, bm25: BM25 = DEFAULT) -> list[tuple[int, float]]:
        """Return the documents with the highest BM25 scores.

        The query is a bag of words: quotes and operators mean nothing, and a word that stands twice counts twice.

        Args:
            query: Any text.
            k: The most documents to return, at least 1.
            filter: Only documents that it lets through are returned; scores do not depend on it.
            bm25: How to score.

        Returns:
            Keys and scores, best first, equal scores by ascending key; documents without a word of the query are
            not found.

        Raises:
            InputError: k is below 1.
        """
        if k < 1:
            raise InputError(f"k = {k}: ask for at least one result")
        with _one_state(self._connection):
            scorer = self._scorer(query, bm25)
            return [] if scorer is None else self._best(scorer, k, filter)

    def score(self, query: str, keys: np.ndarray, bm25: BM25 = DEFAULT) -> np.ndarray:
        """Return the BM25 scores of some documents.

        Args:
            query: As in `search`.
            keys: (n,) int64, ascending, of documents in the index.
            bm25: How to score.

        Returns:
            (n,) float64; 0 for a document without a word of the query.
        """
        with _one_state(self._connection):
            scorer = self._scorer(query, bm25)
            return np.zeros(len(keys)) if scorer is None else scorer.scores(*self._reader.lengths(keys, None))

    def _scorer(self, query: str, bm25: BM25) -> "_Scorer | None":
        """Read what scores a query, or None where no document has a word of it; inside one state."""
        terms = query_terms(query, bm25.identifiers)
        self._reader.refresh(bm25.identifiers)
        names = list(terms) if len(terms) <= MAX_TERMS else self._reader.rarest(terms, MAX_TERMS)
        found = [(terms[name], self._reader.postings(name)) for name in names]
        lists = [(count, postings) for count, postings in found if len(postings.keys)]
        documents, tokens = self._reader.totals()  # after the postings, whose reading writes pending changes out
        return _Scorer(lists, documents, tokens, bm25) if lists else None

    def _best(self, scorer: "_Scorer", k: int, filter: Filter | None) -> list[tuple[int, float]]:
        """Score candidates in the order of what they could reach, until no other can be among the best k."""
        best_keys, best_scores = np.empty(0, np.int64), np.empty(0)
        rest_keys, rest_bounds = scorer.bounds()
        block = max(_FIRST_BLOCK, 4 * k)
        while len(rest_keys):
            cut = max(len(rest_keys) - block, 0)
            order = np.argpartition(rest_bounds, cut)
            keys, lengths = self._reader.lengths(np.sort(rest_keys[order[cut:]]), filter)
            best_keys = np.concatenate((best_keys, keys))
            best_scores = np.concatenate((best_scores, scorer.scores(keys, lengths)))
            best = np.lexsort((best_keys, -best_scores))[:k]
            best_keys, best_scores = best_keys[best], best_scores[best]
            rest_keys, rest_bounds = rest_keys[order[:cut]], rest_bounds[order[:cut]]
            if len(best) == k and best_scores[-1] > rest_bounds.max(initial=0.0) * (1 + 1e-9):
                break
            block *= 2
        return list(zip(best_keys.tolist(), best_scores.tolist(), strict=True))


class _Scorer:
    """BM25 of one query: sum over its terms of weight × count / (count + k1 (1 − b + b length / mean length)).

    The weight is (k1 + 1) ln(1 + (N − n + 0.5) / (n + 0.5)) for a term in n of N documents, as in Lucene, times the
    number of times that the query has it.
    """

    def __init__(self, lists: list[tuple[int, Postings]], documents: int, tokens: int, bm25: BM25) -> None:
        self._bm25 = bm25
        self._mean_length = tokens / documents
        self._lists = [
            (count * (bm25.k1 + 1) * float(np.log1p((documents - n + 0.5) / (n + 0.5))), postings)
            for count, postings in lists
            for n in [len(postings.keys)]
        ]

    def bounds(self) -> tuple[np.ndarray, np.ndarray]:
        """Return every document with a term, keys (n,) int64, and what its score is below, (n,) float64."""
        keys = np.concatenate([postings.keys for _, postings in self._lists])
        parts = np.concatenate([weight * self._saturated(postings.counts, 0.0) for weight, postings in self._lists])
        order = np.argsort(keys, kind="stable")  # a merge: each list is in order
        keys, parts = keys[order], parts[order]
        first = np.flatnonzero(np.diff(keys, prepend=-1))
        return keys[first], np.add.reduceat(parts, first)

    def scores(self, keys: np.ndarray, lengths: np.ndarray) -> np.ndarray:
        """Return the scores of documents, given ascending keys (n,) int64 and their lengths in tokens (n,) int64."""
        relative = lengths / self._mean_length
        scores = np.zeros(len(keys))
        for weight, postings in self._lists:
            place = np.minimum(np.searchsorted(postings.keys, keys), len(postings.keys) - 1)
            counts = np.where(postings.keys[place] == keys, postings.counts[place], 0)
            scores += weight * self._saturated(counts, relative)
        return scores

    def _saturated(self, counts: np.ndarray, relative_length: np.ndarray | float) -> np.ndarray:
        k1, b = self._bm25.k1, self._bm25.b
        return counts / (counts + k1 * (1 - b + b * relative_length))


@contextmanager
def _one_state(connection: sqlite3.Connection) -> Iterator[None]:
    """Read one state of the catalog throughout the block, in a transaction of its own where there is none."""
    if connection.in_transaction:
        yield
        return
    try:
        connection.execute("BEGIN")
        yield
    finally:
        if connection.in_transaction:
            connection.execute("COMMIT")
