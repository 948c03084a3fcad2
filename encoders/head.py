"""What follows the network in a dense checkpoint: pooling, projections and normalisation, in its own order."""

from dataclasses import dataclass

import torch

from .checkpoint import Checkpoint, read_optional
from .pooling import pool, pooling_mode
from .projection import DENSE_SHAPE, Step, has_activation, normalize, read_projection
from .transfers import sent

PLAIN: dict[str, tuple[object, ...]] = {
    "module_input_name": ("sentence_embedding",),
    "module_output_name": ("sentence_embedding", None),
    "use_residual": (False,),
}
"""The other settings of the modules after pooling, and their values that run here."""


@dataclass(frozen=True)
class Head:
    """Pooling, then steps.

    Attributes:
        pooling: See `pool`.
        steps: Applied one after the other.
        dim: Length of what comes out, or None where it is the network's width, which the config does not say.
    """

    pooling: str
    steps: tuple[Step, ...]
    dim: int | None

    def __call__(self, hidden: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        """Map (tokens, width) hidden states of texts of these lengths to (texts, dim) float32."""
        x = pool(hidden, sent(lengths, hidden.device), self.pooling)
        for step in self.steps:
            x = step(x)
        return x


def read_head(checkpoint: Checkpoint, device: torch.device) -> Head | None:
    """Read pooling and what follows it, or return None where a module of another kind is among them.

    A bare network gets mean pooling and nothing else, as in sentence-transformers.

    Raises:
        InputError: A projection lacks weights, or has others than its configuration says.
    """
    if not checkpoint.modules:
        return Head("mean", (), None)
    names = [name for name, _ in checkpoint.modules]
    if names[:2] != ["Transformer", "Pooling"]:
        return None
    mode = pooling_mode(read_optional(checkpoint.modules[1][1] / "config.json"))
    steps: list[Step] = []
    size = checkpoint.config.get("hidden_size")
    dim = size if isinstance(size, int) else None
    for name, folder in checkpoint.modules[2:]:
        config = read_optional(folder / "config.json")
        if not all(key in DENSE_SHAPE or value in PLAIN.get(key, ()) for key, value in config.items()):
            return None
        if name == "Normalize":
            steps.append(normalize)
        elif name == "Dense" and has_activation(config):
            step, dim = read_projection(folder, config, device, dim)
            steps.append(step)
        else:
            return None
    if checkpoint.truncate_dim:
        steps.append(lambda x: x[:, : checkpoint.truncate_dim])
        dim = min(dim or checkpoint.truncate_dim, checkpoint.truncate_dim)
    return Head(mode, tuple(steps), dim) if mode else None
