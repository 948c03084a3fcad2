"""The modules that sentence-transformers puts after a network, `Dense` and `Normalize`, for rows of any meaning."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch.nn import functional as F

from .fields import FieldReader
from .weights import Weights, check_tensor, read_weights

Step = Callable[[torch.Tensor], torch.Tensor]
"""Maps (rows, in) float32 to (rows, out) float32."""
ACTIVATIONS: dict[str, Step] = {
    "torch.nn.modules.linear.Identity": lambda x: x,
    "torch.nn.modules.activation.Tanh": torch.tanh,
    "torch.nn.modules.activation.ReLU": torch.relu,
    "torch.nn.modules.activation.GELU": F.gelu,
    "torch.nn.modules.activation.SiLU": F.silu,
}
DENSE_SHAPE = ("in_features", "out_features", "bias", "activation_function")
"""Keys of a `Dense` module's config that say what it computes."""


def normalize(x: torch.Tensor) -> torch.Tensor:
    """Bring rows to length 1; a row of zeros stays."""
    return F.normalize(x, dim=-1)


def has_activation(config: Mapping[str, Any]) -> bool:
    """Say whether the activation that a `Dense` module's config names runs here."""
    return str(config.get("activation_function")) in ACTIVATIONS


def read_projection(
    folder: Path, config: Mapping[str, Any], device: torch.device, width: int | None
) -> tuple[Step, int]:
    """Read a `Dense` module whose activation runs here.

    Args:
        folder: Holds its `model.safetensors`.
        config: Its `config.json`.
        device: Where to run.
        width: Length of the rows that go in, None where it is not known.

    Returns:
        The projection, and the length of the rows that come out.

    Raises:
        InputError: A size makes no sense or is not that of what goes in, or the weights are not as the config says.
    """
    read = FieldReader(config, folder / "config.json")
    size, out = read.whole("in_features", 0), read.whole("out_features", 0)
    if width not in (None, size):
        raise read.error("in_features", size, f"{width}, the length of the embeddings before it")
    weights = read_weights(folder)
    activation = ACTIVATIONS[str(config.get("activation_function"))]
    weight = check_tensor(weights, "linear.weight", (out, size)).to(device).float()
    bias = check_tensor(weights, "linear.bias", (out,)).to(device).float() if read.flag("bias") else None
    if not config.get("use_residual", False):
        return lambda x: activation(F.linear(x, weight, bias)), out
    aside = _residual(weights, size, out, device)
    return lambda x: activation(F.linear(x, weight, bias)) + aside(x), out


def _residual(weights: Weights, size: int, out: int, device: torch.device) -> Step:
    if size == out:
        return lambda x: x
    weight = check_tensor(weights, "residual.weight", (out, size)).to(device).float()
    return lambda x: F.linear(x, weight)
