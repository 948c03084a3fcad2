"""What there is to score, cut into blocks of documents, and what every way of scoring a block has in common."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch

from .cutting import cut

EACH = 80
"""Bytes of numbers, weights and their sums for a query token and a document, and for a document, at most."""

Score = Callable[[slice], tuple[torch.Tensor, torch.Tensor | None]]
"""Returns a block's scores, (queries, n) or (n,), and, if wanted, the numbers of the winning tokens."""
Send = Callable[[slice, torch.Tensor, torch.Tensor], None]
"""Adds the gradients of a block, given the gradient of its scores and its winners, to the sums that are wanted."""


@dataclass(frozen=True)
class Layout:
    """Which tokens belong together, and what is scored with what.

    Attributes:
        query_offsets: (queries + 1,) int64.
        document_offsets: (documents + 1,) int64.
        query_of: (documents,) int64, the query that each document is scored with; None for all queries.
        dim: Length of the vectors.
        dtype: Their type.
        memory: Bytes that may be taken.
    """

    query_offsets: np.ndarray
    document_offsets: np.ndarray
    query_of: np.ndarray | None
    dim: int
    dtype: torch.dtype
    memory: int

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the scores."""
        documents = len(self.document_offsets) - 1
        return (documents,) if self.query_of is not None else (len(self.query_offsets) - 1, documents)

    @property
    def sum_type(self) -> torch.dtype:
        """The type that sums over products are made in."""
        return torch.float64 if self.dtype == torch.float64 else torch.float32

    @property
    def vector_bytes(self) -> int:
        """Bytes of a vector and of its copy in the type of sums."""
        return self.dim * (self.dtype.itemsize + self.sum_type.itemsize)

    @property
    def query_tokens(self) -> int:
        """Tokens of all queries."""
        return int(self.query_offsets[-1])

    @cached_property
    def filled(self) -> np.ndarray:
        """Numbers of the documents that have tokens and a query with tokens, int64."""
        having = np.diff(self.document_offsets) > 0
        if self.query_of is not None:
            having &= np.diff(self.query_offsets)[self.query_of] > 0
        elif not self.query_tokens:
            having[:] = False
        return np.flatnonzero(having)

    @cached_property
    def lengths(self) -> np.ndarray:
        """How many tokens each document has, (documents,) int64."""
        return np.diff(self.document_offsets)

    @cached_property
    def tokens_of(self) -> np.ndarray:
        """How many query tokens each document is scored with, (documents,) int64."""
        if self.query_of is not None:
            return np.diff(self.query_offsets)[self.query_of]
        return np.full(self.shape[-1], self.query_tokens)


class Blocks(ABC):
    """A way of scoring, block by block.

    Half of the memory is for the numbers of the winners, if they are kept; a block has the other half.

    Attributes:
        layout: What is scored.
        order: (n,) int64, numbers of the documents with something to score, in the order in which they are.
    """

    def __init__(self, layout: Layout, order: np.ndarray) -> None:
        self.layout = layout
        self.order = order

    def __iter__(self) -> Iterator[slice]:
        """Yield runs of `order` that fit in half of the memory, one document at least."""
        return cut(self.costs(), self.layout.memory // 2)

    @abstractmethod
    def costs(self) -> np.ndarray:
        """Return the bytes that each document of `order` takes while it is scored, (n,) int64."""

    def numbers(self) -> np.ndarray:
        """Return how many numbers of winners are kept of each document of `order`."""
        return self.layout.tokens_of[self.order]

    @property
    def numbers_fit(self) -> bool:
        """Whether the numbers of all winners may be kept."""
        return 4 * int(self.numbers().sum()) <= self.layout.memory // 2

    def rows(self, block: slice) -> torch.Tensor:
        """Return the numbers of a block's documents."""
        return torch.from_numpy(self.order[block])

    def bounds(self, block: slice) -> tuple[np.ndarray, np.ndarray]:
        """Return where the tokens of a block's documents begin and end."""
        numbers = self.order[block]
        return self.layout.document_offsets[numbers], self.layout.document_offsets[numbers + 1]

    @abstractmethod
    def scoring(self, queries: torch.Tensor, documents: torch.Tensor, *, winning: bool) -> Score:
        """Return what scores a block.

        Args:
            queries: (tokens, dim).
            documents: (tokens, dim).
            winning: Whether the winners are wanted.
        """

    @abstractmethod
    def sending(
        self,
        queries: torch.Tensor,
        documents: torch.Tensor,
        query_sums: torch.Tensor | None,
        document_sums: torch.Tensor | None,
    ) -> Send:
        """Return what adds the gradients of a block to those sums that are wanted.

        Args:
            queries: (tokens, dim).
            documents: (tokens, dim).
            query_sums: (tokens, dim) of the type of sums.
            document_sums: (tokens, dim) of the type of sums.
        """


class PairBlocks(Blocks):
    """Documents with a query each; winners are the numbers of document tokens, (query tokens of the block,) int32."""

    def tokens(self, block: slice) -> tuple[np.ndarray, np.ndarray]:
        """Return all query tokens that a block's documents are scored with, and the place in the block of each."""
        assert self.layout.query_of is not None
        chosen = self.layout.query_of[self.order[block]]
        lengths = np.diff(self.layout.query_offsets)[chosen]
        ends = np.cumsum(lengths)
        tokens = np.arange(ends[-1]) + np.repeat(self.layout.query_offsets[chosen] - (ends - lengths), lengths)
        return tokens, np.repeat(np.arange(len(chosen)), lengths)

    def sending(
        self,
        queries: torch.Tensor,
        documents: torch.Tensor,
        query_sums: torch.Tensor | None,
        document_sums: torch.Tensor | None,
    ) -> Send:
        """Return what gathers the winners' vectors and adds them, as many at once as fit in memory."""
        dtype = self.layout.sum_type
        at_once = max(1, self.layout.memory // (4 * self.layout.vector_bytes))

        def send(block: slice, grad: torch.Tensor, winners: torch.Tensor) -> None:
            tokens, owners = self.tokens(block)
            starts, _ = self.bounds(block)
            own, firsts, places = (
                torch.from_numpy(array).to(grad.device) for array in (tokens, starts[owners], owners)
            )
            other = firsts + winners
            for first in range(0, len(tokens), at_once):
                part = slice(first, first + at_once)
                weights = grad[places[part]].to(dtype)[:, None]
                for sums, source, to, of in (
                    (query_sums, documents, own[part], other[part]),
                    (document_sums, queries, other[part], own[part]),
                ):
                    if sums is not None:
                        sums.index_add_(0, to, source[of].to(dtype).mul_(weights))

        return send
