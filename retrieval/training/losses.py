"""Losses over MaxSim scores, with gradients cached so that a batch need not fit in memory at once.

Gao, Zhang, Han and Callan, "Scaling Deep Contrastive Learning Batch Size under Memory Limited Setup" (2021), arXiv
2101.06983: the texts are embedded in mini-batches without gradients; the loss of all of them gives the gradients of the
embeddings; then each mini-batch is embedded again, with gradients and the same drop-out, and takes its share of them.
Embeddings are kept ragged: neither padding nor what the skiplist leaves out is ever scored.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain, repeat
from typing import Any

import torch
from sentence_transformers import MultiVectorEncoder
from sentence_transformers.base.losses.gradcache import RandContext, _create_minibatch, _minibatch_ranges
from torch import Tensor
from torch.nn import functional as F

from ...maxsim.torch import maxsim, maxsim_pairs, ragged

Objective = Callable[[Tensor, Tensor | None], Tensor]
SMALLEST_RANGE = 1e-5
"""Scores of a query that lie closer together than this share of the largest are taken for equal.

Sums over a query's tokens in float32 differ by a tenth of it through rounding alone; and a network with random weights
gives different texts scores that lie not much farther apart.
"""


def contrastive(scores: Tensor, temperature: float) -> Tensor:
    """Return the mean cross-entropy of telling each query's document from all others.

    Args:
        scores: (queries, documents); document i is the one that belongs to query i.
        temperature: What scores are divided by.
    """
    return F.cross_entropy(scores / temperature, torch.arange(len(scores), device=scores.device))


def kl_divergence(scores: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """Return the mean divergence KL(teacher ‖ student) of the distributions over each query's candidates.

    Both sides' scores are brought to 0 to 1 for each query, so that the scale of neither matters, divided by the
    temperature, and exponentiated; the loss is multiplied by the squared temperature, which leaves the size of its
    gradients (Hinton, Vinyals and Dean, "Distilling the Knowledge in a Neural Network", 2015, arXiv 1503.02531).

    Args:
        scores: (queries, candidates), the student's. Of two candidates one is always 0 and the other 1, and there is
            nothing to learn: it takes three.
        teacher: (queries, candidates).
        temperature: Below 1 it sharpens both.
    """
    # a student's score is a sum of cosines, whose rounding does not get smaller with it; a teacher's has any scale
    student = F.log_softmax(_from_0_to_1(scores, smallest=1.0) / temperature, dim=1)
    target = F.log_softmax(_from_0_to_1(teacher.to(scores.dtype), smallest=0.0) / temperature, dim=1)
    return F.kl_div(student, target, reduction="batchmean", log_target=True) * temperature**2


def margin_mse(scores: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """Return the mean squared difference between the student's and the teacher's margins.

    Hofstätter, Althammer, Schröder, Sertkan and Hanbury, "Improving Efficient Neural Ranking Models with
    Cross-Architecture Knowledge Distillation" (2020), arXiv 2010.02666. A margin is how far the first candidate is
    above another.

    Args:
        scores: (queries, candidates), the student's.
        teacher: (queries, candidates).
        temperature: What the student's scores are divided by, which brings them to the teacher's scale.
    """
    teacher = teacher.to(scores.dtype)
    return F.mse_loss((scores[:, :1] - scores[:, 1:]) / temperature, teacher[:, :1] - teacher[:, 1:])


def _from_0_to_1(scores: Tensor, smallest: float) -> Tensor:
    """Bring each query's scores to 0 to 1; equal ones, which say nothing, become 0 without gradient.

    Args:
        scores: (queries, candidates).
        smallest: Largest score that is still reckoned with where all of a query's are below it.
    """
    lowest, highest = scores.amin(1, keepdim=True), scores.amax(1, keepdim=True)
    spread = highest - lowest
    least = SMALLEST_RANGE * scores.detach().abs().amax(1, keepdim=True).clamp(min=smallest)
    differs = spread > least
    # what is not taken must be finite too, for its gradient
    return torch.where(differs, (scores - lowest) / torch.where(differs, spread, 1.0), 0.0)


@dataclass(frozen=True)
class Ragged:
    """Token vectors of several texts, end to end.

    Attributes:
        values: (tokens, dim).
        lengths: (texts,) int64, tokens of each text.
    """

    values: Tensor
    lengths: Tensor

    @property
    def offsets(self) -> Tensor:
        """(texts + 1,) int64, where each text begins and the last one ends."""
        return F.pad(self.lengths.cumsum(0), (1, 0))


def joined(parts: Sequence[Ragged]) -> Ragged:
    """Put texts behind one another."""
    return Ragged(torch.cat([part.values for part in parts]), torch.cat([part.lengths for part in parts]))


class CachedMaxSimLoss(torch.nn.Module):
    """An objective over the MaxSim scores of a batch, for the trainer of sentence-transformers.

    Args:
        model: What embeds the texts.
        objective: Maps float32 scores and the batch's labels to a loss; see `own_documents`.
        mini_batch_size: Texts in memory at once. One that holds the whole batch caches nothing and embeds only once.
        own_documents: Score each query's own documents only, (queries, documents of an example), as distillation
            wants it. Else (queries, all documents of the batch), the positives first.
        mean: Divide scores by the number of their query's tokens.
    """

    uses_gradient_cache = True

    def __init__(
        self,
        model: MultiVectorEncoder,
        objective: Objective,
        mini_batch_size: int,
        own_documents: bool = False,
        mean: bool = False,
    ) -> None:
        super().__init__()
        self.model = model
        self.objective = objective
        self.mini_batch_size = mini_batch_size
        self.own_documents = own_documents
        self.mean = mean

    def forward(self, sentence_features: Iterable[dict[str, Any]], labels: Tensor | None = None) -> Tensor:
        """Return the loss of a batch.

        Args:
            sentence_features: Tokenised queries, then the documents of each column.
            labels: What the objective wants.
        """
        tasks = chain(["query"], repeat("document"))
        columns = [
            _chunks({"task": task} | features, self.mini_batch_size)
            for task, features in zip(tasks, sentence_features, strict=False)
        ]
        if not torch.is_grad_enabled() or all(len(chunks) == 1 for chunks in columns):
            return self._loss([[self._embed(chunk) for chunk in chunks] for chunks in columns], labels)
        flat = [chunk for chunks in columns for chunk in chunks]
        states, leaves = [], []
        with torch.no_grad():
            for chunk in flat:
                states.append(RandContext(*chunk().values()))
                found = self._embed(chunk)
                leaves.append(Ragged(found.values.detach().requires_grad_(), found.lengths))
        rest = iter(leaves)
        loss = self._loss([[next(rest) for _ in chunks] for chunks in columns], labels)
        gradients = torch.autograd.grad(loss, [leaf.values for leaf in leaves])
        result = loss.detach().requires_grad_()
        device = result.device.type
        autocast = partial(torch.autocast, device, torch.get_autocast_dtype(device), torch.is_autocast_enabled(device))
        result.register_hook(partial(self._replay, flat, states, gradients, autocast))
        return result

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
                values = self._embed(chunk).values
            # the scale of a loss in 16 bits may be more than these can hold
            wide = torch.promote_types(gradient.dtype, scale.dtype)
            values.backward((gradient.to(wide) * scale.to(wide)).to(values.dtype))

    def _embed(self, chunk: "Chunk") -> Ragged:
        features = chunk()
        found = self.model(features, task=features["task"])
        # the mask is of the tokens that are scored, which MultiVectorMask says
        values, offsets = ragged(found["token_embeddings"], found["attention_mask"])
        return Ragged(values, offsets.diff())

    def _loss(self, columns: list[list[Ragged]], labels: Tensor | None) -> Tensor:
        queries, documents = joined(columns[0]), joined([part for chunks in columns[1:] for part in chunks])
        if self.own_documents:
            size, width = len(queries.lengths), len(columns) - 1
            owner = torch.arange(size, device=queries.lengths.device).repeat(width)
            found = maxsim_pairs(queries.values, queries.offsets, documents.values, documents.offsets, owner)
            scores = found.view(width, size).T
        else:
            scores = maxsim(queries.values, queries.offsets, documents.values, documents.offsets)
        if self.mean:
            scores = scores / queries.lengths.clamp(min=1)[:, None]
        return self.objective(scores, labels)


Chunk = Callable[[], dict[str, Any]]
"""Makes the features of one mini-batch; modules write into them, so that each pass needs its own."""


def _chunks(features: dict[str, Any], size: int) -> list[Chunk]:
    return [partial(_create_minibatch, features, begin, end) for begin, end in _minibatch_ranges(features, size)]
