"""Batches that hold a number of tokens, not a number of texts.

Texts of like length share a batch, so that little is padded, and a batch costs about the same memory whatever the
texts' length.
"""

from collections.abc import Iterator, Sequence

import numpy as np


def token_budget_batches(lengths: Sequence[int], budget: int) -> Iterator[np.ndarray]:
    """Yield batches of text numbers, longest texts first, each batch within `budget` tokens when padded.

    Args:
        lengths: Tokens of each text.
        budget: Tokens a batch may hold; a text longer than that gets a batch of its own.

    Yields:
        (n,) int64 positions in `lengths`; each position comes once.
    """
    order = np.argsort(-np.asarray(lengths, dtype=np.int64), kind="stable")
    start = 0
    while start < len(order):
        size = max(1, budget // max(1, lengths[order[start]]))
        yield order[start : start + size]
        start += size
