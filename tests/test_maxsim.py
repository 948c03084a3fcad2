import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from modernir.encoders.tokens import TokenMatrix
from modernir.errors import InputError
from modernir.maxsim import scores
from modernir.maxsim.scores import maxsim

Pair = tuple[np.ndarray, np.ndarray]
QUERIES = [3, 0, 17, 33, 1, 16]
DOCUMENTS = [5, 1, 0, 12, 13, 24, 300, 40, 1, 700]


def ragged(lengths: list[int], dim: int, seed: int, dtype: type[np.floating] = np.float32) -> Pair:
    values = np.random.default_rng(seed).standard_normal((sum(lengths), dim)) / np.sqrt(dim)
    return values.astype(dtype), np.cumsum([0, *lengths])


def formula(queries: Pair, documents: Pair) -> np.ndarray:
    """Score with loops, in float64."""
    result = np.full((len(queries[1]) - 1, len(documents[1]) - 1), -np.inf)
    for i in range(len(result)):
        for j in range(result.shape[1]):
            query, document = (
                values[offsets[k] : offsets[k + 1]].astype(np.float64)
                for (values, offsets), k in ((queries, i), (documents, j))
            )
            if len(query) and len(document):
                result[i, j] = sum(max(float(a @ b) for b in document) for a in query)
    return result


@pytest.fixture(params=["kernels", "numpy"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    if request.param == "numpy":
        monkeypatch.setattr(scores, "has_kernels", lambda: False)
    return request.param


@pytest.mark.parametrize("dtype", [np.float32, np.float16])
@pytest.mark.parametrize("dim", [1, 7, 48, 128, 130, 300])
def test_scores_equal_the_formula(way: str, dim: int, dtype: type[np.floating]) -> None:
    queries, documents = ragged(QUERIES, dim, 0), ragged(DOCUMENTS, dim, 1, dtype)
    got = maxsim(queries, documents)
    assert got.dtype == np.float32
    np.testing.assert_allclose(got, formula(queries, documents), rtol=1e-5, atol=1e-5)


def test_negative_products_are_not_beaten_by_padding(way: str) -> None:
    queries, documents = ragged(QUERIES, 24, 0), ragged(DOCUMENTS, 24, 1)
    queries, documents = (np.abs(queries[0]), queries[1]), (-np.abs(documents[0]), documents[1])
    got = maxsim(queries, documents)
    np.testing.assert_allclose(got, formula(queries, documents), rtol=1e-5, atol=1e-5)
    assert (got < 0).all()


def test_scores_do_not_depend_on_blocks_and_threads(way: str) -> None:
    queries, documents = ragged(QUERIES, 40, 2), ragged(DOCUMENTS * 3, 40, 3)
    whole = maxsim(queries, documents, threads=1)
    for memory in (1, 3000, 100_000):
        for threads in (1, 3):
            got = maxsim(queries, documents, memory, threads=threads)
            if way == "kernels":
                np.testing.assert_array_equal(got, whole)
            else:
                np.testing.assert_allclose(got, whole, atol=1e-5)


def test_chosen_rows_are_those_of_all(way: str) -> None:
    queries, documents = ragged(QUERIES, 16, 4), ragged(DOCUMENTS, 16, 5)
    rows = np.array([7, 2, 0, 9, 7])
    np.testing.assert_allclose(maxsim(queries, documents, rows=rows), maxsim(queries, documents)[:, rows], atol=1e-6)
    assert maxsim(queries, documents, rows=rows[:0]).shape == (len(QUERIES), 0)


@pytest.mark.parametrize("side", ["query", "document"])
def test_a_score_is_nan_where_a_product_is(way: str, side: str) -> None:
    queries, documents = ragged(QUERIES, 20, 4), ragged(DOCUMENTS, 20, 5)
    wanted = maxsim(queries, documents)
    (values, offsets), scores, broken = {
        "query": (queries, wanted, [3, 4]),
        "document": (documents, wanted.T, [0, 6, 9]),
    }[side]
    for number, token in zip(broken, (offsets[broken[0]] + 2, *(offsets[i + 1] - 1 for i in broken[1:])), strict=True):
        values[token, 7] = np.nan
        scores[number, scores[number] > -np.inf] = np.nan
    np.testing.assert_allclose(maxsim(queries, documents), wanted, rtol=1e-5, atol=1e-5)


def test_nothing_to_score(way: str) -> None:
    queries, documents = ragged([2], 8, 0), ragged([3, 4], 8, 1)
    empty = np.empty((0, 8), np.float32)
    assert maxsim(queries, (empty, np.array([0]))).shape == (1, 0)
    assert maxsim((empty, np.array([0])), documents).shape == (0, 2)
    assert (maxsim((empty, np.array([0, 0])), documents) == -np.inf).all()
    assert (maxsim(queries, (empty, np.array([0, 0, 0]))) == -np.inf).all()


def test_values_may_be_mapped_or_strided_and_offsets_of_any_width(way: str, tmp_path: Path) -> None:
    queries, documents = ragged(QUERIES, 48, 0, np.float16), ragged(DOCUMENTS, 96, 1, np.float16)
    strided = documents[0][:, ::2]
    wanted = maxsim(queries, (np.ascontiguousarray(strided), documents[1]))
    np.testing.assert_array_equal(maxsim(queries, (strided, documents[1].astype(np.uint32))), wanted)
    np.save(tmp_path / "tokens.npy", np.ascontiguousarray(strided))
    np.save(tmp_path / "offsets.npy", documents[1])
    mapped = np.load(tmp_path / "tokens.npy", mmap_mode="r"), np.load(tmp_path / "offsets.npy", mmap_mode="r")
    np.testing.assert_array_equal(maxsim(queries, mapped), wanted)
    np.testing.assert_array_equal(maxsim(TokenMatrix(queries[0], queries[1]), mapped), wanted)


GOOD = (np.ones((3, 4), np.float32), np.array([0, 1, 3]))


@pytest.mark.parametrize(
    ("documents", "message"),
    [
        ((np.ones((3, 5), np.float32), np.array([0, 3])), "4 dimensions and those of documents 5"),
        ((np.ones(3, np.float32), np.array([0, 3])), r"shape \(3,\)"),
        ((np.ones((3, 4), np.int8), np.array([0, 3])), "int8; give float32 or float16"),
        ((np.ones((3, 4), np.float32), np.array([0, 2])), "from 0 to 2; expected 0 to 3"),
        ((np.ones((3, 4), np.float32), np.array([0, 3, 1, 3])), "fall from 3 to 1 at 2"),
        ((np.ones((3, 4), np.float32), np.array([0.0, 3.0])), "offsets are float64"),
        (np.ones((3, 4), np.float32), "ndarray; give the pair"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(documents: object, message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        maxsim(GOOD, documents)
    assert "\n" not in str(caught.value)


def test_rows_and_amounts_out_of_range_are_refused() -> None:
    with pytest.raises(InputError, match="give numbers from 0 to 1"):
        maxsim(GOOD, GOOD, rows=np.array([0, 2]))
    for memory in (0, -1.0, 1.5, float("nan"), float("inf"), "1 GB"):
        with pytest.raises(InputError, match=f"memory {memory!r}: give a whole number"):
            maxsim(GOOD, GOOD, memory)


def test_rows_may_be_a_list_and_memory_a_whole_float(way: str) -> None:
    np.testing.assert_array_equal(maxsim(GOOD, GOOD, 1e6, rows=[1, 0]), maxsim(GOOD, GOOD)[:, ::-1])
    assert maxsim(GOOD, GOOD, rows=[]).shape == (2, 0)


def test_memory_bounds_the_copies_of_vectors_that_cannot_be_read_in_place() -> None:
    queries, documents = ragged([32], 64, 0), ragged([200, *[3] * 2000], 128, 1)
    strided = documents[0][:, ::2], documents[1]
    wanted = maxsim(queries, (np.ascontiguousarray(strided[0]), documents[1]))
    memory = 200_000
    tracemalloc.start()
    try:
        got = maxsim(queries, strided, memory, threads=1)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    np.testing.assert_array_equal(got, wanted)
    outside = got.nbytes + 8 * documents[1].nbytes + 4 * queries[0].nbytes
    assert memory / 2 < peak < memory + outside < strided[0].nbytes
