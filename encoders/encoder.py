"""What every text encoder does, whatever vectors it makes: blocks of texts, tokenised ahead, cut texts counted."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from typing import Any, Generic, Protocol, TypeVar

from .ahead import ahead
from .checkpoint import Checkpoint

T = TypeVar("T")
V = TypeVar("V")
"""The vectors of some texts."""


class Read(Protocol):
    """Texts made ready for the network."""

    @property
    def cut(self) -> int:
        """How many of them were longer than the network reads."""


class TextEncoder(ABC, Generic[V]):
    """An encoder of queries and documents; `modernir.load_encoder` makes one.

    Attributes:
        kind: "dense", one vector a text, or "late", one vector a token.
        name: The model's folder or hub name, as it was given.
        dim: Length of a vector.
        max_length: Tokens that are read of a text; the rest is cut.
        query_length, document_length: The same of a query and of a document, where the checkpoint tells them apart.
        similarity: "cosine" (vectors are compared normalised) or "dot".
        device: Where it runs, such as "cpu" or "cuda:0".
        precision: What it computes in, such as "fp32"; vectors are float32 whatever it is.
        fingerprint: 32 hexadecimal digits that change when the model does.
        query_prompt, document_prompt: Texts put before every query and document.
        truncated: Documents that were cut so far.
        truncated_queries: Queries that were cut so far.
    """

    kind: str

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
    @abstractmethod
    def block_size(self) -> int:
        """Texts to hand over at once: enough to fill batches with texts of like length, few enough to see progress."""

    @property
    def block_characters(self) -> int | None:
        """Characters of texts after which a block is large enough, or None where the number of texts bounds it."""
        return None

    @property
    def fingerprint(self) -> str:
        """See the class; computed on first use."""
        if self._fingerprint is None:
            self._fingerprint = self._checkpoint.fingerprint()
        return self._fingerprint

    def encode_queries(self, texts: Sequence[str]) -> V:
        """Return the vectors of queries, in the order of `texts`.

        A text longer than the model reads is cut and counted in `truncated_queries`.

        Raises:
            TypeError: `texts` is no list, or an element is no string; the message says which.
        """
        return self._joined(len(checked_texts(texts)), map(self._encode_queries, self._blocks(texts)))

    def _encode_queries(self, block: Sequence[str]) -> tuple[Sequence[str], V]:
        ready = self._read(block, "query")
        self.truncated_queries += ready.cut
        return block, self._encode(ready)

    def encode_documents(self, texts: Sequence[str]) -> V:
        """Return the vectors of documents, in the order of `texts`.

        A text longer than the model reads is cut and counted in `truncated`.

        Raises:
            TypeError: `texts` is no list, or an element is no string; the message says which.
        """
        return self._joined(len(checked_texts(texts)), self.encode_stream(self._blocks(texts)))

    def encode_stream(
        self, blocks: Iterable[Sequence[T]], text: Callable[[T], Any] = lambda item: item
    ) -> Generator[tuple[Sequence[T], V], None, None]:
        """Encode documents block by block; a thread tokenises the next two blocks while the present one is encoded.

        Memory holds three blocks, however many there are. Closing the iterator stops the thread.

        Args:
            blocks: Lists of documents, drawn in the caller's thread.
            text: Makes a document's text of an element.

        Yields:
            Each block with its vectors.

        Raises:
            TypeError: A text is no string; the message says which of its block.
        """

        def read(block: Sequence[T]) -> Read | None:
            return self._read(checked_texts([text(item) for item in block]), "document") if len(block) else None

        for block, ready in ahead(blocks, read):
            if ready is None:
                yield block, self._joined(0, ())
                continue
            self.truncated += ready.cut
            yield block, self._encode(ready)

    def _blocks(self, texts: Sequence[str]) -> Iterator[Sequence[str]]:
        size = self._texts_at_once
        return (texts[start : start + size] for start in range(0, len(texts), size))

    @property
    @abstractmethod
    def _texts_at_once(self) -> int:
        """Texts of a list that are tokenised at once."""

    @abstractmethod
    def _joined(self, count: int, blocks: Iterable[tuple[Sequence[str], V]]) -> V:
        """Put the vectors of blocks with `count` texts in all one after the other."""

    @abstractmethod
    def _read(self, texts: Sequence[str], task: str) -> Read:
        """Make at least one "query" or "document" ready, its prompt before it, in any thread."""

    @abstractmethod
    def _encode(self, read: Any) -> V:  # noqa: ANN401 - what the class's own `_read` returns
        """Encode what `_read` made ready."""


class EncodesDocuments(Protocol):
    """The least that an encoder of the caller's own offers."""

    def encode_documents(self, texts: Sequence[str]) -> Any:  # noqa: ANN401, D102 - see TextEncoder
        ...


def encode_blocks(
    encoder: EncodesDocuments, blocks: Iterable[Sequence[T]], text: Callable[[T], str]
) -> Generator[tuple[Sequence[T], Any], None, None]:
    """Yield each block with its vectors, see `encode_stream`; an encoder without that takes one after the other."""
    stream = getattr(encoder, "encode_stream", None)
    if stream is not None:
        yield from stream(blocks, text)
    else:
        for block in blocks:
            yield block, encoder.encode_documents([text(item) for item in block])


def checked_texts(texts: Sequence[str]) -> Sequence[str]:
    """Return `texts`.

    Raises:
        TypeError: It is no list, or an element is no string; the message says which.
    """
    if isinstance(texts, str):
        raise TypeError(f"expected a list of texts, found one text; write [{texts[:20]!r}]")
    if isinstance(texts, Mapping) or not (hasattr(texts, "__len__") and hasattr(texts, "__getitem__")):
        raise TypeError(f"expected a list of texts, found {type(texts).__name__}; make a list of it")
    for position, text in enumerate(texts):
        if not isinstance(text, str):
            raise TypeError(f"expected texts, found {type(text).__name__} at position {position}")
    return texts
