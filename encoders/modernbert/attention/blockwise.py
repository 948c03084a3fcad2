"""Attention on a CPU in plain torch, for training and for what the kernels of `cpu` do not cover.

Local layers cut the stream into blocks as long as the window reaches, and each block of queries looks at three blocks
of keys: the one before, its own and the one after, whatever texts lie there; a mask says who sees whom. That costs
tokens × window. Global layers go through the texts one at a time, unless all are so short that the three blocks
hold them whole. No scores are kept for the backward pass, which computes them again, a head or some rows at a time.
"""

from collections.abc import Iterator
from typing import Any

import torch
from torch.nn import functional as F

from ...stream import Stream
from .backend import Attend, Backend

MIN_BLOCK = 16
MAX_BLOCK = 128
"""A global layer over longer texts than this costs less a text at a time."""
SCORES_AT_ONCE = 1 << 20
"""Numbers in the largest block of scores of the global layers."""

States = tuple[torch.Tensor, torch.Tensor, torch.Tensor]


def _prepare(stream: Stream, window: int | None) -> Attend:
    reach = stream.longest - 1 if window is None else min(window, stream.longest - 1)
    if reach > MAX_BLOCK and window is None:
        return lambda query, key, value: _EachText.apply(query, key, value, stream.lengths)
    block = max(MIN_BLOCK, reach)
    masks: dict[torch.dtype, torch.Tensor] = {}

    def attend(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
        if query.dtype not in masks:
            masks[query.dtype] = _mask(stream, block, reach).to(query.dtype)
        mixed: torch.Tensor = _NeighbourBlocks.apply(query, key, value, masks[query.dtype], block)
        return mixed

    return attend


def _mask(stream: Stream, block: int, reach: int) -> torch.Tensor:
    """Return (blocks, block, 3 · block), 0 where a query sees a key, else -inf; all 0 for queries beyond the stream."""
    tokens = len(stream.ids)
    blocks = -(-tokens // block)
    text = torch.repeat_interleave(torch.arange(len(stream.lengths)), torch.tensor(stream.lengths))
    text = F.pad(text, (block, (blocks + 1) * block - tokens), value=-1)
    keys = text.unfold(0, 3 * block, block)
    queries = text[block : (blocks + 1) * block].view(blocks, block)
    distance = torch.arange(3 * block) - torch.arange(block, 2 * block)[:, None]
    seen = (queries[:, :, None] == keys[:, None]) & (distance.abs() <= reach) | (queries < 0)[:, :, None]
    return torch.zeros(seen.shape).masked_fill_(~seen, -torch.inf)


def _weights(query: torch.Tensor, key: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
    """Return softmax(query · key / √width), (batch, queries, keys)."""
    scores = torch.bmm(query * query.shape[-1] ** -0.5, key.transpose(1, 2))
    return torch.softmax(scores if mask is None else scores.add_(mask), -1)


def _gradients(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    mask: torch.Tensor | None,
    mixed: torch.Tensor,
    gradient: torch.Tensor,
) -> States:
    """Return the gradients of query, key and value, each of its shape, (batch, rows, width)."""
    weights = _weights(query, key, mask)
    to_value = torch.bmm(weights.transpose(1, 2), gradient)
    to_scores = torch.bmm(gradient, value.transpose(1, 2))
    to_scores.sub_((gradient * mixed).sum(-1, keepdim=True)).mul_(weights).mul_(query.shape[-1] ** -0.5)
    return torch.bmm(to_scores, key), torch.bmm(to_scores.transpose(1, 2), query), to_value


class _NeighbourBlocks(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,  # noqa: ANN401
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        mask: torch.Tensor,
        block: int,
    ) -> torch.Tensor:
        mixed = torch.empty_like(query, memory_format=torch.contiguous_format)
        for head in range(query.shape[1]):
            q, k, v = _blocks_of_head((query, key, value), head, block)
            mixed[:, head] = torch.bmm(_weights(q, k, mask), v).flatten(0, 1)[: len(query)]
        ctx.save_for_backward(query, key, value, mask, mixed)
        ctx.block = block
        return mixed

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor | None, ...]:  # noqa: ANN401
        query, key, value, mask, mixed = ctx.saved_tensors
        block, tokens = ctx.block, len(query)
        results = [torch.empty_like(states, memory_format=torch.contiguous_format) for states in (query, key, value)]
        for head in range(query.shape[1]):
            q, k, v = _blocks_of_head((query, key, value), head, block)
            o, g = (_queries_of_head(states, head, block) for states in (mixed, gradient))
            to_query, to_key, to_value = _gradients(q, k, v, mask, o, g)
            results[0][:, head] = to_query.flatten(0, 1)[:tokens]
            for result, windows in ((results[1], to_key), (results[2], to_value)):
                result[:, head] = _summed(windows, block)[:tokens]
        return *results, None, None


def _queries_of_head(states: torch.Tensor, head: int, block: int) -> torch.Tensor:
    """Return (blocks, block, width) of (tokens, heads, width), zeros at the end."""
    return F.pad(states[:, head], (0, 0, 0, -len(states) % block)).unflatten(0, (-1, block))


def _blocks_of_head(states: States, head: int, block: int) -> States:
    """Return queries (blocks, block, width), and keys and values (blocks, 3 · block, width) as overlapping views."""
    beyond = -len(states[0]) % block + block
    padded = (F.pad(x[:, head], (0, 0, block, beyond)).unfold(0, 3 * block, block) for x in states[1:])
    key, value = (windows.transpose(1, 2) for windows in padded)
    return _queries_of_head(states[0], head, block), key, value


def _summed(windows: torch.Tensor, block: int) -> torch.Tensor:
    """Add what three windows say of each block: (blocks, 3 · block, width) to (blocks · block, width)."""
    before, own, after = windows.unflatten(1, (3, block)).unbind(1)
    own = own.clone()
    own[:-1] += before[1:]
    own[1:] += after[:-1]
    return own.flatten(0, 1)


class _EachText(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,  # noqa: ANN401
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        lengths: tuple[int, ...],
    ) -> torch.Tensor:
        mixed = torch.empty_like(query, memory_format=torch.contiguous_format)
        for text, heads, rows in _parts(query, lengths):
            q, k, v = query[rows, heads], key[text, heads], value[text, heads]
            weights = _weights(q.transpose(0, 1), k.transpose(0, 1), None)
            mixed[rows, heads] = torch.bmm(weights, v.transpose(0, 1)).transpose(0, 1)
        ctx.save_for_backward(query, key, value, mixed)
        ctx.lengths = lengths
        return mixed

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor | None, ...]:  # noqa: ANN401
        query, key, value, mixed = ctx.saved_tensors
        results = [torch.zeros(states.shape) for states in (query, key, value)]  # float32: sums over many rows
        for text, heads, rows in _parts(query, ctx.lengths):
            batch = (
                query[rows, heads],
                key[text, heads],
                value[text, heads],
                mixed[rows, heads],
                gradient[rows, heads],
            )
            q, k, v, o, g = (states.transpose(0, 1) for states in batch)
            for result, part, found in zip(results, (rows, text, text), _gradients(q, k, v, None, o, g), strict=True):
                result[part, heads] += found.transpose(0, 1)
        return *(result.to(query.dtype) for result in results), None


def _parts(query: torch.Tensor, lengths: tuple[int, ...]) -> Iterator[tuple[slice, slice, slice]]:
    """Yield (tokens of a text, heads, rows of queries in it), each so small that its scores stay in cache."""
    heads, start = query.shape[1], 0
    for length in lengths:
        rows = max(1, min(length, SCORES_AT_ONCE // length))
        together = max(1, min(heads, SCORES_AT_ONCE // (rows * length)))
        text = slice(start, start + length)
        for head in range(0, heads, together):
            for row in range(start, text.stop, rows):
                yield text, slice(head, head + together), slice(row, min(row + rows, text.stop))
        start = text.stop


def _why_not(device: torch.device, dtype: torch.dtype) -> str | None:
    return None if device.type == "cpu" else f"it is for CPUs, not for {device.type}"


BLOCKWISE = Backend("blockwise", _why_not, _prepare)
