from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from modernir.errors import ModernirError
from modernir.index.arrays import read_arrays, write_arrays
from modernir.index.late import encode, packing, plain_packing
from modernir.index.late.assign import Assigner
from modernir.index.late.codec import STEPS, Codec, scaled, unscaled
from modernir.index.late.encode import Encoder
from modernir.index.late.kmeans import centroid_count, two_level
from modernir.index.late.postings import Postings
from modernir.index.late.ragged import pieces
from modernir.index.late.training import Recipe, enlarged, grown, trained


def clustered(
    tokens: int, dim: int, seed: int, centres: int = 200, spread: float = 0.6, unit: bool = True, base: int = 0
) -> np.ndarray:
    chance = np.random.default_rng(seed)
    means = np.random.default_rng(base).standard_normal((centres, dim))
    values = means[chance.integers(0, centres, tokens)] + spread * chance.standard_normal((tokens, dim))
    if unit:
        values /= np.linalg.norm(values, axis=1, keepdims=True)
    return values.astype(np.float32)


@pytest.mark.parametrize("bits", [2, 4, 8])
def test_steps_are_those_that_distort_a_gaussian_least(bits: int) -> None:
    sample = np.linspace(-6, 6, 120_001)
    weight = np.exp(-(sample**2) / 2)
    weight /= weight.sum()

    def distortion(step: float) -> float:
        half = 1 << (bits - 1)
        level = np.clip(np.floor(sample / step), -half, half - 1) + 0.5
        return float(((sample - level * step) ** 2 * weight).sum())

    assert distortion(STEPS[bits]) <= min(distortion(STEPS[bits] * factor) for factor in (0.97, 0.985, 1.015, 1.03))


@pytest.mark.parametrize("bits", [2, 4, 8])
@pytest.mark.parametrize("dim", [5, 48, 96])
def test_packed_levels_come_back_and_lie_where_the_format_says(bits: int, dim: int) -> None:
    codec = trained(Recipe(bits, True, 0, 4), clustered(300, dim, 0), 300)
    levels = np.random.default_rng(1).integers(0, 1 << bits, (20, codec.padded)).astype(np.uint8)
    packed = codec.pack(levels)
    np.testing.assert_array_equal(codec.unpack(packed), levels)
    width = codec.padded * bits // 8
    for place in range(codec.padded):
        p, byte = divmod(place, width)
        np.testing.assert_array_equal((packed[:, byte] >> (bits * p)) & ((1 << bits) - 1), levels[:, place])


@pytest.mark.parametrize("bits", [2, 4, 8])
def test_decoding_is_the_formula_of_the_format(bits: int) -> None:
    tokens = clustered(500, 20, 0)
    codec = trained(Recipe(bits, True, 0, 16), tokens, 500)
    encoder = Encoder(codec, True)
    codes = encoder.assign(tokens)
    residuals, scales = encoder.pack(tokens, codes)
    decoded = codec.decode(codes, residuals, scales)
    for token in range(0, 500, 50):
        levels = codec.unpack(residuals)[token, :20].astype(np.float64)
        expected = codec.centroids[codes[token]] + (levels - ((1 << bits) - 1) / 2) * codec.steps
        expected *= 1 if scales is None else 0.5 + scales[token] / 255
        np.testing.assert_allclose(decoded[token], expected, atol=1e-6)
    assert (scales is not None) == (bits == 2)


def test_decoded_tokens_are_nearer_with_more_bits() -> None:
    tokens = clustered(4000, 32, 0)
    errors = []
    for bits in (2, 4, 8):
        codec = trained(Recipe(bits, True, 0, 64), tokens, len(tokens))
        encoder = Encoder(codec, True)
        codes = encoder.assign(tokens)
        errors.append(float(((codec.decode(codes, *encoder.pack(tokens, codes)) - tokens) ** 2).sum(1).mean()))
    rest = float(((codec.centroids[codes] - tokens) ** 2).sum(1).mean())
    assert errors[0] < 0.2 * rest
    assert errors[1] < 0.03 * rest
    assert errors[2] < 0.001 * rest


@pytest.mark.parametrize("bits", [2, 4])
def test_compiled_and_plain_choice_of_levels_agree(bits: int, monkeypatch: pytest.MonkeyPatch) -> None:
    tokens = clustered(500, 24, 0)
    encoder = Encoder(trained(Recipe(bits, True, 0, 16), tokens, 500), True)
    codes = encoder.assign(tokens)
    compiled = encoder.pack(tokens, codes)
    assert encode.chosen_packing() is packing
    monkeypatch.setattr(encode, "chosen_packing", lambda: plain_packing)
    for one, other in zip(compiled, encoder.pack(tokens, codes), strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("bits", [2, 4])
@pytest.mark.parametrize("unit", [True, False])
def test_products_with_queries_near_a_token_are_truer_than_by_the_nearest_levels(
    bits: int, unit: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    tokens = clustered(2000, 48, 0, unit=unit)
    codec = trained(Recipe(bits, unit, 0, 32), tokens, len(tokens))
    encoder = Encoder(codec, unit)
    codes = encoder.assign(tokens)
    errors = []
    for _ in range(2):
        decoded = codec.decode(codes, *encoder.pack(tokens, codes))
        products, lengths = (decoded * tokens).sum(1), np.linalg.norm(decoded, axis=1) * np.linalg.norm(tokens, axis=1)
        errors.append(
            (1 - products / lengths).mean() if bits == 2 else np.abs(products / (tokens**2).sum(1) - 1).mean()
        )
        monkeypatch.setattr(packing, "turn", lambda *_: None)
        monkeypatch.setattr(packing, "weigh_parallel", lambda *_: None)
    assert errors[0] < 0.95 * errors[1]


def test_scales_give_back_factors_from_a_half_to_three_halves() -> None:
    factors = np.array([0.2, 0.5, 0.77, 1, 1.5, 3], np.float32)
    np.testing.assert_allclose(unscaled(scaled(factors)), np.clip(factors, 0.5, 1.5), atol=0.5 / 255 + 1e-6)


@pytest.mark.parametrize("unit", [True, False])
def test_a_token_gets_its_nearest_centroid(unit: bool) -> None:
    tokens = clustered(3000, 24, 0, unit=unit)
    codec = trained(Recipe(4, unit, 0, 100), tokens, len(tokens))
    squares = ((tokens[:, None] - codec.centroids[None]) ** 2).sum(2)
    found = Assigner(codec, unit).assign(tokens)
    chosen = squares[np.arange(len(tokens)), found]
    assert (found == squares.argmin(1)).mean() > 0.97
    assert (chosen - squares.min(1)).mean() < 0.002 * squares.min(1).mean()


def test_among_many_centroids_the_chosen_one_is_nearly_as_near_as_the_nearest() -> None:
    tokens = clustered(8000, 16, 0, centres=1500)
    codec = trained(Recipe(4, True, 0, 1024), tokens, len(tokens))
    squares = 2 - 2 * tokens @ codec.centroids.T
    chosen = squares[np.arange(len(tokens)), Assigner(codec, True).assign(tokens)]
    assert chosen.mean() < 1.02 * squares.min(1).mean()


@pytest.mark.parametrize("bits", [2, 4])
@pytest.mark.parametrize("unit", [True, False])
def test_a_token_is_coded_alike_whatever_is_coded_beside_it(bits: int, unit: bool) -> None:
    tokens = clustered(3000, 24, 0, unit=unit)
    encoder = Encoder(trained(Recipe(bits, unit, 0, 1024), tokens, len(tokens)), unit)
    codes = encoder.assign(tokens)
    packed = encoder.pack(tokens, codes)
    for part in (slice(0, 1), slice(7, 9), slice(100, 1137), np.array([2999, 4, 4, 1500])):
        np.testing.assert_array_equal(encoder.assign(tokens[part]), codes[part])
        for whole, piece in zip(packed, encoder.pack(tokens[part], codes[part]), strict=True):
            if whole is not None:
                np.testing.assert_array_equal(piece, whole[part])


def test_centroids_are_as_many_as_four_times_the_root_of_the_tokens_to_a_power_of_two() -> None:
    assert [centroid_count(tokens) for tokens in (1, 1 << 16, 1_200_000, 10_000_000)] == [4, 1024, 4096, 16384]


def test_the_same_sample_and_seed_give_the_same_centroids() -> None:
    sample = clustered(2000, 16, 0)
    for one, other in zip(two_level(sample, 128, True, 3), two_level(sample, 128, True, 3), strict=True):
        np.testing.assert_array_equal(one, other)
    assert not np.array_equal(two_level(sample, 128, True, 3)[0], two_level(sample, 128, True, 4)[0])


@pytest.mark.parametrize("unit", [True, False])
def test_two_levels_of_k_means_are_nearly_as_good_as_plain_k_means(unit: bool) -> None:
    import faiss

    sample = clustered(6000, 16, 0, unit=unit)
    plain = faiss.Kmeans(16, 128, niter=10, seed=0, spherical=unit, min_points_per_centroid=1)
    plain.train(sample)
    index = faiss.IndexFlatL2(16)
    index.add(two_level(sample, 128, unit, 0)[0])
    loss = index.search(sample, 1)[0].mean()
    index.reset()
    index.add(plain.centroids)
    assert loss < 1.2 * index.search(sample, 1)[0].mean()


@pytest.mark.parametrize("tokens", [1, 2, 3, 17])
@pytest.mark.parametrize("count", [1, 2, 8, 1024])
def test_few_tokens_make_few_centroids_in_silence(tokens: int, count: int, capfd: pytest.CaptureFixture[str]) -> None:
    sample = clustered(tokens, 8, 0)
    centroids, cells = two_level(sample, count, True, 0)
    assert 1 <= len(centroids) <= min(count, tokens)
    assert np.isfinite(centroids).all()
    assert np.isfinite(cells).all()
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("bits", [2, 4, 8])
def test_identical_tokens_and_tokens_of_zeros_are_coded(bits: int, capfd: pytest.CaptureFixture[str]) -> None:
    for sample in (np.tile(clustered(1, 8, 0), (5000, 1)), np.zeros((5000, 8), np.float32)):
        codec = trained(Recipe(bits, True, 0), sample, len(sample))
        encoder = Encoder(codec, True)
        codes = encoder.assign(sample)
        np.testing.assert_allclose(codec.decode(codes, *encoder.pack(sample, codes)), sample, atol=4e-3)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("bits", [2, 4, 8])
@pytest.mark.parametrize("scale", [1e-10, 1e-4, 1e4, 1e10])
def test_tokens_are_coded_as_well_at_any_scale(bits: int, scale: float) -> None:
    tokens = clustered(1500, 16, 0, unit=False)
    tokens[:, 3] = 0.25
    errors = []
    for some in (tokens, tokens * np.float32(scale)):
        codec = trained(Recipe(bits, False, 0, 16), some, len(some))
        encoder = Encoder(codec, False)
        codes = encoder.assign(some)
        decoded = codec.decode(codes, *encoder.pack(some, codes))
        errors.append(float(((decoded - some).astype(np.float64) ** 2).mean() / (some.astype(np.float64) ** 2).mean()))
    assert errors[1] < 1.2 * errors[0]


@pytest.mark.parametrize("unit", [True, False])
def test_a_codec_reads_back_as_it_was_written(tmp_path: Path, unit: bool) -> None:
    tokens = clustered(1000, 12, 0, unit=unit)
    codec = trained(Recipe(2, unit, 0, 32), tokens, 1000)
    codec.write(tmp_path / "x.codec")
    back = Codec.read(tmp_path / "x.codec")
    for name in ("centroids", "cells", "steps"):
        np.testing.assert_array_equal(getattr(back, name), getattr(codec, name))
    assert (back.nbits, back.version, back.mean, back.tail) == (codec.nbits, codec.version, codec.mean, codec.tail)


def test_a_codec_of_a_later_format_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.codec"
    trained(Recipe(2, True, 0, 4), clustered(100, 4, 0), 100).write(path)
    arrays, metadata = read_arrays(path)
    write_arrays(path, {name: array.copy() for name, array in arrays.items()}, {**metadata, "format": "99"})
    with pytest.raises(ModernirError, match="format 99"):
        Codec.read(path)


def test_a_codec_without_one_of_its_arrays_is_refused(tmp_path: Path) -> None:
    write_arrays(tmp_path / "x.codec", {"steps": np.ones(3, np.float32)}, {"format": "1"})
    with pytest.raises(ModernirError, match="damaged"):
        Codec.read(tmp_path / "x.codec")


def growth(codec: Codec, recipe: Recipe, tokens: np.ndarray, collection: int) -> Codec:
    return grown(codec, recipe, lambda size: tokens[:size], len(tokens), collection)


def test_tokens_like_those_of_training_leave_the_codec_as_it_is() -> None:
    recipe = Recipe(4, True, 0)
    codec = trained(recipe, clustered(20_000, 24, 0), 20_000)
    assert growth(codec, recipe, clustered(5000, 24, 1), 25_000) is codec


@pytest.mark.parametrize("unit", [True, False])
def test_unlike_tokens_append_centroids_and_leave_the_old_rows(unit: bool) -> None:
    recipe = Recipe(4, unit, 0)
    codec = trained(recipe, clustered(20_000, 24, 0, unit=unit), 20_000)
    drifted = clustered(5000, 24, 1, unit=unit, base=77)
    later = growth(codec, recipe, drifted, 25_000)
    assert later.version == 2
    assert len(later.centroids) > len(codec.centroids)
    np.testing.assert_array_equal(later.centroids[: len(codec.centroids)], codec.centroids)
    np.testing.assert_array_equal(later.steps, codec.steps)
    before, after = (Encoder(each, unit).distances(drifted).mean() for each in (codec, later))
    assert after < 0.6 * before
    codes = Encoder(codec, unit).assign(drifted)
    packed = Encoder(codec, unit).pack(drifted, codes)
    np.testing.assert_array_equal(later.decode(codes, *packed), codec.decode(codes, *packed))


def test_a_handful_of_unlike_tokens_is_no_drift() -> None:
    recipe = Recipe(4, True, 0)
    codec = trained(recipe, clustered(20_000, 24, 0), 20_000)
    assert growth(codec, recipe, clustered(200, 24, 1, base=77), 20_200) is codec


def test_a_collection_that_outgrew_its_centroids_gets_more() -> None:
    recipe = Recipe(4, True, 0)
    codec = trained(recipe, clustered(3000, 16, 0), 3000)
    later = growth(codec, recipe, clustered(70_000, 16, 1), 73_000)
    assert len(codec.centroids) < recipe.count(73_000) / 2
    assert len(later.centroids) >= recipe.count(73_000) / 2


def test_a_codec_is_enlarged_at_once_or_not_at_all() -> None:
    recipe, tokens = Recipe(4, True, 0), clustered(70_000, 16, 0)
    codec = trained(recipe, tokens[:3000], 3000)
    assert enlarged(codec, recipe, lambda size: tokens[:400], len(tokens)) is codec
    later = enlarged(codec, recipe, lambda size: tokens[:size], len(tokens))
    assert (later.version, len(later.centroids)) == (2, recipe.count(len(tokens)))
    assert enlarged(later, recipe, lambda size: tokens[:size], len(tokens)) is later


@pytest.mark.parametrize("memory", [1, 4000, 1 << 30])
def test_postings_hold_the_documents_of_each_centroid_once_whatever_the_memory(memory: int) -> None:
    chance = np.random.default_rng(0)
    lengths = chance.integers(0, 90, 200)
    rows = np.repeat(np.arange(200), lengths)
    codes = (chance.integers(0, 30, len(rows)) ** 2 // 29).astype(np.uint16)

    def blocks() -> Iterator[tuple[np.ndarray, np.ndarray]]:
        for start in range(0, len(rows), 37):
            yield codes[start : start + 37], rows[start : start + 37]

    postings = Postings(blocks, 40, memory)
    found = np.concatenate([*postings.rows()])
    assert found.dtype == np.uint32
    for centroid in range(40):
        first, last = postings.offsets[centroid : centroid + 2]
        np.testing.assert_array_equal(found[first:last], np.unique(rows[codes == centroid]))
    assert len(found) == postings.offsets[-1]


@pytest.mark.parametrize("limit", [1, 3, 10, 1000])
@pytest.mark.parametrize("chosen", [None, [0, 1, 2, 3], [1, 3, 5, 6], [2], []])
def test_pieces_hold_every_token_of_the_chosen_documents_once_and_in_order(
    limit: int, chosen: list[int] | None
) -> None:
    offsets = np.cumsum([0, 4, 0, 7, 1, 0, 25, 2])
    rows = None if chosen is None else np.array(chosen, np.int64)
    tokens, owners = [], []
    for piece in pieces(offsets, rows, limit):
        here = np.arange(offsets[-1])[piece.tokens]
        assert 1 <= len(here) <= limit
        tokens.append(here)
        owners.append(np.repeat(piece.rows, np.diff(piece.starts, append=len(here))))
    wanted = range(7) if chosen is None else chosen
    expected = [(place, token) for place, row in enumerate(wanted) for token in range(offsets[row], offsets[row + 1])]
    got = zip(np.concatenate([[], *owners]).tolist(), np.concatenate([[], *tokens]).tolist(), strict=True)
    assert [*got] == expected
