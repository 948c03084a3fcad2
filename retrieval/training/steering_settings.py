"""How a run's weights move, which of them do, and by which measurement it stops and chooses what it leaves."""

from dataclasses import dataclass
from typing import Literal

from ...errors import InputError
from .loss_settings import LossSettings
from .run_settings import check_ranges

Scheduler = Literal["linear", "cosine", "wsd"]
Metric = Literal["nDCG@10", "MRR@10", "Recall@10", "Recall@100"]
LOWEST = {"early_stopping": 1, "lora_rank": 1, "lora_alpha": 1}
RANGES: dict[str, tuple[float, float]] = {
    "decay": (0, 1),
    "weight_decay": (0, 1),
    "grad_clip": (0, 1e6),
    "lora_dropout": (0, 0.99),
}


@dataclass(frozen=True)
class SteeringSettings(LossSettings):
    """How the weights move, and which of them end up in the model.

    Attributes:
        scheduler: What the learning rate does after `warmup`: falls to zero in a line, "linear", or along half a
            cosine, "cosine"; or stays and then falls with 1 − √ of the share of the decay that is over, "wsd".
        decay: Share of the steps in which it falls, with "wsd".
        weight_decay: Of AdamW, for matrices; norms and biases are left out.
        grad_clip: Norm that gradients are cut to; 0 leaves them as they are.
        dev: Folder in BEIR's layout that the run is measured on in place of held-out queries.
        dev_split: Split of its judgements.
        metric: Measure that `early_stopping` and `keep_best` go by.
        early_stopping: Stop after so many measurements in a row without a new best one; None never does.
        keep_best: Make the model of the best measurement, and not of the last, the final one; None does so with
            `early_stopping`.
        lora_rank: Train low-rank adapters of so many columns beside the network's matrices, and leave these as they
            are; None trains all weights.
        lora_alpha: What adapters are multiplied by, times the rank; None is twice the rank.
        lora_dropout: Share of an adapter's inputs that is dropped in training.
        lora_targets: Names of the matrices that get one; None is those of attention and MLP.
        keep_adapter: Leave the adapter too, in peft's format, beside the model that it is merged into.
    """

    scheduler: Scheduler = "linear"
    decay: float = 0.2
    weight_decay: float = 0.0
    grad_clip: float = 1.0
    dev: str | None = None
    dev_split: str = "dev"
    metric: Metric = "nDCG@10"
    early_stopping: int | None = None
    keep_best: bool | None = None
    lora_rank: int | None = None
    lora_alpha: int | None = None
    lora_dropout: float = 0.0
    lora_targets: tuple[str, ...] | None = None
    keep_adapter: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        check_ranges(self, LOWEST, RANGES)
        warmup: float = getattr(self, "warmup", 0.0)
        if self.scheduler == "wsd" and warmup + self.decay > 1:
            raise InputError(f"decay: {self.decay:g} of the steps and a warmup of {warmup:g} are more than all of them")
        if (self.early_stopping or self.keep_best) and not (self.dev or getattr(self, "holdout", None)):
            name = "early_stopping" if self.early_stopping else "keep_best"
            raise InputError(f"{name}: nothing to measure on; give --holdout some queries, or name a --dev folder")
        self._check_lora()

    def _check_lora(self) -> None:
        if self.lora_rank and getattr(self, "init", None):
            raise InputError("lora_rank: adapters go with a trained --model; the weights of an --init are random")
        if self.lora_rank is None:
            for name in ("lora_alpha", "lora_dropout", "lora_targets", "keep_adapter"):
                if getattr(self, name) != getattr(SteeringSettings, name):
                    raise InputError(f"{name}: there is no adapter; give it a --lora-rank")

    @property
    def keeps_best(self) -> bool:
        """Whether the model of the best measurement is the final one."""
        return self.early_stopping is not None if self.keep_best is None else self.keep_best
