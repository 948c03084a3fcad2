"""Tokens to codes: nearest centroids, packed levels, scales.

What a token becomes depends on the token and the codec alone, however the tokens are cut into blocks.
"""

from functools import cache
from types import ModuleType

import numpy as np

from .assign import Assigner
from .codec import Codec, scaled

_BLOCK = 4096  # tokens whose levels are found at once: they stay in the cache
_WEIGHT = np.float32(10)  # of the error along a token, against that across it
_ROUNDS = 3
_TINY = np.float32(1e-30)  # stands for a length of 0


class Encoder:
    """Codes tokens.

    Attributes:
        codec: How.
        spherical: Whether all tokens have length 1.
    """

    def __init__(self, codec: Codec, spherical: bool) -> None:
        self.codec = codec
        self.spherical = spherical
        self._assigner = Assigner(codec, spherical)
        largest = max(float(np.abs(codec.centroids).max(initial=0)), float(codec.steps.max())) or 1.0
        # A power of two, so that it changes no result, and high powers of tokens neither overflow nor vanish.
        self._power = np.float32(2.0 ** -round(np.log2(largest)))

    def assign(self, tokens: np.ndarray) -> np.ndarray:
        """Return the number of the nearest centroid of each token (n, dim) float32."""
        return self._assigner.assign(tokens)

    def pack(self, tokens: np.ndarray, codes: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
        """Return packed residuals and scales of tokens.

        Args:
            tokens: (n, dim) float32.
            codes: (n,) numbers of their centroids.

        Returns:
            residuals (n, width) uint8, and scales (n,) uint8 or None.
        """
        residuals = np.empty((len(tokens), self.codec.width), np.uint8)
        scales = np.empty(len(tokens), np.uint8) if self.codec.scaled else None
        for start in range(0, len(tokens), _BLOCK):
            part = slice(start, start + _BLOCK)
            levels = self._levels(tokens[part], codes[part])
            residuals[part] = self.codec.pack(levels)
            if scales is not None:
                scales[part] = self._scales(tokens[part], codes[part], residuals[part])
        return residuals, scales

    def _levels(self, tokens: np.ndarray, codes: np.ndarray) -> np.ndarray:
        """Return the levels of tokens, (n, padded) uint8."""
        packing = chosen_packing()
        codec, top = self.codec, np.float32((1 << self.codec.nbits) - 1)
        columns = _columns(tokens, packing.LANES, self._power)
        rest = columns - _columns(codec.centroids[codes], packing.LANES, self._power)
        near_one = codec.steps * self._power
        steps = near_one[:, None]
        levels = np.floor(rest * (1 / steps) + np.float32(1 << (codec.nbits - 1)))
        np.clip(levels, 0, top, out=levels)
        error = (levels - top / 2) * steps - rest
        if codec.scaled:
            packing.turn(columns, columns + error, levels, near_one, top, _ROUNDS)
        elif codec.nbits == 4:
            lengths = np.sqrt((columns**2).sum(1, keepdims=True))
            packing.weigh_parallel(columns / np.maximum(lengths, _TINY), error, levels, near_one, top, _WEIGHT)
        found = np.zeros((len(tokens), codec.padded), np.uint8)
        found[:, : codec.dim] = levels.transpose(0, 2, 1).reshape(-1, codec.dim)[: len(tokens)]
        return found

    def _scales(self, tokens: np.ndarray, codes: np.ndarray, residuals: np.ndarray) -> np.ndarray:
        decoded = self.codec.decode(codes, residuals, None)
        lengths = np.sqrt((decoded**2).sum(1))
        return scaled(np.sqrt((tokens**2).sum(1)) / np.maximum(lengths, _TINY))

    def distances(self, tokens: np.ndarray) -> np.ndarray:
        """Return the squared distance of tokens from their centroids, (n,) float32."""
        rest = tokens - self.codec.centroids[self.assign(tokens)]
        return np.asarray((rest**2).sum(1))


@cache
def chosen_packing() -> ModuleType:
    """Return the module that chooses levels: the compiled one, or the plain one where numba is missing."""
    try:
        from . import packing
    except ImportError:
        from . import plain_packing

        return plain_packing
    return packing


def _columns(rows: np.ndarray, lanes: int, scale: np.float32) -> np.ndarray:
    """Return scaled rows (n, dim) as columns side by side, (groups, dim, lanes), zeros in the last group's rest."""
    groups = -(-len(rows) // lanes)
    whole = np.zeros((groups * lanes, rows.shape[1]), np.float32)
    np.multiply(rows, scale, out=whole[: len(rows)])
    return np.ascontiguousarray(whole.reshape(groups, lanes, -1).transpose(0, 2, 1))
