"""Token vectors of documents or queries in memory, and the checks that everything that comes in passes."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...errors import InputError

_FLOAT32_MAX = float(np.finfo(np.float32).max)


@dataclass(frozen=True)
class Tokens:
    """Token vectors of some documents or queries.

    Attributes:
        values: (tokens, dim) float32.
        offsets: (n + 1,) int64; document i has the rows offsets[i] … offsets[i + 1] − 1.
    """

    values: np.ndarray
    offsets: np.ndarray

    @property
    def nbytes(self) -> int:
        """Bytes that they take in memory."""
        return int(self.values.nbytes + self.offsets.nbytes)

    def only(self, number: int) -> "Tokens":
        """Return one of the documents or queries alone."""
        start, stop = self.offsets[number : number + 2]
        return Tokens(self.values[start:stop], np.array([0, stop - start]))

    def apart_from(self, vectors: Any) -> "Tokens":  # noqa: ANN401 - what `checked` was given
        """Return these tokens in memory of their own, wherever a caller may write to what they came from."""
        shared = np.may_share_memory(self.values, _pair(vectors)[0])
        return Tokens(self.values.copy(), self.offsets) if shared else self

    def __len__(self) -> int:
        return len(self.offsets) - 1


def checked(vectors: Any, dim: int, unit: bool, what: str, largest: float = np.inf) -> Tokens:  # noqa: ANN401 - whatever a caller has
    """Bring token vectors into the form that is written and searched with.

    Args:
        vectors: A pair (values, offsets), or something with these attributes, such as a TokenMatrix; one that also has
            `scales`, (tokens,), stands for values times these.
        dim: Dimensions that they must have.
        unit: Whether to bring each token to length 1.
        what: Name of what they belong to, for messages.
        largest: What no number may exceed, its sign aside, once lengths are 1.

    Returns:
        Tokens that may share their memory with what was given.

    Raises:
        InputError: A shape, an offset or a value is wrong; the message says which.
    """
    (values, offsets), scales = _pair(vectors), getattr(vectors, "scales", None)
    if values.ndim != 2 or values.shape[1] != dim:
        raise InputError(f"the token vectors have shape {values.shape}; this index takes (tokens, {dim})")
    if values.dtype.kind not in "fiu":
        raise InputError(f"the token vectors are {values.dtype}; give numbers, such as float32")
    offsets = _offsets(offsets, len(values))
    with np.errstate(over="ignore"):
        values = np.ascontiguousarray(values, dtype=np.float32) if scales is None else _scaled(values, scales)
    sums = np.einsum("td,td->t", values, values, dtype=np.float64)  # float32 would lose the squares of small numbers
    lengths = np.sqrt(sums)
    fine = np.asarray((lengths if unit else sums) <= _FLOAT32_MAX)
    if not fine.all():
        where = _place(fine, offsets, what)
        raise InputError(f"{where} holds a value that is not finite, or too large")
    if unit:
        lengths[lengths == 0] = 1
        values = values / lengths.astype(np.float32)[:, None]
    if largest < np.inf:
        fine = np.asarray((np.abs(values) <= largest).all(axis=1))
        if not fine.all():
            where = _place(fine, offsets, what)
            raise InputError(f"{where} holds a value beyond ±{largest:g}, the end of float16; build with nbits 32")
    return Tokens(values, offsets)


def _place(fine: np.ndarray, offsets: np.ndarray, what: str) -> str:
    """Name the first token that is not fine, and whose it is."""
    token = int(np.flatnonzero(~fine)[0])
    place = int(np.searchsorted(offsets, token, side="right")) - 1
    return f"{what} {place}: token {token - offsets[place]}"


def _pair(vectors: Any) -> tuple[np.ndarray, np.ndarray]:  # noqa: ANN401 - as above
    if hasattr(vectors, "values") and hasattr(vectors, "offsets"):
        return np.asarray(vectors.values), np.asarray(vectors.offsets)
    if isinstance(vectors, Sequence) and not isinstance(vectors, str) and len(vectors) == 2:
        return np.asarray(vectors[0]), np.asarray(vectors[1])
    raise InputError(
        f"token vectors came as {type(vectors).__name__}; give a TokenMatrix or the pair (values, offsets): "
        "values (tokens, dim), offsets (documents + 1,)"
    )


def _scaled(values: np.ndarray, scales: Any) -> np.ndarray:  # noqa: ANN401 - as above
    scales = np.asarray(scales)
    if scales.shape != (len(values),) or scales.dtype.kind != "f":
        raise InputError(f"scales are {scales.dtype} of shape {scales.shape}; give one float a token, ({len(values)},)")
    return np.multiply(values, scales[:, None].astype(np.float32), dtype=np.float32)


def _offsets(offsets: np.ndarray, tokens: int) -> np.ndarray:
    if offsets.ndim != 1 or len(offsets) == 0 or offsets.dtype.kind not in "iu":
        raise InputError(f"offsets are {offsets.dtype} of shape {offsets.shape}; give whole numbers, (documents + 1,)")
    offsets = offsets.astype(np.int64)
    if offsets[0] != 0 or offsets[-1] != tokens:
        raise InputError(f"offsets go from {offsets[0]} to {offsets[-1]}; they must go from 0 to {tokens}, the tokens")
    falls = np.flatnonzero(np.diff(offsets) < 0)
    if len(falls):
        raise InputError(f"offsets fall from {offsets[falls[0]]} to {offsets[falls[0] + 1]} at {falls[0] + 1}")
    return offsets
