"""Scoring and gradients of tensors on a CPU, by the compiled kernels."""

from __future__ import annotations

from functools import cached_property

import numpy as np
import torch

from ..jit.vector import LANES
from .blocks import Blocks, Layout, PairBlocks
from .kernels import add_up, send_to_documents, send_to_queries
from .panels import Panels, in_threads, largest, shares


class AllByKernels(Blocks):
    """All queries with all documents; winners are (documents, lanes) int32."""

    def __init__(self, layout: Layout) -> None:
        super().__init__(layout, layout.filled)

    @cached_property
    def _query_of(self) -> np.ndarray:
        lengths = np.diff(self.layout.query_offsets)
        return np.repeat(np.arange(len(lengths)), lengths)

    def forward(
        self, block: slice, queries: torch.Tensor, documents: torch.Tensor, *, winning: bool
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """As the class above says."""
        panels = Panels.of(_single(queries))
        best, winners = largest(
            _readable(documents),
            self.bounds(block),
            panels,
            None,
            winning=winning,
            threads=torch.get_num_threads(),
        )
        width = len(panels) * LANES
        scores = np.empty((len(best) // width, len(self.layout.query_offsets) - 1), np.float32)
        add_up(best.reshape(-1, width), panels.lanes, self.layout.query_offsets, scores)
        return torch.from_numpy(scores).T, torch.from_numpy(winners).view(-1, width) if winning else None

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
        """As the class above says; threads share documents for one side and query tokens for the other."""
        starts, stops = self.bounds(block)
        grads, numbers = grad.to(torch.float32).T.contiguous().numpy(), winners.numpy()
        threads = torch.get_num_threads()
        if document_sums is not None:
            vectors, sums = _single(queries), document_sums.numpy()

            def to_documents(part: slice) -> None:
                send_to_documents(grads[part], self.layout.query_offsets, vectors, starts[part], numbers[part], sums)

            in_threads(to_documents, shares(stops - starts, threads))
        if query_sums is not None:
            own, others = query_sums.numpy(), _single(documents)

            def to_queries(part: slice) -> None:
                send_to_queries(grads, self._query_of, others, starts, numbers, part.start, part.stop, own)

            in_threads(to_queries, shares(np.ones(len(own), np.int64), threads))


class PairsByKernels(PairBlocks):
    """Each document with its query."""

    def __init__(self, layout: Layout) -> None:
        super().__init__(layout, layout.filled)

    def costs(self) -> np.ndarray:
        """Return bytes as above, whole panels counted."""
        return -(-super().costs() // (8 * LANES)) * 8 * LANES

    def forward(
        self, block: slice, queries: torch.Tensor, documents: torch.Tensor, *, winning: bool
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """As the class above says."""
        assert self.layout.query_of is not None
        panels, firsts, counts = Panels.aligned(_single(queries), self.layout.query_offsets)
        chosen = self.layout.query_of[self.order[block]]
        runs = firsts[chosen], counts[chosen]
        best, winners = largest(
            _readable(documents),
            self.bounds(block),
            panels,
            runs,
            winning=winning,
            threads=torch.get_num_threads(),
        )
        tokens, owners = self.tokens(block)
        places = np.cumsum(runs[1]) - runs[1]
        lanes = panels.lanes[tokens] + ((places - runs[0]) * LANES)[owners]
        scores = np.bincount(owners, best[lanes].astype(np.float64), len(chosen)).astype(np.float32)
        return torch.from_numpy(scores), torch.from_numpy(winners[lanes]) if winning else None


def _single(vectors: torch.Tensor) -> np.ndarray:
    """Return vectors as a float32 array."""
    return np.asarray(vectors.detach().to(torch.float32).contiguous())


def _readable(vectors: torch.Tensor) -> np.ndarray:
    """Return vectors as an array that the kernels read, bfloat16 as uint16."""
    vectors = vectors.detach().contiguous()
    return np.asarray(vectors.view(torch.uint16) if vectors.dtype == torch.bfloat16 else vectors)
