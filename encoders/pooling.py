"""From the hidden states of a stream of tokens to one vector a text."""

from collections.abc import Mapping
from typing import Any

import torch

LEGACY_MODES = {"pooling_mode_cls_token": "cls", "pooling_mode_mean_tokens": "mean"}
MODES = ("mean", "cls")


def pooling_mode(config: Mapping[str, Any]) -> str | None:
    """Return the mode that a sentence-transformers pooling config asks for, or None if it does not run here."""
    if not config.get("include_prompt", True):
        return None
    mode = config.get("pooling_mode")
    if mode is None:
        asked = [name for name, wanted in config.items() if name.startswith("pooling_mode_") and wanted]
        mode = LEGACY_MODES.get(asked[0]) if len(asked) == 1 else None
    return mode if mode in MODES else None


def pool(hidden: torch.Tensor, lengths: torch.Tensor, mode: str) -> torch.Tensor:
    """Reduce the hidden states of each text to one vector.

    Args:
        hidden: (tokens, width), texts end to end.
        lengths: (texts,) int64, their tokens, none zero.
        mode: "mean" of a text's tokens, or "cls", its first one.

    Returns:
        (texts, width) float32.
    """
    ends = lengths.cumsum(0)
    starts = ends - lengths
    if mode == "cls":
        return hidden[starts].float()
    # unsafe spares a GPU the wait until the lengths are summed
    return torch.segment_reduce(hidden.float(), "mean", lengths=lengths, axis=0, unsafe=True)
