"""Rotary position embedding: each pair of numbers in a head's query and key turns by an angle that its place gives.

The angles are float32 whatever the network computes in. Outside torch.compile the rotation happens in the buffer of
the projection, which nothing else needs, and keeps nothing for the backward pass but the angles: of the five widths a
token that plain autograd would hold (the projection, and rotated queries and keys), three remain.
"""

from functools import lru_cache
from typing import Any

import torch

from ..stream import Stream

Rotation = tuple[torch.Tensor, torch.Tensor]
"""Cosines and sines of the angles of a stream's tokens, each (tokens, 1, 1, head width / 2) float32."""


def rotation_of(stream: Stream, theta: float, head_width: int) -> Rotation:
    """Return the angles of each token of a stream, for all heads and layers with this base."""
    cosines, sines = tables(theta, head_width, stream.longest, stream.ids.device)
    return cosines[stream.positions][:, None, None], sines[stream.positions][:, None, None]


def tables(theta: float, head_width: int, length: int, device: torch.device) -> Rotation:
    """Return cosines and sines of the angles of at least `length` places, each (places, head width / 2) float32."""
    return _tables(theta, head_width, 1 << (length - 1).bit_length(), device)


@lru_cache(maxsize=64)
def _tables(theta: float, head_width: int, length: int, device: torch.device) -> Rotation:
    with torch.inference_mode(False):  # what inference mode makes, no later backward pass could hold
        frequencies = 1.0 / (theta ** (torch.arange(0, head_width, 2, dtype=torch.float32) / head_width))
        angles = torch.arange(length, dtype=torch.float32)[:, None] * frequencies
        return angles.cos().to(device), angles.sin().to(device)


def rotate(qkv: torch.Tensor, rotation: Rotation, heads: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Rotate queries and keys by their places.

    Args:
        qkv: (tokens, 3 · width): queries, keys, values. Overwritten, so nothing else may hold them.
        rotation: See `rotation_of`.
        heads: Attention heads.

    Returns:
        Rotated queries, rotated keys and values, each (tokens, heads, head width).
    """
    if torch.compiler.is_compiling():  # the compiler fuses the formula, and plans its own memory
        pairs, value = qkv.unflatten(1, (3, heads, -1)).split([2, 1], dim=1)
        query, key = torch.cat(turned(pairs, *rotation), dim=-1).to(qkv.dtype).unbind(1)
        return query, key, value.squeeze(1)
    # in place on the projection itself: on a view of it, autograd would copy the whole gradient once more
    query, key, value = _Rotate.apply(qkv, *rotation, heads).unflatten(1, (3, heads, -1)).unbind(1)
    return query, key, value


def turned(pairs: torch.Tensor, cosines: torch.Tensor, sines: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the first and the second halves, in float32, of vectors (tokens, …, width) turned by their angles."""
    first, second = pairs.float().chunk(2, dim=-1)
    return first * cosines - second * sines, second * cosines + first * sines


class _Rotate(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, qkv: torch.Tensor, cosines: torch.Tensor, sines: torch.Tensor, heads: int) -> torch.Tensor:  # noqa: ANN401
        ctx.save_for_backward(cosines, sines)
        ctx.heads = heads
        ctx.mark_dirty(qkv)
        pairs = qkv.unflatten(1, (3, heads, -1))[:, :2]
        _write(pairs, turned(pairs, cosines, sines))
        return qkv

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor, None, None, None]:  # noqa: ANN401
        cosines, sines = ctx.saved_tensors
        result = gradient.clone()
        pairs = result.unflatten(1, (3, ctx.heads, -1))[:, :2]
        _write(pairs, turned(pairs, cosines, -sines))
        return result, None, None, None


def _write(pairs: torch.Tensor, halves: tuple[torch.Tensor, torch.Tensor]) -> None:
    first, second = pairs.chunk(2, dim=-1)
    first.copy_(halves[0])
    second.copy_(halves[1])
