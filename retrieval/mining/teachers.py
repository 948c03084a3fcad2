"""Scores of documents for queries by a model: a dense one, a ColBERT, or a cross-encoder.

A dense model's score is its cosine, or inner product where it says so; a ColBERT's is MaxSim; a cross-encoder's is its
logit, as distillation wants it, before any sigmoid. Every distinct text of a call is encoded once.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from ...encoders.batching import bounded_blocks
from ...encoders.checkpoint import Checkpoint, open_checkpoint
from ...encoders.encoder import encode_blocks
from ...errors import InputError
from ..encoder import Encoder, kind_of
from ..readers.rows import blocks

CHARACTERS_AT_ONCE = 2 << 20
"""Of documents whose vectors are in memory together; of a ColBERT of 128 dimensions some 256 MiB."""
PAIRS_A_BATCH = 32


@dataclass(frozen=True)
class Asked:
    """A query and the documents that are to be scored for it."""

    query: str
    documents: Sequence[str]

    @property
    def characters(self) -> int:
        """How long the documents are together."""
        return sum(map(len, self.documents))


class Teacher(Protocol):
    """Scores documents.

    Attributes:
        fingerprint: Changes when the model does.
        precision: What it computes in.
    """

    fingerprint: str
    precision: str

    def score(self, asked: Sequence[Asked]) -> list[list[float]]:
        """Return the scores of each query's documents."""


def scored(teacher: Teacher, asked: Iterable[Asked]) -> Iterator[list[float]]:
    """Yield the scores of each query's documents, in blocks of bounded memory."""
    for block in bounded_blocks(asked, 1 << 14, lambda one: one.characters, CHARACTERS_AT_ONCE):
        yield from teacher.score(block)


class EncoderTeacher:
    """A dense model or a ColBERT.

    Args:
        encoder: Encodes both sides.
    """

    def __init__(self, encoder: Encoder) -> None:
        self._encoder = encoder
        self.fingerprint, self.precision = encoder.fingerprint, encoder.precision

    def score(self, asked: Sequence[Asked]) -> list[list[float]]:
        """See `Teacher`."""
        queries = _numbered(one.query for one in asked)
        documents = _numbered(text for one in asked for text in one.documents)
        of_queries, of_documents = self._encoder.encode_queries(list(queries)), self._documents(list(documents))
        compare = self._late if kind_of(self._encoder) == "late" else self._dense
        rows = [[documents[text] for text in one.documents] for one in asked]
        return [
            compare(of_queries, of_documents, queries[one.query], row).tolist() if row else []
            for one, row in zip(asked, rows, strict=True)
        ]

    def _documents(self, texts: list[str]) -> list[Any]:
        parts = encode_blocks(self._encoder, blocks(texts, self._encoder.block_size), lambda text: text)
        return [vectors for _, part in parts for vectors in part]

    def _dense(self, queries: Any, documents: list[Any], query: int, rows: list[int]) -> np.ndarray:  # noqa: ANN401
        one, several = queries[query], np.stack([documents[row] for row in rows])
        products = several @ one
        if self._encoder.similarity == "cosine":
            lengths = np.linalg.norm(several, axis=1) * np.linalg.norm(one)
            products = products / np.maximum(lengths, np.finfo(np.float32).tiny)
        return np.asarray(products)

    def _late(self, queries: Any, documents: list[Any], query: int, rows: list[int]) -> np.ndarray:  # noqa: ANN401
        from ...maxsim.scores import maxsim

        one, several = queries[query], [documents[row] for row in rows]
        offsets = np.cumsum([0, *map(len, several)])
        return maxsim((one, np.array([0, len(one)])), (np.concatenate(several), offsets))[0]


class CrossEncoderTeacher:
    """A cross-encoder of sentence-transformers, which reads query and document together.

    Args:
        checkpoint: Its folder.
        device: "cpu", "cuda" and so on; None takes the best there is.

    Raises:
        InputError: It cannot be loaded, or gives a pair more than one score.
    """

    precision = "fp32"

    def __init__(self, checkpoint: Checkpoint, device: str | None = None) -> None:
        from sentence_transformers import CrossEncoder

        safe = {"use_safetensors": True}
        try:
            model = CrossEncoder(str(checkpoint.folder), device=device, trust_remote_code=False, model_kwargs=safe)
        except Exception as error:  # the parsers each raise their own
            reason = str(error).strip().split("\n")[0]
            raise InputError(
                f"{checkpoint.name}: sentence-transformers cannot load it as a cross-encoder ({reason})"
            ) from error
        if model.num_labels != 1:
            raise InputError(f"{checkpoint.name}: gives a pair {model.num_labels} numbers, where one score is expected")
        self._model = model
        self.fingerprint = checkpoint.fingerprint()

    def score(self, asked: Sequence[Asked]) -> list[list[float]]:
        """See `Teacher`."""
        import torch

        pairs = _numbered((one.query, text) for one in asked for text in one.documents)
        if not pairs:
            return [[] for _ in asked]
        found = self._model.predict(
            list(pairs), batch_size=PAIRS_A_BATCH, show_progress_bar=False, activation_fn=torch.nn.Identity()
        )
        return [[float(found[pairs[one.query, text]]) for text in one.documents] for one in asked]


def load_teacher(
    name: str, device: str | None = None, precision: str | None = None, cross_encoder: bool = False
) -> Teacher:
    """Load a teacher; what it is, its files say.

    Args:
        name: A folder or a hub name.
        device: "cpu", "cuda" and so on; None takes the best there is.
        precision: See `load_encoder`; a cross-encoder runs in fp32.
        cross_encoder: Take it for a cross-encoder, whatever its files say.

    Raises:
        InputError: There is no such model, or it cannot be loaded.
    """
    checkpoint = open_checkpoint(name)
    if cross_encoder or is_cross_encoder(checkpoint):
        if precision not in (None, CrossEncoderTeacher.precision):
            raise InputError(f"{name}: a cross-encoder runs in fp32; leave out the precision {precision}")
        return CrossEncoderTeacher(checkpoint, device)
    from ...encoders.loading import load_encoder

    return EncoderTeacher(load_encoder(name, device, precision))


def is_cross_encoder(checkpoint: Checkpoint) -> bool:
    """Say whether a checkpoint is a classifier of pairs, as cross-encoders are saved."""
    architectures = checkpoint.config.get("architectures") or ()
    classifier = any(str(name).endswith("ForSequenceClassification") for name in architectures)
    return checkpoint.kind == "CrossEncoder" or (classifier and not checkpoint.modules)


def _numbered(values: Iterable[Any]) -> Mapping[Any, int]:
    return {value: number for number, value in enumerate(dict.fromkeys(values))}
