"""Samples of tokens: those of random documents, so that reading them from a disk costs little."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .ragged import pieces
from .uncompressed import Decode

_PIECE = 1 << 14


@dataclass(frozen=True)
class Source:
    """Documents to draw from.

    Attributes:
        offsets: (documents + 1,) int64.
        decode: Gives their tokens.
    """

    offsets: np.ndarray
    decode: Decode


def sampled(sources: Sequence[Source], size: int, seed: int) -> np.ndarray:
    """Return the tokens of random documents.

    Args:
        sources: Where the documents are; there are tokens in them.
        size: How many tokens, where there are that many.
        seed: Of the choice.

    Returns:
        (≤ size, dim) float32, in the order of the documents.
    """
    lengths = np.concatenate([np.diff(source.offsets) for source in sources])
    order = np.random.default_rng(seed).permutation(len(lengths))
    enough = int(np.searchsorted(np.cumsum(lengths[order]), size)) + 1
    chosen = np.sort(order[:enough])
    bounds = np.cumsum([0, *(len(source.offsets) - 1 for source in sources)])
    found = []
    for source, first, last in zip(sources, bounds[:-1], bounds[1:], strict=True):
        rows = chosen[(chosen >= first) & (chosen < last)] - first
        found += [source.decode(piece.tokens) for piece in pieces(source.offsets, rows, _PIECE)]
    return np.concatenate(found)[:size]
