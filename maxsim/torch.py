"""Late-interaction scores of tensors, with gradients: what a loss over token vectors is made of.

Forward keeps, for each query token and document, the number of the token that won, 4 bytes; backward sends the gradient
to those alone. The tensor of all products, (queries, documents, tokens, tokens), is never made: blocks of documents go
through within `memory`. Where the numbers would take more than half of it, they are found again in backward.

On a CPU, float32, float16 and bfloat16 go through compiled kernels, whose results do not depend on the blocks or the
number of threads. Everything else (CUDA, float64, no numba) is made of torch's own operations. Gradients on a CPU are
the same in every run; on CUDA those of `maxsim` are, and those of `maxsim_pairs` to within rounding.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch.autograd.function import once_differentiable

from ..errors import InputError
from .blocks import Blocks, Layout
from .checks import check_memory, check_numbers, check_offsets, check_shapes, has_kernels

MEMORY = 1 << 29
Numbers = torch.Tensor | np.ndarray | Sequence[int]
"""Whole numbers, on any device."""


def maxsim(
    queries: torch.Tensor,
    query_offsets: Numbers,
    documents: torch.Tensor,
    document_offsets: Numbers,
    memory: float = MEMORY,
) -> torch.Tensor:
    """Score all queries with all documents (Khattab and Zaharia 2020, arXiv 2004.12832).

    Differentiable once in both sides. Of equal products the first document token has won on a CPU, one of them on CUDA;
    the winner gets all of the gradient. Products are of the wider of the two sides' types, sums of float32; autocast
    changes neither.

    Args:
        queries: (tokens, dim), of any floating type.
        query_offsets: (queries + 1,) whole numbers.
        documents: (tokens, dim), on the device of `queries`.
        document_offsets: (documents + 1,) whole numbers.
        memory: Bytes that may be taken, and kept from forward to backward, beside the inputs (converted to one type),
            copies of the queries, the gradients and the scores; one document is scored at once even if that takes more.

    Returns:
        (queries, documents) float32, or float64 if the products are. A query or a document without tokens scores 0 and
        has no gradient, so that a loss stays finite. A score with a NaN among its products is NaN.

    Raises:
        InputError: A shape, a type or an offset is wrong; the message says which.
    """
    return _scores(queries, query_offsets, documents, document_offsets, None, memory)


def maxsim_pairs(
    queries: torch.Tensor,
    query_offsets: Numbers,
    documents: torch.Tensor,
    document_offsets: Numbers,
    query_of: Numbers,
    memory: float = MEMORY,
) -> torch.Tensor:
    """Score each document with one query, as candidates of distillation are.

    Args:
        queries: As in `maxsim`.
        query_offsets: As in `maxsim`.
        documents: As in `maxsim`.
        document_offsets: As in `maxsim`.
        query_of: (documents,) whole numbers, the number of each document's query.
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
    query_offsets: Numbers,
    documents: torch.Tensor,
    document_offsets: Numbers,
    query_of: Numbers | None,
    memory: float,
    compiled: bool | None = None,
) -> torch.Tensor:
    """Score; `compiled` forces the kernels or torch's operations, None lets the tensors decide."""
    check_shapes(queries.shape, documents.shape)
    if not queries.is_floating_point() or not documents.is_floating_point():
        raise InputError(f"token vectors are {queries.dtype} and {documents.dtype}; give floating-point tensors")
    if queries.device != documents.device:
        raise InputError(f"queries are on {queries.device} and documents on {documents.device}; move one of them")
    memory = check_memory(memory)
    query_bounds = check_offsets(_numbers(query_offsets), len(queries), "query")
    document_bounds = check_offsets(_numbers(document_offsets), len(documents), "document")
    numbers = None
    if query_of is not None:
        numbers = check_numbers(_numbers(query_of), len(document_bounds) - 1, len(query_bounds) - 1)
    dtype = torch.promote_types(queries.dtype, documents.dtype)
    queries, documents = queries.to(dtype), documents.to(dtype)
    layout = Layout(query_bounds, document_bounds, numbers, queries.shape[1], dtype, memory)
    scores: torch.Tensor = _MaxSim.apply(queries, documents, _blocks(layout, documents, compiled))
    return scores


def _numbers(given: Numbers) -> np.ndarray:
    return np.asarray(given.detach().cpu() if isinstance(given, torch.Tensor) else given)


def _blocks(layout: Layout, documents: torch.Tensor, compiled: bool | None) -> Blocks:
    device = documents.device
    if compiled is None:
        compiled = device.type == "cpu" and layout.dtype != torch.float64 and has_kernels()
    if compiled:
        from .with_kernels import AllByKernels, PairsByKernels

        by_kernels = AllByKernels if layout.query_of is None else PairsByKernels
        return by_kernels(layout, strided=not documents.is_contiguous())
    from .with_torch import AllByTorch, PairsByTorch

    return AllByTorch(layout, device) if layout.query_of is None else PairsByTorch(layout, device)


class _MaxSim(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, queries: torch.Tensor, documents: torch.Tensor, blocks: Blocks) -> torch.Tensor:  # noqa: ANN401
        layout = blocks.layout
        keeping = any(ctx.needs_input_grad) and blocks.numbers_fit
        scores = torch.zeros(layout.shape, dtype=layout.sum_type, device=queries.device)
        kept = []
        with torch.autocast(queries.device.type, enabled=False):
            score = blocks.scoring(queries, documents, winning=keeping)
            for block in blocks:
                found, winners = score(block)
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
            torch.zeros(side.shape, dtype=blocks.layout.sum_type, device=side.device) if needed else None
            for side, needed in zip((queries, documents), ctx.needs_input_grad, strict=False)
        ]
        with torch.autocast(queries.device.type, enabled=False):
            find = None if ctx.keeping else blocks.scoring(queries, documents, winning=True)
            send = blocks.sending(queries, documents, *sums)
            for number, block in enumerate(blocks):
                winners = find(block)[1] if find else kept[number]
                assert winners is not None
                send(block, grads[0][..., blocks.rows(block)], winners)
        query_grads, document_grads = (
            None if total is None else total.to(side.dtype)
            for total, side in zip(sums, (queries, documents), strict=True)
        )
        return query_grads, document_grads, None
