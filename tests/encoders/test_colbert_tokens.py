"""A token matrix is what a list of arrays would be, in one piece."""

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from modernir import InputError
from modernir.encoders.tokens import TokenMatrix, concatenate

DIM = 3
LENGTHS = st.lists(st.integers(0, 4), max_size=6)


def arrays(lengths: list[int]) -> list[np.ndarray]:
    rows = np.random.default_rng(len(lengths)).standard_normal((sum(lengths), DIM)).astype(np.float32)
    return np.split(rows, np.cumsum(lengths)[:-1]) if lengths else []


def assert_is(matrix: TokenMatrix, texts: list[np.ndarray]) -> None:
    assert len(matrix) == len(texts)
    for number, rows in enumerate(texts):
        np.testing.assert_array_equal(matrix[number], rows)


@given(LENGTHS)
def test_texts_come_back_as_they_went_in(lengths: list[int]) -> None:
    texts = arrays(lengths)
    matrix = TokenMatrix.of(texts, DIM)
    assert_is(matrix, texts)
    assert [rows.shape for rows in matrix] == [(length, DIM) for length in lengths]
    assert matrix.lengths.tolist() == lengths
    assert (matrix.dim, matrix.values.shape, matrix.offsets.dtype) == (DIM, (sum(lengths), DIM), np.int64)
    assert matrix.nbytes == sum(lengths) * DIM * 4 + (len(lengths) + 1) * 8


@given(LENGTHS, st.integers(-8, 8), st.integers(-8, 8))
def test_slices_are_those_of_a_list_and_copy_no_vector(lengths: list[int], start: int, end: int) -> None:
    texts = arrays(lengths)
    matrix = TokenMatrix.of(texts, DIM)
    part = matrix[start:end]
    assert_is(part, texts[start:end])
    assert not len(part.values) or np.shares_memory(part.values, matrix.values)


@given(st.lists(LENGTHS, min_size=1, max_size=4))
def test_putting_together_is_adding_lists(parts: list[list[int]]) -> None:
    lists = [arrays(lengths) for lengths in parts]
    assert_is(concatenate([TokenMatrix.of(texts, DIM) for texts in lists]), [rows for texts in lists for rows in texts])


def test_one_text_is_a_view_and_numbers_count_from_either_end() -> None:
    matrix = TokenMatrix.of(arrays([2, 0, 3]), DIM)
    matrix[0][:] = 7
    assert (matrix.values[:2] == 7).all()
    np.testing.assert_array_equal(matrix[-1], matrix[2])
    for number in (3, -4):
        with pytest.raises(IndexError, match=f"there are 3 texts; {number} is none of them"):
            matrix[number]
    with pytest.raises(IndexError, match="not with step 2"):
        matrix[::2]


def test_half_precision() -> None:
    matrix = TokenMatrix.of(arrays([2, 1]), DIM)
    half = matrix.astype(np.float16)
    assert half.values.dtype == np.float16
    assert matrix.astype(np.float32) is matrix
    np.testing.assert_allclose(half.values, matrix.values, rtol=1e-3)
    assert concatenate([half, matrix]).values.dtype == np.float32


@pytest.mark.parametrize(
    ("values", "offsets", "said"),
    [
        (np.zeros((2, 3)), [0, 2], r"token vectors are float64 of shape \(2, 3\); expected \(tokens, dim\)"),
        (np.zeros(2, np.float32), [0, 2], r"token vectors are float32 of shape \(2,\)"),
        ([[0.0]], [0, 1], "token vectors are list; expected"),
        (np.zeros((2, 3), np.float32), np.array([0, 2], np.int32), "offsets of token vectors are int32"),
        (np.zeros((2, 3), np.float32), [], r"offsets of token vectors are int64 of shape \(0,\)"),
        (np.zeros((2, 3), np.float32), [0, 3], "offsets go from 0 to 3; expected 0 to 2, the tokens"),
        (np.zeros((2, 3), np.float32), [1, 2], "offsets go from 1 to 2; expected 0 to 2"),
        (np.zeros((2, 3), np.float32), [0, 2, 1, 2], "offsets fall from 2 to 1 at 2"),
    ],
)
def test_what_is_no_token_matrix_is_refused(values: object, offsets: object, said: str) -> None:
    given_offsets = np.array(offsets, np.int64) if isinstance(offsets, list) else offsets
    with pytest.raises(InputError, match=said):
        TokenMatrix(values, given_offsets)


def test_matrices_of_different_dimensions_are_not_put_together() -> None:
    with pytest.raises(InputError, match=r"of \[3, 4\] dimensions cannot be put together"):
        concatenate([TokenMatrix.of([], 3), TokenMatrix.of([], 4)])
    with pytest.raises(InputError, match="of no dimensions"):
        concatenate([])


def test_importing_encoders_loads_no_torch() -> None:
    program = "import sys, modernir.encoders.tokens, modernir.encoders.colbert, modernir.encoders.loading"
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            f"{program}; print([name for name in ('torch', 'transformers') if name in sys.modules])",
        ],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == "[]"
