"""Losses over the embeddings of a batch, with gradients cached so that a batch need not fit in memory at once.

Gao, Zhang, Han and Callan, "Scaling Deep Contrastive Learning Batch Size under Memory Limited Setup" (2021), arXiv
2101.06983: the texts are embedded in mini-batches without gradients; the loss of all of them gives the gradients of the
embeddings; then each mini-batch is embedded again, with gradients and the same drop-out, and takes its share of them.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain, repeat
from typing import Any

import torch
from sentence_transformers.base.losses.gradcache import RandContext, _create_minibatch, _minibatch_ranges
from torch import Tensor
from torch.nn import functional as F

TEACHER = "teacher"
"""Name of the feature that holds a teacher's embeddings of a column's texts, (texts, teacher's width)."""


@dataclass(frozen=True)
class Vectors:
    """Vectors of several texts, end to end.

    Attributes:
        values: (vectors, dim).
        lengths: (texts,) int64, vectors of each text; of a dense model always 1.
    """

    values: Tensor
    lengths: Tensor

    @property
    def offsets(self) -> Tensor:
        """(texts + 1,) int64, where each text begins and the last one ends."""
        return F.pad(self.lengths.cumsum(0), (1, 0))


def joined(parts: Sequence[Vectors]) -> Vectors:
    """Put texts behind one another."""
    return Vectors(torch.cat([part.values for part in parts]), torch.cat([part.lengths for part in parts]))


@dataclass(frozen=True)
class Batch:
    """What a loss is computed from.

    Attributes:
        columns: Vectors of the queries, then of the documents of each column, text i of each belonging to example i.
        scores: (examples, documents of an example), a teacher's; None where the data has none.
        teacher: (examples, teacher's width) for each column; empty where no teacher is followed.
    """

    columns: Sequence[Vectors]
    scores: Tensor | None
    teacher: Sequence[Tensor]


class CachedLoss(torch.nn.Module, ABC):
    """A loss for the trainer of sentence-transformers whose memory goes by the mini-batch.

    Args:
        model: What embeds the texts.
        mini_batch_size: Texts in memory at once. One that holds the whole batch caches nothing and embeds only once.
    """

    uses_gradient_cache = True

    def __init__(self, model: torch.nn.Module, mini_batch_size: int) -> None:
        super().__init__()
        self.model = model
        self.mini_batch_size = mini_batch_size

    @abstractmethod
    def embed(self, features: dict[str, Any]) -> Vectors:
        """Embed one mini-batch of tokenised texts."""

    @abstractmethod
    def compare(self, batch: Batch) -> Tensor:
        """Return the loss, a scalar."""

    def forward(self, sentence_features: Iterable[dict[str, Any]], labels: Tensor | None = None) -> Tensor:
        """Return the loss of a batch.

        Args:
            sentence_features: Tokenised queries, then the documents of each column, each maybe with `TEACHER`.
            labels: A teacher's scores.
        """
        tasks = chain(["query"], repeat("document"))
        features = [{"task": task} | column for task, column in zip(tasks, sentence_features, strict=False)]
        teacher = [column.pop(TEACHER) for column in features if TEACHER in column]
        columns = [_chunks(column, self.mini_batch_size) for column in features]
        if not torch.is_grad_enabled() or all(len(chunks) == 1 for chunks in columns):
            vectors = [joined([self.embed(chunk()) for chunk in chunks]) for chunks in columns]
            return self._compare(Batch(vectors, labels, teacher))
        flat = [chunk for chunks in columns for chunk in chunks]
        states, leaves = [], []
        with torch.no_grad():
            for chunk in flat:
                states.append(RandContext(*chunk().values()))
                found = self.embed(chunk())
                leaves.append(Vectors(found.values.detach().requires_grad_(), found.lengths))
        rest = iter(leaves)
        batch = Batch([joined([next(rest) for _ in chunks]) for chunks in columns], labels, teacher)
        loss = self._compare(batch)
        gradients = torch.autograd.grad(loss, [leaf.values for leaf in leaves])
        result = loss.detach().requires_grad_()
        device = result.device.type
        autocast = partial(torch.autocast, device, torch.get_autocast_dtype(device), torch.is_autocast_enabled(device))
        result.register_hook(partial(self._replay, flat, states, gradients, autocast))
        return result

    def _compare(self, batch: Batch) -> Tensor:
        # scores that are divided by a small temperature want all digits
        with torch.autocast(batch.columns[0].values.device.type, enabled=False):
            return self.compare(batch)

    def _replay(
        self,
        chunks: "Sequence[Chunk]",
        states: Sequence[RandContext],
        gradients: Sequence[Tensor],
        autocast: Callable[[], torch.autocast],
        scale: Tensor,
    ) -> None:
        """Embed every mini-batch again and hand its gradients on, times what the loss's own gradient is."""
        for chunk, state, gradient in zip(chunks, states, gradients, strict=True):
            with torch.enable_grad(), autocast(), state:
                values = self.embed(chunk()).values
            # the scale of a loss in 16 bits may be more than these can hold
            wide = torch.promote_types(gradient.dtype, scale.dtype)
            values.backward((gradient.to(wide) * scale.to(wide)).to(values.dtype))


Chunk = Callable[[], dict[str, Any]]
"""Makes the features of one mini-batch; modules write into them, so that each pass needs its own."""


def _chunks(features: dict[str, Any], size: int) -> list[Chunk]:
    return [partial(_create_minibatch, features, begin, end) for begin, end in _minibatch_ranges(features, size)]
