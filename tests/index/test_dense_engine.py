"""What the engine of single vectors finds, compared with brute force in NumPy, for every structure and mask."""

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modernir.errors import InputError
from modernir.index.dense.engine import HALF_MOST, MOST_SQUARES, DenseEngine
from modernir.index.dense.segment import Segment
from modernir.index.masks import Mask

DIM, ROWS, QUERIES = 24, 3000, 20
STRUCTURES = {
    "flat": None, "pq": "PQ6x4fs", "ivfpq": "IVF64,PQ6x4fs", "hnsw": "HNSW32_SQ8", "int8": "SQ8", "binary": "RaBitQ",
    "IVF16,SQ8": "IVF16,SQ8", "PCA16,IVF16,PQ8x4fs": "PCA16,IVF16,PQ8x4fs", "RaBitQfs": "RaBitQfs",
}  # fmt: skip
BUDGET = 1 << 28


def clustered(rows: int, seed: int, dim: int = DIM) -> np.ndarray:
    """Return normalised vectors around 100 centres that do not depend on the seed."""
    centres = np.random.default_rng(0).standard_normal((100, dim))
    rng = np.random.default_rng(seed)
    vectors = centres[rng.integers(100, size=rows)] + 0.5 * rng.standard_normal((rows, dim))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


VECTORS, ASKED = clustered(ROWS, 1), clustered(QUERIES, 2)


def engine_in(
    folder: Path,
    metric: str = "dot",
    dim: int = DIM,
    memory: int = BUDGET,
    **chosen: Any,  # noqa: ANN401 - settings of any kind
) -> DenseEngine:
    return DenseEngine(folder, dim, metric, chosen, memory)


def opened(engine: DenseEngine, names: Sequence[str]) -> Segment:
    return engine.open([engine.folder / name for name in names])


def written(engine: DenseEngine, stem: str, vectors: np.ndarray) -> Segment:
    return opened(engine, engine.write(stem, [engine.accept(vectors)]))


def merged(engine: DenseEngine, stem: str, vectors: np.ndarray, kept: Mask | None = None) -> Segment:
    """Return the segment that a merge makes of vectors which come in two flat ones."""
    half = len(vectors) // 2
    parts = [written(engine, f"{stem}-a", vectors[:half]), written(engine, f"{stem}-b", vectors[half:])]
    masks = [None, None] if kept is None else [Mask(kept.allowed[:half]), Mask(kept.allowed[half:])]
    return opened(engine, engine.merge(stem, parts, masks))


@cache
def built(structure: str, storage: str = "float32") -> tuple[DenseEngine, Segment]:
    engine = engine_in(Path(mkdtemp()), structure=structure, storage=storage)
    return engine, merged(engine, "segment-1", VECTORS)


def best(vectors: np.ndarray, queries: np.ndarray, k: int, allowed: np.ndarray | None = None) -> list[list[int]]:
    """Return the rows of brute force, equal scores by row."""
    scores = queries.astype(np.float64) @ vectors.T.astype(np.float64)
    if allowed is not None:
        scores[:, ~allowed] = -np.inf
    order = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    return [[row for row in line.tolist() if scores[query, row] > -np.inf] for query, line in enumerate(order)]


def share_found(found: Sequence[np.ndarray], truth: Sequence[Sequence[int]]) -> float:
    return float(
        np.mean([len({*one.tolist()} & {*other}) / len(other) for one, other in zip(found, truth, strict=True)])
    )


@pytest.mark.parametrize("structure", STRUCTURES)
def test_every_structure_is_built_as_named_and_reaches_its_recall(structure: str) -> None:
    engine, segment = built(structure)
    facts = engine.describe([segment])["segments"][0]["structure"]
    assert (facts and facts["factory"]) == STRUCTURES[structure]
    assert segment.settled
    scores, positions = engine.search([segment], [None], ASKED, 10, {})
    assert share_found(positions, best(VECTORS, ASKED, 10)) >= 0.97
    for query, score, rows in zip(ASKED, scores, positions, strict=True):
        assert len(rows) == 10
        assert np.allclose(score, VECTORS[rows] @ query, atol=1e-5)
        assert (np.diff(score) <= 0).all()


@pytest.mark.parametrize("storage", ["float32", "float16", "int8"])
@pytest.mark.parametrize("k", [1, 10, 100, ROWS, ROWS + 5])
def test_exact_search_equals_brute_force_over_what_is_stored(storage: str, k: int) -> None:
    engine, segment = built("pq", storage)
    stored = engine.vectors(segment, 0, ROWS)
    assert np.abs(stored - VECTORS).max() <= {"float32": 0, "float16": 3e-4, "int8": 8e-3}[storage]
    scores, positions = engine.search([segment], [None], ASKED, k, {"exact": True})
    for query, score, rows in zip(ASKED, scores, positions, strict=True):
        exact = stored @ query
        assert len(set(rows.tolist())) == min(k, ROWS)
        assert np.allclose(exact[rows], -np.sort(-exact)[:k], atol=2e-6)
        assert np.allclose(score, exact[rows], atol=1e-5)


@pytest.mark.parametrize("k", [1, 2, 7, 50, 299, 300, 400])
@pytest.mark.parametrize("queries", [1, 30])
def test_exact_ties_come_by_position_within_and_across_segments(tmp_path: Path, k: int, queries: int) -> None:
    """Vectors of small whole numbers, so that sums are exact and many scores are equal."""
    vectors = np.random.default_rng(3).integers(-1, 2, size=(300, 4)).astype(np.float32)
    asked = np.random.default_rng(4).integers(-1, 2, size=(queries, 4)).astype(np.float32)
    engine = engine_in(tmp_path, dim=4)
    parts = [written(engine, f"segment-{start}", vectors[start : start + 100]) for start in (0, 100, 200)]
    for allowed in (None, np.arange(300) % 3 > 0, np.arange(300) % 50 == 0):
        masks = [None if allowed is None else Mask(allowed[start : start + 100]) for start in (0, 100, 200)]
        found = engine.search(parts, masks, asked, k, {"exact": True})[1]
        assert [rows.tolist() for rows in found] == best(vectors, asked, k, allowed)


@given(data=st.data())
@settings(max_examples=50, deadline=None)
def test_masks_let_only_allowed_rows_be_found_and_k_of_them(data: st.DataObject) -> None:
    engine, segment = built(
        data.draw(st.sampled_from(list(STRUCTURES))), data.draw(st.sampled_from(["float32", "int8"]))
    )
    count = data.draw(st.sampled_from([0, 1, 2, 9, 10, 11, 60, 300, 1500, 2900, ROWS - 1, ROWS]))
    k = data.draw(st.sampled_from([1, 10, 100, ROWS]))
    rng = np.random.default_rng(data.draw(st.integers(0, 1000)))
    allowed = np.zeros(ROWS, bool)
    if data.draw(st.booleans()):
        allowed[rng.choice(ROWS, count, replace=False)] = True
    else:  # those farthest from the first query: the structure proposes them last
        allowed[np.argsort(VECTORS @ ASKED[0])[:count]] = True
    queries = ASKED[: data.draw(st.sampled_from([1, QUERIES]))]
    stored = engine.vectors(segment, 0, ROWS)
    truth = best(stored, queries, k, allowed)
    scores, positions = engine.search([segment], [Mask(allowed)], queries, k, {"exact": True})
    for query, score, rows, expected in zip(queries, scores, positions, truth, strict=True):
        assert len(rows) == len(expected)
        assert allowed[rows].all()
        assert np.allclose(score, stored[expected] @ query, atol=1e-5)
    scores, positions = engine.search([segment], [Mask(allowed)], queries, k, {})
    for query, score, rows in zip(queries, scores, positions, strict=True):
        assert len(set(rows.tolist())) == len(rows) == min(k, count)
        assert allowed[rows].all()
        assert np.allclose(score, stored[rows] @ query, atol=1e-5)
        assert (np.diff(score) <= 0).all()


@pytest.mark.parametrize("structure", STRUCTURES)
@pytest.mark.parametrize("share", [0.003, 0.05, 0.3, 0.9])
def test_filtered_search_keeps_the_recall(structure: str, share: float) -> None:
    engine, segment = built(structure)
    allowed = np.random.default_rng(5).random(ROWS) < share
    found = engine.search([segment], [Mask(allowed)], ASKED, 10, {})[1]
    assert share_found(found, best(VECTORS, ASKED, 10, allowed)) >= 0.93


@pytest.mark.parametrize("structure", ["flat", "pq", "ivfpq", "hnsw"])
def test_merging_kept_rows_equals_a_fresh_build(tmp_path: Path, structure: str) -> None:
    kept = Mask(np.random.default_rng(6).random(ROWS) < 0.7)
    engine = engine_in(tmp_path, structure=structure)
    ours, fresh = merged(engine, "segment-8", VECTORS, kept), merged(engine, "segment-9", VECTORS[kept.allowed])
    assert (engine.vectors(ours, 0, ours.rows) == VECTORS[kept.allowed]).all()
    assert ours.describe() == fresh.describe()
    for options in ({}, {"exact": True}):
        mine, other = (engine.search([one], [None], ASKED, 10, options) for one in (ours, fresh))
        assert all((one == two).all() for one, two in zip(mine[0] + mine[1], other[0] + other[1], strict=True))


def test_several_segments_search_as_one(tmp_path: Path) -> None:
    engine = engine_in(tmp_path)
    parts = [written(engine, f"segment-{number}", VECTORS[number::3]) for number in range(3)]
    together = np.concatenate([VECTORS[number::3] for number in range(3)])
    whole = written(engine, "segment-9", together)
    allowed = np.arange(ROWS) % 5 > 0
    for masks, mask in ([None] * 3, None), ([Mask(part) for part in np.split(allowed, 3)], Mask(allowed)):
        many, one = engine.search(parts, masks, ASKED, 50, {}), engine.search([whole], [mask], ASKED, 50, {})
        assert all((mine == other).all() for mine, other in zip(many[1], one[1], strict=True))
        assert np.allclose(np.stack(many[0]), np.stack(one[0]), atol=1e-6)


def test_scores_of_positions_are_exact_in_any_order_and_segment(tmp_path: Path) -> None:
    for storage in ("float32", "int8"):
        engine = engine_in(tmp_path / storage, storage=storage)
        parts = [
            written(engine, f"segment-{number}", VECTORS[number * 1000 : number * 1000 + 1000]) for number in range(3)
        ]
        stored = np.concatenate([engine.vectors(part, 0, 1000) for part in parts])
        positions = [np.array([2999, 0, 1000, 999, 0]), np.empty(0, np.int64)]
        scores = engine.score(parts, ASKED[:2], positions)
        assert np.allclose(scores[0], stored[positions[0]] @ ASKED[0], atol=1e-5)
        assert scores[1].shape == (0,)


def test_the_same_seed_builds_the_same_structure(tmp_path: Path) -> None:
    parts = []
    for name in ("one", "two"):
        engine = engine_in(tmp_path / name, structure="ivfpq", seed=7)
        merged(engine, "segment-1", VECTORS)
        parts.append((tmp_path / name / "segment-1.structure.faiss").read_bytes())
    assert parts[0] == parts[1]


def test_a_flat_segment_is_settled_unless_its_size_calls_for_a_structure(tmp_path: Path) -> None:
    for structure, rows, settled in [
        ("auto", ROWS, True),
        ("flat", ROWS, True),
        ("pq", ROWS, False),
        ("pq", 900, True),
    ]:
        engine = engine_in(tmp_path / f"{structure}{rows}", structure=structure)
        assert written(engine, "segment-1", VECTORS[:rows]).settled is settled


def test_a_merge_of_nothing_kept_is_an_empty_segment(tmp_path: Path) -> None:
    engine = engine_in(tmp_path, structure="pq")
    part = written(engine, "segment-1", VECTORS)
    empty = opened(engine, engine.merge("segment-2", [part], [Mask(np.zeros(ROWS, bool))]))
    assert empty.rows == 0
    assert [len(rows) for rows in engine.search([empty], [None], ASKED, 5, {})[1]] == [0] * QUERIES


def test_a_structure_larger_than_memory_is_filled_on_disk(tmp_path: Path) -> None:
    engine = engine_in(tmp_path, structure="IVF16,SQ8", memory=1 << 10)
    segment = merged(engine, "segment-1", VECTORS)
    found = engine.search([segment], [None], ASKED, 10, {})[1]
    assert share_found(found, best(VECTORS, ASKED, 10)) >= 0.97
    assert {path.name.split(".", 1)[1] for path in tmp_path.glob("segment-1.*")} == {
        "vectors.faiss", "structure.faiss", "dense.json"
    }  # fmt: skip


def test_int8_vectors_stay_as_they_are_however_often_they_are_merged(tmp_path: Path) -> None:
    engine = engine_in(tmp_path, storage="int8")
    segment = written(engine, "segment-0", VECTORS)
    before = engine.vectors(segment, 0, ROWS)
    for number in range(1, 6):
        segment = opened(engine, engine.merge(f"segment-{number}", [segment], [None]))
    assert np.abs(engine.vectors(segment, 0, ROWS) - before).max() < 1e-6


@pytest.mark.parametrize("dim", [2, 3, 7, 50, 101])
def test_any_length_of_vectors_can_be_structured(tmp_path: Path, dim: int) -> None:
    vectors = clustered(1500, 3, dim)
    for structure in ("pq", "ivfpq", "hnsw", "int8", "binary"):
        engine = engine_in(tmp_path / structure, dim=dim, structure=structure)
        segment = merged(engine, "segment-1", vectors)
        found = engine.search([segment], [None], vectors[:5], 1, {})[0]
        assert segment.structure is not None
        assert np.stack(found).min() > 0.95  # itself, or one at nearly the same place


@pytest.mark.parametrize(
    ("structure", "little", "much"),
    [("pq", {"k_factor": 1}, {"k_factor": 30}), ("ivfpq", {"nprobe": 1}, {"nprobe": 64, "k_factor": 30, "threads": 2})],
)
def test_options_change_how_hard_a_structure_searches(
    structure: str, little: dict[str, int], much: dict[str, int]
) -> None:
    engine, segment = built(structure)
    truth = best(VECTORS, ASKED, 100)
    poor, good = (
        share_found(engine.search([segment], [None], ASKED, 100, options)[1], truth) for options in (little, much)
    )
    assert poor < good
    assert good >= 0.99


def test_a_target_recall_is_reached_and_a_lower_one_is_cheaper(tmp_path: Path) -> None:
    efforts = {}
    for target in (0.6, 0.99):
        engine = engine_in(tmp_path / str(target), structure="ivfpq", target_recall=target)
        facts = merged(engine, "segment-1", VECTORS).describe()
        assert facts is not None
        assert facts["calibration"]["recall"] >= target
        efforts[target] = facts["effort"]["nprobe"] * facts["effort"]["k_factor"]
    assert efforts[0.6] < efforts[0.99]


@pytest.mark.parametrize(
    ("chosen", "message"),
    [
        ({"structure": "IVF"}, "structure 'IVF' for vectors of 24: could not parse"),
        ({"structure": "PQ7x4fs"}, "structure 'PQ7x4fs' for vectors of 24"),
        ({"structure": "Flat,Refine(SQ8)"}, "leave out Refine"),
        ({"structure": 3}, "structure 3: expected auto"),
        ({"storage": "int4"}, "unknown storage 'int4'; expected one of float32, float16, int8"),
        ({"target_recall": 1.5}, "target_recall 1.5: expected a number from 0.5 to 1"),
        ({"seed": -1}, "seed -1"),
        ({"lists": 3}, "unknown setting 'lists'"),
    ],
)
def test_bad_settings_are_refused(tmp_path: Path, chosen: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=r"^[^\n]*$") as caught:
        engine_in(tmp_path, **chosen)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    "options",
    [{"probe": 1}, {"nprobe": 0}, {"nprobe": 1.5}, {"k_factor": 0.5}, {"k_factor": float("nan")}, {"ef": -1},
     {"threads": 0}, {"exact": 1}, {"device": "tpu"}, {"device": "cuda"}],
)  # fmt: skip
def test_bad_options_are_refused(options: dict[str, Any]) -> None:
    engine, segment = built("flat")
    with pytest.raises(InputError, match=next(iter(options))):
        engine.search([segment], [None], ASKED, 10, options)


def test_bad_vectors_are_refused_and_zeros_are_not(tmp_path: Path) -> None:
    engine = engine_in(tmp_path, "cosine", 2)
    for vectors in ([[1.0, np.nan]], [[np.inf, 1.0], [1.0, 1.0]], [[1.0]], [1.0, 2.0], "ab", [[1.0], [1.0, 2.0]]):
        for check in (engine.accept, engine.queries):
            with pytest.raises(InputError, match="vector"):
                check(vectors)
    with pytest.raises(InputError, match="vector 1 holds NaN"):
        engine.accept([[1.0, 1.0], [np.nan, 1.0]])
    assert engine.accept([[0.0, 0.0], [3e30, 4e30], [3e-30, 4e-30]]) == pytest.approx(
        np.array([[0, 0], [0.6, 0.8], [0.6, 0.8]])
    )
    for one in ([[0.0, 0.0]], [[3e30, 4e30]], [[3.0, 4.0]]):
        assert (np.abs(engine.queries(one) - engine.queries(one * 2)[:1]) <= 1e-7).all()


@pytest.mark.parametrize("count", [1, 3])
def test_vectors_whose_scores_could_overflow_are_refused_by_their_number(tmp_path: Path, count: int) -> None:
    """Those that are normalised cannot."""
    longest = np.float32(0.999 * np.sqrt(MOST_SQUARES / 2))
    for number in range(count):
        vectors = np.ones((count, 2), np.float32)
        for storage in ("float32", "int8"):
            dot, cosine = (engine_in(tmp_path, metric, 2, storage=storage) for metric in ("dot", "cosine"))
            for check in (dot.accept, dot.queries):
                vectors[number] = longest, -longest
                assert (check(vectors) == vectors).all()
                vectors[number] = 1.01 * longest, -1.01 * longest
                with pytest.raises(InputError, match=rf"^vector {number} is too long[^\n]*$"):
                    check(vectors)
            assert np.allclose(cosine.accept(vectors), np.sign(vectors) * np.sqrt(0.5))


@pytest.mark.parametrize("structure", STRUCTURES)
@pytest.mark.parametrize("storage", ["float32", "int8"])
def test_the_longest_vectors_have_finite_scores_and_all_rows_are_found(
    tmp_path: Path, structure: str, storage: str
) -> None:
    longest = np.float32(0.999 * np.sqrt(MOST_SQUARES))
    engine = engine_in(tmp_path, structure=structure, storage=storage)
    segment = merged(engine, "segment-1", VECTORS * longest)
    stored = engine.vectors(segment, 0, ROWS).astype(np.float64)
    queries = engine.queries(ASKED * longest)
    for k, options in ((10, {}), (10, {"exact": True}), (ROWS, {"exact": True})):
        scores, positions = engine.search([segment], [None], queries, k, options)
        for query, score, rows in zip(queries, scores, positions, strict=True):
            assert len(set(rows.tolist())) == k
            assert np.allclose(score / MOST_SQUARES, stored[rows] @ query / MOST_SQUARES, atol=1e-5)
    assert share_found(engine.search([segment], [None], queries, 10, {})[1], best(stored, queries, 10)) >= 0.97


@pytest.mark.parametrize("value", [float(np.nextafter(np.float32(HALF_MOST), np.float32(np.inf))), -65520.0, 1e18])
def test_values_beyond_half_precision_are_refused_where_vectors_are_stored_in_it(tmp_path: Path, value: float) -> None:
    vectors = [[HALF_MOST, -HALF_MOST], [1.0, value], [value, 2.0]]
    engine = engine_in(tmp_path, dim=2, storage="float16")
    with pytest.raises(InputError, match=r"^vector 1 holds -?[\d.e+]+, beyond the ±65504 of storage[^\n]*$"):
        engine.accept(vectors)
    with pytest.raises(InputError, match="vector 0 holds"):
        engine.accept(vectors[2:])
    assert (engine.queries(vectors) == np.float32(vectors)).all()  # they are not stored
    assert (engine_in(tmp_path, dim=2).accept(vectors) == np.float32(vectors)).all()
    assert np.abs(engine_in(tmp_path, "cosine", 2, storage="float16").accept(vectors)).max() <= 1
    assert engine.accept(np.empty((0, 2))).shape == (0, 2)


def test_half_precision_keeps_and_scores_values_up_to_its_greatest(tmp_path: Path) -> None:
    steps = np.random.default_rng(8).integers(-3, 1, size=(300, 8))
    vectors = (np.random.default_rng(9).choice([-1, 1], size=(300, 8)) * (HALF_MOST + 32 * steps)).astype(np.float32)
    engine = engine_in(tmp_path, dim=8, storage="float16")
    segment = merged(engine, "segment-1", vectors)
    assert (engine.vectors(segment, 0, 300) == vectors).all()
    queries = engine.queries(np.concatenate([vectors[:5], vectors[:5] * np.float32(1e12)]))
    allowed = np.arange(300) % 2 > 0
    for mask in (None, allowed):
        scores, positions = engine.search([segment], [mask if mask is None else Mask(mask)], queries, 300, {})
        for query, score, rows in zip(queries, scores, positions, strict=True):
            expected = vectors.astype(np.float64) @ query
            assert sorted(rows.tolist()) == list(range(300) if mask is None else range(1, 300, 2))
            assert np.allclose(score, expected[rows], rtol=1e-5, atol=1e-6 * np.abs(expected).max())


@pytest.mark.parametrize("storage", ["float32", "float16"])
@pytest.mark.parametrize("k", [1, 2, 3, 4, 9])
@pytest.mark.parametrize("queries", [1, 30])
def test_rows_whose_score_is_no_number_are_left_out_and_no_other_row_takes_their_place(
    tmp_path: Path, storage: str, k: int, queries: int
) -> None:
    """Files may hold what `accept` would refuse."""
    low, none = [-3e38, -3e38], [np.nan, 1]
    vectors = np.float32([[1, 2], low, [2, 1], none, low, [3, 3], low, none])
    engine = engine_in(tmp_path, dim=2, storage=storage)
    parts = [opened(engine, engine.write(f"segment-{at}", [vectors[at : at + 4]])) for at in (0, 4)]
    query = np.full((queries, 2), 4, np.float32)
    for allowed, expected in [
        (np.ones(8, bool), [5, 0, 2]),
        (np.arange(8) != 0, [5, 2]),
        (np.isin(np.arange(8), [1, 3, 4, 6]), []),
    ]:
        for picked, base in ((parts, 0), (parts[:1], 0), (parts[1:], 4)):
            rows = [row - base for row in expected if 0 <= row - base < 4 * len(picked)]
            masks = [Mask(part) for part in np.split(allowed[base : base + 4 * len(picked)], len(picked))]
            scores, positions = engine.search(picked, masks, query, k, {})
            assert [found.tolist() for found in positions] == [rows[:k]] * queries
            assert all((score == vectors[base:][rows[:k]] @ query[0]).all() for score in scores)


class Recorder:
    """Stored vectors that keep the numbers of the rows which are decoded."""

    def __init__(self, flat: Any) -> None:  # noqa: ANN401 - FAISS's
        self._flat = flat
        self.decoded: list[int] = []

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401
        return getattr(self._flat, name)

    def reconstruct_n(self, start: int, count: int) -> np.ndarray:
        self.decoded += range(start, start + count)
        found: np.ndarray = self._flat.reconstruct_n(start, count)
        return found

    def reconstruct_batch(self, rows: np.ndarray) -> np.ndarray:
        self.decoded += rows.tolist()
        found: np.ndarray = self._flat.reconstruct_batch(rows)
        return found


@pytest.mark.parametrize("storage", ["float32", "float16", "int8"])
def test_merging_decodes_the_kept_rows_alone(tmp_path: Path, storage: str) -> None:
    engine = engine_in(tmp_path, storage=storage, memory=1)  # blocks of 1,024 rows
    masks = []
    for first, last in [(0, ROWS), (1100, 1200), (1024, 2048), (2999, ROWS), (5, 5)]:
        masks.append(Mask((np.arange(ROWS) >= first) & (np.arange(ROWS) < last)))
    segments = [written(engine, f"segment-{number}", VECTORS) for number in range(len(masks) + 1)]
    stored = engine.vectors(segments[0], 0, ROWS)
    recorders = []
    for segment in segments:
        recorders.append(Recorder(segment.flat))
        segment.flat = recorders[-1]
    result = opened(engine, engine.merge("segment-9", segments, [*masks, None]))
    expected = [*(mask.rows.tolist() for mask in masks), list(range(ROWS))]
    assert [recorder.decoded for recorder in recorders] == expected
    assert np.allclose(engine.vectors(result, 0, result.rows), stored[np.concatenate(expected).astype(int)], atol=1e-6)


def test_what_was_accepted_does_not_change_with_the_callers_array(tmp_path: Path) -> None:
    for metric in ("dot", "cosine"):
        engine = engine_in(tmp_path, metric, 2)
        own = np.array([[3.0, 4.0]], np.float32)
        accepted = engine.accept(own)
        before = accepted.copy()
        own[:] = 0
        assert (accepted == before).all()
