"""Which texts answer which query, as hashes, and under which ids a collection holds them.

Texts that differ in white space alone are taken for one. Memory is 16 bytes a pair, and the ids of the positives that
the collection holds.
"""

from collections.abc import Iterable, Sequence

import numpy as np
import xxhash

from ...index.documents import Document
from ..readers.examples import TrainingExample


def text_hash(text: str) -> int:
    """Return 64 bits that are the same for texts of the same words."""
    return xxhash.xxh3_64_intdigest(" ".join(text.split()).encode())


class Positives:
    """The relevant texts of each query.

    Args:
        examples: The pairs; a query may have several.
        others: More pairs, which are only to be known as such.

    Attributes:
        pairs: Number of the examples.
    """

    def __init__(self, examples: Iterable[TrainingExample], others: Iterable[TrainingExample] = ()) -> None:
        own = _hashes(examples)
        self.pairs = len(own)
        table = np.unique(np.concatenate([own, _hashes(others)]), axis=0)
        self._queries, self._texts = np.ascontiguousarray(table[:, 0]), np.ascontiguousarray(table[:, 1])
        self._known = np.unique(self._texts)
        self._ids: dict[int, tuple[str, ...]] = {}

    def locate(self, documents: Iterable[Sequence[Document]]) -> None:
        """Note the ids of all documents whose text, with or without its title, is a positive.

        Args:
            documents: All documents of a collection, in blocks.
        """
        for block in documents:
            hashes = np.array([[text_hash(one.content), text_hash(one.text)] for one in block], np.uint64)
            places = np.minimum(np.searchsorted(self._known, hashes), len(self._known) - 1)
            found = self._known[places] == hashes
            for row in np.flatnonzero(found.any(axis=1)).tolist():
                for number in {int(value) for value, here in zip(hashes[row], found[row], strict=True) if here}:
                    self._ids[number] = (*self._ids.get(number, ()), block[row].id)

    def ids_of_text(self, text: str) -> tuple[str, ...]:
        """Return the ids of the documents that are a positive; empty where the collection does not hold it."""
        return self._ids.get(text_hash(text), ())

    def ids_of_query(self, query: str) -> set[str]:
        """Return the ids of all documents that answer a query."""
        wanted = np.uint64(text_hash(query))
        start, stop = np.searchsorted(self._queries, wanted), np.searchsorted(self._queries, wanted, side="right")
        return {identifier for number in self._texts[start:stop].tolist() for identifier in self._ids.get(number, ())}


def _hashes(examples: Iterable[TrainingExample]) -> np.ndarray:
    """Return the hashes of queries and positives, (n, 2) uint64."""
    numbers = (number for each in examples for number in (text_hash(each.query), text_hash(each.positive)))
    return np.fromiter(numbers, np.uint64).reshape(-1, 2)
