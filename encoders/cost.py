"""The floating-point operations that an encoder needs for its real tokens, and its matrix shapes.

Counted are the linear layers and the attention pairs that exist: no padding, and in local layers only the pairs within
the window. What a variant computes beyond that is its loss.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..errors import InputError
from .modernbert.config import ModernBertConfig


@dataclass(frozen=True)
class Cost:
    """Shape of a network.

    Attributes:
        width: Of a token's state.
        linears: (inputs, outputs) of a layer's matrices.
        windows: One entry a layer: tokens seen on either side, or None for all.
    """

    width: int
    linears: tuple[tuple[int, int], ...]
    windows: tuple[int | None, ...]

    def flops(self, lengths: Sequence[int]) -> int:
        """Return the operations for texts of these many tokens; a multiplication and an addition are two."""
        linear = 2 * sum(inputs * outputs for inputs, outputs in self.linears) * len(self.windows) * sum(lengths)
        pairs = sum(_pairs(length, window) for window in self.windows for length in lengths)
        return linear + 4 * self.width * pairs  # queries times keys, and weights times values


def cost_of(config: Mapping[str, Any]) -> Cost | None:
    """Read the shape from a network's `config.json`; None for networks that are not counted."""
    read = READERS.get(str(config.get("model_type")))
    try:
        return read(config) if read else None
    except (InputError, KeyError, TypeError, ValueError):
        return None


def _modernbert(fields: Mapping[str, Any]) -> Cost:
    config = ModernBertConfig.from_fields(fields, "config.json")
    windows = tuple(None if everything else config.window for everything in config.global_layers)
    return Cost(config.width, _linears(config.width, config.intermediate, 2 * config.intermediate), windows)


def _bert(fields: Mapping[str, Any]) -> Cost:
    width, inner = int(fields["hidden_size"]), int(fields["intermediate_size"])
    return Cost(width, _linears(width, inner, inner), (None,) * int(fields["num_hidden_layers"]))


READERS: dict[str, Callable[[Mapping[str, Any]], Cost]] = {
    "modernbert": _modernbert,
    "bert": _bert,
    "roberta": _bert,
    "xlm-roberta": _bert,
}


def _linears(width: int, inner: int, first: int) -> tuple[tuple[int, int], ...]:
    return (width, 3 * width), (width, width), (width, first), (inner, width)


def _pairs(length: int, window: int | None) -> int:
    side = length - 1 if window is None else min(window, length - 1)
    return length + 2 * side * length - side * (side + 1)
