"""Attention as the formula has it, a text at a time: what every other back-end is tested against."""

import torch

from ...stream import Stream
from .backend import Attend, Backend


def _prepare(stream: Stream, window: int | None) -> Attend:
    def attend(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
        texts = zip(*(states.split(stream.lengths) for states in (query, key, value)), strict=True)
        return torch.cat([_one_text(q, k, v, window) for q, k, v in texts])

    return attend


def _one_text(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, window: int | None) -> torch.Tensor:
    exact = torch.promote_types(query.dtype, torch.float32)
    scores = torch.einsum("qhd,khd->hqk", query.to(exact), key.to(exact)) * query.shape[-1] ** -0.5
    if window is not None:
        place = torch.arange(len(query), device=query.device)
        scores = scores.masked_fill((place[:, None] - place).abs() > window, -torch.inf)
    return torch.einsum("hqk,khd->qhd", scores.softmax(-1), value.to(exact)).to(query.dtype)


PLAIN = Backend("plain", lambda device, dtype: None, _prepare)
