from collections.abc import Callable
from itertools import pairwise

import pytest
import torch
from sentence_transformers.multi_vector_encoder.scoring import colbert_kd_scores, colbert_scores
from torch import Tensor
from torch.multiprocessing.reductions import StorageWeakRef
from torch.nn.functional import cross_entropy, normalize, pad
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from modernir.errors import InputError
from modernir.maxsim.torch import _scores, maxsim, maxsim_pairs, ragged

QUERIES = [3, 0, 17, 33, 1]
DOCUMENTS = [5, 1, 0, 12, 13, 150, 40]
QUERY_OF = torch.tensor([0, 1, 2, 3, 4, 3, 2])
LARGE = 1 << 28


def offsets(lengths: list[int]) -> Tensor:
    return pad(torch.tensor(lengths).cumsum(0), (1, 0))


def tokens(lengths: list[int], dim: int, seed: int, dtype: torch.dtype = torch.float32) -> Tensor:
    chance = torch.Generator().manual_seed(seed)
    return (torch.randn(sum(lengths), dim, generator=chance) / dim**0.5).to(dtype).requires_grad_()


def formula(queries: Tensor, documents: Tensor, pairs: bool) -> Tensor:
    """Score with loops that autograd follows; 0 without tokens."""
    own, other = offsets(QUERIES), offsets(DOCUMENTS)

    def score(i: int, j: int) -> Tensor:
        query, document = queries[own[i] : own[i + 1]], documents[other[j] : other[j + 1]]
        if not len(query) or not len(document):
            return queries[:0].sum()
        return (query @ document.T).amax(1).sum()

    if pairs:
        return torch.stack([score(int(QUERY_OF[j]), j) for j in range(len(DOCUMENTS))])
    rows = [torch.stack([score(i, j) for j in range(len(DOCUMENTS))]) for i in range(len(QUERIES))]
    return torch.stack(rows)


def ours(queries: Tensor, documents: Tensor, pairs: bool, memory: int = LARGE, compiled: bool | None = None) -> Tensor:
    numbers = QUERY_OF if pairs else None
    return _scores(queries, offsets(QUERIES), documents, offsets(DOCUMENTS), numbers, memory, compiled)


def gradients(scores: Tensor, *sides: Tensor) -> tuple[Tensor, ...]:
    weights = torch.randn(scores.shape, generator=torch.Generator().manual_seed(9))
    return torch.autograd.grad((scores * weights).sum(), sides)


@pytest.mark.parametrize("memory", [1, 20_000, LARGE])
@pytest.mark.parametrize("compiled", [True, False])
@pytest.mark.parametrize("pairs", [False, True])
@pytest.mark.parametrize("dim", [7, 128, 200])
def test_scores_and_gradients_equal_autograds_on_the_formula(
    dim: int, pairs: bool, compiled: bool, memory: int
) -> None:
    queries, documents = tokens(QUERIES, dim, 0), tokens(DOCUMENTS, dim, 1)
    wanted, got = formula(queries, documents, pairs), ours(queries, documents, pairs, memory, compiled)
    assert got.dtype == torch.float32
    torch.testing.assert_close(got, wanted, rtol=1e-5, atol=1e-5)
    for mine, theirs in zip(gradients(got, queries, documents), gradients(wanted, queries, documents), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("pairs", [False, True])
def test_gradients_in_float64_equal_finite_differences(pairs: bool) -> None:
    queries, documents = tokens(QUERIES, 3, 0, torch.float64), tokens([5, 1, 0, 2, 13, 1, 4], 3, 1, torch.float64)
    own, other = offsets(QUERIES), offsets([5, 1, 0, 2, 13, 1, 4])

    def score(queries: Tensor, documents: Tensor) -> Tensor:
        if pairs:
            return maxsim_pairs(queries, own, documents, other, QUERY_OF)
        return maxsim(queries, own, documents, other)

    assert score(queries, documents).dtype == torch.float64
    assert torch.autograd.gradcheck(score, (queries, documents))


@pytest.mark.parametrize("pairs", [False, True])
def test_kernels_give_the_same_bits_whatever_the_blocks_and_threads(pairs: bool) -> None:
    queries, documents = tokens(QUERIES, 40, 0), tokens(DOCUMENTS, 40, 1)
    before = torch.get_num_threads()
    results = []
    try:
        for threads, memory in ((1, LARGE), (3, LARGE), (3, 1)):
            torch.set_num_threads(threads)
            scores = ours(queries, documents, pairs, memory, compiled=True)
            results.append((scores.detach(), *gradients(scores, queries, documents)))
    finally:
        torch.set_num_threads(before)
    for other in results[1:]:
        for mine, theirs in zip(other, results[0], strict=True):
            torch.testing.assert_close(mine, theirs, rtol=1e-6, atol=1e-6)
        assert torch.equal(other[0], results[0][0])
    for mine, theirs in zip(results[1], results[0], strict=True):
        assert torch.equal(mine, theirs)


@pytest.mark.parametrize("compiled", [True, False])
@pytest.mark.parametrize("pairs", [False, True])
def test_one_side_alone_may_want_gradients(pairs: bool, compiled: bool) -> None:
    queries, documents = tokens(QUERIES, 16, 0), tokens(DOCUMENTS, 16, 1)
    both = gradients(ours(queries, documents, pairs, compiled=compiled), queries, documents)
    (first,) = gradients(ours(queries, documents.detach(), pairs, compiled=compiled), queries)
    (second,) = gradients(ours(queries.detach(), documents, pairs, compiled=compiled), documents)
    assert torch.equal(first, both[0]) and torch.equal(second, both[1])
    assert not ours(queries.detach(), documents.detach(), pairs, compiled=compiled).requires_grad


@pytest.mark.parametrize("compiled", [True, False])
@pytest.mark.parametrize("pairs", [False, True])
def test_negative_products_are_not_beaten_by_padding(pairs: bool, compiled: bool) -> None:
    queries, documents = tokens(QUERIES, 16, 0).detach().abs(), -tokens(DOCUMENTS, 16, 1).detach().abs()
    got = ours(queries, documents, pairs, compiled=compiled)
    torch.testing.assert_close(got, formula(queries, documents, pairs), rtol=1e-5, atol=1e-5)
    assert (got <= 0).all() and (got < 0).any()


@pytest.mark.parametrize("compiled", [True, False])
@pytest.mark.parametrize("pairs", [False, True])
def test_of_equal_products_one_token_gets_all(pairs: bool, compiled: bool) -> None:
    queries, documents = tokens(QUERIES, 16, 0), torch.full((sum(DOCUMENTS), 16), 0.25, requires_grad=True)
    scores = ours(queries, documents, pairs, compiled=compiled)
    torch.testing.assert_close(scores, formula(queries, documents, pairs), rtol=1e-5, atol=1e-5)
    own, other = gradients(scores, queries, documents)
    wanted = gradients(formula(queries, documents, pairs), queries, documents)
    torch.testing.assert_close(own, wanted[0], rtol=1e-5, atol=1e-5)
    starts = offsets(DOCUMENTS)
    for first, last in pairwise(starts.tolist()):
        torch.testing.assert_close(other[first:last].sum(0), wanted[1][first:last].sum(0), rtol=1e-4, atol=1e-5)
        if compiled:
            assert not other[first + 1 : last].any()


@pytest.mark.parametrize("compiled", [True, False])
def test_without_tokens_scores_and_gradients_are_zero(compiled: bool) -> None:
    queries, documents = tokens([2], 8, 0), torch.empty(0, 8, requires_grad=True)
    scores = _scores(queries, offsets([2]), documents, offsets([0, 0]), None, LARGE, compiled)
    own, other = gradients(scores, queries, documents)
    assert scores.tolist() == [[0, 0]] and not own.any() and other.shape == (0, 8)
    scores = _scores(documents, offsets([0]), queries, offsets([2]), torch.tensor([0]), LARGE, compiled)
    assert scores.tolist() == [0] and not gradients(scores, queries)[0].any()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("pairs", [False, True])
def test_short_floats_are_summed_in_float32(pairs: bool, dtype: torch.dtype) -> None:
    queries, documents = tokens(QUERIES, 64, 0, dtype), tokens(DOCUMENTS, 64, 1, dtype)
    wide = [side.detach().float().requires_grad_() for side in (queries, documents)]
    wanted, got = formula(*wide, pairs), ours(queries, documents, pairs)
    assert got.dtype == torch.float32
    torch.testing.assert_close(got, wanted, rtol=1e-5, atol=1e-5)
    for mine, theirs in zip(gradients(got, queries, documents), gradients(wanted, *wide), strict=True):
        assert mine.dtype == dtype
        torch.testing.assert_close(mine, theirs.to(dtype), rtol=1e-2, atol=1e-3)
    loose = ours(queries, documents, pairs, compiled=False)
    torch.testing.assert_close(loose, wanted, rtol=2e-2, atol=5e-2)
    mixed = ours(queries, wide[1], pairs)
    torch.testing.assert_close(mixed, wanted, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("compiled", [True, False])
def test_autocast_changes_nothing(compiled: bool) -> None:
    queries, documents = tokens(QUERIES, 16, 0), tokens(DOCUMENTS, 16, 1)
    wanted = ours(queries, documents, False, compiled=compiled)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        got = ours(queries, documents, False, compiled=compiled)
        mine = gradients(got, queries, documents)
    assert torch.equal(got, wanted)
    for one, other in zip(mine, gradients(wanted, queries, documents), strict=True):
        assert torch.equal(one, other)


def test_strides_and_expanded_gradients_are_taken() -> None:
    queries, documents = tokens(QUERIES, 32, 0), tokens(DOCUMENTS, 32, 1)
    scores = ours(queries[:, ::2], documents.T.contiguous().T[:, 1::2], False)
    wanted = formula(queries[:, ::2], documents[:, 1::2], False)
    torch.testing.assert_close(scores, wanted, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(
        torch.autograd.grad(scores.sum(), queries)[0], torch.autograd.grad(wanted.sum(), queries)[0]
    )


def test_second_derivatives_are_refused() -> None:
    queries, documents = tokens(QUERIES, 4, 0), tokens(DOCUMENTS, 4, 1)
    scores = ours(queries, documents, False)
    (first,) = torch.autograd.grad((scores**2).sum(), queries, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        first.sum().backward()


def padded(lengths: list[int], longest: int, dim: int, seed: int) -> tuple[Tensor, Tensor]:
    chance = torch.Generator().manual_seed(seed)
    values = normalize(torch.randn(len(lengths), longest, dim, generator=chance), dim=-1)
    return values.requires_grad_(), torch.arange(longest) < torch.tensor(lengths)[:, None]


def test_all_pairs_equal_sentence_transformers_on_padded_tensors() -> None:
    queries, query_mask = padded([3, 8, 5], 8, 16, 0)
    documents, mask = padded([4, 12, 1, 7, 9, 12], 12, 16, 1)
    wanted = colbert_scores(queries, documents.view(3, 2, 12, 16), query_mask, mask.view(3, 2, 12))
    got = maxsim(*ragged(queries, query_mask), *ragged(documents, mask))
    torch.testing.assert_close(got, wanted)
    labels = torch.arange(3) * 2
    mine = torch.autograd.grad(cross_entropy(got, labels), (queries, documents))
    theirs = torch.autograd.grad(cross_entropy(wanted, labels), (queries, documents))
    for one, other in zip(mine, theirs, strict=True):
        torch.testing.assert_close(one, other)


def test_pairs_equal_sentence_transformers_on_padded_candidates() -> None:
    queries, query_mask = padded([3, 8, 5], 8, 16, 0)
    documents, mask = padded([4, 12, 1, 7, 9, 12], 12, 16, 1)
    wanted = colbert_kd_scores(queries, documents.view(3, 2, 12, 16), query_mask, mask.view(3, 2, 12))
    numbers = torch.arange(3).repeat_interleave(2)
    got = maxsim_pairs(*ragged(queries, query_mask), *ragged(documents, mask), numbers).view(3, 2)
    torch.testing.assert_close(got, wanted)
    mine = torch.autograd.grad(got.softmax(1)[:, 0].sum(), (queries, documents))
    theirs = torch.autograd.grad(wanted.softmax(1)[:, 0].sum(), (queries, documents))
    for one, other in zip(mine, theirs, strict=True):
        torch.testing.assert_close(one, other)


@pytest.mark.parametrize("side", [0, 1])
@pytest.mark.parametrize("compiled", [True, False])
@pytest.mark.parametrize("pairs", [False, True])
def test_a_score_is_nan_where_a_product_is_and_backward_goes_through(pairs: bool, compiled: bool, side: int) -> None:
    sides = [tokens(QUERIES, 20, 0), tokens(DOCUMENTS, 20, 1)]
    with torch.no_grad():
        sides[side][[2, sum((QUERIES, DOCUMENTS)[side]) - 1], 7] = torch.nan
    wanted = formula(*sides, pairs)
    got = ours(*sides, pairs, compiled=compiled)
    assert got.isnan().any() and not got.isnan().all()
    torch.testing.assert_close(got, wanted, rtol=1e-5, atol=1e-5, equal_nan=True)
    assert all(gradient.isnan().any() for gradient in torch.autograd.grad(got.softmax(0).sum(), sides))
    own, _ = gradients(ours(*sides, pairs, compiled=True), *sides)
    other, _ = gradients(ours(*sides, pairs, compiled=False), *sides)
    torch.testing.assert_close(own, other, rtol=1e-5, atol=1e-5, equal_nan=True)


class Allocations(TorchDispatchMode):
    """Follows the memory of all tensors that operations return.

    Attributes:
        most: Bytes that were held at once.
        total: Bytes that were taken.
    """

    def __init__(self) -> None:
        super().__init__()
        self.held: dict[int, tuple[StorageWeakRef, int]] = {}
        self.most = self.total = 0

    def __torch_dispatch__(
        self, function: Callable[..., object], types: object, args: tuple = (), kwargs: dict | None = None
    ) -> object:
        given = {leaf.untyped_storage()._cdata for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)}
        result = function(*args, **(kwargs or {}))
        self.held = {key: (ref, size) for key, (ref, size) in self.held.items() if not ref.expired()}
        for leaf in tree_leaves(result):
            if isinstance(leaf, Tensor):
                storage = leaf.untyped_storage()
                if storage._cdata not in self.held and storage._cdata not in given:
                    self.held[storage._cdata] = StorageWeakRef(storage), storage.nbytes()
                    self.total += storage.nbytes()
        self.most = max(self.most, sum(size for _, size in self.held.values()))
        return result


MIXED = [700, *[3] * 1500]
"""Lengths of which a block, were it cut by their sum, would be filled up to many times its size."""


def allocated(pairs: bool, compiled: bool, memory: int, dtype: torch.dtype = torch.float32) -> tuple[Allocations, int]:
    """Score texts of mixed lengths and go back; return what was allocated, and the bytes of all that is not counted."""
    lengths = [40, *[9] * 4, 33]
    queries, documents = tokens(lengths, 32, 0, dtype), tokens(MIXED, 32, 1, dtype)
    numbers = torch.arange(len(MIXED)) % len(lengths) if pairs else None
    weights = torch.randn(len(MIXED))
    with Allocations() as found:
        scores = _scores(queries, offsets(lengths), documents, offsets(MIXED), numbers, memory, compiled)
        scores.backward(weights.expand_as(scores))
    sums = 4 * (queries.numel() + documents.numel()) * (1 if dtype == torch.float32 else 2)
    return found, sums + 2 * 4 * scores.numel() + 4 * 4 * queries.numel()


@pytest.mark.parametrize("compiled", [True, False])
@pytest.mark.parametrize("pairs", [False, True])
def test_memory_is_a_bound_whatever_the_lengths(pairs: bool, compiled: bool) -> None:
    memory = 1 << 21
    found, outside = allocated(pairs, compiled, memory)
    assert found.most <= memory + outside
    loose, _ = allocated(pairs, compiled, LARGE)
    assert compiled or loose.most > 2 * found.most


@pytest.mark.parametrize("pairs", [False, True])
def test_short_floats_are_converted_once_whatever_the_blocks(pairs: bool) -> None:
    totals = [allocated(pairs, True, memory, torch.bfloat16)[0].total for memory in (LARGE, 1 << 17)]
    assert totals[1] < 1.5 * totals[0]


def test_what_is_wrong_is_said_in_one_line() -> None:
    good, bounds = torch.ones(3, 4), torch.tensor([0, 1, 3])
    for arguments, message in (
        ((good, bounds, torch.ones(3, 5), bounds), "4 dimensions and those of documents 5"),
        ((good[0], bounds, good, bounds), r"query token vectors have shape \(4,\)"),
        ((good.int(), bounds, good, bounds), "give floating-point tensors"),
        ((good, bounds[:2], good, bounds), "query offsets go from 0 to 1; expected 0 to 3"),
        ((good, bounds, good, bounds.float()), "document offsets are float32"),
        ((good, bounds, good.to("meta"), bounds), "documents on meta; move one"),
        ((good, bounds, good, bounds, 0), "memory 0"),
    ):
        with pytest.raises(InputError, match=message) as caught:
            maxsim(*arguments)
        assert "\n" not in str(caught.value)
    with pytest.raises(InputError, match="names query 2 for document 0"):
        maxsim_pairs(good, bounds, good, bounds, torch.tensor([2, 0]))
    with pytest.raises(InputError, match=r"the mask \(3, 5\)"):
        ragged(torch.ones(3, 4, 8), torch.ones(3, 5))


def test_offsets_may_be_lists_and_memory_a_whole_float() -> None:
    values = tokens([3], 4, 0)
    assert maxsim(values, [0, 1, 3], values, [0, 1, 3], 1e6).shape == (2, 2)
    assert maxsim_pairs(values, [0, 1, 3], values, [0, 1, 3], [1, 0]).shape == (2,)
    assert maxsim_pairs(values, [0, 3], values[:0], [0], []).shape == (0,)
