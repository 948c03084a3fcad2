"""Attention for streams of which not every token is attended to, such as queries with ColBERT's masks after them.

Such streams are short and few, so they go through torch's scaled dot-product attention on padded rows, whatever
back-end runs the others.
"""

import torch
from torch.nn import functional as F

from ...stream import Stream
from .backend import Attend, Backend


def prepare(backend: Backend, stream: Stream, window: int | None) -> Attend:
    """Return what a back-end prepares for a stream, or what follows `Stream.attended` where that is set."""
    return backend.prepare(stream, window) if stream.attended is None else _prepare(stream, window)


def _prepare(stream: Stream, window: int | None) -> Attend:
    mask = stream.visible[:, None, None, :]
    if window is not None and window < stream.longest - 1:
        place = torch.arange(stream.longest, device=mask.device)
        mask = mask & ((place[:, None] - place).abs() <= window)
    # A mask farther from the text than the window reaches sees nothing, and attention adds nothing to it.
    blind = ~mask.any(-1, keepdim=True)

    def attend(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
        query, key, value = (x[stream.rows].transpose(1, 2) for x in (query, key, value))
        mixed = F.scaled_dot_product_attention(query, key, value, attn_mask=mask).masked_fill(blind, 0)
        return mixed.transpose(1, 2)[stream.valid]

    return attend
