"""What a ColBERT puts after the network: projections and normalisation, a token at a time."""

from dataclasses import dataclass
from pathlib import Path

import torch
from torch.nn import functional as F

from ...errors import InputError
from ..checkpoint import Checkpoint, read_optional
from ..projection import Step, normalize, read_projection
from ..weights import check_tensor, read_weights
from .settings import ColbertSettings

LINEAR = "linear.weight"


@dataclass(frozen=True)
class TokenHead:
    """Steps from hidden states to token vectors.

    Attributes:
        steps: Applied one after the other.
        dim: Length of what comes out, or None where it is the network's width, which the config does not say.
    """

    steps: tuple[Step, ...]
    dim: int | None

    def __call__(self, hidden: torch.Tensor) -> torch.Tensor:
        """Map (tokens, width) hidden states to (tokens, dim) float32."""
        x = hidden.float()
        for step in self.steps:
            x = step(x)
        return x


def read_token_head(checkpoint: Checkpoint, settings: ColbertSettings, device: torch.device) -> TokenHead:
    """Read the weights of a checkpoint's projections.

    Raises:
        InputError: A projection lacks weights, or has others than its configuration says.
    """
    size = checkpoint.config.get("hidden_size")
    dim = size if isinstance(size, int) else None
    steps: list[Step] = []
    for name, folder in settings.steps:
        if name == "Normalize":
            steps.append(normalize)
            continue
        if name == "Linear":
            step, dim = _linear(folder, device, dim)
        else:
            step, dim = read_projection(folder, read_optional(folder / "config.json"), device, dim)
        steps.append(step)
    return TokenHead(tuple(steps), dim)


def _linear(folder: Path, device: torch.device, width: int | None) -> tuple[Step, int]:
    """Read the matrix that Stanford's code keeps among the network's weights."""
    weights = read_weights(folder)
    found = weights.tensors.get(LINEAR)
    if found is None or found.ndim != 2:
        raise InputError(f"{folder}: the weights lack the matrix {LINEAR!r}, the projection of a Stanford ColBERT")
    out = len(found)
    weight = check_tensor(weights, LINEAR, (out, width or found.shape[1])).to(device).float()
    return lambda x: F.linear(x, weight), out
