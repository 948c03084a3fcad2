"""Scoring and gradients in torch's own operations: for CUDA, float64, and where numba is missing.

Documents of like length share a block and are filled up to its longest by repeating the last token of each, which
changes no maximum. Gradients of all pairs are sums of gathered rows (`embedding_bag`), in an order that does not vary.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch.nn.functional import embedding_bag, pad

from .blocks import Blocks, Layout, PairBlocks

_COPIES = 3  # products, and what a maximum over them takes
_QUERY_TOKENS = 4096


def _by_length(layout: Layout) -> np.ndarray:
    lengths = np.diff(layout.document_offsets)[layout.filled]
    return layout.filled[np.argsort(-lengths, kind="stable")]


class _Filled:
    """The tokens of a block's documents, all as many as the longest has.

    Attributes:
        rows: (documents, longest) int64, numbers of tokens.
        ends: (documents,) int64, number of the last token within its document.
    """

    def __init__(self, starts: np.ndarray, stops: np.ndarray, device: torch.device) -> None:
        first, lengths = (torch.from_numpy(array).to(device) for array in (starts, stops - starts))
        self.ends = lengths - 1
        self.longest = int((stops - starts).max())
        places = torch.arange(self.longest, device=device)
        self.rows = first[:, None] + torch.minimum(places, self.ends[:, None])
        self.first = first


class AllByTorch(Blocks):
    """All queries with all documents; winners are (query tokens, documents) int32."""

    def __init__(self, layout: Layout, device: torch.device) -> None:
        super().__init__(layout, _by_length(layout))
        self.device = device

    def costs(self) -> np.ndarray:
        """Return the bytes of a document's products with as many query tokens as are taken at once."""
        lengths = np.diff(self.layout.document_offsets)[self.order]
        return 4 * _COPIES * lengths * min(self.layout.query_tokens, _QUERY_TOKENS)

    def _parts(self, count: int) -> Iterator[slice]:
        """Yield runs of query tokens whose products with so many document tokens fit in memory."""
        step = max(1, self.layout.memory // (8 * _COPIES * count))
        for first in range(0, self.layout.query_tokens, step):
            yield slice(first, first + step)

    def forward(
        self, block: slice, queries: torch.Tensor, documents: torch.Tensor, *, winning: bool
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """As the class above says."""
        filled = _Filled(*self.bounds(block), self.device)
        shape = (self.layout.query_tokens, len(filled.ends))
        best = torch.empty(shape, dtype=self.sum_type(queries.dtype), device=self.device)
        winners = torch.empty(shape, dtype=torch.int32, device=self.device) if winning else None
        tokens = documents[filled.rows.view(-1)]
        for part in self._parts(len(tokens)):
            products = (queries[part] @ tokens.T).view(-1, *filled.rows.shape)
            if winners is None:
                best[part] = products.amax(2)
                continue
            found = products.max(2)
            best[part] = found.values
            winners[part] = torch.minimum(found.indices, filled.ends)
        offsets = torch.from_numpy(self.layout.query_offsets).to(self.device)
        return torch.segment_reduce(best, "sum", offsets=offsets, axis=0, initial=0, unsafe=True), winners

    def backward(
        self,
        block: slice,
        grad: torch.Tensor,
        winners: torch.Tensor,
        queries: torch.Tensor,
        documents: torch.Tensor,
        query_sums: torch.Tensor | None,
        document_sums: torch.Tensor | None,
    ) -> None:
        """As the class above says."""
        filled, dtype = _Filled(*self.bounds(block), self.device), self.sum_type(queries.dtype)
        places = torch.arange(len(filled.ends), device=self.device) * filled.longest
        lengths = torch.from_numpy(np.diff(self.layout.query_offsets)).to(self.device)
        weights = grad.to(dtype).repeat_interleave(lengths, dim=0, output_size=self.layout.query_tokens)
        numbers = winners + places
        if query_sums is not None:
            tokens = documents[filled.rows.view(-1)].to(dtype)
            query_sums += embedding_bag(numbers, tokens, per_sample_weights=weights, mode="sum")
        if document_sums is not None:
            flat = numbers.view(-1)
            order = flat.argsort(stable=True)
            ends = torch.bincount(flat, minlength=filled.rows.numel()).cumsum(0)
            gathered = embedding_bag(
                order // len(places),
                queries.to(dtype),
                pad(ends[:-1], (1, 0)),
                per_sample_weights=weights.view(-1)[order],
                mode="sum",
            )
            document_sums.index_add_(0, filled.rows.view(-1), gathered)


class PairsByTorch(PairBlocks):
    """Each document with its query."""

    def __init__(self, layout: Layout, device: torch.device) -> None:
        super().__init__(layout, _by_length(layout))
        self.device = device

    def costs(self) -> np.ndarray:
        """Return the bytes of a document's products."""
        lengths = np.diff(self.layout.document_offsets)[self.order]
        return 4 * _COPIES * lengths * np.diff(self.layout.query_offsets).max(initial=1)

    def forward(
        self, block: slice, queries: torch.Tensor, documents: torch.Tensor, *, winning: bool
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """As the class above says."""
        assert self.layout.query_of is not None
        chosen = self.layout.query_of[self.order[block]]
        offsets = self.layout.query_offsets
        own = _Filled(offsets[chosen], offsets[chosen + 1], self.device)
        filled = _Filled(*self.bounds(block), self.device)
        found = torch.bmm(queries[own.rows], documents[filled.rows].transpose(1, 2)).max(2)
        real = torch.arange(own.longest, device=self.device) <= own.ends[:, None]
        scores = found.values.to(self.sum_type(queries.dtype)).where(real, 0).sum(1)
        winners = torch.minimum(found.indices, filled.ends[:, None])[real].to(torch.int32) if winning else None
        return scores, winners
