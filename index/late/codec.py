"""The codec of token vectors: a centroid's number and the rest in a few bits a dimension.

The rest is rounded to equally spaced levels whose step is fitted to each dimension, so that a step can be multiplied
into the query and the product of a query with a token's levels is one of integers. A codec only ever grows: a later
version has the rows of the one before, unchanged, and more, so what was coded with the one reads with the other.
"""

from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np

from ...errors import ModernirError
from ..arrays import read_arrays, write_arrays

FORMAT = 1
# Steps of the uniform quantisers with 4, 16 and 256 levels that distort a Gaussian of deviation 1 least, after J. Max,
# "Quantizing for minimum distortion" (1960); the last by the same equations.
STEPS = {2: 0.9957, 4: 0.3352, 8: 0.0308}
_SCALE = np.float32(255)


@dataclass(frozen=True)
class Codec:
    """How tokens are coded.

    Attributes:
        centroids: (K, dim) float32.
        cells: (cells, dim) float32, a coarser set of centroids, by which the nearest centroid is looked for.
        steps: (dim,) float32, distance of two levels in each dimension.
        nbits: Bits of a level: 2, 4 or 8.
        version: 1, and one more each time that centroids were appended.
        mean: Mean squared distance of a token from its centroid in the training sample.
        tail: Its 99th percentile.
    """

    centroids: np.ndarray
    cells: np.ndarray
    steps: np.ndarray
    nbits: int
    version: int
    mean: float
    tail: float

    @property
    def dim(self) -> int:
        """Dimensions of a token."""
        return int(self.centroids.shape[1])

    @property
    def padded(self) -> int:
        """Dimensions of a token's levels: `dim` rounded up to a multiple of 16."""
        return -(-self.dim // 16) * 16

    @property
    def width(self) -> int:
        """Bytes of a token's levels."""
        return self.padded * self.nbits // 8

    @property
    def scaled(self) -> bool:
        """Whether a token has a scale, which gives the decoded token its length back: at 2 bits only."""
        return self.nbits == 2

    @property
    def code_type(self) -> np.dtype:
        """Type of a centroid's number."""
        return np.dtype(np.uint16 if len(self.centroids) <= 1 << 16 else np.uint32)

    @property
    def token_bytes(self) -> int:
        """Bytes of a coded token, postings not counted."""
        return self.width + self.code_type.itemsize + self.scaled

    @property
    def nbytes(self) -> int:
        """Bytes of its file, about."""
        return 2 * (self.centroids.size + self.cells.size)

    @cached_property
    def padded_steps(self) -> np.ndarray:
        """(padded,) float32, `steps` and zeros."""
        return np.concatenate([self.steps, np.zeros(self.padded - self.dim, np.float32)])

    def unpack(self, residuals: np.ndarray) -> np.ndarray:
        """Return the levels of packed residuals (n, width) uint8 as (n, padded) uint8."""
        mask = np.uint8((1 << self.nbits) - 1)
        parts = [(residuals >> np.uint8(shift)) & mask for shift in range(0, 8, self.nbits)]
        return np.concatenate(parts, axis=1)

    def pack(self, levels: np.ndarray) -> np.ndarray:
        """Return (n, padded) levels as (n, width) uint8: byte j has dimension p·width + j in its bits nbits·p…."""
        packed = levels[:, : self.width].astype(np.uint8)
        for p in range(1, 8 // self.nbits):
            packed |= levels[:, p * self.width : (p + 1) * self.width].astype(np.uint8) << np.uint8(self.nbits * p)
        return packed

    def decode(self, codes: np.ndarray, residuals: np.ndarray, scales: np.ndarray | None) -> np.ndarray:
        """Return coded tokens as vectors.

        Args:
            codes: (n,) numbers of centroids.
            residuals: (n, width) uint8.
            scales: (n,) uint8, None where the codec has none.

        Returns:
            (n, dim) float32: centroid + (level − (2^nbits − 1) / 2) · step, times the scale.
        """
        tokens = self.unpack(residuals)[:, : self.dim].astype(np.float32)
        tokens -= np.float32(((1 << self.nbits) - 1) / 2)
        tokens *= self.steps
        tokens += self.centroids[codes]
        if scales is not None:
            tokens *= unscaled(scales)[:, None]
        return tokens

    def extended(self, centroids: np.ndarray, cells: np.ndarray) -> "Codec":
        """Return the next version of the codec, with more centroids behind those that are there."""
        return replace(
            self,
            centroids=np.concatenate([self.centroids, storable(centroids)]),
            cells=np.concatenate([self.cells, storable(cells)]),
            version=self.version + 1,
        )

    def write(self, path: Path) -> None:
        """Write the codec to a file, which appears whole or not at all."""
        kind = np.float16 if _fits(self.centroids) and _fits(self.cells) else np.float32
        arrays = {
            "centroids": self.centroids.astype(kind),
            "cells": self.cells.astype(kind),
            "steps": self.steps,
            "statistics": np.array([self.mean, self.tail], np.float64),
        }
        numbers = {"format": FORMAT, "nbits": self.nbits, "version": self.version}
        write_arrays(path, arrays, {name: str(number) for name, number in numbers.items()})

    @classmethod
    def read(cls, path: Path) -> "Codec":
        """Read a codec.

        Raises:
            ModernirError: The file is missing, damaged, or of a later modernir.
        """
        arrays, metadata = read_arrays(path)
        try:
            if int(metadata["format"]) > FORMAT:
                raise ModernirError(f"{path}: written by a later modernir (format {metadata['format']}); upgrade")
            mean, tail = arrays["statistics"].tolist()
            return cls(
                centroids=arrays["centroids"].astype(np.float32),
                cells=arrays["cells"].astype(np.float32),
                steps=arrays["steps"].copy(),
                nbits=int(metadata["nbits"]),
                version=int(metadata["version"]),
                mean=mean,
                tail=tail,
            )
        except (KeyError, ValueError) as error:
            raise ModernirError(f"{path}: damaged ({error}); rebuild the index or restore the file") from error


def scaled(factors: np.ndarray) -> np.ndarray:
    """Return factors as the bytes that stand for them: 0 is 0.5 and 255 is 1.5."""
    return np.clip(np.rint((factors - np.float32(0.5)) * _SCALE), 0, 255).astype(np.uint8)


def unscaled(scales: np.ndarray) -> np.ndarray:
    """Return the factors that bytes stand for, float32."""
    return scales.astype(np.float32) / _SCALE + np.float32(0.5)


def storable(rows: np.ndarray) -> np.ndarray:
    """Round rows as their file will: to float16 where that keeps them within 0.1 %, float32 elsewhere."""
    return rows.astype(np.float16).astype(np.float32) if _precise(rows) else rows.astype(np.float32)


def _precise(rows: np.ndarray) -> bool:
    largest = float(np.abs(rows).max(initial=0))
    return 1e-2 < largest < 6e4


def _fits(rows: np.ndarray) -> bool:
    with np.errstate(over="ignore"):
        return bool(np.array_equal(rows.astype(np.float16), rows))
