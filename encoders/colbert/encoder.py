"""What every late-interaction encoder offers, whichever network is behind it: one vector a token."""

from abc import abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from ..checkpoint import Checkpoint
from ..encoder import TextEncoder
from ..tokens import TokenMatrix, concatenate
from .pooling import pooled
from .settings import ColbertSettings, TokenPooling

TOKENS_PER_BLOCK = {"cpu": 1 << 18, "cuda": 1 << 21}
"""Tokens that the documents of a block have at most; vectors of 128 numbers take 512 bytes a token."""
TEXTS_PER_BLOCK = {"cpu": 512, "cuda": 8192}
FEWEST_TEXTS = 32


class ColbertEncoder(TextEncoder[TokenMatrix]):
    """A multi-vector text encoder; see `TextEncoder`. The vectors of texts are a float32 `TokenMatrix`.

    A query or document is scored by MaxSim: for each token of the query the largest inner product with a token of the
    document, summed. Similarity "cosine" says that rows have length 1.

    Attributes:
        query_marker, document_marker: Token put after the first of every query and document, or empty.
        expansion: How queries are filled up, or None.
        skiplist: Tokens whose vectors documents do without.
        pooling: How like tokens are merged, or None; `pool_factor` is its factor.
    """

    kind = "late"

    def __init__(
        self,
        checkpoint: Checkpoint,
        settings: ColbertSettings,
        dim: int,
        device: str,
        precision: str,
        pool_factor: float | None = None,
    ) -> None:
        super().__init__(checkpoint, dim, max(settings.lengths.values()), device, precision)
        self.query_length, self.document_length = settings.lengths["query"], settings.lengths["document"]
        self.query_prompt, self.document_prompt = settings.prompts["query"], settings.prompts["document"]
        self.query_marker = settings.markers.get("query", "")
        self.document_marker = settings.markers.get("document", "")
        self.expansion = settings.expansion
        self.skiplist = settings.skiplist
        self.pooling = settings.pooling
        if pool_factor is not None:
            self.pooling = replace(self.pooling or TokenPooling(), factor=pool_factor)
        self.similarity = "cosine" if replace(settings, pooling=self.pooling).unit else "dot"

    @property
    def pool_factor(self) -> float:
        """Tokens of a document that one vector stands for on average."""
        return self.pooling.factor if self.pooling else 1.0

    @property
    def block_size(self) -> int:
        """Texts to hand over at once; see `TextEncoder`."""
        kind = "cpu" if self.device == "cpu" else "cuda"
        fitting = TOKENS_PER_BLOCK[kind] // self.document_length
        return min(TEXTS_PER_BLOCK[kind], max(FEWEST_TEXTS, fitting))

    @property
    def _texts_at_once(self) -> int:
        return self.block_size

    def _joined(self, count: int, blocks: Iterable[tuple[Sequence[str], TokenMatrix]]) -> TokenMatrix:
        parts = [vectors for _, vectors in blocks]
        return concatenate(parts) if parts else TokenMatrix.of([], self.dim)

    def _encode(self, read: Any) -> TokenMatrix:  # noqa: ANN401 - what the class's own `_read` returns
        found = self._token_vectors(read)
        return pooled(found, self.pooling) if self.pooling and read.task in self.pooling.tasks else found

    @abstractmethod
    def _token_vectors(self, read: Any) -> TokenMatrix:  # noqa: ANN401 - as above; it has the attribute `task`
        """Return the vectors of what `_read` made ready, before tokens are merged."""


def placed(batches: Iterable[tuple[np.ndarray, np.ndarray]], lengths: np.ndarray, dim: int) -> TokenMatrix:
    """Bring the vectors of batches into the order of the texts.

    Args:
        batches: Numbers of texts, and their vectors end to end in that order.
        lengths: (n,) vectors of each text; texts that are in no batch have none.
        dim: Length of a vector.
    """
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    values = np.empty((int(offsets[-1]), dim), dtype=np.float32)
    for texts, vectors in batches:
        start = 0
        for text in texts:
            size = int(lengths[text])
            values[offsets[text] : offsets[text + 1]] = vectors[start : start + size]
            start += size
    return TokenMatrix(values, offsets)
