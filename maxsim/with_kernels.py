"""Scoring and gradients of tensors on a CPU, by the compiled kernels."""

from __future__ import annotations

from functools import cached_property

import numpy as np
import torch

from ..jit.vector import LANES
from .blocks import EACH, Blocks, Layout, PairBlocks, Score, Send
from .kernels import add_up, send_to_documents, send_to_queries
from .panels import Panels, copy_bytes, in_threads, largest, shares


class AllByKernels(Blocks):
    """All queries with all documents; winners are (documents, lanes) int32."""

    def __init__(self, layout: Layout, *, strided: bool) -> None:
        """Take what is scored, and whether the documents' vectors lie apart, so that a block's are copied."""
        super().__init__(layout, layout.filled)
        self.copied = _copied(layout, strided)

    def costs(self) -> np.ndarray:
        """Return the bytes of products and winners, of scores, and of copied vectors."""
        fixed = 2 * 4 * self._width + 2 * 4 * self.layout.shape[0] + EACH
        return fixed + self.copied * self.layout.lengths[self.order]

    def numbers(self) -> np.ndarray:
        """Return as many numbers as there are lanes."""
        return np.full(len(self.order), self._width)

    @property
    def _width(self) -> int:
        return -(-self.layout.query_tokens // LANES) * LANES

    @cached_property
    def _query_of(self) -> np.ndarray:
        lengths = np.diff(self.layout.query_offsets)
        return np.repeat(np.arange(len(lengths)), lengths)

    def scoring(self, queries: torch.Tensor, documents: torch.Tensor, *, winning: bool) -> Score:
        """As the class above says."""
        panels, vectors, width = Panels.of(_single(queries)), _readable(documents), self._width

        def score(block: slice) -> tuple[torch.Tensor, torch.Tensor | None]:
            best, winners = largest(
                vectors, self.bounds(block), panels, None, winning=winning, threads=torch.get_num_threads()
            )
            scores = np.empty((len(best) // width, self.layout.shape[0]), np.float32)
            add_up(best.reshape(-1, width), panels.lanes, self.layout.query_offsets, scores)
            return torch.from_numpy(scores).T, torch.from_numpy(winners).view(-1, width) if winning else None

        return score

    def sending(
        self,
        queries: torch.Tensor,
        documents: torch.Tensor,
        query_sums: torch.Tensor | None,
        document_sums: torch.Tensor | None,
    ) -> Send:
        """As the class above says; threads share documents for one side and query tokens for the other."""
        own = None if document_sums is None else _single(queries)

        def send(block: slice, grad: torch.Tensor, winners: torch.Tensor) -> None:
            starts, stops = self.bounds(block)
            grads, numbers = grad.to(torch.float32).T.contiguous().numpy(), winners.numpy()
            threads = torch.get_num_threads()
            if own is not None and document_sums is not None:
                sums = document_sums.numpy()

                def to_documents(part: slice) -> None:
                    send_to_documents(grads[part], self.layout.query_offsets, own, starts[part], numbers[part], sums)

                in_threads(to_documents, shares(stops - starts, threads))
            if query_sums is not None:
                totals, first = query_sums.numpy(), starts[0]
                others = _single(documents[first : stops[-1]])

                def to_queries(part: slice) -> None:
                    send_to_queries(
                        grads, self._query_of, others, starts - first, numbers, part.start, part.stop, totals
                    )

                in_threads(to_queries, shares(np.ones(len(totals), np.int64), threads))

        return send


class PairsByKernels(PairBlocks):
    """Each document with its query."""

    def __init__(self, layout: Layout, *, strided: bool) -> None:
        """Take the same."""
        super().__init__(layout, layout.filled)
        self.copied = _copied(layout, strided)

    def costs(self) -> np.ndarray:
        """Return the same bytes, whole panels counted."""
        tokens = self.layout.tokens_of[self.order]
        lanes = -(-tokens // LANES) * LANES
        return 2 * 4 * lanes + EACH * (tokens + 1) + self.copied * self.layout.lengths[self.order]

    def scoring(self, queries: torch.Tensor, documents: torch.Tensor, *, winning: bool) -> Score:
        """As the class above says."""
        panels, firsts, counts = Panels.aligned(_single(queries), self.layout.query_offsets)
        vectors, query_of = _readable(documents), self.layout.query_of
        assert query_of is not None

        def score(block: slice) -> tuple[torch.Tensor, torch.Tensor | None]:
            chosen = query_of[self.order[block]]
            runs = firsts[chosen], counts[chosen]
            best, winners = largest(
                vectors, self.bounds(block), panels, runs, winning=winning, threads=torch.get_num_threads()
            )
            tokens, owners = self.tokens(block)
            places = np.cumsum(runs[1]) - runs[1]
            lanes = panels.lanes[tokens] + ((places - runs[0]) * LANES)[owners]
            scores = np.bincount(owners, best[lanes].astype(np.float64), len(chosen)).astype(np.float32)
            return torch.from_numpy(scores), torch.from_numpy(winners[lanes]) if winning else None

        return score


def _copied(layout: Layout, strided: bool) -> int:
    """Return the bytes of a document token's copy; backward needs one of short floats."""
    return copy_bytes(layout.dim) if strided or layout.dtype != torch.float32 else 0


def _single(vectors: torch.Tensor) -> np.ndarray:
    """Return vectors as a float32 array."""
    return np.asarray(vectors.detach().to(torch.float32).contiguous())


def _readable(vectors: torch.Tensor) -> np.ndarray:
    """Return vectors as an array, bfloat16 as uint16."""
    vectors = vectors.detach()
    return np.asarray(vectors.view(torch.uint16) if vectors.dtype == torch.bfloat16 else vectors)
