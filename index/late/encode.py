"""Tokens to codes: nearest centroids, packed levels, scales.

What a token becomes depends on the token and the codec alone, however the tokens are cut into blocks.
"""

import numpy as np

from .assign import Assigner
from .codec import Codec, scaled

_BLOCK = 4096  # tokens whose levels are found at once: they stay in the cache
_TINY = np.float32(1e-6)


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
            residuals[part] = self._levels(tokens[part], codes[part])
            if scales is not None:
                scales[part] = self._scales(tokens[part], codes[part], residuals[part])
        return residuals, scales

    def _levels(self, tokens: np.ndarray, codes: np.ndarray) -> np.ndarray:
        codec = self.codec
        levels = np.zeros((len(tokens), codec.padded), np.uint8)
        scaled_rest = self.codec.centroids[codes]
        np.subtract(tokens, scaled_rest, out=scaled_rest)
        scaled_rest *= 1 / codec.steps
        scaled_rest += np.float32(1 << (codec.nbits - 1))
        np.clip(scaled_rest, 0, (1 << codec.nbits) - 1, out=scaled_rest)
        levels[:, : codec.dim] = scaled_rest  # rounds down, as none is negative
        return codec.pack(levels)

    def _scales(self, tokens: np.ndarray, codes: np.ndarray, residuals: np.ndarray) -> np.ndarray:
        decoded = self.codec.decode(codes, residuals, None)
        lengths = np.sqrt((decoded**2).sum(1))
        return scaled(np.sqrt((tokens**2).sum(1)) / np.maximum(lengths, _TINY))

    def distances(self, tokens: np.ndarray) -> np.ndarray:
        """Return the squared distance of tokens from their centroids, (n,) float32."""
        rest = tokens - self.codec.centroids[self.assign(tokens)]
        return np.asarray((rest**2).sum(1))
