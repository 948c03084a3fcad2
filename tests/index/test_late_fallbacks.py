import builtins
import subprocess
import sys
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from modernir.errors import InputError
from modernir.index.late import searching
from modernir.index.late.codec import Codec
from modernir.index.late.engine import LateEngine
from modernir.index.late.search import LateSearch
from modernir.index.late.searching import CodedSearch
from modernir.index.late.settings import checked_settings
from modernir.index.late.with_faiss import FaissSearch
from modernir.index.late.with_torch import TorchSearch
from modernir.index.masks import Mask

Vectors = tuple[np.ndarray, np.ndarray]
DIM = 24


def documents(count: int, seed: int, longest: int = 40) -> Vectors:
    chance = np.random.default_rng(seed)
    offsets = np.concatenate([[0], np.cumsum(chance.integers(0, longest, count))])
    means = np.random.default_rng(0).standard_normal((150, DIM))
    values = means[chance.integers(0, 150, offsets[-1])] + 0.5 * chance.standard_normal((offsets[-1], DIM))
    return (values / np.linalg.norm(values, axis=1, keepdims=True)).astype(np.float32), offsets


def coded(folder: Path, bits: int) -> tuple[Codec, list[Any]]:
    """Return a codec that grew once, and segments written before and after."""
    plain = LateEngine(folder, DIM, "cosine", checked_settings({"nbits": bits, "centroids": 200}), 1 << 28, None)
    parts = [plain.accept(documents(count, seed)) for seed, count in enumerate((2500, 1200, 40))]
    maker = plain.adapted("codec-1", parts[:2], [], building=False)
    segments = [
        maker.open([folder / name for name in maker.write(f"segment-{n}", [part])]) for n, part in enumerate(parts)
    ]
    extra = parts[2].values[:20]
    grown = maker.codec.extended(extra, extra[:4])
    grown.write(folder / "codec-2.codec")
    later = LateEngine(folder, DIM, "cosine", checked_settings({"nbits": bits}), 1 << 28, "codec-2.codec")
    segments[2] = later.open([folder / name for name in later.write("segment-9", [parts[2]])])
    return grown, segments


@pytest.fixture(scope="module")
def four_bits(tmp_path_factory: pytest.TempPathFactory) -> tuple[Codec, list[Any]]:
    return coded(tmp_path_factory.mktemp("index"), 4)


def torch_search(codec: Codec, segments: list[Any]) -> TorchSearch:
    return TorchSearch(codec, segments, "cpu")


@pytest.mark.parametrize("other", [FaissSearch, torch_search])
@pytest.mark.parametrize("bits", [2, 4, 8])
def test_exact_search_finds_what_the_kernels_find(tmp_path: Path, other: Callable[..., CodedSearch], bits: int) -> None:
    codec, segments = coded(tmp_path, bits)
    allowed = np.random.default_rng(1).random(1200) < 0.4
    masks = [None, Mask(allowed), None]
    values, offsets = documents(7, 5, longest=12)
    wanted = LateSearch(codec, segments).search(values, offsets, 15, masks, exact=True)
    got = other(codec, segments).search(values, offsets, 15, masks, exact=True)
    for query in range(7):
        assert len(got[0][query]) == len(wanted[0][query])
        np.testing.assert_allclose(got[0][query], wanted[0][query], atol=0.06)
        assert np.isin(got[1][query], wanted[1][query]).sum() >= len(wanted[1][query]) - 2
        inside = got[1][query][(got[1][query] >= 2500) & (got[1][query] < 3700)] - 2500
        assert allowed[inside].all()


@pytest.mark.parametrize("other", [LateSearch, torch_search])
@pytest.mark.parametrize("bits", [2, 4])
def test_approximate_search_finds_nearly_what_the_others_find(
    tmp_path: Path, other: Callable[..., CodedSearch], bits: int
) -> None:
    codec, segments = coded(tmp_path, bits)
    values, offsets = documents(20, 5, longest=12)
    settings = {"nprobe": 12, "candidates": 300}
    masks = [None, Mask(np.arange(1200) % 2 == 0), None]
    one = FaissSearch(codec, segments).search(values, offsets, 10, masks, **settings)[1]
    two = other(codec, segments).search(values, offsets, 10, masks, **settings)[1]
    shares = [np.isin(first, second).mean() for first, second in zip(one, two, strict=True) if len(first)]
    assert np.mean(shares) > 0.93


@pytest.mark.parametrize("bits", [2, 4])
def test_torch_searches_as_numpy_and_faiss_do(tmp_path: Path, bits: int) -> None:
    codec, segments = coded(tmp_path, bits)
    values, offsets = documents(20, 5, longest=12)
    masks = [None, Mask(np.arange(1200) % 2 == 0), None]
    searches = FaissSearch(codec, segments), torch_search(codec, segments)
    for options in ({"exact": True}, {"nprobe": 9, "candidates": 100}, {}):
        (scores, positions), (others, places) = (
            each.search(values, offsets, 10, masks, **options) for each in searches
        )
        for query in range(20):
            np.testing.assert_allclose(others[query], scores[query], atol=1e-4)
            assert np.isin(places[query], positions[query]).mean() > 0.85 if len(positions[query]) else True
    rows = [np.array([3699, 0, 3], np.int64)] * 20
    for one, two in zip(*(each.score(values, offsets, rows) for each in searches), strict=True):
        np.testing.assert_allclose(one, two, atol=1e-4)


@pytest.mark.parametrize("make", [LateSearch, FaissSearch, torch_search])
@pytest.mark.parametrize("allowed", [1, 7, 60, 190, 400, 1100])
@pytest.mark.parametrize("k", [10, 300])
def test_selective_masks_cost_no_results(
    four_bits: tuple[Codec, list[Any]], make: Callable[..., CodedSearch], allowed: int, k: int
) -> None:
    codec, segments = four_bits
    findable = np.zeros(int(sum(segment.rows for segment in segments)), bool)
    findable[np.random.default_rng(allowed).permutation(len(findable))[:allowed]] = True
    bounds = np.cumsum([0, *(segment.rows for segment in segments)])
    masks = [Mask(findable[first:last]) for first, last in pairwise(bounds)]
    values, offsets = documents(5, 5, longest=12)
    search = make(codec, segments)
    wanted = search.search(values, offsets, k, masks, exact=True)
    got = search.search(values, offsets, k, masks, nprobe=2, candidates=100)
    for query in range(5):
        assert len(got[1][query]) == len(wanted[1][query])
        assert findable[got[1][query]].all()
        if allowed <= 200:
            np.testing.assert_array_equal(got[1][query], wanted[1][query])


@pytest.mark.parametrize("make", [LateSearch, FaissSearch, torch_search])
def test_as_many_are_found_as_asked_for_however_few_candidates_there_are(
    four_bits: tuple[Codec, list[Any]], make: Callable[..., CodedSearch]
) -> None:
    codec, segments = four_bits
    values, offsets = documents(4, 5, longest=12)[0][:3], np.array([0, 1, 1, 2, 3])
    filled = sum(int((np.diff(segment.offsets) > 0).sum()) for segment in segments)
    for k in (50, 1500, 10_000):
        found = make(codec, segments).search(values, offsets, k, [None] * 3, nprobe=1, candidates=20)[1]
        for query, positions in enumerate(found):
            assert len(set(positions.tolist())) == (min(k, filled) if offsets[query] < offsets[query + 1] else 0)


def test_more_probes_and_candidates_end_as_the_exact_search(tmp_path: Path) -> None:
    codec, segments = coded(tmp_path, 4)
    values, offsets = documents(10, 5, longest=12)
    search = FaissSearch(codec, segments)
    everything = search.search(values, offsets, 10, [None] * 3, nprobe=len(codec.centroids), candidates=5000)
    for one, two in zip(everything[1], search.search(values, offsets, 10, [None] * 3, exact=True)[1], strict=True):
        np.testing.assert_array_equal(one, two)


def without(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    usual = builtins.__import__

    def refusing(module: str, *arguments: object, **options: object) -> object:
        if module.split(".")[0] == name:
            raise ImportError(f"no {name}")
        return usual(module, *arguments, **options)

    monkeypatch.setattr(builtins, "__import__", refusing)


def test_the_search_is_chosen_by_what_can_be_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    codec, segments = coded(tmp_path, 4)
    assert isinstance(searching.prepared(codec, segments, "cpu"), LateSearch)
    assert isinstance(searching.prepared(codec, segments, "cpu:0"), TorchSearch)
    without(monkeypatch, "numba")
    assert isinstance(searching.prepared(codec, segments, "cpu"), FaissSearch)


def test_a_device_that_torch_does_not_have_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    codec, segments = coded(tmp_path, 4)
    with pytest.raises(InputError, match="device 'abacus'"):
        searching.prepared(codec, segments, "abacus")
    without(monkeypatch, "torch")
    with pytest.raises(InputError, match="needs torch"):
        searching.prepared(codec, segments, "cuda")


WITHOUT_NUMBA = """
import sys
from pathlib import Path

class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("numba", "llvmlite"):
            raise ImportError(f"no {name}")

sys.meta_path.insert(0, Missing())
import numpy as np
from modernir.index.late.engine import LateEngine
from modernir.index.late.settings import checked_settings

assert not {"faiss", "torch"} & set(sys.modules)
folder = Path(sys.argv[1])
engine = LateEngine(folder, 24, "cosine", checked_settings({"nbits": 4}), 1 << 28, "codec-1.codec")
stored = engine.open([folder / "segment-0.late"])
batch = engine.accept((np.load(folder / "values.npy"), np.load(folder / "offsets.npy")))
written = engine.open([folder / name for name in engine.write("segment-7", [batch])])
assert all(np.array_equal(getattr(written, name), getattr(stored, name)) for name in ("codes", "residuals"))
found = engine.search([written], [None], engine.queries((batch.values[:5], np.array([0, 5]))), 3, {})[1]
print(*found[0])
"""


def test_an_index_is_built_and_searched_without_numba_as_with_it(tmp_path: Path) -> None:
    plain = LateEngine(tmp_path, DIM, "cosine", checked_settings({"nbits": 4}), 1 << 28, None)
    values, offsets = documents(4000, 0)
    np.save(tmp_path / "values.npy", values)
    np.save(tmp_path / "offsets.npy", offsets)
    batch = plain.accept((values, offsets))
    maker = plain.adapted("codec-1", [batch], [], building=False)
    segment = maker.open([tmp_path / name for name in maker.write("segment-0", [batch])])
    found = maker.search([segment], [None], maker.queries((values[:5], np.array([0, 5]))), 3, {})[1]
    run = [sys.executable, "-c", WITHOUT_NUMBA, str(tmp_path)]
    shown = subprocess.run(run, capture_output=True, text=True, check=False)
    assert shown.returncode == 0, shown.stderr
    assert shown.stdout.split()[0] == str(found[0][0])
