"""Rows in fewer bits: a token matrix in float16 or int8 is the one in float32 but for the rounding."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from modernir import InputError, load_encoder
from modernir.encoders import tokens as tokens_module
from modernir.encoders.tokens import ROW_TYPES, TokenMatrix, concatenate
from modernir.index.late.tokens import checked

DIM = 5
VALUES = arrays.arrays(
    np.float32, st.tuples(st.integers(0, 9), st.just(DIM)), elements=st.floats(-(2.0**100), 2.0**100, width=32)
)


def matrix(values: np.ndarray) -> TokenMatrix:
    middle = len(values) // 3
    return TokenMatrix(values, np.array([0, middle, middle, len(values)]))


def random_matrix(tokens: int, seed: int = 0) -> TokenMatrix:
    return matrix(np.random.default_rng(seed).standard_normal((tokens, DIM)).astype(np.float32))


@given(VALUES)
def test_int8_is_off_by_half_a_127th_of_a_rows_largest_number(values: np.ndarray) -> None:
    whole = matrix(values)
    small = whole.astype(np.int8)
    assert (small.values.dtype, small.scales.dtype, small.scales.shape) == (np.int8, np.float32, (len(values),))
    back = small.astype(np.float32)
    assert back.scales is None
    np.testing.assert_array_equal(back.offsets, whole.offsets)
    largest = np.abs(values).max(axis=1, keepdims=True, initial=0)
    # below the normal numbers of float32 a scale has few digits
    assert (np.abs(back.values - values) <= largest * (0.5001 / 127) + 127 * 1e-45).all()
    assert (np.abs(small.values[largest[:, 0] > 1e-30]).max(axis=1, initial=0) == 127).all()


def test_conversions_in_pieces_are_those_of_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = random_matrix(50)
    for dtype in ROW_TYPES:
        expected = whole.astype(dtype)
        back = expected.astype(np.float32)
        with monkeypatch.context() as patch:
            patch.setattr(tokens_module, "ROWS_AT_ONCE", 7)
            found = whole.astype(dtype)
            np.testing.assert_array_equal(found.values, expected.values)
            np.testing.assert_array_equal(found.astype(np.float32).values, back.values)
    assert whole.astype(np.float16).values.tobytes() == whole.values.astype(np.float16).tobytes()


@pytest.mark.parametrize("dtype", ROW_TYPES)
def test_texts_and_slices_are_those_of_the_decoded_matrix(dtype: str) -> None:
    small = random_matrix(40).astype(dtype)
    whole = small.astype(np.float32)
    for number, (rows, expected) in enumerate(zip(small, whole, strict=True)):
        np.testing.assert_array_equal(rows.astype(np.float32), expected)
        assert rows.dtype == (np.float32 if dtype == "int8" else dtype)
        assert number < 3
    for start, end in ((0, 3), (1, 3), (2, 2), (-1, 3)):
        part = small[start:end]
        assert part.values.dtype == dtype
        np.testing.assert_array_equal(part.astype(np.float32).values, whole[start:end].values)
        np.testing.assert_array_equal(part.offsets, whole[start:end].offsets)
    wide = {"float32": 4, "float16": 2, "int8": 1}[dtype]
    assert small.nbytes == 40 * DIM * wide + 4 * 8 + (40 * 4 if dtype == "int8" else 0)
    of = TokenMatrix.of(list(random_matrix(40)), DIM, dtype)
    np.testing.assert_array_equal(of.values, small.values)
    assert len(TokenMatrix.of([], DIM, dtype)) == 0


@pytest.mark.parametrize("one", ROW_TYPES)
@pytest.mark.parametrize("other", ROW_TYPES)
def test_of_two_types_the_widest_is_taken(one: str, other: str) -> None:
    parts = [random_matrix(12, 1).astype(one), random_matrix(30, 2).astype(other)]
    both = concatenate(parts)
    assert both.values.dtype == min(one, other, key=ROW_TYPES.index)
    for rows, expected in zip(both, [rows for part in parts for rows in part], strict=True):
        np.testing.assert_allclose(rows.astype(np.float32), expected.astype(np.float32), rtol=1e-3, atol=1e-3)
        if one == other:
            np.testing.assert_array_equal(rows, expected)


def test_scales_that_are_none_are_refused() -> None:
    values, offsets = np.zeros((2, DIM), np.int8), np.array([0, 2])
    with pytest.raises(InputError, match=r"scales of int8 token vectors are NoneType; expected \(2,\) in float32"):
        TokenMatrix(values, offsets)
    with pytest.raises(InputError, match=r"are float32 of shape \(3,\)"):
        TokenMatrix(values, offsets, np.ones(3, np.float32))
    with pytest.raises(InputError, match="float32 came with scales"):
        TokenMatrix(values.astype(np.float32), offsets, np.ones(2, np.float32))
    with pytest.raises(InputError, match="not finite; int8 has none"):
        TokenMatrix(np.full((2, DIM), np.nan, np.float32), offsets).astype(np.int8)


@pytest.mark.parametrize("dtype", ["foo", np.float64, np.int16, ">f4", None, (1, 2)], ids=str)
def test_what_is_no_type_of_rows_is_refused(dtype: object) -> None:
    for make in (
        lambda: random_matrix(3).astype(dtype),
        lambda: TokenMatrix.of([], DIM, dtype),
        lambda: TokenMatrix.empty(np.array([2]), DIM, dtype),
    ):
        with pytest.raises(InputError, match=r"no type of token vectors: .*; expected one of float32, float16, int8"):
            make()


@given(VALUES)
def test_float16_is_numpys_or_is_refused(values: np.ndarray) -> None:
    with np.errstate(over="ignore"):
        expected = values.astype(np.float16)
    if np.isfinite(expected).all():
        assert matrix(values).astype(np.float16).values.tobytes() == expected.tobytes()
    else:
        with pytest.raises(InputError, match="not finite or beyond 65504, the last of float16"):
            matrix(values).astype(np.float16)


@pytest.mark.parametrize("number", [65520, -65520, 1e30, np.inf, -np.inf, np.nan])
def test_numbers_that_float16_lacks_are_refused_wherever_they_come_in(number: float) -> None:
    rows = np.zeros((2, DIM), np.float32)
    rows[1, 3] = number
    for make in (
        lambda: matrix(rows).astype("float16"),
        lambda: TokenMatrix.of([rows], DIM, np.float16),
        lambda: TokenMatrix.empty(np.array([2]), DIM, np.float16).put(0, rows),
    ):
        with pytest.raises(InputError, match="beyond 65504"):
            make()
    rows[1, 3] = 65519  # the nearest float16 is 65504
    assert TokenMatrix.of([rows], DIM, np.float16).values[1, 3] == 65504


@pytest.mark.parametrize("dtype", ROW_TYPES)
def test_rows_of_another_length_are_refused(dtype: str) -> None:
    for shape in ((3, 1), (3, DIM + 1), (DIM,), (0, 2), (1, 1, DIM)):
        with pytest.raises(InputError, match=r"vectors of a text are float32 of shape .*; expected \(tokens, 5\)"):
            TokenMatrix.of([np.ones(shape, np.float32)], DIM, dtype)
    with pytest.raises(InputError, match="token vectors of a text are list; expected"):
        TokenMatrix.of([[[1.0] * DIM]], DIM, dtype)
    made = TokenMatrix.empty(np.array([2, 1]), DIM, dtype)
    for start in (2, -1):
        with pytest.raises(InputError, match=f"for the rows {start} to {start + 2}; there are 3"):
            made.put(start, np.ones((2, DIM), np.float32))


@pytest.mark.parametrize("unit", [True, False])
@pytest.mark.parametrize("dtype", ROW_TYPES)
def test_an_index_takes_what_the_matrix_stands_for(dtype: str, unit: bool) -> None:
    small = random_matrix(40).astype(dtype)
    found = checked(small, DIM, unit, "document")
    whole = small.astype(np.float32)
    expected = checked((whole.values, whole.offsets), DIM, unit, "document")
    np.testing.assert_array_equal(found.values, expected.values)
    assert found.values.dtype == np.float32


def test_scales_of_another_shape_are_refused_by_an_index() -> None:
    class Scaled:
        values, offsets, scales = np.zeros((2, DIM), np.int8), np.array([0, 2]), np.ones((2, 1))

    with pytest.raises(InputError, match=r"scales are float64 of shape \(2, 1\); give one float a token, \(2,\)"):
        checked(Scaled(), DIM, True, "document")


@pytest.mark.parametrize("settings", [{}, {"overlap": 4, "document_length": 12}, {"pool_factor": 2}], ids=str)
def test_encoders_give_the_type_that_was_asked_for(settings: dict, tiny_colbert: Path, texts: list[str]) -> None:
    whole = load_encoder(tiny_colbert, device="cpu", kind="late", **settings)
    for dtype in ROW_TYPES:
        encoder = load_encoder(tiny_colbert, device="cpu", kind="late", row_type=dtype, **settings)
        found = encoder.encode_documents(texts)
        expected = whole.encode_documents(texts).astype(dtype)
        assert (encoder.row_type, found.values.dtype) == (dtype, dtype)
        np.testing.assert_array_equal(found.offsets, expected.offsets)
        np.testing.assert_array_equal(found.values, expected.values)
        assert encoder.encode_queries(texts).values.dtype == np.float32
        assert encoder.encode_documents([]).values.dtype == dtype
    with pytest.raises(InputError, match="row_type is 'int4'; expected one of float32, float16, int8"):
        load_encoder(tiny_colbert, row_type="int4")
