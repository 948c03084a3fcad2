"""Losses over MaxSim scores of ragged token vectors: neither padding nor what the skiplist leaves out is scored."""

from typing import Any

import torch
from torch import Tensor

from ....maxsim.torch import maxsim, maxsim_pairs, ragged
from .cached import Batch, CachedLoss, Vectors, joined
from .gather import first_row, gathered, gathered_vectors
from .goals import Goals


class CachedMaxSimLoss(CachedLoss):
    """A loss over the MaxSim scores of a batch, for the trainer of sentence-transformers.

    Args:
        model: A `MultiVectorEncoder`.
        goals: What is learnt. A teacher model's scores are compared with the mean of MaxSim over a query's tokens,
            which is of the size of a cosine.
        mini_batch_size: See `CachedLoss`.
        mean: Divide scores by the number of their query's tokens in all other terms too.
    """

    def __init__(self, model: torch.nn.Module, goals: Goals, mini_batch_size: int, mean: bool = False) -> None:
        super().__init__(model, mini_batch_size)
        self.goals = goals
        self.mean = mean

    def embed(self, features: dict[str, Any]) -> Vectors:
        """Embed one mini-batch of tokenised texts."""
        found = self.model(features, task=features["task"])
        # the mask is of the tokens that are scored, which MultiVectorMask says
        values, offsets = ragged(found["token_embeddings"], found["attention_mask"])
        return Vectors(values, offsets.diff())

    def compare(self, batch: Batch) -> Tensor:
        """Return the loss, a scalar."""
        queries, columns = batch.columns[0], batch.columns[1:]
        tokens = queries.lengths.clamp(min=1)[:, None]
        loss = queries.values.new_zeros((), dtype=torch.float32)
        if self.goals.needs_all:
            documents = joined([gathered_vectors(column) for column in columns])
            scores = maxsim(queries.values, queries.offsets, documents.values, documents.offsets)
            told = scores / tokens if self.mean else scores
            loss = loss + self.goals.told_apart(told, first_row(len(queries.lengths)))
            loss = loss + self.goals.followed(scores / tokens, _teacher_scores(batch))
        if self.goals.needs_own:
            scores = _own_scores(batch)
            loss = loss + self.goals.compared(scores / tokens if self.mean else scores, batch.scores)
        return loss


def _own_scores(batch: Batch) -> Tensor:
    """Return the scores of each example's own documents, (examples, columns of documents)."""
    queries, documents = batch.columns[0], joined(batch.columns[1:])
    size, width = len(queries.lengths), len(batch.columns) - 1
    owner = torch.arange(size, device=queries.lengths.device).repeat(width)
    found = maxsim_pairs(queries.values, queries.offsets, documents.values, documents.offsets, owner)
    return found.view(width, size).T


def _teacher_scores(batch: Batch) -> Tensor | None:
    if not batch.teacher:
        return None
    return batch.teacher[0] @ torch.cat([gathered(column) for column in batch.teacher[1:]]).T
