"""One vector for all tokens of a document: an export of a late-interaction collection for any vector database.

MUVERA's fixed-dimensional encodings (Dhulipala et al., arXiv 2405.19504): random hyperplanes cut the space into 2^k
parts; a query's tokens are summed in each part, a document's averaged, so that the inner product of the two encodings
is near MaxSim. Several independent cuts are laid side by side. Nothing is learnt from data: the same parameters give
the same encoding everywhere.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from .tokens import Tokens

_BLOCK = 1 << 14  # tokens at once


@dataclass(frozen=True)
class Muvera:
    """The parameters of an encoding.

    Attributes:
        dim: Dimensions of a token.
        planes: k: a cut has 2^k parts; at most 12.
        repetitions: Independent cuts.
        inner: Dimensions that tokens are projected to by random signs; None keeps them as they are.
        final: Dimensions that the whole encoding is projected to by random signs; None keeps it as it is.
        seed: Of all random numbers.
    """

    dim: int
    planes: int = 4
    repetitions: int = 20
    inner: int | None = 16
    final: int | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.planes <= 12 or min(self.dim, self.repetitions, *self._optional) < 1:
            raise ValueError(f"{self}: planes must be from 0 to 12, all else at least 1")

    @property
    def _optional(self) -> list[int]:
        return [number for number in (self.inner, self.final) if number is not None]

    @property
    def parts(self) -> int:
        """Parts of a cut."""
        return 1 << self.planes

    @property
    def width(self) -> int:
        """Dimensions of the encoding before the final projection."""
        return self.repetitions * self.parts * (self.inner or self.dim)

    @property
    def size(self) -> int:
        """Dimensions of the encoding."""
        return self.final or self.width

    @cached_property
    def hyperplanes(self) -> np.ndarray:
        """(repetitions, dim, planes) float32, normals."""
        return self._chance(0).standard_normal((self.repetitions, self.dim, self.planes)).astype(np.float32)

    @cached_property
    def projections(self) -> np.ndarray | None:
        """(repetitions, dim, inner) float32, random signs over √inner."""
        if self.inner is None:
            return None
        return self._signs(1, (self.repetitions, self.dim, self.inner)) / np.float32(np.sqrt(self.inner))

    @cached_property
    def finals(self) -> tuple[np.ndarray, np.ndarray] | None:
        """Place and sign of each dimension in the final encoding, as in a count sketch."""
        if self.final is None:
            return None
        return self._chance(3).integers(0, self.final, self.width), self._signs(2, (self.width,))

    def _signs(self, stream: int, shape: tuple[int, ...]) -> np.ndarray:
        return self._chance(stream).choice(np.array([-1, 1], np.float32), shape)

    def _chance(self, stream: int) -> np.random.Generator:
        return np.random.default_rng([self.seed, stream])


def document_encodings(values: np.ndarray, offsets: np.ndarray, parameters: Muvera) -> np.ndarray:
    """Encode documents: the mean of the tokens in each part; an empty part takes the token nearest to it in bits.

    Args:
        values: (tokens, dim) float32.
        offsets: (n + 1,) int64.
        parameters: Of the encoding.

    Returns:
        (n, size) float32; zeros for a document without tokens.
    """
    return _encoded(values, offsets, parameters, documents=True)


def query_encodings(values: np.ndarray, offsets: np.ndarray, parameters: Muvera) -> np.ndarray:
    """Encode queries: the sum of the tokens in each part; arguments and result as of `document_encodings`."""
    return _encoded(values, offsets, parameters, documents=False)


def _encoded(values: np.ndarray, offsets: np.ndarray, parameters: Muvera, documents: bool) -> np.ndarray:
    found = np.empty((len(offsets) - 1, parameters.size), np.float32)
    longest = int(np.diff(offsets).max(initial=0))
    step = max(1, _BLOCK // max(longest, 1))
    for first in range(0, len(found), step):
        bounds = offsets[first : first + step + 1]
        block = Tokens(np.asarray(values[bounds[0] : bounds[-1]], dtype=np.float32), bounds - bounds[0])
        whole = np.concatenate(
            [_repetition(block, parameters, number, documents) for number in range(parameters.repetitions)], axis=1
        )
        found[first : first + step] = _projected(whole, parameters)
    return found


def _repetition(block: Tokens, parameters: Muvera, number: int, documents: bool) -> np.ndarray:
    """Return one cut's share of the encodings, (n, parts · inner) float32."""
    sides = block.values @ parameters.hyperplanes[number] > 0
    parts = sides @ (1 << np.arange(parameters.planes))
    tokens = block.values if parameters.projections is None else block.values @ parameters.projections[number]
    owners = np.repeat(np.arange(len(block)), np.diff(block.offsets))
    places = owners * parameters.parts + parts
    order = np.argsort(places, kind="stable")
    filled, starts, counts = np.unique(places[order], return_index=True, return_counts=True)
    sums = np.zeros((len(block) * parameters.parts, tokens.shape[1]), np.float32)
    if len(filled):
        sums[filled] = np.add.reduceat(tokens[order], starts, axis=0)
    if documents:
        sums[filled] /= counts[:, None].astype(np.float32)
        _fill(sums, filled, parts, tokens, block.offsets)
    return sums.reshape(len(block), -1)


def _fill(sums: np.ndarray, filled: np.ndarray, parts: np.ndarray, tokens: np.ndarray, offsets: np.ndarray) -> None:
    """Give each empty part of a document the token (the first) whose part differs from it in the fewest bits."""
    count = len(sums) // (len(offsets) - 1)
    empty = np.ones(len(sums), bool)
    empty[filled] = False
    difference = np.array([bin(bits).count("1") for bits in range(count)], np.uint8)
    for row in np.flatnonzero(np.diff(offsets)):
        wanted = np.flatnonzero(empty[row * count : (row + 1) * count])
        own = parts[offsets[row] : offsets[row + 1]]
        nearest = difference[wanted[:, None] ^ own[None]].argmin(axis=1)
        sums[row * count + wanted] = tokens[offsets[row] + nearest]


def _projected(whole: np.ndarray, parameters: Muvera) -> np.ndarray:
    if parameters.finals is None:
        return whole
    places, signs = parameters.finals
    order = np.argsort(places, kind="stable")
    filled, starts = np.unique(places[order], return_index=True)
    found = np.zeros((len(whole), parameters.size), np.float32)
    found[:, filled] = np.add.reduceat((whole * signs)[:, order], starts, axis=1)
    return found
