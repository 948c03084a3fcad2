"""What every dense embedder offers, whichever network is behind it: one vector a text."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from typing import Any, Protocol, TypeVar

import numpy as np

from .ahead import ahead
from .checkpoint import Checkpoint

T = TypeVar("T")
TEXTS_PER_BLOCK = 4096
"""Texts that are tokenised at once."""


class Read(Protocol):
    """Texts made ready for the network."""

    @property
    def cut(self) -> int:
        """How many of them were longer than the network reads."""


class DenseEncoder(ABC):
    """A single-vector text encoder; `modernir.load_encoder` makes one.

    Attributes:
        name: The model's folder or hub name, as it was given.
        dim: Length of an embedding.
        max_length: Tokens that are read of a text; the rest is cut.
        query_length, document_length: The same of a query and of a document, where the checkpoint tells them apart.
        similarity: "cosine" (embeddings are compared normalised) or "dot".
        device: Where it runs, such as "cpu" or "cuda:0".
        precision: What it computes in, such as "fp32"; embeddings are float32 whatever it is.
        fingerprint: 32 hexadecimal digits that change when the model does.
        query_prompt, document_prompt: Texts put before every query and document.
        truncated: Documents that were cut so far.
        truncated_queries: Queries that were cut so far.
    """

    def __init__(self, checkpoint: Checkpoint, dim: int, max_length: int, device: str, precision: str) -> None:
        self.name = checkpoint.name
        self.dim = dim
        self.max_length = max_length
        self.query_length = checkpoint.own_length("query") or max_length
        self.document_length = checkpoint.own_length("document") or max_length
        self.similarity = checkpoint.similarity
        self.device = device
        self.precision = precision
        self.query_prompt = checkpoint.prompt("query")
        self.document_prompt = checkpoint.prompt("document")
        self.truncated = self.truncated_queries = 0
        self._checkpoint = checkpoint
        self._fingerprint: str | None = None

    @property
    def block_size(self) -> int:
        """Texts to hand over at once: enough to fill batches with texts of like length, few enough to see progress."""
        return 512 if self.device == "cpu" else 8192

    @property
    def fingerprint(self) -> str:
        """See the class; computed on first use."""
        if self._fingerprint is None:
            self._fingerprint = self._checkpoint.fingerprint()
        return self._fingerprint

    def encode_queries(self, texts: Sequence[str]) -> np.ndarray:
        """Return the embeddings of queries, (n, dim) float32, in the order of `texts`.

        A text longer than the model reads is cut and counted in `truncated_queries`.

        Raises:
            TypeError: `texts` is no list, or an element is no string; the message says which.
        """
        return self._joined(len(_checked(texts)), map(self._encode_queries, _blocks(texts)))

    def _encode_queries(self, block: Sequence[str]) -> tuple[Sequence[str], np.ndarray]:
        ready = self._read(block, "query")
        self.truncated_queries += ready.cut
        return block, self._encode(ready)

    def encode_documents(self, texts: Sequence[str]) -> np.ndarray:
        """Return the embeddings of documents, (n, dim) float32, in the order of `texts`.

        A text longer than the model reads is cut and counted in `truncated`.

        Raises:
            TypeError: `texts` is no list, or an element is no string; the message says which.
        """
        return self._joined(len(_checked(texts)), self.encode_stream(_blocks(texts)))

    def encode_stream(
        self, blocks: Iterable[Sequence[T]], text: Callable[[T], Any] = lambda item: item
    ) -> Generator[tuple[Sequence[T], np.ndarray], None, None]:
        """Embed documents block by block; a thread tokenises the next two blocks while the present one is encoded.

        Memory holds three blocks, however many there are. Closing the iterator stops the thread.

        Args:
            blocks: Lists of documents, drawn in the caller's thread.
            text: Makes a document's text of an element.

        Yields:
            Each block with its embeddings, (n, dim) float32.

        Raises:
            TypeError: A text is no string; the message says which of its block.
        """

        def read(block: Sequence[T]) -> Read | None:
            return self._read(_checked([text(item) for item in block]), "document") if len(block) else None

        for block, ready in ahead(blocks, read):
            if ready is None:
                yield block, np.empty((0, self.dim), dtype=np.float32)
                continue
            self.truncated += ready.cut
            yield block, self._encode(ready)

    def _joined(self, count: int, blocks: Iterable[tuple[Sequence[str], np.ndarray]]) -> np.ndarray:
        vectors = np.empty((count, self.dim), dtype=np.float32)
        start = 0
        for block, embedded in blocks:
            vectors[start : start + len(block)] = embedded
            start += len(block)
        return vectors

    @abstractmethod
    def _read(self, texts: Sequence[str], task: str) -> Read:
        """Make at least one "query" or "document" ready, its prompt before it, in any thread."""

    @abstractmethod
    def _encode(self, read: Any) -> np.ndarray:  # noqa: ANN401 - what the class's own `_read` returns
        """Embed what `_read` made ready, (n, dim) float32."""


class EncodesDocuments(Protocol):
    """The least that an encoder of the caller's own offers."""

    def encode_documents(self, texts: Sequence[str]) -> np.ndarray: ...  # noqa: D102 - see DenseEncoder


def encode_blocks(
    encoder: EncodesDocuments, blocks: Iterable[Sequence[T]], text: Callable[[T], str]
) -> Generator[tuple[Sequence[T], np.ndarray], None, None]:
    """Yield each block with its embeddings, see `encode_stream`; an encoder without that takes one after the other."""
    if isinstance(encoder, DenseEncoder):
        yield from encoder.encode_stream(blocks, text)
    else:
        for block in blocks:
            yield block, encoder.encode_documents([text(item) for item in block])


def _checked(texts: Sequence[str]) -> Sequence[str]:
    if isinstance(texts, str):
        raise TypeError(f"expected a list of texts, found one text; write [{texts[:20]!r}]")
    if isinstance(texts, Mapping) or not (hasattr(texts, "__len__") and hasattr(texts, "__getitem__")):
        raise TypeError(f"expected a list of texts, found {type(texts).__name__}; make a list of it")
    for position, text in enumerate(texts):
        if not isinstance(text, str):
            raise TypeError(f"expected texts, found {type(text).__name__} at position {position}")
    return texts


def _blocks(texts: Sequence[str]) -> Iterator[Sequence[str]]:
    return (texts[start : start + TEXTS_PER_BLOCK] for start in range(0, len(texts), TEXTS_PER_BLOCK))
