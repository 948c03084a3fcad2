"""Batches that hold a number of tokens, not a number of texts.

Texts of like length share a batch, so that a batch costs about the same time and memory whatever the texts' length:
a network that pads pads little, and one that does not has attention windows that fit.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TypeVar

import numpy as np

T = TypeVar("T")


def token_budget_batches(lengths: Sequence[int] | np.ndarray, budget: int, padded: bool = True) -> Iterator[np.ndarray]:
    """Yield batches of text numbers, longest texts first, each batch within `budget` tokens.

    Args:
        lengths: Tokens of each text.
        budget: Tokens a batch may hold; a text longer than that gets a batch of its own.
        padded: Count a text as long as the longest of its batch, for networks that compute on padding; else count
            the tokens that are there.

    Yields:
        (n,) int64 positions in `lengths`; each position comes once.
    """
    sizes = np.asarray(lengths, dtype=np.int64)
    order = np.argsort(-sizes, kind="stable")
    falling = sizes[order]
    until = np.concatenate([[0], falling.cumsum()])
    start = 0
    while start < len(order):
        if padded:
            end = start + budget // max(1, int(falling[start]))
        else:
            end = int(np.searchsorted(until, until[start] + budget, side="right")) - 1
        end = max(end, start + 1)
        yield order[start:end]
        start = end


def bounded_blocks(items: Iterable[T], most: int, size: Callable[[T], int], enough: int) -> Iterator[list[T]]:
    """Yield the items in lists that end with `most` items, or as soon as their sizes add up to `enough`."""
    block: list[T] = []
    held = 0
    for item in items:
        block.append(item)
        held += size(item)
        if len(block) >= most or held >= enough:
            yield block
            block, held = [], 0
    if block:
        yield block
