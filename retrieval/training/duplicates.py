"""Batches in which no document is told to be wrong for a query that it answers.

A contrastive loss takes every other document of the batch for a negative. The same query twice, the same positive
twice, or a negative that is another example's positive would each be a false one. Imported only once training starts,
since it needs torch.
"""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
import xxhash
from sentence_transformers.base.sampler import DefaultBatchSampler, NoDuplicatesBatchSampler

from .data import NEGATIVE

ROWS_AT_ONCE = 4096


class UniqueBatchSampler(NoDuplicatesBatchSampler):
    """sentence-transformers' sampler, that compares hashes and lets examples share a negative.

    An example with a text that clashes waits for a later batch. Of pairs it makes the very batches that
    `NoDuplicatesBatchSampler` makes. That one also keeps examples apart whose negatives are the same, which harms
    nothing: mined from one collection, hard negatives come again and again, and batches would be hard to fill.
    """

    _marks: np.ndarray | None = None

    def _iter_one_pass(
        self,
        get_sample_values: Callable[[int], Any],
        has_overlap: Callable[[Any, set[Any]], bool],
    ) -> Iterator[list[int]]:
        if self._marks is None:
            self._marks = marks_of(self.dataset)
        marks = self._marks
        return super()._iter_one_pass(lambda row: marks[row].tolist(), clashes)


class ShuffledBatchSampler(DefaultBatchSampler):
    """Whole batches of the examples in an order that the seed and the epoch alone decide."""

    def __init__(self, dataset: Any, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401 - the trainer's
        super().__init__(dataset, *args, **kwargs)
        self._rows = len(dataset)

    def __iter__(self) -> Iterator[list[int]]:
        generator = torch.Generator().manual_seed(self.seed + self.epoch)
        order = torch.randperm(self._rows, generator=generator).tolist()
        for begin in range(0, len(self) * self.batch_size, self.batch_size):
            yield order[begin : begin + self.batch_size]

    def __len__(self) -> int:
        return self._rows // self.batch_size


def marks_of(examples: Any) -> np.ndarray:  # noqa: ANN401 - a Dataset, whose import takes a second
    """Return a number for every text of every example, (examples, columns) uint64.

    A text's number is even where the example has it for query or positive, and one more where it has it for a negative.

    Args:
        examples: Columns query, positive, negative_1 and so on.
    """
    negatives = [name for name in examples.column_names if name.startswith(NEGATIVE)]
    names = ["query", "positive", *negatives]
    marks = np.empty((len(examples), len(names)), dtype=np.uint64)
    begin = 0
    for table in examples.with_format("arrow").iter(ROWS_AT_ONCE):
        for place, name in enumerate(names):
            hashes = [xxhash.xxh3_64_intdigest(text.encode()) for text in table.column(name).to_pylist()]
            marks[begin : begin + len(hashes), place] = hashes
        begin += len(table)
    marks &= ~np.uint64(1)
    marks[:, 2:] |= np.uint64(1)
    return marks


def clashes(example: list[int], batch: set[int]) -> bool:
    """Say whether an example has a text that one in the batch has too, but for negatives of both.

    Args:
        example: Its marks.
        batch: The marks of all examples that are in the batch.
    """
    return any(mark ^ 1 in batch or (not mark & 1 and mark in batch) for mark in example)
