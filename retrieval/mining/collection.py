"""Where negatives are searched: an index that is there, or one that is built for the time of the run.

A query is searched for and encoded once, and what the search found can be scored again with documents of one's own.
"""

import json
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import xxhash

from ...errors import InputError
from ...files import atomic_write
from ...index.documents import Document
from ..build import build_index
from ..modes import Hits, checked_mode
from ..readers.examples import TrainingExample
from ..results import open_for_search
from ..retriever import Retriever
from ..words import ENGINE, Words
from .positives import text_hash
from .settings import Mining

CORPUS, INDEX = "corpus.jsonl", "index"


@dataclass(frozen=True)
class Found:
    """What a search found for some queries.

    Attributes:
        queries: Their texts.
        hits: (id, score) of each query's documents, best first.
        vectors: Of the queries, as the encoder returned them; None of a search by words.
    """

    queries: Sequence[str]
    hits: Hits
    vectors: Any


class Collection:
    """Documents that can be searched in one way.

    Args:
        retriever: An index and, unless words are searched, its encoder.
        mode: See `Search`.
        exact: Compare with every document.

    Raises:
        InputError: The index has no vectors of that kind.
    """

    def __init__(self, retriever: Retriever, mode: str | None, exact: bool = False) -> None:
        self.retriever = retriever
        self.index = retriever.index
        self.mode = checked_mode(self.index, mode)
        self._options: dict[str, Any] = {"exact": True} if exact else {}

    def search(self, queries: Sequence[str], depth: int) -> Found:
        """Return the best documents of each query, at most `depth`."""
        if self.mode in ("lexical", "hybrid"):
            hits = self.retriever.search_ids(queries, depth, self.mode, **self._options)
            return Found(queries, hits, None)
        vectors = self.retriever.encoder.encode_queries(queries)
        ids, scores = self.index.search(vectors, depth, **self._options)
        pairs = zip(ids, scores, strict=True)
        return Found(queries, [list(zip(names, row.tolist(), strict=True)) for names, row in pairs], vectors)

    def scores(self, found: Found, ids: Sequence[Sequence[str]]) -> list[np.ndarray]:
        """Return each query's scores with documents of the index, (n,) float32, in the measure of the search."""
        if self.mode == "lexical":
            return self.index.score_text(found.queries, ids)
        return self.index.score(found.vectors, ids)

    def documents(self) -> Iterator[list[Document]]:
        """Yield all documents in blocks, in the order of adding; `content` is known when they have been read."""
        digest = xxhash.xxh3_64()
        for block in self.index.stream():
            for one in block:
                digest.update("\0".join((one.id, one.title, one.text, "")).encode())
            yield block
        self._content = digest.hexdigest()

    @property
    def content(self) -> str:
        """The hash of the documents that `documents` yielded, which says whether a later run searches the same ones."""
        return self._content

    def describe(self) -> dict[str, Any]:
        """Return what tells this collection and this way of searching from others, as JSON values."""
        encoder = None if self.mode == "lexical" else self.retriever.encoder
        return {
            "mode": self.mode,
            "documents": len(self.index),
            "encoder": encoder and f"{encoder.name} ({encoder.fingerprint[:12]})",
            "precision": encoder and encoder.precision,
        }


@contextmanager
def open_collection(
    settings: Mining, folder: Path, examples: Iterable[TrainingExample], quiet: bool = False
) -> Iterator[Collection]:
    """Open the collection of a run; what has to be built is built in `folder`, or taken from there, and is resumed.

    Args:
        settings: Of the run.
        folder: Of the run.
        examples: All pairs, whose positives are the documents where the settings name none.
        quiet: Show no progress.

    Raises:
        InputError: The index, the model or the corpus cannot be used.
    """
    with _opened(settings, folder, examples, quiet) as retriever:
        if not len(retriever.index):
            raise InputError(f"{retriever.index.path}: an index without documents, where negatives were to be found")
        yield Collection(retriever, "lexical" if settings.by_words else settings.mode, settings.exact)


def _opened(settings: Mining, folder: Path, examples: Iterable[TrainingExample], quiet: bool) -> Retriever:
    if settings.index:
        words = settings.by_words
        return open_for_search(
            settings.index, device=settings.device, precision=settings.precision, without_encoder=words
        )
    source = settings.corpus or write_positives(examples, folder / CORPUS)
    how: dict[str, Any] = {"empty": "skip", "reuse": True, "overwrite": settings.overwrite, "quiet": quiet}
    if settings.by_words:
        return build_index(source, Words(), folder / INDEX, engine=ENGINE, **how)
    from ...encoders.loading import load_encoder

    encoder = load_encoder(settings.model or "", settings.device, settings.precision)
    return build_index(source, encoder, folder / INDEX, **how)


def write_positives(examples: Iterable[TrainingExample], path: Path) -> Path:
    """Write the positives of all pairs as a corpus, each text once, numbered in their order; return the file."""

    def write(stream: BinaryIO) -> None:
        seen: set[int] = set()
        for example in examples:
            number = text_hash(example.positive)
            if number not in seen:
                stream.write((json.dumps({"_id": str(len(seen)), "text": example.positive}) + "\n").encode())
                seen.add(number)

    atomic_write(path, write)
    return path
