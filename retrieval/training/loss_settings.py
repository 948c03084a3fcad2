"""What a run learns, whatever the kind of model: its loss, and a teacher model that it follows."""

from dataclasses import dataclass
from typing import Literal

from ...errors import InputError
from .run_settings import RunSettings, check_ranges

Loss = Literal["contrastive", "kl", "margin-mse"]
FEWEST_NEGATIVES: dict[Loss, int] = {"contrastive": 0, "kl": 2, "margin-mse": 1}
NEGATIVES_NEEDED = {
    "kl": "loss kl needs at least 2, since it sees the scores of two documents as 0 and 1 whatever they are; use "
    "margin-mse for one",
    "margin-mse": "loss margin-mse compares the documents of an example, and needs at least 1",
}
WEIGHTS = ("contrastive_weight", "score_weight", "embedding_weight")
RANGES: dict[str, tuple[float, float]] = {
    "teacher_temperature": (1e-4, 100),
    "contrastive_weight": (0, 1e6),
    "score_weight": (0, 1e6),
}


@dataclass(frozen=True)
class LossSettings(RunSettings):
    """What is learnt.

    Attributes:
        loss: "contrastive", to tell the positive from all other documents of the batch; or a teacher's scores of an
            example's own documents, "kl" by distribution and "margin-mse" by difference.
        teacher: A dense model whose embeddings are followed, a folder, a hub name or a bundled one; None follows none.
        teacher_cache: Folder in which the teacher's embeddings are kept; None keeps them with the run, until it ends.
        contrastive_weight: With a teacher, what `loss` counts.
        score_weight: With a teacher, what the divergence between its and the model's scores of each query with all
            documents of the batch counts.
        teacher_temperature: What both sides' scores are divided by there.
    """

    loss: Loss = "contrastive"
    teacher: str | None = None
    teacher_cache: str | None = None
    contrastive_weight: float = 1.0
    score_weight: float = 1.0
    teacher_temperature: float = 0.05

    def __post_init__(self) -> None:
        check_ranges(self, {"embedding_weight": 0}, RANGES)
        negatives = getattr(self, "negatives", None)
        if negatives is not None and 0 <= negatives < self.scored_negatives:
            raise InputError(f"negatives: {NEGATIVES_NEEDED[self.loss]}")
        if self.teacher is None:
            for name in (*WEIGHTS, "teacher_temperature", "teacher_cache"):
                if getattr(self, name, None) != getattr(type(self), name, None):
                    raise InputError(f"{name}: there is no teacher to follow; name one with --teacher")
        elif not any(getattr(self, name, 0) for name in WEIGHTS):
            raise InputError("contrastive_weight, score_weight: all weights are 0, and nothing would be learnt")

    @property
    def scored_negatives(self) -> int:
        """Fewest negatives of an example that the loss compares by a teacher's scores; 0 where it follows none."""
        return FEWEST_NEGATIVES[self.loss] if self.contrastive_weight else 0

    @property
    def distils(self) -> bool:
        """Whether the loss compares scores that the data brings."""
        return self.scored_negatives > 0
