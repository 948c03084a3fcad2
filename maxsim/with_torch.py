"""Scoring and gradients in torch's own operations: for CUDA, float64, and where numba is missing.

Documents of like length share a block and are filled up to its longest by repeating the last token of each, which
changes no maximum. A block is reckoned as if all of its documents were as long. Gradients of all pairs are sums of
gathered rows (`embedding_bag`), in an order that does not vary.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch.nn.functional import embedding_bag, pad

from .blocks import EACH, Blocks, Layout, PairBlocks, Score, Send
from .cutting import cut

_COPIES = 3  # products, and what a maximum over them takes
_PLACE = 48  # bytes of a token's numbers


class _Filled:
    """The tokens of some texts, all as many as the longest has.

    Attributes:
        rows: (texts, longest) int64, numbers of tokens.
        ends: (texts,) int64, number of the last token within its text.
        longest: Tokens of the longest.
    """

    def __init__(self, starts: np.ndarray, stops: np.ndarray, device: torch.device) -> None:
        first, lengths = (torch.from_numpy(array).to(device) for array in (starts, stops - starts))
        self.ends = lengths - 1
        self.longest = int((stops - starts).max())
        places = torch.arange(self.longest, device=device)
        self.rows = first[:, None] + torch.minimum(places, self.ends[:, None])


class _ByLength(Blocks):
    """Blocks of filled documents, the longest first: a quarter of the memory for them, and one for their products."""

    def __init__(self, layout: Layout, device: torch.device) -> None:
        lengths = layout.lengths[layout.filled]
        super().__init__(layout, layout.filled[np.argsort(-lengths, kind="stable")])
        self.device = device

    def __iter__(self) -> Iterator[slice]:
        """Yield runs of `order`."""
        return cut(self.costs(), self.layout.memory // 4, alike=True)

    def costs(self) -> np.ndarray:
        """Return the bytes of a document's vectors and of the winners of its query tokens."""
        vectors = (_PLACE + self.layout.vector_bytes) * self.layout.lengths[self.order]
        return vectors + EACH * (self.layout.tokens_of.max(initial=0) + 1)

    def parts(self, count: int, each: int) -> Iterator[slice]:
        """Yield runs of so many query tokens, of which each takes so many bytes while it is multiplied."""
        step = max(1, self.layout.memory // 4 // each)
        for first in range(0, count, step):
            yield slice(first, first + step)


class AllByTorch(_ByLength):
    """All queries with all documents; winners are (query tokens, documents) int32."""

    def scoring(self, queries: torch.Tensor, documents: torch.Tensor, *, winning: bool) -> Score:
        """As the class above says."""
        layout = self.layout
        offsets = torch.from_numpy(layout.query_offsets).to(self.device)

        def score(block: slice) -> tuple[torch.Tensor, torch.Tensor | None]:
            filled = _Filled(*self.bounds(block), self.device)
            shape = (layout.query_tokens, len(filled.ends))
            best = torch.empty(shape, dtype=layout.sum_type, device=self.device)
            winners = torch.empty(shape, dtype=torch.int32, device=self.device) if winning else None
            tokens = documents[filled.rows.view(-1)]
            each = shape[1] * (_COPIES * layout.dtype.itemsize * filled.longest + EACH)
            for part in self.parts(shape[0], each):
                products = (queries[part] @ tokens.T).view(-1, *filled.rows.shape)
                if winners is None:
                    best[part] = products.amax(2)
                    continue
                found = products.max(2)
                best[part] = found.values
                winners[part] = torch.minimum(found.indices, filled.ends)
            return torch.segment_reduce(best, "sum", offsets=offsets, axis=0, initial=0, unsafe=True), winners

        return score

    def sending(
        self,
        queries: torch.Tensor,
        documents: torch.Tensor,
        query_sums: torch.Tensor | None,
        document_sums: torch.Tensor | None,
    ) -> Send:
        """As the class above says."""
        dtype = self.layout.sum_type
        lengths = torch.from_numpy(np.diff(self.layout.query_offsets)).to(self.device)
        own = None if document_sums is None else queries.to(dtype)

        def send(block: slice, grad: torch.Tensor, winners: torch.Tensor) -> None:
            filled = _Filled(*self.bounds(block), self.device)
            places = torch.arange(len(filled.ends), device=self.device) * filled.longest
            weights = grad.to(dtype).repeat_interleave(lengths, dim=0, output_size=self.layout.query_tokens)
            numbers, rows = winners + places, filled.rows.view(-1)
            if query_sums is not None:
                query_sums.add_(
                    embedding_bag(numbers, documents[rows].to(dtype), per_sample_weights=weights, mode="sum")
                )
            if own is not None and document_sums is not None:
                flat = numbers.view(-1)
                order = flat.argsort(stable=True)
                ends = torch.bincount(flat, minlength=len(rows)).cumsum(0)
                gathered = embedding_bag(
                    order // len(places),
                    own,
                    pad(ends[:-1], (1, 0)),
                    per_sample_weights=weights.view(-1)[order],
                    mode="sum",
                )
                document_sums.index_add_(0, rows, gathered)

        return send


class PairsByTorch(_ByLength, PairBlocks):
    """Each document with its query."""

    def scoring(self, queries: torch.Tensor, documents: torch.Tensor, *, winning: bool) -> Score:
        """As the class above says."""
        layout, query_of = self.layout, self.layout.query_of
        assert query_of is not None

        def score(block: slice) -> tuple[torch.Tensor, torch.Tensor | None]:
            starts, stops = (layout.query_offsets[query_of[self.order[block]] + side] for side in (0, 1))
            own, filled = _Filled(starts, stops, self.device), _Filled(*self.bounds(block), self.device)
            best = torch.empty(own.rows.shape, dtype=layout.sum_type, device=self.device)
            winners = torch.empty(own.rows.shape, dtype=torch.int32, device=self.device) if winning else None
            tokens = documents[filled.rows].transpose(1, 2)
            each = len(own.ends) * (layout.dtype.itemsize * (_COPIES * filled.longest + layout.dim) + EACH)
            for part in self.parts(own.longest, each):
                found = torch.bmm(queries[own.rows[:, part]], tokens).max(2)
                best[:, part] = found.values
                if winners is not None:
                    winners[:, part] = torch.minimum(found.indices, filled.ends[:, None])
            real = torch.arange(own.longest, device=self.device) <= own.ends[:, None]
            return best.where(real, 0).sum(1), None if winners is None else winners[real]

        return score
