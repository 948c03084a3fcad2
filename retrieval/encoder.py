"""What a retriever asks of an encoder, be it dense, late-interaction, or the caller's own."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Protocol

from ..encoders.batching import bounded_blocks
from ..index.documents import Document
from .readers.rows import blocks


class Encoder(Protocol):
    """Turns texts into vectors; `DenseEncoder` and `ColbertEncoder` are two.

    Attributes:
        kind: "dense" (one vector a text) or "late" (one vector a token); what an index of it is called.
        name: Where it was loaded from.
        dim: Length of a vector.
        similarity: "cosine" or "dot".
        fingerprint: Changes when the model does.
        precision: What it computes in.
        max_length: Tokens that it reads of a text.
        block_size: Texts to hand over at once.
        query_prompt: Put before every query.
        document_prompt: Put before every document.
    """

    kind: str
    name: str
    dim: int
    similarity: str
    precision: str
    max_length: int
    query_prompt: str
    document_prompt: str

    @property
    def fingerprint(self) -> str:
        """See the class."""

    @property
    def block_size(self) -> int:
        """See the class."""

    def encode_queries(self, texts: Sequence[str]) -> Any:  # noqa: ANN401 - a matrix or a TokenMatrix
        """Return the vectors of queries in the form that `Index.search` takes."""

    def encode_documents(self, texts: Sequence[str]) -> Any:  # noqa: ANN401 - as above
        """Return the vectors of documents in the form that `Index.add` takes."""


def kind_of(encoder: Encoder) -> str:
    """Return the kind of index that an encoder fills; one of the caller's own that does not say is dense."""
    return getattr(encoder, "kind", "dense")


def encoder_blocks(encoder: Encoder, documents: Iterable[Document]) -> Iterator[list[Document]]:
    """Yield documents in lists of the size that an encoder asks for, fewer where it reads long ones whole."""
    enough = getattr(encoder, "block_characters", None)
    if enough is None:
        return blocks(documents, encoder.block_size)
    return bounded_blocks(documents, encoder.block_size, lambda document: len(document.content), enough)
