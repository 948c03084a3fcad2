"""What every late-interaction encoder offers, whichever network is behind it: one vector a token."""

from abc import abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from ...errors import InputError
from ..batching import bounded_blocks
from ..checkpoint import TASKS, Checkpoint
from ..encoder import TextEncoder, checked_texts
from ..tokens import TokenMatrix, concatenate
from .pooling import places, pooled
from .settings import ColbertSettings, LateOptions, TokenPooling
from .spans import Piece, TokenSpans, merged

TOKENS_PER_BLOCK = {"cpu": 1 << 18, "cuda": 1 << 21}
"""Tokens that the documents of a block have at most; vectors of 128 numbers take 512 bytes a token."""
CHARACTERS_PER_TOKEN = 4
TEXTS_PER_BLOCK = {"cpu": 512, "cuda": 8192}
FEWEST_TEXTS = 32


class ColbertEncoder(TextEncoder[TokenMatrix]):
    """A multi-vector text encoder; see `TextEncoder`. The vectors of texts are a `TokenMatrix`.

    A query or document is scored by MaxSim: for each token of the query the largest inner product with a token of the
    document, summed. Similarity "cosine" says that rows have length 1.

    Attributes:
        query_marker, document_marker: Token put after the first of every query and document, or empty.
        expansion: How queries are filled up, or None.
        skiplist: Tokens whose vectors documents do without.
        pooling: How like tokens are merged, or None; `pool_factor` is its factor.
        overlap: Tokens that neighbouring windows of a document longer than `document_length` share; None where it is
            cut.
        row_type: Type of documents' rows, "float32", "float16" or "int8"; those of queries are float32.
    """

    kind = "late"

    def __init__(
        self,
        checkpoint: Checkpoint,
        settings: ColbertSettings,
        dim: int,
        device: str,
        precision: str,
        asked: LateOptions,
    ) -> None:
        super().__init__(checkpoint, dim, max(settings.lengths.values()), device, precision)
        self.query_length, self.document_length = settings.lengths["query"], settings.lengths["document"]
        self.query_prompt, self.document_prompt = settings.prompts["query"], settings.prompts["document"]
        self.query_marker = settings.markers.get("query", "")
        self.document_marker = settings.markers.get("document", "")
        self.expansion = settings.expansion
        self.skiplist = settings.skiplist
        self.pooling = settings.pooling
        if asked.pool_factor not in (None, self.pool_factor):
            self.pooling = replace(self.pooling or TokenPooling(), factor=asked.pool_factor)
        self.overlap, self.row_type = asked.overlap, asked.row_type
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
    def block_characters(self) -> int | None:
        """Characters after which a block is large enough; None where documents are cut. See `TextEncoder`."""
        if self.overlap is None:
            return None
        return TOKENS_PER_BLOCK["cpu" if self.device == "cpu" else "cuda"] * CHARACTERS_PER_TOKEN

    @property
    def _texts_at_once(self) -> int:
        return self.block_size

    def _blocks(self, texts: Sequence[str]) -> Iterator[Sequence[str]]:
        enough = self.block_characters
        return super()._blocks(texts) if enough is None else bounded_blocks(texts, self.block_size, len, enough)

    def encode_with_spans(self, texts: Sequence[str], task: str) -> tuple[TokenMatrix, TokenSpans]:
        """Return the vectors of some texts and what each of them stands for; no text is counted as cut.

        Args:
            texts: Queries or documents, without prompt.
            task: "query" or "document".

        Returns:
            What `encode_queries` or `encode_documents` returns, and the spans of its rows.

        Raises:
            InputError: There is no such task, or the tokenizer does not say where its tokens come from.
            TypeError: `texts` is no list, or an element is no string; the message says which.
        """
        if task not in TASKS:
            raise InputError(f"unknown task {task!r}; expected one of {', '.join(TASKS)}")
        spans: list[list[tuple[Piece, ...]]] = []

        def encoded(block: Sequence[str]) -> tuple[Sequence[str], TokenMatrix]:
            read = self._read(block, task)
            found = self._token_vectors(read)
            pooling = self._pooling_of(task)
            for pieces, vectors in zip(self._pieces(block, read), found, strict=True):
                into = np.arange(len(pieces)) if pooling is None else places(vectors, pooling)
                spans.append(merged(pieces, into))
            return block, self._merged(found, task)

        matrix = self._joined(len(checked_texts(texts)), map(encoded, self._blocks(texts)))
        return matrix, TokenSpans.of(spans)

    def spans(self, texts: Sequence[str], task: str) -> TokenSpans:
        """Return what the rows of texts stand for; see `encode_with_spans`, which computes the vectors too."""
        return self.encode_with_spans(texts, task)[1]

    def _joined(self, count: int, blocks: Iterable[tuple[Sequence[str], TokenMatrix]]) -> TokenMatrix:
        parts = [vectors for _, vectors in blocks]
        return concatenate(parts) if parts else TokenMatrix.of([], self.dim, self.row_type)

    def _encode(self, read: Any) -> TokenMatrix:  # noqa: ANN401 - what the class's own `_read` returns
        return self._merged(self._token_vectors(read), read.task)

    def _merged(self, found: TokenMatrix, task: str) -> TokenMatrix:
        pooling = self._pooling_of(task)
        return found if pooling is None else pooled(found, pooling, self._row_type_of(task))

    def _pooling_of(self, task: str) -> TokenPooling | None:
        return self.pooling if self.pooling is not None and task in self.pooling.tasks else None

    def _row_type_of(self, task: str) -> str:
        return self.row_type if task == "document" else "float32"

    def _placed(self, batches: Iterable[tuple[np.ndarray, np.ndarray]], lengths: np.ndarray, task: str) -> TokenMatrix:
        """Bring the vectors of batches into the order of the texts of a task; see `placed`."""
        # tokens to be merged are compared as they are, not rounded
        merges = self._pooling_of(task) is not None
        return placed(batches, lengths, self.dim, "float32" if merges else self._row_type_of(task))

    @abstractmethod
    def _token_vectors(self, read: Any) -> TokenMatrix:  # noqa: ANN401 - as above; it has the attribute `task`
        """Return the vectors of what `_read` made ready, before tokens are merged."""

    @abstractmethod
    def _pieces(self, texts: Sequence[str], read: Any) -> list[list[Piece]]:  # noqa: ANN401 - as above
        """Return what each row of `_token_vectors` stands for, text by text."""


def placed(
    batches: Iterable[tuple[np.ndarray, np.ndarray]], lengths: np.ndarray, dim: int, row_type: str = "float32"
) -> TokenMatrix:
    """Bring the vectors of batches into the order of the texts, and each batch to a type of rows as it comes.

    Args:
        batches: Numbers of texts, and their vectors end to end in that order.
        lengths: (n,) vectors of each text; texts that are in no batch have none.
        dim: Length of a vector.
        row_type: One of `ROW_TYPES`.
    """
    made = TokenMatrix.empty(lengths, dim, row_type)
    for texts, vectors in batches:
        start = 0
        for text in texts:
            size = int(lengths[text])
            made.put(int(made.offsets[text]), vectors[start : start + size])
            start += size
    return made
