"""Token vectors of many texts in one matrix: what a late-interaction encoder returns and its index takes.

Rows of all texts lie end to end, and offsets say which are whose: nothing is padded, and nothing is a list of small
arrays. Rows may be kept in fewer bits: float16, or whole numbers of 8 bits with a scale for each row.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, overload

import numpy as np
from numpy.typing import DTypeLike

from ..errors import InputError

ROW_TYPES = ("float32", "float16", "int8")
"""Types of rows, the widest first."""
LARGEST = 127
"""What the largest number of an int8 row is, its sign aside."""
HALF_EXPONENT = np.uint16(0x7C00)
ROWS_AT_ONCE = 1 << 16
"""Rows that are converted at once, so that no second matrix is made on the way."""


@dataclass(frozen=True, eq=False)
class TokenMatrix:
    """The token vectors of some documents or queries.

    Attributes:
        values: (tokens, dim) float32, float16 or int8.
        offsets: (n + 1,) int64; text i has the rows from offsets[i] to before offsets[i + 1], which may be none.
        scales: (tokens,) float32 where values are int8: a row's numbers are its values times its scale. Else None.

    Raises:
        InputError: A shape, a type or an offset is wrong; the message says which.
    """

    values: np.ndarray
    offsets: np.ndarray
    scales: np.ndarray | None = None

    def __post_init__(self) -> None:
        values, offsets = self.values, self.offsets
        if not isinstance(values, np.ndarray) or values.ndim != 2 or values.dtype not in ROW_TYPES:
            raise InputError(
                f"token vectors are {_described(values)}; expected (tokens, dim) in {', '.join(ROW_TYPES)}"
            )
        self._check_scales()
        if not isinstance(offsets, np.ndarray) or offsets.ndim != 1 or offsets.dtype != np.int64 or not len(offsets):
            raise InputError(f"offsets of token vectors are {_described(offsets)}; expected (texts + 1,) in int64")
        if offsets[0] != 0 or offsets[-1] != len(values):
            raise InputError(f"offsets go from {offsets[0]} to {offsets[-1]}; expected 0 to {len(values)}, the tokens")
        falls = np.flatnonzero(np.diff(offsets) < 0)
        if len(falls):
            place = int(falls[0])
            raise InputError(f"offsets fall from {offsets[place]} to {offsets[place + 1]} at {place + 1}")

    def _check_scales(self) -> None:
        scales, wanted = self.scales, self.values.dtype == np.int8
        if not wanted and scales is not None:
            raise InputError(f"token vectors in {self.values.dtype} came with scales; those are for int8")
        shape = (len(self.values),)
        fits = isinstance(scales, np.ndarray) and scales.dtype == np.float32 and scales.shape == shape
        if wanted and not fits:
            raise InputError(f"scales of int8 token vectors are {_described(scales)}; expected {shape} in float32")

    @classmethod
    def empty(cls, lengths: np.ndarray, dim: int, dtype: DTypeLike = np.float32) -> "TokenMatrix":
        """Make room for texts of these lengths, (n,) whole numbers; `put` fills it.

        Raises:
            InputError: There is no such type of rows.
        """
        dtype = _row_type(dtype)
        offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        values = np.empty((int(offsets[-1]), dim), dtype=dtype)
        return cls(values, offsets, np.empty(len(values), np.float32) if values.dtype == np.int8 else None)

    @classmethod
    def of(cls, texts: Sequence[np.ndarray], dim: int, dtype: DTypeLike = np.float32) -> "TokenMatrix":
        """Lay the vectors of texts end to end.

        Args:
            texts: One (tokens, dim) array of floats a text; there may be none.
            dim: Length of a vector.
            dtype: float32, float16 or int8.

        Raises:
            InputError: There is no such type of rows, a text has rows of another length, or a number that is not
                finite or too large is to be in fewer bits.
        """
        made = cls.empty(np.array([len(rows) for rows in texts], dtype=np.int64), dim, dtype)
        for start, rows in zip(made.offsets, texts, strict=False):
            made.put(int(start), rows)
        return made

    def put(self, start: int, rows: np.ndarray) -> None:
        """Write (n, dim) floats over the rows from `start` on, in this matrix's type.

        Raises:
            InputError: They have another length or go beyond the last row, or a number is not finite, or too large,
                where there are fewer bits than float32 has.
        """
        if not isinstance(rows, np.ndarray) or rows.ndim != 2 or rows.shape[1] != self.dim:
            raise InputError(f"token vectors of a text are {_described(rows)}; expected (tokens, {self.dim}) floats")
        stop = start + len(rows)
        if not 0 <= start <= stop <= len(self.values):
            raise InputError(f"token vectors for the rows {start} to {stop}; there are {len(self.values)}")
        if self.values.dtype == np.float16:
            self.values[start:stop] = in_float16(rows)
        elif self.scales is None:
            self.values[start:stop] = rows
        else:
            self.values[start:stop], self.scales[start:stop] = in_int8(rows)

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
        return int(self.values.nbytes + self.offsets.nbytes + (0 if self.scales is None else self.scales.nbytes))

    def astype(self, dtype: DTypeLike) -> "TokenMatrix":
        """Return it in float32, float16 or int8, itself where it is of that type.

        In int8 a row's largest number is ±127, and each of its numbers is off by at most half of 1/127 of the largest.

        Raises:
            InputError: There is no such type of rows, or a number that is not finite or too large is to be in fewer
                bits.
        """
        dtype = _row_type(dtype)
        if self.values.dtype == dtype:
            return self
        made = TokenMatrix.empty(self.lengths, self.dim, dtype)
        for start in range(0, len(self.values), ROWS_AT_ONCE):
            made.put(start, self._floats(slice(start, start + ROWS_AT_ONCE)))
        return made

    def _floats(self, rows: slice) -> np.ndarray:
        """Return some rows as floats, (n, dim), a view where they are kept so."""
        values = self.values[rows]
        return values if self.scales is None else np.multiply(values, self.scales[rows, None], dtype=np.float32)

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @overload
    def __getitem__(self, text: int) -> np.ndarray: ...

    @overload
    def __getitem__(self, text: slice) -> "TokenMatrix": ...

    def __getitem__(self, text: "int | slice") -> "np.ndarray | TokenMatrix":
        """Return a view of the vectors of one text, (tokens, dim), or of neighbouring texts as a TokenMatrix.

        What is kept in int8 comes as float32 where one text is asked for, and is no view then.

        Raises:
            IndexError: There is no such text, or a slice does not go forward one by one.
        """
        if isinstance(text, slice):
            start, end, step = text.indices(len(self))
            if step != 1:
                raise IndexError(f"token vectors are sliced one text after the other, not with step {step}")
            offsets = self.offsets[start : max(start, end) + 1]
            rows = slice(offsets[0], offsets[-1])
            scales = None if self.scales is None else self.scales[rows]
            return TokenMatrix(self.values[rows], offsets - offsets[0], scales)
        number = text + len(self) if text < 0 else text
        if not 0 <= number < len(self):
            raise IndexError(f"there are {len(self)} texts; {text} is none of them")
        return self._floats(slice(self.offsets[number], self.offsets[number + 1]))

    def __iter__(self) -> Iterator[np.ndarray]:
        return (self[text] for text in range(len(self)))


def concatenate(parts: Sequence[TokenMatrix]) -> TokenMatrix:
    """Put the texts of several matrices one after the other.

    Args:
        parts: At least one, of the same dim; of several types, the widest is taken for all.

    Raises:
        InputError: There is none, or they differ in dim.
    """
    dims = sorted({part.dim for part in parts})
    if len(dims) != 1:
        raise InputError(f"token vectors of {dims or 'no'} dimensions cannot be put together; expected all of one")
    if len(parts) == 1:
        return parts[0]
    widest = min((part.values.dtype.name for part in parts), key=ROW_TYPES.index)
    same = [part.astype(widest) for part in parts]
    offsets = np.concatenate([[0], np.cumsum(np.concatenate([part.lengths for part in same]))]).astype(np.int64)
    scales = [part.scales for part in same if part.scales is not None]
    values = np.concatenate([part.values for part in same])
    return TokenMatrix(values, offsets, np.concatenate(scales) if scales else None)


def in_float16(rows: np.ndarray) -> np.ndarray:
    """Return (n, dim) floats as (n, dim) float16.

    Raises:
        InputError: A number is not finite, or so large that float16 has none near it.
    """
    with np.errstate(over="ignore"):
        made = rows.astype(np.float16)
    # all bits of the exponent are set in infinity and NaN alone; np.isfinite goes through float32 and takes longer
    if ((made.view(np.uint16) & HALF_EXPONENT) == HALF_EXPONENT).any():
        raise InputError("token vectors hold a number that is not finite or beyond 65504, the last of float16")
    return made


def in_int8(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return (n, dim) floats as (n, dim) int8 and the (n,) float32 scales that they are to be multiplied by.

    Raises:
        InputError: A number is not finite.
    """
    rows = rows.astype(np.float32, copy=False)
    scales = np.abs(rows).max(axis=1, initial=0) / np.float32(LARGEST)
    if not np.isfinite(scales).all():
        raise InputError("token vectors hold a number that is not finite; int8 has none")
    whole = np.rint(rows / np.where(scales > 0, scales, 1)[:, None])
    # numbers so small that their scale has few digits go beyond
    return np.clip(whole, -LARGEST, LARGEST).astype(np.int8), scales


def _row_type(dtype: DTypeLike) -> np.dtype[Any]:
    """Return a type of rows, which may be named.

    Raises:
        InputError: It is none.
    """
    try:
        found = np.dtype(dtype)
    except (TypeError, ValueError):
        found = None
    if found is None or found not in ROW_TYPES:
        raise InputError(f"no type of token vectors: {dtype!r}; expected one of {', '.join(ROW_TYPES)}")
    return found


def _described(found: object) -> str:
    return f"{found.dtype} of shape {found.shape}" if isinstance(found, np.ndarray) else type(found).__name__
