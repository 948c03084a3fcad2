"""Losses over the cosines of one vector a text, on all of its numbers and on the first ones (Matryoshka).

Kusupati and others, "Matryoshka Representation Learning" (2022), arXiv 2205.13147: the loss is the sum over sizes, each
of embeddings that are cut to so many numbers and normalised again. Texts are embedded once, whatever the sizes.
"""

from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from .cached import Batch, CachedLoss, Vectors
from .gather import first_row, gathered
from .goals import Goals, distance

SCORES_AT_ONCE = 1 << 24
"""Scores, 4 bytes each, that are kept for the backward pass; of a larger batch they are computed twice."""


class CachedDenseLoss(CachedLoss):
    """A loss over the cosines of a batch, for the trainer of sentence-transformers.

    Args:
        model: A `SentenceTransformer`.
        goals: What is learnt.
        mini_batch_size: See `CachedLoss`.
        dims: Sizes that are learnt beside the whole embedding.

    Attributes:
        rotation: (teacher's width, width) float32, what brings a teacher's embeddings to the model's width; None where
            they are taken as they are.
    """

    def __init__(self, model: torch.nn.Module, goals: Goals, mini_batch_size: int, dims: Sequence[int] = ()) -> None:
        super().__init__(model, mini_batch_size)
        self.goals = goals
        self.dims = tuple(dims)
        self.rotation: Tensor | None = None

    def embed(self, features: dict[str, Any]) -> Vectors:
        """Embed one mini-batch of tokenised texts."""
        values = self.model(features)["sentence_embedding"]
        return Vectors(values, torch.ones(len(values), dtype=torch.int64, device=values.device))

    def compare(self, batch: Batch) -> Tensor:
        """Return the loss, a scalar."""
        columns = [_at_least_32_bits(column.values) for column in batch.columns]
        goal = self._rotated(batch.teacher) if self.goals.embedding_weight else None
        loss = columns[0].new_zeros(())
        for dim in sorted({*self.dims, columns[0].shape[1]}, reverse=True):
            vectors = [F.normalize(values[:, :dim], dim=1) for values in columns]
            if self.goals.needs_all:
                loss = loss + self._over_all(vectors, batch.teacher)
            if self.goals.needs_own:
                scores = torch.stack([(vectors[0] * document).sum(1) for document in vectors[1:]], dim=1)
                loss = loss + self.goals.compared(scores, batch.scores)
            if goal is not None:
                loss = loss + self.goals.embedding_weight * distance(torch.cat(vectors), goal[:, :dim])
        return loss

    def _rotated(self, teacher: Sequence[Tensor]) -> Tensor:
        together = torch.cat(list(teacher))
        return together if self.rotation is None else together @ self.rotation.to(together)

    def _over_all(self, vectors: Sequence[Tensor], teacher: Sequence[Tensor]) -> Tensor:
        """Return the terms that compare all queries with all documents, in blocks of queries."""
        queries, documents = vectors[0], torch.cat([gathered(column) for column in vectors[1:]])
        known = torch.cat([gathered(column) for column in teacher[1:]]) if teacher else None
        first, total = first_row(len(queries)), len(queries)
        rows = max(1, SCORES_AT_ONCE // len(documents))
        loss = queries.new_zeros(())
        for begin in range(0, total, rows):
            own = slice(begin, begin + rows)
            asked = teacher[0][own] if teacher else None
            block = partial(self._block, documents=documents, asked=asked, known=known, first=first + begin)
            found = checkpoint(block, queries[own], use_reentrant=False) if rows < total else block(queries[own])
            loss = loss + found * (len(queries[own]) / total)
        return loss

    def _block(
        self, queries: Tensor, documents: Tensor, asked: Tensor | None, known: Tensor | None, first: int
    ) -> Tensor:
        scores = queries @ documents.T
        target = None if asked is None or known is None else asked @ known.T
        return self.goals.told_apart(scores, first) + self.goals.followed(scores, target)


def _at_least_32_bits(values: Tensor) -> Tensor:
    return values.to(torch.promote_types(values.dtype, torch.float32))
