import numpy as np
import pytest

from modernir.index.late.muvera import Muvera, document_encodings, query_encodings

Vectors = tuple[np.ndarray, np.ndarray]
DIM = 16


def tokens(count: int, seed: int, longest: int = 20) -> Vectors:
    chance = np.random.default_rng(seed)
    offsets = np.concatenate([[0], np.cumsum(chance.integers(0, longest, count))])
    means = np.random.default_rng(0).standard_normal((60, DIM))
    values = means[chance.integers(0, 60, offsets[-1])] + 0.4 * chance.standard_normal((offsets[-1], DIM))
    return (values / np.linalg.norm(values, axis=1, keepdims=True)).astype(np.float32), offsets


def chamfer(queries: Vectors, documents: Vectors) -> np.ndarray:
    (asked, bounds), (values, offsets) = queries, documents
    scores = np.zeros((len(bounds) - 1, len(offsets) - 1))
    for query in range(len(bounds) - 1):
        for row in range(len(offsets) - 1):
            products = asked[bounds[query] : bounds[query + 1]] @ values[offsets[row] : offsets[row + 1]].T
            scores[query, row] = products.max(axis=1).sum() if products.size else 0
    return scores


def by_definition(values: np.ndarray, offsets: np.ndarray, muvera: Muvera, documents: bool) -> np.ndarray:
    """The encoding token by token, without the final projection."""
    found = np.zeros((len(offsets) - 1, muvera.repetitions, muvera.parts, muvera.inner or muvera.dim))
    for row in range(len(offsets) - 1):
        own = values[offsets[row] : offsets[row + 1]].astype(np.float64)
        for cut in range(muvera.repetitions):
            bits = own @ muvera.hyperplanes[cut] > 0
            shown = own if muvera.projections is None else own @ muvera.projections[cut]
            for part in range(muvera.parts):
                wanted = np.array([part >> plane & 1 for plane in range(muvera.planes)], bool)
                inside = (bits == wanted).all(axis=1)
                if inside.any():
                    found[row, cut, part] = shown[inside].mean(0) if documents else shown[inside].sum(0)
                elif documents and len(own):
                    found[row, cut, part] = shown[(bits != wanted).sum(1).argmin()]
    return found.reshape(len(offsets) - 1, -1)


@pytest.mark.parametrize("inner", [None, 5])
@pytest.mark.parametrize("planes", [0, 3])
def test_encodings_are_those_of_the_definition(inner: int | None, planes: int) -> None:
    muvera = Muvera(DIM, planes=planes, repetitions=3, inner=inner)
    values, offsets = tokens(12, 1)
    for encode, documents in ((document_encodings, True), (query_encodings, False)):
        expected = by_definition(values, offsets, muvera, documents)
        found = encode(values, offsets, muvera)
        assert found.dtype == np.float32
        np.testing.assert_allclose(found, expected, atol=1e-5)


def test_the_final_projection_adds_dimensions_up_by_sign() -> None:
    values, offsets = tokens(6, 1)
    muvera = Muvera(DIM, planes=2, repetitions=2, inner=4, final=7)
    whole = document_encodings(values, offsets, Muvera(DIM, planes=2, repetitions=2, inner=4))
    places, signs = muvera.finals
    expected = np.zeros((6, 7))
    for place, sign, column in zip(places, signs, whole.T, strict=True):
        expected[:, place] += sign * column
    np.testing.assert_allclose(document_encodings(values, offsets, muvera), expected, atol=1e-5)
    assert muvera.size == 7


def estimate_and_recall(repetitions: int) -> tuple[float, float]:
    documents, queries = tokens(300, 1), tokens(30, 2, longest=9)
    truth = chamfer(queries, documents)
    muvera = Muvera(DIM, planes=3, repetitions=repetitions, inner=None)
    encodings = query_encodings(*queries, muvera), document_encodings(*documents, muvera)
    estimate = encodings[0] @ encodings[1].T / repetitions
    asked = np.flatnonzero(np.diff(queries[1]))
    best, found = (np.argsort(-scores[asked], axis=1)[:, :10] for scores in (truth, estimate))
    hits = [np.isin(one, other).mean() for one, other in zip(best, found, strict=True)]
    return np.corrcoef(truth[asked].ravel(), estimate[asked].ravel())[0, 1], float(np.mean(hits))


def test_products_of_encodings_are_near_maxsim_and_nearer_with_more_repetitions() -> None:
    few, many = estimate_and_recall(1), estimate_and_recall(30)
    assert many[0] > 0.85
    assert many[0] > few[0]
    assert many[1] > few[1] + 0.1


def test_an_encoding_does_not_depend_on_the_documents_beside_it(monkeypatch: pytest.MonkeyPatch) -> None:
    values, offsets = tokens(40, 1)
    muvera = Muvera(DIM, repetitions=2)
    whole = document_encodings(values, offsets, muvera)
    monkeypatch.setattr("modernir.index.late.muvera._BLOCK", 25)
    np.testing.assert_allclose(document_encodings(values, offsets, muvera), whole, atol=1e-6)


def test_the_seed_alone_decides() -> None:
    values, offsets = tokens(5, 1)
    one, same, other = (document_encodings(values, offsets, Muvera(DIM, seed=seed)) for seed in (1, 1, 2))
    np.testing.assert_array_equal(one, same)
    assert not np.allclose(one, other)


def test_what_has_no_tokens_is_encoded_as_zeros() -> None:
    values, offsets = np.ones((2, DIM), np.float32), np.array([0, 0, 2, 2])
    for encode in (document_encodings, query_encodings):
        found = encode(values, offsets, Muvera(DIM, repetitions=2))
        assert not found[[0, 2]].any()
        assert found[1].any()
    assert document_encodings(values[:0], offsets[:1], Muvera(DIM)).shape == (0, Muvera(DIM).size)


@pytest.mark.parametrize("wrong", [{"planes": 13}, {"planes": -1}, {"repetitions": 0}, {"inner": 0}, {"final": 0}])
def test_parameters_out_of_range_are_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="planes must be"):
        Muvera(DIM, **wrong)
