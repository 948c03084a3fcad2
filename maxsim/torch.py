"""Late-interaction scores of tensors, with gradients: what a loss over token vectors is made of.

Forward keeps, for each query token and document, the number of the token that won, 4 bytes; backward sends the gradient
to those alone. The tensor of all products, (queries, documents, tokens, tokens), is never made: blocks of documents go
through within `memory`. Where the numbers themselves would take more than that, they are found again in backward.

On a CPU, float32, float16 and bfloat16 go through compiled kernels, whose results do not depend on the blocks or the
number of threads. Everything else (CUDA, float64, no numba) is made of torch's own operations. Gradients on a CPU are
the same in every run; on CUDA those of `maxsim` are, and those of `maxsim_pairs` to within rounding.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch.autograd.function import once_differentiable

from ..errors import InputError
from .blocks import Blocks, Layout
from .checks import check_numbers, check_offsets, check_shapes, has_kernels

MEMORY = 1 << 29


def maxsim(
    queries: torch.Tensor,
    query_offsets: torch.Tensor,
    documents: torch.Tensor,
    document_offsets: torch.Tensor,
    memory: int = MEMORY,
) -> torch.Tensor:
    """Score all queries with all documents (Khattab and Zaharia 2020, arXiv 2004.12832).

    Differentiable once in both sides. Of equal products the first document token has won on a CPU, one of them on CUDA;
    the winner gets all of the gradient. Products are of the wider of the two sides' types, sums of float32; autocast
    changes neither.

    Args:
        queries: (tokens, dim), of any floating type.
        query_offsets: (queries + 1,) int64, on any device.
        documents: (tokens, dim), on the device of `queries`.
        document_offsets: (documents + 1,) int64.
        memory: Bytes that may be taken beside the inputs, their gradients and the scores, and kept from forward to
            backward; one document is scored at once even if that takes more.

    Returns:
        (queries, documents) float32, or float64 if the products are. A query or a document without tokens scores 0 and
        has no gradient, so that a loss stays finite.

    Raises:
        InputError: A shape, a type or an offset is wrong; the message says which.
    """
    return _scores(queries, query_offsets, documents, document_offsets, None, memory)


def maxsim_pairs(
    queries: torch.Tensor,
    query_offsets: torch.Tensor,
    documents: torch.Tensor,
    document_offsets: torch.Tensor,
    query_of: torch.Tensor,
    memory: int = MEMORY,
) -> torch.Tensor:
    """Score each document with one query, as candidates of distillation are.

    Args:
        queries: As in `maxsim`.
        query_offsets: As in `maxsim`.
        documents: As in `maxsim`.
        document_offsets: As in `maxsim`.
        query_of: (documents,) int64, the number of each document's query, on any device.
        memory: As in `maxsim`.

    Returns:
        (documents,) float32, or float64; as in `maxsim`.

    Raises:
        InputError: A shape, a type, an offset or a number of a query is wrong; the message says which.
    """
    return _scores(queries, query_offsets, documents, document_offsets, query_of, memory)


def ragged(embeddings: torch.Tensor, mask: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Take the tokens that count out of padded embeddings, differentiably.

    Args:
        embeddings: (n, tokens, dim).
        mask: (n, tokens), true (or not 0) where a token counts.

    Returns:
        Values (total, dim) and offsets (n + 1,) int64, on the device of `embeddings`.

    Raises:
        InputError: The shapes do not belong together.
    """
    if embeddings.ndim != 3 or mask.shape != embeddings.shape[:2]:
        raise InputError(
            f"embeddings have shape {tuple(embeddings.shape)} and the mask {tuple(mask.shape)}; "
            "expected (n, tokens, dim) and (n, tokens)"
        )
    counting = mask.to(embeddings.device).bool()
    offsets = torch.nn.functional.pad(counting.sum(1).cumsum(0), (1, 0))
    return embeddings[counting], offsets


def _scores(
    queries: torch.Tensor,
    query_offsets: torch.Tensor,
    documents: torch.Tensor,
    document_offsets: torch.Tensor,
    query_of: torch.Tensor | None,
    memory: int,
    compiled: bool | None = None,
) -> torch.Tensor:
    """Score; `compiled` forces the kernels or torch's operations, None lets the tensors decide."""
    check_shapes(queries.shape, documents.shape)
    if not queries.is_floating_point() or not documents.is_floating_point():
        raise InputError(f"token vectors are {queries.dtype} and {documents.dtype}; give floating-point tensors")
    if queries.device != documents.device:
        raise InputError(f"queries are on {queries.device} and documents on {documents.device}; move one of them")
    if memory < 1:
        raise InputError(f"memory {memory}: give a number of bytes above 0")
    query_bounds = check_offsets(_numbers(query_offsets), len(queries), "query")
    document_bounds = check_offsets(_numbers(document_offsets), len(documents), "document")
    numbers = None
    if query_of is not None:
        numbers = check_numbers(_numbers(query_of), len(document_bounds) - 1, len(query_bounds) - 1)
    dtype = torch.promote_types(queries.dtype, documents.dtype)
    layout = Layout(query_bounds, document_bounds, numbers, memory)
    blocks = _blocks(layout, queries.device, dtype, compiled)
    scores: torch.Tensor = _MaxSim.apply(queries.to(dtype), documents.to(dtype), blocks)
    return scores


def _numbers(tensor: torch.Tensor) -> np.ndarray:
    return np.asarray(tensor.detach().cpu())


def _blocks(layout: Layout, device: torch.device, dtype: torch.dtype, compiled: bool | None) -> Blocks:
    if compiled is None:
        compiled = device.type == "cpu" and dtype != torch.float64 and has_kernels()
    if compiled:
        from .with_kernels import AllByKernels, PairsByKernels

        return AllByKernels(layout) if layout.query_of is None else PairsByKernels(layout)
    from .with_torch import AllByTorch, PairsByTorch

    return AllByTorch(layout, device) if layout.query_of is None else PairsByTorch(layout, device)


class _MaxSim(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, queries: torch.Tensor, documents: torch.Tensor, blocks: Blocks) -> torch.Tensor:  # noqa: ANN401
        layout = blocks.layout
        keeping = any(ctx.needs_input_grad) and layout.numbers_fit
        shape = layout.shape
        scores = torch.zeros(shape, dtype=blocks.sum_type(queries.dtype), device=queries.device)
        kept = []
        with torch.autocast(queries.device.type, enabled=False):
            for block in blocks:
                found, winners = blocks.forward(block, queries, documents, winning=keeping)
                scores[..., blocks.rows(block)] = found
                if winners is not None:
                    kept.append(winners)
        ctx.blocks, ctx.keeping = blocks, keeping
        ctx.save_for_backward(queries, documents, *kept)
        return scores

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[torch.Tensor | None, torch.Tensor | None, None]:  # noqa: ANN401
        queries, documents, *kept = ctx.saved_tensors
        blocks: Blocks = ctx.blocks
        sums = [
            torch.zeros(side.shape, dtype=blocks.sum_type(side.dtype), device=side.device) if needed else None
            for side, needed in zip((queries, documents), ctx.needs_input_grad, strict=False)
        ]
        with torch.autocast(queries.device.type, enabled=False):
            for number, block in enumerate(blocks):
                winners = kept[number] if ctx.keeping else blocks.winners(block, queries, documents)
                blocks.backward(block, grads[0][..., blocks.rows(block)], winners, queries, documents, *sums)
        query_grads, document_grads = (
            None if total is None else total.to(side.dtype)
            for total, side in zip(sums, (queries, documents), strict=True)
        )
        return query_grads, document_grads, None
