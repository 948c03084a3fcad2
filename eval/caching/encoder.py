"""An encoder that asks the one behind it only for texts whose vectors are not on disk yet.

Vectors are found by what decides them: the model, its precision, how it reads this kind of text, and the text. Index
settings, data sets and runs share them. A text is looked up as it is given, before any prompt.
"""

import json
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import xxhash

from ...encoders.embedding_shards import Vectors
from ...encoders.embedding_store import EmbeddingStore, text_key
from ...files import write_json
from ...retrieval.document_options import document_options
from ...retrieval.encoder import Encoder, kind_of

T = TypeVar("T")

SETTINGS = "settings.json"
TASKS = {"queries": "query", "documents": "document"}


class CachedEncoder:
    """Takes an encoder's place; what is not about encoding is the encoder's own.

    Texts that were found count in none of the encoder's figures, such as that of texts that were cut.

    Args:
        encoder: Is asked for what is not there.
        folder: Holds a folder for each model and way of reading; made where it is not there.

    Attributes:
        found: "queries" and "documents" to the number of texts whose vectors were there.
        encoded: The same of texts that were encoded, each different one once.
    """

    def __init__(self, encoder: Encoder, folder: Path) -> None:
        self._encoder = encoder
        self._folder = folder
        self._stores: dict[str, EmbeddingStore] = {}
        self.found = dict.fromkeys(TASKS, 0)
        self.encoded = dict.fromkeys(TASKS, 0)

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - the encoder's
        return getattr(self._encoder, name)

    @property
    def inner(self) -> Encoder:
        """The encoder that is asked."""
        return self._encoder

    @property
    def reused_documents(self) -> int:
        """Documents whose vectors were there."""
        return self.found["documents"]

    @property
    def size(self) -> int:
        """Bytes on disk of what was used."""
        return sum(store.size for store in self._stores.values())

    def summary(self) -> str:
        """Say in a line what was found and what encoded since it was made, and how large the used folders are."""
        counts = (f"{self.found[task]:,} {task} found and {self.encoded[task]:,} encoded" for task in reversed(TASKS))
        return f"cache {self._folder}: {', '.join(counts)}; {self.size / 1e6:,.1f} MB"

    def encode_queries(self, texts: Sequence[str]) -> Vectors:
        """Return the vectors of queries, in the order of `texts`."""
        return self._encode("queries", texts, self._encoder.encode_queries)

    def encode_documents(self, texts: Sequence[str]) -> Vectors:
        """Return the vectors of documents, in the order of `texts`."""
        return self._encode("documents", texts, self._encoder.encode_documents)

    def encode_stream(
        self, blocks: Iterable[Sequence[T]], text: Callable[[T], Any] = lambda item: item
    ) -> Generator[tuple[Sequence[T], Any], None, None]:
        """Yield each block of documents with its vectors; those of a block are durable when it comes.

        Args:
            blocks: Lists of documents.
            text: Makes a document's text of an element.
        """
        store = self._store("documents")
        waiting: deque[tuple[Sequence[T], np.ndarray, list[int]]] = deque()
        under_way: set[int] = set()

        def missing() -> Iterator[list[str]]:
            for block in blocks:
                texts = [text(item) for item in block]
                keys, fresh = _fresh(store, "documents", texts)
                fresh = {key: one for key, one in fresh.items() if key not in under_way}
                under_way.update(fresh)
                waiting.append((block, keys, list(fresh)))
                yield list(fresh.values())

        for vectors in self._streamed(missing()):
            block, keys, fresh = waiting.popleft()
            if fresh:
                store.put(np.array(fresh, np.uint64), vectors)
                under_way.difference_update(fresh)
            self._count("documents", len(keys), len(fresh))
            yield block, (store.take(keys) if len(keys) else vectors)

    def _streamed(self, missing: Iterator[list[str]]) -> Iterator[Any]:
        stream = getattr(self._encoder, "encode_stream", None)
        if stream is not None:
            yield from (vectors for _, vectors in stream(missing))
        else:
            yield from (self._encoder.encode_documents(texts) if texts else None for texts in missing)

    def _encode(self, task: str, texts: Sequence[str], encode: Callable[[Sequence[str]], Any]) -> Vectors:
        if not len(texts):
            return encode(texts)
        store = self._store(task)
        keys, fresh = _fresh(store, task, texts)
        new, size = list(fresh), self._encoder.block_size
        for start in range(0, len(new), size):
            part = new[start : start + size]
            store.put(np.array(part, np.uint64), encode([fresh[key] for key in part]))
        self._count(task, len(keys), len(new))
        return store.take(keys)

    def _count(self, task: str, texts: int, encoded: int) -> None:
        self.encoded[task] += encoded
        self.found[task] += texts - encoded

    def _store(self, task: str) -> EmbeddingStore:
        if task not in self._stores:
            settings = self._settings(task)
            digest = xxhash.xxh3_64(json.dumps(settings, sort_keys=True).encode()).hexdigest()
            folder = self._folder / f"{Path(self._encoder.name).name}-{task}-{digest}"
            self._stores[task] = EmbeddingStore(folder)
            if not (folder / SETTINGS).is_file():
                write_json(folder / SETTINGS, settings)
        return self._stores[task]

    def _settings(self, task: str) -> dict[str, Any]:
        """Return all that decides the vectors of a text beside the text itself."""
        encoder, one = self._encoder, TASKS[task]
        names = ("fingerprint", "precision", "dim", "max_length", "row_type", f"{one}_length", f"{one}_prompt")
        settings = {name: getattr(encoder, name, None) for name in names}
        reading = document_options(encoder) if task == "documents" else {}
        row_type = settings["row_type"]
        return {"kind": kind_of(encoder), **settings, "row_type": row_type and str(row_type), "reading": reading}


def _fresh(store: EmbeddingStore, task: str, texts: Sequence[str]) -> tuple[np.ndarray, dict[int, str]]:
    """Return the key of each text, (n,) uint64, and the texts that are not there by their keys, each once."""
    keys = np.array([text_key(TASKS[task], text) for text in texts], np.uint64)
    known = store.holds(keys).tolist()
    rows = zip(keys.tolist(), texts, known, strict=True)
    return keys, {key: text for key, text, there in rows if not there}
