"""Search over coded segments finds what brute force over the decoded tokens does, however the documents are cut."""

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from modernir.index.arrays import read_arrays, write_arrays
from modernir.index.late.codec import STEPS, Codec
from modernir.index.late.effort import Effort
from modernir.index.late.kernels.instructions import usable_sets
from modernir.index.late.search import LateSearch
from modernir.index.late.segment import CodedSegment
from modernir.index.masks import Mask

CENTROIDS = 64
DIM = 48
EVERYTHING = Effort(CENTROIDS, 10**6, 10**6, np.inf)


class Collection:
    """Documents of tokens around centroids, coded; document 5 has no tokens."""

    def __init__(self, documents: int = 400, nbits: int = 4, code_type: type = np.uint16) -> None:
        random = np.random.default_rng(documents)
        centroids = random.standard_normal((CENTROIDS, DIM)).astype(np.float32)
        centroids /= np.linalg.norm(centroids, axis=1, keepdims=True)
        lengths = random.integers(1, 30, documents)
        lengths[5] = 0
        self.offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        topics = random.integers(0, CENTROIDS, (documents, 6))
        own = topics[np.repeat(np.arange(documents), lengths), random.integers(0, 6, lengths.sum())]
        tokens = centroids[own] + 0.08 * random.standard_normal((len(own), DIM)).astype(np.float32)
        tokens /= np.linalg.norm(tokens, axis=1, keepdims=True)
        self.codes = (tokens @ centroids.T).argmax(1).astype(code_type)
        rest = tokens - centroids[self.codes]
        steps = (rest.std(0) * STEPS[nbits]).astype(np.float32)
        self.codec = Codec(centroids, centroids[:1], steps, nbits, 1, 0.0, 0.0)
        levels = np.clip(np.floor(rest / steps) + 2 ** (nbits - 1), 0, 2**nbits - 1).astype(np.uint8)
        self.residuals = self.codec.pack(levels)
        self.scales = random.integers(100, 160, len(tokens)).astype(np.uint8) if nbits == 2 else None
        self.decoded = self.codec.decode(self.codes, self.residuals, self.scales)
        self.tokens = tokens

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def segment(self, first: int = 0, last: int | None = None, known: int = CENTROIDS) -> CodedSegment:
        last = len(self) if last is None else last
        begin, end = self.offsets[first], self.offsets[last]
        rows = np.repeat(np.arange(last - first), np.diff(self.offsets[first : last + 1]))
        pairs = np.unique(np.stack([self.codes[begin:end].astype(np.int64), rows], 1), axis=0)
        assert not len(pairs) or pairs[:, 0].max() < known
        return CodedSegment(
            self.offsets[first : last + 1] - begin,
            self.codes[begin:end],
            self.residuals[begin:end],
            None if self.scales is None else self.scales[begin:end],
            np.searchsorted(pairs[:, 0], np.arange(known + 1)).astype(np.int64),
            pairs[:, 1].astype(np.uint32),
        )

    def queries(self, *sizes: int) -> tuple[np.ndarray, np.ndarray]:
        """Return queries of so many tokens, each near the tokens of one document."""
        random = np.random.default_rng(sum(sizes))
        parts = [np.empty((0, DIM), np.float32)]
        for size in sizes:
            first = random.integers(0, len(self.tokens) - 10)
            rows = self.tokens[first + np.arange(size) % 10]
            parts.append(rows + 0.1 * random.standard_normal((size, DIM)).astype(np.float32))
        return np.concatenate(parts), np.cumsum([0, *sizes])

    def maxsim(self, query: np.ndarray) -> np.ndarray:
        scores = np.full(len(self), -np.inf)
        for document, (first, last) in enumerate(zip(self.offsets[:-1], self.offsets[1:], strict=True)):
            if first < last and len(query):
                scores[document] = (query @ self.decoded[first:last].T).max(1).sum()
        return scores


@pytest.fixture(scope="module")
def collection() -> Collection:
    return Collection()


def assert_same(one: tuple[list, list], other: tuple[list, list]) -> None:
    for parts in zip(one, other, strict=True):
        for first, second in zip(*parts, strict=True):
            np.testing.assert_array_equal(first, second)


@pytest.mark.parametrize("nbits", [2, 4, 8])
def test_scores_are_the_maxsim_of_the_decoded_tokens(nbits: int) -> None:
    collection = Collection(60, nbits)
    values, offsets = collection.queries(1, 22, 0, 32, 33, 100, 1000)
    everything = np.arange(len(collection))[::-1]
    scores = LateSearch(collection.codec, [collection.segment()]).score(values, offsets, [everything] * 7)
    for number, found in enumerate(scores):
        query = values[offsets[number] : offsets[number + 1]]
        expected = collection.maxsim(query)[::-1]
        assert np.array_equal(np.isfinite(found), np.isfinite(expected))
        filled = np.isfinite(expected)
        np.testing.assert_allclose(found[filled], expected[filled], atol=0.006 + 0.002 * len(query))


def test_exact_search_ranks_all_documents_by_their_scores(collection: Collection) -> None:
    search = LateSearch(collection.codec, [collection.segment()])
    values, offsets = collection.queries(22, 0, 5)
    scores = search.score(values, offsets, [np.arange(len(collection))] * 3)
    for k in (1, 7, 10**6):
        found_scores, found = search.search(values, offsets, k, [None], exact=True)
        for number in range(3):
            order = np.argsort(-scores[number], kind="stable")
            order = order[np.isfinite(scores[number][order])][:k]
            np.testing.assert_array_equal(found[number], order)
            np.testing.assert_array_equal(found_scores[number], scores[number][order])
            assert found[number].dtype == np.int64 and found_scores[number].dtype == np.float32


def test_search_without_shortcuts_is_exact_search(collection: Collection) -> None:
    search = LateSearch(collection.codec, [collection.segment()])
    values, offsets = collection.queries(22, 3, 70)
    effort = Effort(CENTROIDS, len(collection) // 2 - 1, len(collection), np.inf)
    exact = search.search(values, offsets, 10, [None], exact=True)
    assert_same(search.search(values, offsets, 10, [None], effort=effort), exact)


def test_search_finds_what_exact_search_does(collection: Collection) -> None:
    search = LateSearch(collection.codec, [collection.segment()])
    values, offsets = collection.queries(*[20] * 30)
    _, exact = search.search(values, offsets, 10, [None], exact=True)
    _, found = search.search(values, offsets, 10, [None], effort=Effort(8, 60, 150, 4.0))
    assert np.mean([np.isin(one, other).mean() for one, other in zip(exact, found, strict=True)]) > 0.95


def test_results_do_not_depend_on_how_documents_are_cut_into_segments(collection: Collection) -> None:
    values, offsets = collection.queries(22, 40)
    whole = LateSearch(collection.codec, [collection.segment()])
    for cuts in ([0, 1, 200, 400], [0, 5, 6, 6, 399, 400]):
        parts = [collection.segment(first, last) for first, last in pairwise(cuts)]
        cut, masks = LateSearch(collection.codec, parts), [None] * len(parts)
        for options in ({"exact": True}, {"effort": Effort(6, 40, 90, 4.0)}, {"nprobe": 4, "candidates": 30}):
            expected = whole.search(values, offsets, 20, [None], **options)
            assert_same(cut.search(values, offsets, 20, masks, **options), expected)


def test_equal_scores_are_ranked_by_position() -> None:
    collection = Collection(30)
    part = collection.segment()
    search = LateSearch(collection.codec, [part] * 20)
    values, offsets = collection.queries(12)
    for options in ({"exact": True}, {"effort": Effort(CENTROIDS, 100, 150, 4.0)}):
        (scores,), (found,) = search.search(values, offsets, 60, [None] * 20, **options)
        order = np.lexsort((found, -scores))
        np.testing.assert_array_equal(order, np.arange(60))
        np.testing.assert_array_equal(found[:20], found[0] % 30 + 30 * np.arange(20))


def test_every_instruction_set_finds_the_same(collection: Collection) -> None:
    values, offsets = collection.queries(22, 70)
    results = [
        LateSearch(collection.codec, [collection.segment()], name).search(
            values, offsets, 20, [None], effort=Effort(6, 60, 100, 4.0)
        )
        for name in usable_sets()
    ]
    for other in results[1:]:
        assert_same(other, results[0])


@pytest.mark.parametrize("allowed", [0, 1, 2, 19, 100, 250, 399, 400])
def test_masked_rows_are_never_found_and_all_others_can_be(collection: Collection, allowed: int) -> None:
    mask = np.zeros(len(collection), bool)
    mask[np.random.default_rng(allowed).permutation(len(collection))[:allowed]] = True
    parts = [collection.segment(0, 150), collection.segment(150)]
    masks = [Mask(mask[:150]), Mask(mask[150:]) if allowed < 400 else None]
    search = LateSearch(collection.codec, parts)
    values, offsets = collection.queries(22, 9)
    everything = search.search(values, offsets, len(collection), [None, None], exact=True)
    for k in (5, 400):
        for exact in (False, True):
            scores, found = search.search(values, offsets, k, masks, exact=exact, candidates=40, nprobe=CENTROIDS)
            for number in range(2):
                keep = mask[everything[1][number]]
                expected = everything[1][number][keep][:k]
                assert mask[found[number]].all() and len(found[number]) == len(expected)
                if exact or allowed <= 80:
                    np.testing.assert_array_equal(found[number], expected)
                    np.testing.assert_array_equal(scores[number], everything[0][number][keep][:k])
                else:
                    assert np.isin(expected[:5], found[number]).mean() >= 0.8


def test_documents_that_no_probed_list_names_fill_up_the_results(collection: Collection) -> None:
    search = LateSearch(collection.codec, [collection.segment()])
    values, offsets = collection.queries(1)
    _, (found,) = search.search(values, offsets, 150, [None], effort=Effort(1, 150, 150, 4.0))
    assert len(set(found)) == 150 and 5 not in found


def test_centroids_may_be_appended_after_a_segment_was_written() -> None:
    collection = Collection(100)
    first, last = collection.segment(0, 50), collection.segment(50, 100)
    codec = collection.codec.extended(np.eye(DIM, dtype=np.float32)[:9], collection.codec.cells)
    wide = CodedSegment(
        last.offsets,
        last.codes.astype(np.uint32),
        last.residuals,
        None,
        np.concatenate([last.posting_offsets, [last.posting_offsets[-1]] * 9]),
        last.posting_rows,
    )
    values, offsets = collection.queries(22)
    effort = Effort(CENTROIDS, 40, 60, np.inf)
    before = LateSearch(collection.codec, [first, last]).search(values, offsets, 10, [None, None], exact=True)
    after = LateSearch(codec, [first, wide]).search(values, offsets, 10, [None, None], effort=effort)
    np.testing.assert_array_equal(after[1][0], before[1][0])
    np.testing.assert_allclose(after[0][0], before[0][0], rtol=2e-3)  # the mean of the centroids is another


def test_threads_find_the_same_and_may_share_a_search(collection: Collection) -> None:
    search = LateSearch(collection.codec, [collection.segment()])
    values, offsets = collection.queries(*range(1, 60))
    effort = Effort(6, 40, 90, 4.0)
    alone = search.search(values, offsets, 10, [None], effort=effort, threads=1)
    for _ in range(5):
        assert_same(search.search(values, offsets, 10, [None], effort=effort, threads=4), alone)
    together = search.score(values, offsets, alone[1], threads=4)
    for scores, again in zip(alone[0], together, strict=True):
        np.testing.assert_array_equal(scores, again)


def test_segments_are_searched_where_they_are_mapped(collection: Collection, tmp_path: Path) -> None:
    segment = collection.segment()
    names = ("offsets", "codes", "residuals", "posting_offsets", "posting_rows")
    write_arrays(tmp_path / "segment", {name: getattr(segment, name) for name in names}, {})
    arrays, _ = read_arrays(tmp_path / "segment")
    mapped = LateSearch(collection.codec, [CodedSegment(scales=None, **arrays)])
    values, offsets = collection.queries(22)
    effort = Effort(6, 40, 90, 4.0)
    expected = LateSearch(collection.codec, [segment]).search(values, offsets, 10, [None], effort=effort)
    assert_same(mapped.search(values, offsets, 10, [None], effort=effort), expected)


def test_nothing_is_found_where_there_is_nothing(collection: Collection) -> None:
    values, offsets = collection.queries(3)
    scores, found = LateSearch(collection.codec, []).search(values, offsets, 5, [])
    assert [len(scores[0]), len(found[0])] == [0, 0]
    search = LateSearch(collection.codec, [collection.segment(5, 6)])
    assert len(search.search(values, offsets, 5, [None])[1][0]) == 0
    assert search.search(values[:0], np.zeros(1, np.int64), 5, [None]) == ([], [])


def test_a_query_of_zeros_scores_nothing(collection: Collection) -> None:
    search = LateSearch(collection.codec, [collection.segment()])
    for effort in (EVERYTHING, Effort(4, 20, 40, 4.0)):
        (scores,), (found,) = search.search(np.zeros((3, DIM), np.float32), np.array([0, 3]), 4, [None], effort=effort)
        np.testing.assert_array_equal(scores, np.zeros(4))
        np.testing.assert_array_equal(found, [0, 1, 2, 3])
