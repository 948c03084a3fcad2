"""Pairs of the train splits of two collections, and of titles: what makes SciFact and QMSum in-domain for a model.

A meeting is too long to be read at once, and its judgement does not say where in it the answer is; what is trained on
are the windows of it that share the most with the query, by the inverse document frequency of words.
"""

import gzip
import json
import math
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from modernir.files import atomic_write
from modernir.retrieval.readers.beir import BeirFolder

WORDS, STRIDE = 150, 75
"""Of a window, and between the beginnings of two."""
WINDOWS = 2
"""Taken of a meeting for each query."""
WORD = re.compile(r"\w+")
Pair = tuple[str, str]


def titles(collection: BeirFolder) -> Iterator[Pair]:
    """Yield the title and the text of each document that has both."""
    for document, _ in collection.documents():
        if document.title and document.text:
            yield document.title, document.text


def judged(collection: BeirFolder) -> Iterator[Pair]:
    """Yield each query of the train split with each document that answers it, its title before its text."""
    queries = collection.queries()
    texts = {document.id: f"{document.title} {document.text}" for document, _ in collection.documents()}
    for query, document in relevant(collection):
        yield queries[query], texts[document]


def windows(collection: BeirFolder) -> Iterator[Pair]:
    """Yield each query of the train split with the windows of its document that share the most with it."""
    queries = collection.queries()
    pairs = list(relevant(collection))
    wanted = {document for _, document in pairs}
    parts = {document.id: cut(document.text) for document, _ in collection.documents() if document.id in wanted}
    words = {name: [words_of(part) for part in found] for name, found in parts.items()}
    frequency = Counter(word for found in words.values() for part in found for word in part)
    total = sum(map(len, words.values()))
    for query, document in pairs:
        asked = words_of(queries[query])
        shared = [sum(math.log(total / frequency[word]) for word in asked & part) for part in words[document]]
        for place in sorted(range(len(shared)), key=lambda place: -shared[place])[:WINDOWS]:
            yield queries[query], parts[document][place]


def relevant(collection: BeirFolder) -> Iterator[Pair]:
    """Yield the ids of a query and a document for each judgement of the train split above zero."""
    for query, grades in collection.qrels("train").items():
        yield from ((query, document) for document, grade in grades.items() if grade > 0)


def cut(text: str) -> list[str]:
    """Cut a text into overlapping windows of words."""
    words = text.split()
    return [" ".join(words[begin : begin + WORDS]) for begin in range(0, max(1, len(words) - STRIDE), STRIDE)]


def words_of(text: str) -> set[str]:
    """Return the different words of a text, in lower case."""
    return set(WORD.findall(text.lower()))


def write_pairs(pairs: Iterator[Pair], target: Path) -> None:
    """Write pairs as gzipped JSON Lines, the same bytes every time."""
    lines = "".join(json.dumps({"query": query, "positive": positive}) + "\n" for query, positive in pairs)
    atomic_write(target, lambda out: out.write(gzip.compress(lines.encode(), mtime=0)))
