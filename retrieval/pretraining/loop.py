"""The steps of a run: gradients of a batch of packs, one pack in memory at a time, and what has to happen in between.

A step is that of all masked tokens of its packs as one batch: each token's loss has the same weight, whatever pack it
is in. All that a step does follows from the weights, the optimiser, the random state and how many packs were seen.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

from ...encoders.modernbert.network import MaskedLanguageModel, Prediction
from .packs import Example, Supply
from .schedule import rate_at
from .settings import Pretraining
from .stable_adamw import StableAdamW

Predict = Callable[[Example], Prediction]


@dataclass(frozen=True)
class Step:
    """What a step found.

    Attributes:
        loss: Mean cross-entropy of its masked tokens.
        grad_norm: Of all gradients together.
        examples: Its packs.
    """

    loss: float
    grad_norm: float
    examples: list[Example]

    @property
    def tokens(self) -> int:
        """Tokens of its packs."""
        return sum(example.tokens for example in self.examples)

    @property
    def finite(self) -> bool:
        """Whether loss and gradients are numbers."""
        return bool(np.isfinite([self.loss, self.grad_norm]).all())


def make_optimizer(network: MaskedLanguageModel, settings: Pretraining) -> StableAdamW:
    """Return the optimiser of a network; norms and biases, which have one dimension, do not decay."""
    parameters = list(network.parameters())
    groups = [
        {"params": [parameter for parameter in parameters if parameter.ndim > 1]},
        {"params": [parameter for parameter in parameters if parameter.ndim < 2], "weight_decay": 0.0},
    ]
    return StableAdamW(groups, settings.learning_rate, weight_decay=settings.weight_decay)


def predictor(network: MaskedLanguageModel, settings: Pretraining, device: torch.device) -> Predict:
    """Return what predicts the masked tokens of a pack, in the precision of the settings."""
    run = torch.compile(network, dynamic=True) if settings.compile else network
    mixed = settings.precision == "bf16"

    def predict(example: Example) -> Prediction:
        with torch.autocast(device.type, torch.bfloat16, enabled=mixed):
            found: Prediction = run(example.stream, example.labels, example.at)
        return found

    return predict


def gradients(predict: Predict, network: MaskedLanguageModel, examples: list[Example]) -> Step:
    """Compute the gradients of the mean loss over all masked tokens of some packs, in place of those before."""
    for parameter in network.parameters():
        parameter.grad = None
    masked = max(sum(len(example.at) for example in examples), 1)
    total = torch.zeros((), device=examples[0].labels.device)
    for example in examples:
        loss = predict(example).loss
        if loss is not None:
            share = loss * (len(example.at) / masked)
            share.backward()
            total += share.detach()
    found = [parameter.grad for parameter in network.parameters() if parameter.grad is not None]
    norm = torch.nn.utils.get_total_norm(found)
    loss_value, norm_value = torch.stack([total, norm.to(total)]).tolist()
    return Step(loss_value, norm_value, examples)


def move(optimizer: StableAdamW, settings: Pretraining, step: int, steps: int) -> float:
    """Change the weights by their gradients, and return the learning rate that was taken.

    Args:
        optimizer: Of the network.
        settings: Say the schedule.
        step: From 0.
        steps: Of the whole run.
    """
    rate = settings.learning_rate * rate_at(step, steps, settings.warmup, settings.decay)
    for group in optimizer.param_groups:
        group["lr"] = rate
    optimizer.step()
    return rate


@torch.no_grad()
def measure(predict: Predict, network: MaskedLanguageModel, supply: Supply, texts: np.ndarray) -> dict[str, float]:
    """Return loss and accuracy of the masked tokens of held-out texts, by name."""
    training = network.training
    network.eval()
    loss, right, masked = 0.0, 0, 0
    try:
        for example in supply.held_out(texts):
            found = predict(example)
            count = len(example.at)
            loss += float(found.loss or 0.0) * count
            right += int((found.logits.argmax(-1) == example.labels[example.at]).sum())
            masked += count
    finally:
        network.train(training)
    return {"held_out_loss": loss / max(masked, 1), "held_out_accuracy": right / max(masked, 1)}


def is_finite(network: MaskedLanguageModel) -> bool:
    """Say whether all weights are numbers."""
    return all(bool(torch.isfinite(parameter).all()) for parameter in network.parameters())
