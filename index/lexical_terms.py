"""Texts to the terms of the full-text index: FTS5's tokenizer, and the words inside identifiers.

FTS5's `unicode61` takes runs of letters and digits, folds case and accents, and `porter` stems them as English. It
leaves `camelCase` whole, so that code would only be found by whole identifiers; their words are indexed in a column
of their own.
"""

import re
import sqlite3
from collections import Counter
from threading import local

TOKENIZER = "porter unicode61"

_STOP_WORDS = (
    "a an and are as at be but by for if in into is it no not of on or such that the their then there these they this "
    "to was will with"
)
STOP_WORDS = frozenset(_STOP_WORDS.split())
"""Lucene's English stop words: indexed, and left out of queries that hold anything else."""

# Possessive, or a long run of letters that is no identifier would be tried from each of its places.
_IDENTIFIER = re.compile(r"\b(?:[A-Z]*+[a-z0-9_]++[A-Z]|[A-Z]{2,}+[a-z])\w*+")
_SEAM = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")

_thread = local()


def identifier_words(title: str, text: str) -> str:
    """Return the words that identifiers are made of, each once: `getHTTPHeader` gives `get HTTP Header`.

    The index calls it when a document goes in, and again when it goes out: what it returns for a text may not change
    while catalogs exist that were built with it.
    """
    identifiers = dict.fromkeys(_IDENTIFIER.findall(title) + _IDENTIFIER.findall(text))
    split = [parts for identifier in identifiers if len(parts := _SEAM.split(identifier)) > 1]
    return " ".join(dict.fromkeys(word for parts in split for word in parts))


def query_terms(query: str, identifiers: bool = True) -> Counter[str]:
    """Return the terms of a query and how often it has each; its identifiers' words are terms too, if wanted.

    Stop words are left out, unless the query is made of nothing else.
    """
    readable = query.encode("utf-8", "replace").decode()  # half a surrogate pair is no text for SQLite
    terms = Counter(_tokenized(f"{readable} {identifier_words('', readable)}" if identifiers else readable))
    content = Counter({term: count for term, count in terms.items() if term not in _stemmed_stop_words()})
    return content or terms


def _tokenized(text: str) -> list[str]:
    connection = getattr(_thread, "tokenizer", None)
    if connection is None:
        # Not shared: SQLite's own tokenizer is to be had only by indexing, here in memory.
        connection = _thread.tokenizer = sqlite3.connect(":memory:", isolation_level=None)
        connection.execute(f"CREATE VIRTUAL TABLE text USING fts5(body, content='', tokenize='{TOKENIZER}')")
        connection.execute("CREATE VIRTUAL TABLE terms USING fts5vocab(text, 'instance')")
    connection.execute("BEGIN")
    try:
        connection.execute("INSERT INTO text(rowid, body) VALUES (1, ?)", (text,))
        return [term for (term,) in connection.execute("SELECT term FROM terms")]
    finally:
        connection.execute("ROLLBACK")


def _stemmed_stop_words() -> frozenset[str]:
    if not hasattr(_thread, "stop_words"):
        _thread.stop_words = frozenset(_tokenized(" ".join(STOP_WORDS)))
    return _thread.stop_words
