"""What a run learns: its loss of scores and, with a teacher model, what follows that; weighted and added up."""

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from torch import Tensor
from torch.nn import functional as F

from .objectives import DISTILLATIONS, Objective, contrastive, in_batch_kl

if TYPE_CHECKING:
    from ..settings import ColbertTraining, DenseTraining


@dataclass(frozen=True)
class Goals:
    """The terms of a loss.

    Attributes:
        temperature: What scores are divided by in the contrastive loss.
        own: Compares scores of an example's own documents with a teacher's; None is contrastive, over all of a batch.
        contrastive_weight: Of the loss that `own` says.
        score_weight: Of `in_batch_kl` between the scores and those of a teacher model.
        embedding_weight: Of the mean of 1 - cosine between embeddings and a teacher model's.
        teacher_temperature: See `in_batch_kl`.
    """

    temperature: float
    own: Objective | None = None
    contrastive_weight: float = 1.0
    score_weight: float = 0.0
    embedding_weight: float = 0.0
    teacher_temperature: float = 1.0

    @property
    def needs_all(self) -> bool:
        """Whether scores of all documents of the batch are used."""
        return self.score_weight > 0 or (self.own is None and self.contrastive_weight > 0)

    @property
    def needs_own(self) -> bool:
        """Whether scores of each example's own documents are used."""
        return self.own is not None and self.contrastive_weight > 0

    def told_apart(self, scores: Tensor, first: int = 0) -> Tensor:
        """Return the weighted contrastive loss, 0 where another is learnt; see `contrastive`."""
        if self.own is not None or not self.contrastive_weight:
            return scores.new_zeros(())
        return self.contrastive_weight * contrastive(scores, self.temperature, first)

    def followed(self, scores: Tensor, teacher: Tensor | None) -> Tensor:
        """Return the weighted divergence from a teacher model's scores of all documents, 0 without one."""
        if teacher is None or not self.score_weight:
            return scores.new_zeros(())
        return self.score_weight * in_batch_kl(scores, teacher, self.teacher_temperature)

    def compared(self, scores: Tensor, teacher: Tensor | None) -> Tensor:
        """Return the weighted comparison of scores of each example's own documents.

        Raises:
            ValueError: The data has no scores.
        """
        if self.own is None or teacher is None:
            raise ValueError("a loss that compares scores was given none")
        return self.contrastive_weight * self.own(scores, teacher)


def goals_of(settings: "DenseTraining | ColbertTraining") -> Goals:
    """Return the terms that the settings name."""
    own = None
    if settings.distils:
        own = partial(DISTILLATIONS[settings.loss], temperature=settings.temperature)
    if settings.teacher is None:
        return Goals(settings.temperature, own)
    return Goals(
        settings.temperature,
        own,
        settings.contrastive_weight,
        settings.score_weight,
        getattr(settings, "embedding_weight", 0.0),
        settings.teacher_temperature,
    )


def distance(embeddings: Tensor, teacher: Tensor) -> Tensor:
    """Return the mean of 1 - cosine between the rows of two (texts, width) matrices."""
    return (1 - F.cosine_similarity(embeddings, teacher.to(embeddings.dtype), dim=1)).mean()
