"""What ragged token vectors must look like, said in one line where they do not; whether there are kernels."""

from numbers import Real

import numpy as np

from ..errors import InputError


def check_offsets(offsets: np.ndarray, tokens: int, what: str) -> np.ndarray:
    """Return a copy of offsets as (n + 1,) int64.

    Args:
        offsets: As they came.
        tokens: How many tokens they divide.
        what: Whose they are, for messages.

    Raises:
        InputError: They are no whole numbers that rise from 0 to `tokens`.
    """
    if offsets.ndim != 1 or not len(offsets) or offsets.dtype.kind not in "iu":
        raise InputError(f"{what} offsets are {offsets.dtype} of shape {offsets.shape}; give whole numbers, (n + 1,)")
    offsets = np.array(offsets, np.int64)
    if offsets[0] != 0 or offsets[-1] != tokens:
        raise InputError(f"{what} offsets go from {offsets[0]} to {offsets[-1]}; expected 0 to {tokens}, the tokens")
    falls = np.flatnonzero(np.diff(offsets) < 0)
    if len(falls):
        place = int(falls[0])
        raise InputError(f"{what} offsets fall from {offsets[place]} to {offsets[place + 1]} at {place + 1}")
    return offsets


def check_shapes(queries: tuple[int, ...], documents: tuple[int, ...]) -> None:
    """Check that both are matrices of equally long vectors.

    Raises:
        InputError: They are not.
    """
    for what, shape in (("query", queries), ("document", documents)):
        if len(shape) != 2:
            raise InputError(f"{what} token vectors have shape {tuple(shape)}; expected (tokens, dim)")
    if queries[1] != documents[1]:
        raise InputError(f"query token vectors have {queries[1]} dimensions and those of documents {documents[1]}")


def check_numbers(numbers: np.ndarray, documents: int, queries: int) -> np.ndarray:
    """Return the number of each document's query as (documents,) int64.

    Raises:
        InputError: They are of another shape or type, or name no query.
    """
    if numbers.shape != (documents,) or (documents and numbers.dtype.kind not in "iu"):
        raise InputError(
            f"query_of is {numbers.dtype} of shape {numbers.shape}; expected whole numbers, ({documents},)"
        )
    wrong = np.flatnonzero((numbers < 0) | (numbers >= queries))
    if len(wrong):
        raise InputError(f"query_of names query {numbers[wrong[0]]} for document {wrong[0]}; there are {queries}")
    return numbers.astype(np.int64, copy=False)


def check_memory(memory: float) -> int:
    """Return a number of bytes as an integer.

    Raises:
        InputError: It is no whole number above 0.
    """
    if not isinstance(memory, Real) or memory < 1 or memory % 1:
        raise InputError(f"memory {memory!r}: give a whole number of bytes above 0")
    return int(memory)


def has_kernels() -> bool:
    """Say whether there is numba, which the kernels need."""
    try:
        import numba  # noqa: F401 - whether it is there
    except ImportError:
        return False
    return True
