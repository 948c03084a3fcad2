"""What is learnt from scores, whatever gave them: cosines of a dense model or MaxSim of token vectors."""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

Objective = Callable[[Tensor, Tensor], Tensor]
"""Compares the student's with the teacher's scores of each query's own candidates."""
SMALLEST_RANGE = 1e-5
"""Scores of a query that lie closer together than this share of the largest are taken for equal.

Sums over a query's tokens in float32 differ by a tenth of it through rounding alone; and a network with random weights
gives different texts scores that lie not much farther apart.
"""


def contrastive(scores: Tensor, temperature: float, first: int = 0) -> Tensor:
    """Return the mean cross-entropy of telling each query's document from all others.

    Args:
        scores: (queries, documents); document `first` + i is the one that belongs to query i.
        temperature: What scores are divided by.
        first: Number of the first query's document.
    """
    wanted = torch.arange(first, first + len(scores), device=scores.device)
    return F.cross_entropy(scores / temperature, wanted)


def in_batch_kl(scores: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """Return the mean divergence KL(teacher ‖ student) of the distributions over all documents of a batch.

    Both sides' scores are divided by the temperature. The loss is not multiplied by its square: it is `contrastive`
    with soft labels, less a constant, and its gradients are of that loss's size.

    Args:
        scores: (queries, documents), the student's.
        teacher: (queries, documents).
        temperature: What both sides' scores are divided by.
    """
    student = F.log_softmax(scores / temperature, dim=1)
    target = F.log_softmax(teacher.to(scores.dtype) / temperature, dim=1)
    return F.kl_div(student, target, reduction="batchmean", log_target=True)


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


DISTILLATIONS = {"kl": kl_divergence, "margin-mse": margin_mse}
"""The losses that compare scores of an example's own documents, by the name of their setting."""
