from pathlib import Path
from typing import Any

import numpy as np
import pytest

from modernir.errors import InputError, ModernirError
from modernir.index.engine import Found
from modernir.index.index import Index
from modernir.index.late import engine as engines
from modernir.index.late import training
from modernir.index.late.calibration import Calibration
from modernir.index.late.effort import default_candidates, default_nprobe
from modernir.index.late.encode import Encoder
from modernir.index.late.engine import LateEngine
from modernir.index.late.kmeans import centroid_count
from modernir.index.late.segment import AnySegment, CodedSegment, PlainSegment
from modernir.index.late.settings import checked_settings
from modernir.index.late.tokens import Tokens
from modernir.index.masks import Mask

Vectors = tuple[np.ndarray, np.ndarray]
DIM = 24


@pytest.fixture(autouse=True)
def small_collections_are_coded(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (engines, training):
        monkeypatch.setattr(module, "TRAIN_TOKENS", 2000)
    monkeypatch.setattr(engines, "SPOOL_TOKENS", 6000)


def documents(count: int, seed: int, base: int = 0, longest: int = 40) -> Vectors:
    chance = np.random.default_rng(seed)
    offsets = np.concatenate([[0], np.cumsum(chance.integers(0, longest, count))])
    means = np.random.default_rng(base).standard_normal((150, DIM))
    values = means[chance.integers(0, 150, offsets[-1])] + 0.5 * chance.standard_normal((offsets[-1], DIM))
    return values.astype(np.float32), offsets


def questions(count: int, seed: int, base: int = 0) -> Vectors:
    values, offsets = documents(count, seed, base, longest=12)
    return values, offsets


def engine(folder: Path, metric: str = "cosine", memory: int = 1 << 28, **settings: object) -> LateEngine:
    return LateEngine(folder, DIM, metric, checked_settings(settings), memory, None)


def written(maker: LateEngine, stem: str, vectors: Vectors) -> AnySegment:
    return maker.open([maker.folder / name for name in maker.write(stem, [maker.accept(vectors)])])


def coded(folder: Path, parts: list[Vectors], **settings: object) -> tuple[LateEngine, list[Any]]:
    """Return an engine with a codec and a segment a part."""
    plain = engine(folder, **settings)
    maker = plain.adapted("codec-1", [plain.accept(part) for part in parts], [], building=False)
    assert maker.shared == "codec-1.codec"
    return maker, [written(maker, f"segment-{number}", part) for number, part in enumerate(parts)]


def normalised(values: np.ndarray) -> np.ndarray:
    return values / np.linalg.norm(values, axis=1, keepdims=True)


def brute_force(vectors: Vectors, queries: Vectors, unit: bool = True) -> np.ndarray:
    """Return scores (queries, documents), one pair at a time; −inf without tokens."""
    (values, offsets), (asked, bounds) = vectors, queries
    if unit:
        values, asked = normalised(values), normalised(asked)
    scores = np.full((len(bounds) - 1, len(offsets) - 1), -np.inf)
    for query in range(len(bounds) - 1):
        tokens = asked[bounds[query] : bounds[query + 1]].astype(np.float64)
        for row in range(len(offsets) - 1):
            document = values[offsets[row] : offsets[row + 1]]
            if len(tokens) and len(document):
                scores[query, row] = (tokens @ document.T).max(axis=1).sum()
    return scores


def ranking(scores: np.ndarray, k: int, allowed: np.ndarray | None = None) -> np.ndarray:
    rows = np.arange(len(scores)) if allowed is None else allowed
    rows = rows[scores[rows] > -np.inf]
    return rows[np.lexsort((rows, -scores[rows]))][:k]


def joined(parts: list[Vectors]) -> Vectors:
    values = np.concatenate([values for values, _ in parts])
    lengths = np.concatenate([np.diff(offsets) for _, offsets in parts])
    return values, np.concatenate([[0], np.cumsum(lengths)])


def searched(
    maker: LateEngine,
    segments: list[Any],
    queries: Vectors,
    k: int = 10,
    masks: list[Mask | None] | None = None,
    **options: object,
) -> Found:
    return maker.search(segments, masks or [None] * len(segments), maker.queries(queries), k, options)


@pytest.mark.parametrize("metric", ["cosine", "dot"])
def test_uncompressed_search_equals_brute_force(tmp_path: Path, metric: str) -> None:
    parts, queries = [documents(60, 1), documents(1, 2), documents(90, 3)], questions(9, 4)
    maker = engine(tmp_path, metric, nbits=32)
    segments = [written(maker, f"segment-{number}", part) for number, part in enumerate(parts)]
    truth = brute_force(joined(parts), queries, metric == "cosine")
    scores, positions = searched(maker, segments, queries)
    for query in range(9):
        np.testing.assert_array_equal(positions[query], ranking(truth[query], 10))
        np.testing.assert_allclose(scores[query], truth[query][positions[query]], rtol=1e-5)
        assert scores[query].dtype == np.float32


def test_sixteen_bits_lose_little(tmp_path: Path) -> None:
    part, queries = documents(100, 1), questions(9, 4)
    maker = engine(tmp_path, nbits=16)
    segment = written(maker, "segment-0", part)
    assert segment.values.dtype == np.float16
    truth = brute_force(part, queries)
    for query, (scores, positions) in enumerate(zip(*searched(maker, [segment], queries), strict=True)):
        np.testing.assert_allclose(scores, truth[query][positions], rtol=2e-3)


@pytest.mark.parametrize("bits", [2, 4, 8])
@pytest.mark.parametrize("metric", ["cosine", "dot"])
def test_exact_search_over_codes_ranks_by_the_decoded_tokens(tmp_path: Path, bits: int, metric: str) -> None:
    parts, queries = [documents(150, 1), documents(120, 2)], questions(6, 3)
    maker, segments = coded(tmp_path, parts, nbits=bits, metric=metric)
    decoded = joined([maker.vectors(segment, 0, segment.rows) for segment in segments])
    unit = metric == "cosine"
    truth = brute_force(decoded, (normalised(queries[0]) if unit else queries[0], queries[1]), unit=False)
    for query, (scores, positions) in enumerate(zip(*searched(maker, segments, queries, exact=True), strict=True)):
        best = ranking(truth[query], 10)
        assert len(positions) == len(best)
        spread = 0.02 * np.abs(truth[query][best]).max(initial=1)
        np.testing.assert_allclose(scores, truth[query][positions], atol=spread)
        np.testing.assert_allclose(truth[query][positions], truth[query][best], atol=2 * spread)


def recall(maker: LateEngine, segments: list[Any], truth: np.ndarray, queries: Vectors, **options: object) -> float:
    _, positions = searched(maker, segments, queries, **options)
    shares = [
        np.isin(ranking(row, 10), found).mean() for row, found in zip(truth, positions, strict=True) if len(found)
    ]
    return float(np.mean(shares))


@pytest.mark.parametrize(("bits", "wanted"), [(2, 0.75), (4, 0.9), (8, 0.95)])
def test_recall_against_brute_force_grows_with_bits(tmp_path: Path, bits: int, wanted: float) -> None:
    part, queries = documents(400, 1), questions(40, 3)
    maker, segments = coded(tmp_path, [part], nbits=bits)
    assert recall(maker, segments, brute_force(part, queries), queries) >= wanted


def test_tokens_come_back_decoded(tmp_path: Path) -> None:
    part = documents(200, 1)
    maker, (segment,) = coded(tmp_path, [part], nbits=8)
    values, offsets = maker.vectors(segment, 20, 60)
    np.testing.assert_array_equal(offsets, part[1][20:61] - part[1][20])
    assert np.abs(values - normalised(part[0])[part[1][20] : part[1][60]]).mean() < 0.002


@pytest.mark.parametrize("exact", [True, False])
def test_uncompressed_and_coded_segments_are_searched_together(tmp_path: Path, exact: bool) -> None:
    parts, queries = [documents(80, 1), documents(200, 2), documents(50, 3)], questions(8, 4)
    first = engine(tmp_path, nbits=8)
    plain = [written(first, "segment-a", parts[0]), written(first, "segment-c", parts[2])]
    maker = first.adapted("codec-1", [first.accept(parts[1])], plain, building=False)
    segments = [plain[0], written(maker, "segment-b", parts[1]), plain[1]]
    assert [type(segment) for segment in segments] == [PlainSegment, CodedSegment, PlainSegment]
    truth = brute_force(joined(parts), queries)
    assert recall(maker, segments, truth, queries, exact=exact) > 0.95
    scores, positions = searched(maker, segments, queries, exact=exact, k=20)
    given = maker.score(segments, maker.queries(queries), [found[::-1] for found in positions])
    for query, found in enumerate(positions):
        np.testing.assert_allclose(scores[query], truth[query][found], atol=0.05)
        np.testing.assert_allclose(given[query][::-1], scores[query], atol=0.02)
        assert (np.diff(scores[query]) <= 0).all()


@pytest.mark.parametrize("bits", [4, 32])
@pytest.mark.parametrize("share", [0, 0.01, 0.3, 1])
def test_masked_rows_are_never_found_and_all_others_may_be(tmp_path: Path, bits: int, share: float) -> None:
    parts, queries = [documents(150, 1), documents(150, 2)], questions(6, 3)
    if bits == 32:
        maker = engine(tmp_path, nbits=32)
        segments = [written(maker, f"segment-{number}", part) for number, part in enumerate(parts)]
    else:
        maker, segments = coded(tmp_path, parts, nbits=bits)
    allowed = np.random.default_rng(0).random(300) < share
    masks = [Mask(allowed[:150]), Mask(allowed[150:])]
    if share == 1:
        masks = [None, masks[1]]
    everything = searched(maker, segments, queries, k=300, exact=True)
    for query, (scores, positions) in enumerate(
        zip(*searched(maker, segments, queries, k=7, masks=masks, exact=True), strict=True)
    ):
        wanted = [place for place, row in enumerate(everything[1][query]) if allowed[row] or share == 1][:7]
        np.testing.assert_array_equal(positions, everything[1][query][wanted])
        np.testing.assert_allclose(scores, everything[0][query][wanted], rtol=1e-6)


def same(one: AnySegment, other: AnySegment) -> None:
    for name, array in vars(one).items():
        if isinstance(array, np.ndarray):
            np.testing.assert_array_equal(array, getattr(other, name))


@pytest.mark.parametrize("bits", [2, 4])
@pytest.mark.parametrize("memory", [1, 1 << 28])
def test_merging_segments_equals_writing_their_kept_rows_at_once(tmp_path: Path, bits: int, memory: int) -> None:
    parts = [documents(150, 1), documents(30, 2), documents(90, 3)]
    maker, segments = coded(tmp_path, parts, nbits=bits)
    kept = [np.random.default_rng(seed).random(segment.rows) < 0.6 for seed, segment in enumerate(segments)]
    kept[1][:] = True
    masks = [Mask(kept[0]), None, Mask(kept[2])]
    (tmp_path / "small").mkdir()
    (tmp_path / "small" / "codec-1.codec").write_bytes((tmp_path / "codec-1.codec").read_bytes())
    small = LateEngine(tmp_path / "small", DIM, "cosine", checked_settings({"nbits": bits}), memory, maker.shared)
    merged = small.open([small.folder / name for name in small.merge("segment-9", segments, masks)])
    rows = np.flatnonzero(np.concatenate(kept))
    values, offsets = joined(parts)
    picked = [np.arange(offsets[row], offsets[row + 1]) for row in rows]
    at_once = (values[np.concatenate(picked)], np.concatenate([[0], np.cumsum([len(tokens) for tokens in picked])]))
    same(merged, written(maker, "segment-8", at_once))


def test_uncompressed_segments_are_coded_by_merging_once_there_is_a_codec(tmp_path: Path) -> None:
    first = engine(tmp_path, metric="dot")
    parts = [documents(100, 1), documents(150, 2)]
    plain = [written(first, f"segment-{number}", part) for number, part in enumerate(parts)]
    assert first.adapted("codec-1", [], plain[:1], building=False) is first
    assert [segment.settled for segment in plain] == [True, False]
    maker = first.adapted("codec-1", [], plain, building=False)
    assert [segment.settled for segment in plain] == [True, False]
    again = [each.open([tmp_path / "segment-0.tokens"]) for each in (first, maker)]
    assert [segment.settled for segment in again] == [True, False]
    merged = maker.open([tmp_path / name for name in maker.merge("segment-2", plain, [None, None])])
    same(merged, written(maker, "segment-3", joined(parts)))
    assert merged.settled


def test_without_a_codec_merging_keeps_segments_uncompressed(tmp_path: Path) -> None:
    maker = engine(tmp_path, nbits=32)
    parts = [documents(30, 1), documents(20, 2)]
    segments = [written(maker, f"segment-{number}", part) for number, part in enumerate(parts)]
    merged = maker.open([tmp_path / name for name in maker.merge("segment-2", segments, [None, None])])
    same(merged, written(maker, "segment-3", joined(parts)))
    assert merged.settled


def test_a_codec_waits_for_more_tokens_while_a_collection_is_built(tmp_path: Path) -> None:
    maker = engine(tmp_path)
    batches = [maker.accept(documents(80, seed)) for seed in range(4)]
    assert maker.adapted("codec-1", batches[:2], [], building=True) is maker
    spooled = [
        maker.open([tmp_path / name for name in maker.write(f"segment-{n}", [b])]) for n, b in enumerate(batches)
    ]
    assert sum(segment.tokens for segment in spooled) >= 6000
    assert maker.adapted("codec-1", batches[3:], spooled[:3], building=True).shared == "codec-1.codec"
    assert maker.adapted("codec-1", [], spooled, building=False).shared == "codec-1.codec"


def test_uncompressed_kinds_never_get_a_codec(tmp_path: Path) -> None:
    maker = engine(tmp_path, nbits=16)
    assert maker.adapted("codec-1", [maker.accept(documents(300, 1))], [], building=False) is maker


def test_segments_written_before_the_codec_grew_are_found_as_before(tmp_path: Path) -> None:
    parts = [documents(300, 1), documents(300, 2, base=9)]
    queries = joined([questions(15, 3), questions(15, 4, base=9)])
    maker, (old,) = coded(tmp_path, parts[:1], nbits=4)
    later = maker.adapted("codec-2", [maker.accept(parts[1])], [old], building=False)
    assert later.shared == "codec-2.codec"
    for one, other in zip(maker.vectors(old, 0, old.rows), later.vectors(old, 0, old.rows), strict=True):
        np.testing.assert_array_equal(one, other)
    before, after = (searched(each, [old], queries, exact=True) for each in (maker, later))
    assert (
        np.mean([np.isin(one, other).mean() for one, other in zip(before[1], after[1], strict=True) if len(one)]) > 0.9
    )
    segments = [old, written(later, "segment-9", parts[1])]
    (tmp_path / "fresh").mkdir()
    fresh, whole = coded(tmp_path / "fresh", [joined(parts)], nbits=4)
    truth = brute_force(joined(parts), queries)
    assert recall(later, segments, truth, queries) > recall(fresh, whole, truth, queries) - 0.04
    merged = later.open([tmp_path / name for name in later.merge("segment-10", segments, [None, None])])
    np.testing.assert_array_equal(merged.codes[: old.tokens], old.codes)


def test_documents_without_tokens_are_kept_and_never_found(tmp_path: Path) -> None:
    values, offsets = documents(200, 1)
    offsets = np.concatenate([[0, 0], offsets[1:], offsets[-1:]])
    for bits in (4, 32):
        folder = tmp_path / str(bits)
        folder.mkdir()
        maker = engine(folder, nbits=bits)
        maker = maker.adapted("codec-1", [maker.accept((values, offsets))], [], building=False)
        segment = written(maker, "segment-0", (values, offsets))
        assert segment.rows == 202
        empty = np.flatnonzero(np.diff(offsets) == 0)
        for positions in searched(maker, [segment], questions(5, 2), k=202, exact=True)[1]:
            assert not np.isin(positions, empty).any()
        asked = maker.queries(questions(5, 2)).only(1)
        assert maker.score([segment], asked, [np.array([0, 1])])[0][0] == -np.inf


@pytest.mark.parametrize("bits", [4, 32])
def test_nothing_is_found_by_nothing_and_in_nothing(tmp_path: Path, bits: int) -> None:
    maker, segments = engine(tmp_path, nbits=bits), []
    nothing = (np.empty((0, DIM), np.float32), np.array([0]))
    assert searched(maker, [], nothing) == ([], [])
    assert [len(found) for found in searched(maker, [], questions(3, 1))[1]] == [0, 0, 0]
    if bits == 4:
        maker, segments = coded(tmp_path, [documents(200, 1)], nbits=4)
    segments = [*segments, written(maker, "segment-7", nothing)]
    assert [len(found) for found in searched(maker, segments[-1:], questions(3, 1))[1]] == [0, 0, 0]
    tokenless = (np.empty((0, DIM), np.float32), np.array([0, 0]))
    assert [len(found) for found in searched(maker, segments, tokenless)[1]] == [0]


def test_a_calibrated_index_reaches_its_target_and_says_so(tmp_path: Path) -> None:
    part = documents(300, 1)
    maker, segments = coded(tmp_path, [part], nbits=4, target_recall=0.9)
    files = maker.merge("segment-9", segments, [None])
    assert [Path(name).suffix for name in files] == [".late", ".tuned"]
    merged = maker.open([tmp_path / name for name in files])
    shown = maker.describe([merged])
    assert shown["calibrated_recall"] >= 0.9
    queries = questions(30, 5)
    exact, usual = (searched(maker, [merged], queries, exact=exact)[1] for exact in (True, False))
    assert np.mean([np.isin(one, other).mean() for one, other in zip(exact, usual, strict=True) if len(one)]) > 0.8


def test_calibrated_settings_are_no_less_than_the_usual_ones_for_more_results() -> None:
    found = Calibration(nprobe=4, candidates=64, documents=10_000, recall=0.9)
    assert found.effort(10_000, 10) == (4, 64)
    assert found.effort(40_000, 10) == (4, 128)
    for k in (11, 100, 1000):
        assert found.effort(10_000, k) == (default_nprobe(k), default_candidates(10_000, k))
    dear = Calibration(nprobe=128, candidates=4096, documents=10_000, recall=0.9)
    assert dear.effort(10_000, 40) == (128, 8192)


def test_a_calibrated_search_for_many_finds_what_the_usual_one_does(tmp_path: Path) -> None:
    part, queries = documents(3000, 1), questions(10, 5)
    maker, (segment,) = coded(tmp_path, [part], nbits=4)
    usual = searched(maker, [segment], queries, k=300)[1]
    segment.calibration = Calibration(nprobe=1, candidates=16, documents=segment.rows, recall=0.5)
    for one, other in zip(usual, searched(maker, [segment], queries, k=300)[1], strict=True):
        np.testing.assert_array_equal(one, other)


def test_many_small_additions_get_more_centroids_by_compaction(tmp_path: Path) -> None:
    first = documents(150, 1)
    maker, segments = coded(tmp_path, [first])
    present = len(maker.codec.centroids)
    for number in range(1, 40):
        part = maker.accept(documents(40, number))
        assert maker.adapted(f"codec-{number}", [part], segments, building=False) is maker
        segments.append(maker.open([tmp_path / name for name in maker.write(f"segment-{number}", [part])]))
    tokens = sum(segment.tokens for segment in segments)
    assert 2 * present < centroid_count(tokens)
    later = maker.adapted("codec-99", [], segments, building=False)
    assert later.shared == "codec-99.codec"
    assert len(later.codec.centroids) == centroid_count(tokens)
    np.testing.assert_array_equal(later.codec.centroids[:present], maker.codec.centroids)
    assert later.adapted("codec-100", [], segments, building=False) is later
    extra = later.accept(documents(40, 77))
    before, after = (Encoder(each.codec, True).distances(extra.values).mean() for each in (maker, later))
    assert after < 0.9 * before


def test_the_structure_is_described(tmp_path: Path) -> None:
    maker, segments = coded(tmp_path, [documents(200, 1)], nbits=2)
    shown = maker.describe(segments)
    assert shown["tokens"] == segments[0].tokens
    assert shown["codec_version"] == 1
    assert shown["uncompressed_tokens"] == 0
    size = (tmp_path / "segment-0.late").stat().st_size + (tmp_path / "codec-1.codec").stat().st_size
    assert shown["bytes_per_token"] == pytest.approx(size / shown["tokens"], abs=1)


GOOD = documents(3, 0)


@pytest.mark.parametrize(
    ("vectors", "message"),
    [
        (GOOD[0], "pair"),
        ("no", "pair"),
        ((GOOD[0][:, :5], GOOD[1]), r"\(tokens, 24\)"),
        ((GOOD[0].astype("U3"), GOOD[1]), "numbers"),
        ((GOOD[0], GOOD[1] + 1), "from 0 to"),
        ((GOOD[0], GOOD[1][:-1]), "from 0 to"),
        ((GOOD[0], GOOD[1].astype(float)), "whole numbers"),
        ((GOOD[0], np.array([0, len(GOOD[0]) + 1, len(GOOD[0])])), "fall"),
        ((GOOD[0], np.array([], np.int64)), "whole numbers"),
    ],
)
def test_wrong_shapes_and_offsets_are_refused(tmp_path: Path, vectors: object, message: str) -> None:
    maker = engine(tmp_path)
    for check in (maker.accept, maker.queries):
        with pytest.raises(InputError, match=message):
            check(vectors)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e30])
def test_a_value_that_is_not_finite_is_named_by_its_document(tmp_path: Path, value: float) -> None:
    values, offsets = documents(8, 3)
    row = int(np.flatnonzero(np.diff(offsets) > 2)[-1])
    values[offsets[row] + 2, 7] = value
    with pytest.raises(InputError, match=f"document {row}: token 2 "):
        engine(tmp_path, "dot").accept((values, offsets))
    if not np.isfinite(value):
        with pytest.raises(InputError, match=f"document {row}: token 2 "):
            engine(tmp_path).accept((values, offsets))


def test_a_number_that_float16_does_not_hold_is_refused_where_it_would_be_kept_as_such(tmp_path: Path) -> None:
    values, offsets = documents(8, 3)
    row = int(np.flatnonzero(np.diff(offsets) > 2)[-1])
    for value in (65536.0, -1e6):
        values[offsets[row] + 2, 7] = value
        with pytest.raises(InputError, match=f"document {row}: token 2 .*nbits 32"):
            engine(tmp_path, "dot", nbits=16).accept((values, offsets))
        for metric, bits in (("cosine", 16), ("dot", 32), ("dot", 4)):
            engine(tmp_path, metric, nbits=bits).accept((values, offsets))
    values[offsets[row] + 2, 7] = 65504
    stored = written(engine(tmp_path, "dot", nbits=16), "segment-0", (values, offsets))
    assert np.isfinite(stored.values).all()


@pytest.mark.parametrize("scale", [1e-25, 1e20, 1e38])
def test_cosines_do_not_depend_on_lengths(tmp_path: Path, scale: float) -> None:
    values, offsets = documents(8, 3)
    values /= np.abs(values).max()
    maker = engine(tmp_path)
    expected = maker.accept((values, offsets)).values
    np.testing.assert_allclose(maker.accept((values * np.float32(scale), offsets)).values, expected, atol=1e-6)


@pytest.mark.parametrize("metric", ["cosine", "dot"])
def test_what_was_accepted_is_not_changed_by_its_caller(tmp_path: Path, metric: str) -> None:
    values, offsets = documents(8, 3)
    for given in ((values, offsets), Tokens(values, offsets)):
        accepted = engine(tmp_path, metric).accept(given)
        before = accepted.values.copy(), accepted.offsets.copy()
        values += 1
        offsets += 1
        np.testing.assert_array_equal(accepted.values, before[0])
        np.testing.assert_array_equal(accepted.offsets, before[1])
        offsets -= 1


def test_an_array_may_be_used_again_within_a_batch(tmp_path: Path) -> None:
    values, offsets = documents(6, 3)
    kept = values.copy()
    with Index.create(tmp_path / "index", "late", dim=DIM, metric="dot", nbits=32) as index:
        with index.batch():
            index.add([f"d{number}" for number in range(6)], (values, offsets))
            values[:] = 0
        query = questions(1, 5)
        scores = brute_force((kept, offsets), query, unit=False)[0]
        assert index.search(query, 6)[0][0] == [f"d{number}" for number in ranking(scores, 6)]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"probes": 3}, "known are: exact, nprobe, candidates, threads, device"),
        ({"nprobe": 0}, "nprobe 0"),
        ({"candidates": 2.5}, "candidates 2.5"),
        ({"threads": True}, "threads True"),
        ({"exact": 1}, "exact 1"),
        ({"device": 3}, "device 3"),
    ],
)
def test_wrong_options_of_a_search_are_refused(tmp_path: Path, options: object, message: str) -> None:
    maker = engine(tmp_path)
    with pytest.raises(InputError, match=message):
        searched(maker, [], questions(1, 0), **options)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"bits": 4}, "known are: nbits, seed, centroids, target_recall"),
        ({"nbits": 3}, "nbits 3"),
        ({"nbits": True}, "nbits True"),
        ({"seed": -1}, "seed -1"),
        ({"centroids": 0}, "centroids 0"),
        ({"target_recall": 1}, "target_recall 1"),
    ],
)
def test_wrong_settings_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        checked_settings(settings)


def test_a_cut_segment_is_refused(tmp_path: Path) -> None:
    maker, _ = coded(tmp_path, [documents(200, 1)], nbits=4)
    path = tmp_path / "segment-0.late"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ModernirError, match="damaged"):
        maker.open([path])
