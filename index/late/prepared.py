"""Memory for one query at a time: the query in integers and its scores with all centroids.

It is kept from query to query, since fresh memory of this size costs as much time as what is written into it. One
thread uses it at a time.
"""

from dataclasses import dataclass

import numpy as np

from .codec import Codec
from .kernels.instructions import Instructions
from .kernels.queries import quantise, score_centroids

_KEPT_LANES = 64


@dataclass(frozen=True)
class Centroids:
    """The centroids of a codec in bytes, and what belongs to them.

    Bytes hold the differences from the mean of all, since where tokens share a large part, bytes of the whole would
    leave little to what tells them apart.

    Attributes:
        levels: (K, padded) uint8; 128 is zero.
        factors: (K,) float32, what a level of a row is worth.
        longest: Norm of the longest centroid, its mean included.
        mean: (dim,) float32, mean of the centroids.
    """

    levels: np.ndarray
    factors: np.ndarray
    longest: np.float32
    mean: np.ndarray

    @classmethod
    def of(cls, codec: Codec) -> "Centroids":
        """Quantise the centroids less their mean, each row by its largest number."""
        mean = codec.centroids.mean(axis=0)
        rows = codec.centroids - mean
        largest = np.maximum(np.abs(rows).max(axis=1, initial=0), np.float32(1e-30))
        factors = (largest / np.float32(127)).astype(np.float32)
        levels = np.full((len(rows), codec.padded), 128, np.uint8)
        levels[:, : codec.dim] = np.rint(rows / factors[:, None]).astype(np.int16) + 128
        longest = np.float32(np.sqrt(np.einsum("kd,kd->k", codec.centroids, codec.centroids).max(initial=0)))
        return cls(levels, factors, longest, mean)


class PreparedQuery:
    """A query, made ready by `prepare`.

    Attributes:
        units: (lanes,) float64, what one unit of a lane's integers is worth; 0 for lanes that are zero.
        worths: (lanes,) float64, what 1 in a lane's maxima is worth: less than a unit where tokens have scales.
        far: (lanes · padded,) int8, the query to multiply with levels of residuals.
        starts: (K · lanes,) int32, scores with centroids in units.
        coarse: (K · lanes,) uint8, the same in bytes.
        step: What a step of a byte is worth.
        sums: (documents,) uint32, accumulators.
    """

    def __init__(self, codec: Codec, centroids: Centroids, documents: int, instructions: Instructions) -> None:
        self.codec = codec
        self.centroids = centroids
        self.instructions = instructions
        self._scoring = Instructions(instructions.name, 8)  # centroids are bytes
        self.sums = np.zeros(documents, np.uint32)
        self.step = 0.0
        self._capacity = 0

    def prepare(self, query: np.ndarray) -> None:
        """Quantise a query and score all centroids.

        Args:
            query: (tokens, dim) float32, contiguous and writable, at least one token.
        """
        lanes = -(-len(query) // 16) * 16
        if lanes > self._capacity:
            self._reserve(lanes)
        padded, rows, centroids = self.codec.padded, len(self.centroids.levels), self.centroids
        near, far = self._near[: lanes * padded], self._far[: lanes * padded]
        near.fill(0)
        far.fill(0)
        numbers = (self._corrections[:lanes], self._factors[:lanes], self._summands[:lanes])
        self.units, self.far = self._units[:lanes], far
        self.starts, self.coarse = self._starts[: rows * lanes], self._coarse[: rows * lanes]
        quantise(query, self.codec.steps, self.codec.nbits, centroids.longest, near, far, *numbers, self.units)
        self._add_mean(query)
        self.step = score_centroids(
            self._scoring,
            centroids.levels.ctypes.data,
            rows,
            padded,
            near,
            centroids.factors.ctypes.data,
            *numbers,
            self.units,
            self.starts,
            self.coarse,
        )
        self.worths = self.units / 510 if self.codec.scaled else self.units

    def _add_mean(self, query: np.ndarray) -> None:
        """Add the score with the mean of the centroids to what the levels begin at."""
        live = np.flatnonzero(self.units)
        self._summands[live] += (query[live].astype(np.float64) @ self.centroids.mean) / self.units[live]

    @property
    def small(self) -> bool:
        """Whether it is worth keeping."""
        return self._capacity <= _KEPT_LANES

    def _reserve(self, lanes: int) -> None:
        rows, padded = len(self.centroids.levels), self.codec.padded
        self._near, self._far = np.empty(lanes * padded, np.int8), np.empty(lanes * padded, np.int8)
        self._corrections = np.empty(lanes, np.int32)
        self._factors, self._summands = np.empty(lanes, np.float32), np.empty(lanes, np.float32)
        self._units = np.empty(lanes, np.float64)
        self._starts, self._coarse = np.empty(rows * lanes, np.int32), np.empty(rows * lanes, np.uint8)
        self._capacity = lanes
