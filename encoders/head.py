"""What follows the network in a dense checkpoint: pooling, projections and normalisation, in its own order."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

from ..errors import InputError
from .checkpoint import Checkpoint, read_optional
from .pooling import pool, pooling_mode
from .transfers import sent
from .weights import load_weights

Step = Callable[[torch.Tensor], torch.Tensor]
"""Maps (texts, in) float32 to (texts, out) float32."""
ACTIVATIONS: dict[str, Step] = {
    "torch.nn.modules.linear.Identity": lambda x: x,
    "torch.nn.modules.activation.Tanh": torch.tanh,
}
DENSE_SHAPE = ("in_features", "out_features", "bias", "activation_function")
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
        dim: Length of what comes out, or None where it is the network's width.
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
    """
    if not checkpoint.modules:
        return Head("mean", (), None)
    names = [name for name, _ in checkpoint.modules]
    if names[:2] != ["Transformer", "Pooling"]:
        return None
    mode = pooling_mode(read_optional(checkpoint.modules[1][1] / "config.json"))
    steps: list[Step] = []
    dim = None
    for name, folder in checkpoint.modules[2:]:
        config = read_optional(folder / "config.json")
        activation = ACTIVATIONS.get(str(config.get("activation_function")))
        if not all(key in DENSE_SHAPE or value in PLAIN.get(key, ()) for key, value in config.items()):
            return None
        if name == "Normalize":
            steps.append(_normalize)
        elif name == "Dense" and activation:
            steps.append(_dense_step(folder, activation, device))
            dim = int(config["out_features"])
        else:
            return None
    if checkpoint.truncate_dim:
        steps.append(lambda x: x[:, : checkpoint.truncate_dim])
        dim = int(checkpoint.truncate_dim)
    return Head(mode, tuple(steps), dim) if mode else None


def _normalize(x: torch.Tensor) -> torch.Tensor:
    return torch.nn.functional.normalize(x, dim=-1)


def _dense_step(folder: Path, activation: Step, device: torch.device) -> Step:
    weights = load_weights(folder)
    weight, bias = weights.get("linear.weight"), weights.get("linear.bias")
    if weight is None:
        raise InputError(f"{folder}: expected the tensor 'linear.weight' in a .safetensors file there")
    weight = weight.to(device).float()
    bias = None if bias is None else bias.to(device).float()
    return lambda x: activation(torch.nn.functional.linear(x, weight, bias))
