"""Token vectors of many texts in one matrix: what a late-interaction encoder returns and its index takes.

Rows of all texts lie end to end, and offsets say which are whose: nothing is padded, and nothing is a list of small
arrays.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import overload

import numpy as np

from ..errors import InputError

FLOATS = (np.float32, np.float16)


@dataclass(frozen=True, eq=False)
class TokenMatrix:
    """The token vectors of some documents or queries.

    Attributes:
        values: (tokens, dim) float32 or float16.
        offsets: (n + 1,) int64; text i has the rows from offsets[i] to before offsets[i + 1], which may be none.

    Raises:
        InputError: A shape, a type or an offset is wrong; the message says which.
    """

    values: np.ndarray
    offsets: np.ndarray

    def __post_init__(self) -> None:
        values, offsets = self.values, self.offsets
        if not isinstance(values, np.ndarray) or values.ndim != 2 or values.dtype not in FLOATS:
            raise InputError(f"token vectors are {_described(values)}; expected (tokens, dim) in float32 or float16")
        if not isinstance(offsets, np.ndarray) or offsets.ndim != 1 or offsets.dtype != np.int64 or not len(offsets):
            raise InputError(f"offsets of token vectors are {_described(offsets)}; expected (texts + 1,) in int64")
        if offsets[0] != 0 or offsets[-1] != len(values):
            raise InputError(f"offsets go from {offsets[0]} to {offsets[-1]}; expected 0 to {len(values)}, the tokens")
        falls = np.flatnonzero(np.diff(offsets) < 0)
        if len(falls):
            place = int(falls[0])
            raise InputError(f"offsets fall from {offsets[place]} to {offsets[place + 1]} at {place + 1}")

    @classmethod
    def of(cls, texts: Sequence[np.ndarray], dim: int, dtype: type[np.floating] = np.float32) -> "TokenMatrix":
        """Lay the vectors of texts end to end.

        Args:
            texts: One (tokens, dim) array a text; there may be none.
            dim: Length of a vector.
            dtype: float32 or float16.
        """
        offsets = np.concatenate([[0], np.cumsum([len(rows) for rows in texts])]).astype(np.int64)
        values = np.empty((int(offsets[-1]), dim), dtype=dtype)
        for start, rows in zip(offsets, texts, strict=False):
            values[start : start + len(rows)] = rows
        return cls(values, offsets)

    @property
    def dim(self) -> int:
        """Length of a vector."""
        return int(self.values.shape[1])

    @property
    def lengths(self) -> np.ndarray:
        """(n,) int64, tokens of each text."""
        return np.diff(self.offsets)

    @property
    def nbytes(self) -> int:
        """Bytes that it takes in memory."""
        return int(self.values.nbytes + self.offsets.nbytes)

    def astype(self, dtype: type[np.floating]) -> "TokenMatrix":
        """Return it in float32 or float16, itself where it is of that type."""
        return self if self.values.dtype == dtype else TokenMatrix(self.values.astype(dtype), self.offsets)

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @overload
    def __getitem__(self, text: int) -> np.ndarray: ...

    @overload
    def __getitem__(self, text: slice) -> "TokenMatrix": ...

    def __getitem__(self, text: "int | slice") -> "np.ndarray | TokenMatrix":
        """Return a view of the vectors of one text, (tokens, dim), or of neighbouring texts as a TokenMatrix.

        Raises:
            IndexError: There is no such text, or a slice does not go forward one by one.
        """
        if isinstance(text, slice):
            start, end, step = text.indices(len(self))
            if step != 1:
                raise IndexError(f"token vectors are sliced one text after the other, not with step {step}")
            offsets = self.offsets[start : max(start, end) + 1]
            return TokenMatrix(self.values[offsets[0] : offsets[-1]], offsets - offsets[0])
        number = text + len(self) if text < 0 else text
        if not 0 <= number < len(self):
            raise IndexError(f"there are {len(self)} texts; {text} is none of them")
        return self.values[self.offsets[number] : self.offsets[number + 1]]

    def __iter__(self) -> Iterator[np.ndarray]:
        return (self[text] for text in range(len(self)))


def concatenate(parts: Sequence[TokenMatrix]) -> TokenMatrix:
    """Put the texts of several matrices one after the other.

    Args:
        parts: At least one, of the same dim; float16 and float32 together give float32.

    Raises:
        InputError: There is none, or they differ in dim.
    """
    dims = sorted({part.dim for part in parts})
    if len(dims) != 1:
        raise InputError(f"token vectors of {dims or 'no'} dimensions cannot be put together; expected all of one")
    if len(parts) == 1:
        return parts[0]
    lengths = np.concatenate([part.lengths for part in parts])
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    return TokenMatrix(np.concatenate([part.values for part in parts]), offsets)


def _described(found: object) -> str:
    return f"{found.dtype} of shape {found.shape}" if isinstance(found, np.ndarray) else type(found).__name__
