"""Every instruction set computes the integers that NumPy does; lists, sums and choices are what plain Python makes."""

from dataclasses import replace

import numpy as np
import pytest
from llvmlite import binding, ir

from modernir.index.late.codec import Codec
from modernir.index.late.kernels import table as columns
from modernir.index.late.kernels.instructions import SETS, Instructions, usable_sets
from modernir.index.late.kernels.probes import SUM_MASK, TAGS, accumulate, best_documents, choose_probes
from modernir.index.late.kernels.queries import CHUNK
from modernir.index.late.kernels.rerank import _highest, approximate, score_documents
from modernir.index.late.prepared import Centroids, PreparedQuery
from modernir.jit.vector import INTS, Code

CENTROIDS = 37
NOTHING = np.empty(0, np.int64)


def make_codec(dim: int, nbits: int) -> Codec:
    random = np.random.default_rng(dim + nbits)
    centroids = random.standard_normal((CENTROIDS, dim)).astype(np.float32)
    centroids /= np.linalg.norm(centroids, axis=1, keepdims=True)
    steps = random.uniform(0.5, 1.5, dim).astype(np.float32) * np.float32(0.1 / 2**nbits)
    return Codec(centroids, centroids[:1], steps, nbits, 1, 0.0, 0.0)


def make_query(tokens: int, dim: int) -> np.ndarray:
    query = np.random.default_rng(tokens).standard_normal((tokens, dim)).astype(np.float32)
    return query / np.linalg.norm(query, axis=1, keepdims=True)


class Documents:
    """Random codes of documents of 0 to 40 tokens, as a table of segments."""

    def __init__(self, codec: Codec, count: int = 23, code_type: type = np.uint16) -> None:
        random = np.random.default_rng(count)
        lengths = random.integers(0, 40, count)
        lengths[3] = 0
        self.offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        tokens = int(self.offsets[-1])
        self.codes = random.integers(0, CENTROIDS, tokens).astype(code_type)
        self.residuals = random.integers(0, 256, (tokens, codec.width)).astype(np.uint8)
        self.scales = random.integers(0, 256, tokens).astype(np.uint8)
        self.table = np.zeros((1, columns.COLUMNS), np.int64)
        arrays = {columns.OFFSETS: self.offsets, columns.CODES: self.codes, columns.RESIDUALS: self.residuals}
        if codec.scaled:
            arrays[columns.SCALES] = self.scales
        for column, array in arrays.items():
            self.table[0, column] = array.ctypes.data
        self.table[0, columns.CODE_BYTES] = self.codes.itemsize

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def tokens(self, document: int) -> slice:
        return slice(*self.offsets[document : document + 2])


class Reference:
    """The integers of a query, in NumPy."""

    def __init__(self, codec: Codec, query: np.ndarray) -> None:
        f32 = np.float32
        centroids = Centroids.of(codec)
        norms = np.sqrt((query.astype(np.float64) ** 2).sum(1)).astype(f32)
        scaled = query * codec.steps
        self.units = np.maximum(np.abs(scaled).max(1) / f32(127), norms * centroids.longest / f32(1 << 20))
        self.far = np.rint(scaled / self.units[:, None]).astype(np.int64)
        scale = np.abs(query).max(1) / f32(127)
        near = np.rint(query / scale[:, None]).astype(np.int64)
        levels = centroids.levels[:, : codec.dim].astype(np.int64) - 128
        summands = -f32(2**codec.nbits - 1) / f32(2) * self.far.sum(1).astype(f32)
        products = (levels @ near.T).astype(f32) * centroids.factors[:, None]
        shared = query.astype(np.float64) @ centroids.mean / self.units.astype(np.float64)
        summands = (summands + shared).astype(f32)
        self.starts = np.rint(products * (scale / self.units) + summands).astype(np.int64)
        worth = self.units.astype(np.float64)
        reach = ((self.starts.max(0) - summands) * worth).max()
        below = (self.starts - self.starts.max(0)).astype(f32) * (worth * 255 / reach).astype(f32)
        self.coarse = np.maximum(below + f32(255.5), 0).astype(np.int64)

    def maxima(self, codec: Codec, documents: Documents, number: int) -> np.ndarray:
        chosen = documents.tokens(number)
        levels = codec.unpack(documents.residuals[chosen])[:, : codec.dim].astype(np.int64)
        values = self.starts[documents.codes[chosen]] + levels @ self.far.T
        if codec.scaled:
            values *= 255 + 2 * documents.scales[chosen].astype(np.int64)[:, None]
        return values.max(0)

    def score(self, codec: Codec, maxima: np.ndarray) -> np.float32:
        total = 0.0
        for unit, best in zip(self.units.astype(np.float64), maxima, strict=True):
            total += (unit / 510 if codec.scaled else unit) * best
        return np.float32(total)


def prepare(codec: Codec, query: np.ndarray, name: str) -> PreparedQuery:
    prepared = PreparedQuery(codec, Centroids.of(codec), 0, Instructions(name, codec.nbits))
    prepared.prepare(query)
    return prepared


def rows_of(flat: np.ndarray, tokens: int, width: int) -> np.ndarray:
    """Return (centroids, tokens) of an array whose lanes lie side by side by so many."""
    lanes = len(flat) // CENTROIDS
    parts = [
        flat[first * CENTROIDS : min(first + width, lanes) * CENTROIDS].reshape(CENTROIDS, -1)
        for first in range(0, lanes, width)
    ]
    return np.concatenate(parts, axis=1)[:, :tokens]


def score(
    prepared: PreparedQuery,
    documents: Documents,
    nearest: np.ndarray | None = None,
    expected: np.ndarray = NOTHING,
    k: int = 1,
    margin: float = 0.0,
    order: np.ndarray | None = None,
) -> np.ndarray:
    order = np.arange(len(documents)) if order is None else order
    scores = np.full(len(order), np.nan, np.float32)
    count = score_documents(
        prepared.instructions,
        documents.table,
        order,
        CENTROIDS,
        prepared.codec.width,
        prepared.codec.padded,
        prepared.starts,
        prepared.far,
        prepared.worths,
        np.empty((0, 0), np.uint8) if nearest is None else nearest,
        expected,
        k,
        margin,
        int(np.diff(documents.offsets).max()),
        scores,
    )
    assert np.isnan(scores[count:]).all()
    return scores[:count]


@pytest.mark.parametrize("nbits", [2, 4, 8])
@pytest.mark.parametrize("name", usable_sets())
def test_scores_on_the_codes_are_the_integers_of_numpy(name: str, nbits: int) -> None:
    for tokens, dim in ((1, 128), (22, 128), (22, 48), (33, 100), (64, 16), (100, 30)):
        codec, query = make_codec(dim, nbits), make_query(tokens, dim)
        documents, reference = Documents(codec), Reference(codec, query)
        prepared = prepare(codec, query, name)
        np.testing.assert_array_equal(rows_of(prepared.starts, tokens, 16), reference.starts)
        np.testing.assert_array_equal(rows_of(prepared.coarse, tokens, CHUNK), reference.coarse)
        expected = [
            reference.score(codec, reference.maxima(codec, documents, number))
            if documents.offsets[number] < documents.offsets[number + 1]
            else -np.inf
            for number in range(len(documents))
        ]
        np.testing.assert_array_equal(score(prepared, documents), np.array(expected, np.float32))


@pytest.mark.parametrize("nbits", [2, 4, 8])
def test_scores_on_the_codes_are_those_of_the_decoded_tokens(nbits: int) -> None:
    codec, query = make_codec(96, nbits), make_query(20, 96)
    documents = Documents(codec, code_type=np.uint32)
    scores = score(prepare(codec, query, usable_sets()[0]), documents)
    for number in range(len(documents)):
        part = documents.tokens(number)
        scales = documents.scales[part] if codec.scaled else None
        decoded = codec.decode(documents.codes[part], documents.residuals[part], scales)
        products = query @ decoded.T
        expected = products.max(1).sum() if products.size else -np.inf
        assert scores[number] == pytest.approx(expected, abs=0.002 * len(query))


@pytest.mark.parametrize("common", [1, 10, 100])
def test_what_all_tokens_share_costs_no_precision(common: float) -> None:
    codec = make_codec(96, 4)
    direction = np.random.default_rng(1).standard_normal(96).astype(np.float32)
    direction *= np.float32(common / np.linalg.norm(direction))
    shifted = replace(codec, centroids=codec.centroids + direction)
    documents, query = Documents(codec), make_query(20, 96)
    apart = score(prepare(codec, query, usable_sets()[0]), documents)
    together = score(prepare(shifted, query, usable_sets()[0]), documents)
    assert_close = np.testing.assert_allclose
    assert_close(together[np.isfinite(apart)] - (query @ direction).sum(), apart[np.isfinite(apart)], atol=0.01 * 20)
    for number in np.flatnonzero(np.isfinite(apart)):
        part = documents.tokens(number)
        decoded = shifted.decode(documents.codes[part], documents.residuals[part], None)
        exact = (query.astype(np.float64) @ decoded.T).max(1).sum()
        assert together[number] == pytest.approx(exact, abs=0.002 * len(query))


def test_bytes_of_documents_are_the_largest_of_their_centroids() -> None:
    for tokens in (5, 20, 33, 60):
        codec, query = make_codec(64, 4), make_query(tokens, 64)
        documents, reference = Documents(codec), Reference(codec, query)
        prepared = prepare(codec, query, usable_sets()[0])
        nearest, sums = np.empty((len(documents), len(prepared.units)), np.uint8), np.empty(len(documents), np.int64)
        approximate(documents.table, np.arange(len(documents)), CENTROIDS, prepared.coarse, 40, nearest, sums)
        for number in range(len(documents)):
            codes = documents.codes[documents.tokens(number)]
            expected = reference.coarse[codes].max(0) if len(codes) else np.zeros(tokens)
            np.testing.assert_array_equal(nearest[number, :tokens], expected)
            assert not nearest[number, tokens:].any()
            assert sums[number] == (expected.sum() if len(codes) else -1)


@pytest.mark.parametrize("tokens", [16, 17, 40])
def test_scoring_leaves_only_documents_that_are_expected_to_stay_below_the_best(tokens: int) -> None:
    codec, query = make_codec(32, 4), make_query(tokens, 32)
    documents = Documents(codec, 300)
    prepared = prepare(codec, query, usable_sets()[0])
    nearest = np.empty((len(documents), len(prepared.units)), np.uint8)
    sums = np.empty(len(documents), np.int64)
    approximate(documents.table, np.arange(len(documents)), CENTROIDS, prepared.coarse, 40, nearest, sums)
    order = np.argsort(-sums, kind="stable")
    given = {"nearest": nearest[order], "expected": sums[order], "order": order}
    everything = score(prepared, documents)[order]
    best = np.sort(everything)[::-1]
    looked_at = {}
    for margin in (1.0, 3.0, 8.0, np.inf):
        scores = score(prepared, documents, k=20, margin=margin, **given)
        left = np.isneginf(scores)
        np.testing.assert_array_equal(scores[~left], everything[: len(scores)][~left])
        looked_at[margin] = np.count_nonzero(~left)
        if margin >= 3:
            np.testing.assert_array_equal(np.sort(scores)[::-1][:20], best[:20])
    assert looked_at[1.0] < looked_at[3.0] < looked_at[8.0]
    assert looked_at[np.inf] == np.count_nonzero(np.diff(documents.offsets))


def test_scoring_goes_on_while_the_line_is_uncertain() -> None:
    codec, query = make_codec(32, 4), make_query(16, 32)
    documents = Documents(codec, 400)
    prepared = prepare(codec, query, usable_sets()[0])
    scores = score(prepared, documents)
    chance = np.random.default_rng(0)
    filled = np.isfinite(scores)
    spread = scores[filled].std()
    shares = []
    for _ in range(20):  # the order says little, and most sums lie far from those that the line begins with
        guesses = np.where(filled, scores, scores[filled].mean()) + 3 * spread * chance.standard_normal(len(scores))
        order = np.argsort(-guesses, kind="stable")
        expected = 10_000 - np.arange(len(order), dtype=np.int64)
        expected[20:] -= 5000
        got = score(prepared, documents, np.zeros((len(order), 16), np.uint8), expected, 10, 4.0, order)
        best = np.sort(scores)[::-1][:10]
        shares.append(np.isin(best, got).mean())
    assert np.mean(shares) > 0.99


def test_the_interval_of_a_prediction_is_that_of_a_regression_line() -> None:
    chance = np.random.default_rng(0)
    for count in (3, 16, 50):
        x, y = chance.normal(200, 30, count), chance.normal(5, 2, count)
        moments = np.array([count, x.sum(), y.sum(), (x * x).sum(), (x * y).sum(), (y * y).sum()])
        slope, start = np.polyfit(x, y, 1)
        deviation = np.sqrt(((y - start - slope * x) ** 2).sum() / (count - 2))
        for at in (0.0, 150.0, 400.0):
            doubt = np.sqrt(1 + 1 / count + (at - x.mean()) ** 2 / ((x - x.mean()) ** 2).sum())
            expected = start + slope * at + 3 * deviation * doubt
            assert _highest(moments, at, 3.0) == pytest.approx(expected, rel=1e-6)
    same = np.array([20.0, 20 * 7.0, 20.0, 20 * 49.0, 140.0, 30.0])
    assert _highest(same, 5.0, 3.0) == np.inf
    assert _highest(same, 7.0, 3.0) == pytest.approx(1 + 3 * np.sqrt(0.5 * 20 / 18 * 1.05))


def test_scoring_ends_soon_where_the_order_is_right() -> None:
    codec, query = make_codec(32, 4), make_query(16, 32)
    documents = Documents(codec, 200)
    prepared = prepare(codec, query, usable_sets()[0])
    scores = score(prepared, documents)
    order = np.argsort(-scores, kind="stable")
    expected = np.rint(np.maximum(scores[order], 0) * 1000).astype(np.int64)
    nearest = np.zeros((len(order), 16), np.uint8)
    assert 20 <= len(score(prepared, documents, nearest, expected, 20, 3.0, order)) < 30


def test_tokens_that_are_zero_count_for_nothing() -> None:
    codec, query = make_codec(48, 4), make_query(20, 48)
    documents, padded = Documents(codec), np.zeros((90, 48), np.float32)
    padded[:40:2] = query
    plain = prepare(codec, query, usable_sets()[0])
    other = prepare(codec, padded, usable_sets()[0])
    np.testing.assert_allclose(score(other, documents), score(plain, documents), rtol=1e-6)
    assert not rows_of(other.coarse, 90, CHUNK)[:, 1::2].any()


@pytest.mark.parametrize("tokens", [1, 20, 40, 64, 150])
def test_probes_are_the_nearest_centroids_best_first(tokens: int) -> None:
    codec = make_codec(32, 4)
    query = make_query(tokens, 32)
    query[tokens // 2 + 1 :: 7] = 0
    prepared = prepare(codec, query, usable_sets()[0])
    coarse = rows_of(prepared.coarse, tokens, CHUNK).astype(int)
    for nprobe in (1, 5, CENTROIDS, 100):
        starts, centroids, gains = choose_probes(prepared.coarse, CENTROIDS, prepared.units, nprobe)
        for token in range(tokens):
            chosen = slice(*starts[token : token + 2])
            column = coarse[:, token]
            least = np.sort(column)[::-1][min(nprobe, CENTROIDS) - 1] if nprobe <= CENTROIDS else 0
            expected = np.flatnonzero(column >= least) if query[token].any() else []
            assert sorted(centroids[chosen]) == list(expected)
            assert list(gains[chosen]) == sorted(column[expected] - least, reverse=True)


def make_lists(random: np.random.Generator, documents: int, centroids: int) -> tuple[np.ndarray, np.ndarray]:
    held = random.random((centroids, documents)) < 0.2
    return np.concatenate([[0], np.cumsum(held.sum(1))]).astype(np.int64), np.nonzero(held)[1].astype(np.uint32)


@pytest.mark.parametrize("lanes", [3, 40, TAGS + 20])
def test_sums_are_each_lanes_best_gain(lanes: int) -> None:
    random, documents = np.random.default_rng(lanes), 50
    known = CENTROIDS - 5  # the others were appended after the segment was written
    offsets, rows = make_lists(random, documents, known)
    table = np.zeros((1, columns.COLUMNS), np.int64)
    table[0, [columns.POSTING_OFFSETS, columns.POSTING_ROWS]] = offsets.ctypes.data, rows.ctypes.data
    table[0, [columns.CENTROIDS, columns.FIRST]] = known, 7
    starts = np.arange(lanes + 1) * 4
    centroids = np.concatenate([random.permutation(CENTROIDS)[:4] for _ in range(lanes)]).astype(np.uint32)
    gains = np.sort(random.integers(0, 256, (lanes, 4)))[:, ::-1].astype(np.uint32)
    sums = np.zeros(documents + 9, np.uint32)
    accumulate(table, 0, starts, centroids, gains.ravel().copy(), sums)
    expected, touched = np.zeros(documents, np.int64), np.zeros(documents, bool)
    shift = 0 if lanes < TAGS else 1
    for lane in range(lanes):
        best = np.full(documents, -1)
        for centroid, gain in zip(centroids[starts[lane] : starts[lane + 1]], gains[lane], strict=True):
            if centroid < known:
                found = rows[offsets[centroid] : offsets[centroid + 1]]
                best[found] = np.maximum(best[found], gain >> shift)
        touched |= best >= 0
        expected += np.maximum(best, 0)
    np.testing.assert_array_equal(sums[7:-2] & SUM_MASK, expected)
    np.testing.assert_array_equal(sums[7:-2] > 0, touched)
    assert not sums[:7].any() and not sums[-2:].any()


def test_best_documents_are_the_largest_sums_equal_ones_by_position() -> None:
    random = np.random.default_rng(0)
    for _ in range(200):
        count, wanted = random.integers(1, 60), int(random.integers(1, 60))
        values = random.integers(0, 6, count).astype(np.uint32)
        sums = np.where(random.random(count) < 0.7, values | (np.uint32(5) << np.uint32(20)), 0).astype(np.uint32)
        touched = np.flatnonzero(sums)
        order = np.lexsort((touched, -(sums[touched] & SUM_MASK).astype(int)))[:wanted]
        np.testing.assert_array_equal(best_documents(sums, wanted), np.sort(touched[order]))


def test_arm_code_has_the_dot_product_instruction() -> None:
    binding.initialize_all_targets()
    binding.initialize_all_asmprinters()
    try:
        target = binding.Target.from_triple("aarch64-unknown-linux-gnu")
    except RuntimeError:
        pytest.skip("this llvmlite has no code generator for ARM")
    module = ir.Module()
    vectors = INTS.as_pointer()
    function = ir.Function(module, ir.FunctionType(ir.VoidType(), [vectors] * 3), "step")
    builder = ir.IRBuilder(function.append_basic_block())
    totals, levels, query = (builder.load(argument) for argument in function.args)
    builder.store(SETS["neon"].step(Code(None, builder), totals, levels, query, True), function.args[0])
    builder.ret_void()
    machine = target.create_target_machine(cpu="neoverse-n1", features="+dotprod")
    assembly = machine.emit_assembly(binding.parse_assembly(str(module)))
    assert assembly.count("sdot") == 8
