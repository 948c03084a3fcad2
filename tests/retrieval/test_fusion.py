"""Fused rankings, compared with sums worked out by hand."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modernir.errors import InputError
from modernir.retrieval.fusion import Ranking, reciprocal_rank_fusion, weighted_sum

DENSE = [("a", 0.9), ("b", 0.7), ("c", 0.5)]
LEXICAL = [("c", 12.0), ("d", 4.0), ("a", 2.0)]


def approximately(expected: list[tuple[str, float]]) -> list[tuple[str, object]]:
    return [(name, pytest.approx(score)) for name, score in expected]


def test_reciprocal_ranks_are_summed() -> None:
    fused = reciprocal_rank_fusion([DENSE, LEXICAL])
    # a and c have ranks 1 and 3 both, b and d have rank 2 of one list: ties go to the better place, then the first list
    expected = [("a", 1 / 61 + 1 / 63), ("c", 1 / 63 + 1 / 61), ("b", 1 / 62), ("d", 1 / 62)]
    assert fused == approximately(expected)
    assert [name for name, _ in reciprocal_rank_fusion([LEXICAL, DENSE])] == ["c", "a", "d", "b"]


def test_weights_and_depth_change_reciprocal_ranks() -> None:
    fused = reciprocal_rank_fusion([DENSE, LEXICAL], k=1, weights=[1, 2], depth=2)
    assert fused == approximately([("c", 2 / 2), ("d", 2 / 3), ("a", 1 / 2), ("b", 1 / 3)])


def test_scores_mapped_to_zero_and_one_are_summed() -> None:
    fused = weighted_sum([DENSE, LEXICAL], [0.5, 0.5])
    assert fused == approximately([("a", 0.5), ("c", 0.5), ("b", 0.25), ("d", 0.1)])


def test_scores_with_mean_zero_and_deviation_one_are_summed() -> None:
    # the first list deviates by 0.2 times the root of 2/3, the second (10, 0) by 5; b, which it lacks, gets its -1
    unit = (3 / 2) ** 0.5
    fused = weighted_sum([DENSE, [("c", 10.0), ("a", 0.0)]], [1, 1], "zscore")
    assert fused == approximately([("a", unit - 1), ("c", -unit + 1), ("b", -1.0)])


def test_raw_scores_are_summed_and_a_missing_one_is_the_lowest_of_its_list() -> None:
    fused = weighted_sum([DENSE, LEXICAL], [10, 1], "none")
    assert fused == approximately([("c", 17.0), ("a", 11.0), ("b", 9.0), ("d", 9.0)])


@pytest.mark.parametrize(("normalise", "expected"), [("minmax", [1.5, 1.0, 0.0]), ("zscore", [1.0, 0.0, -1.0])])
def test_a_list_of_equal_scores_is_no_division_by_zero(normalise: str, expected: list[float]) -> None:
    fused = weighted_sum([[("a", 3.0), ("b", 3.0)], [("a", 2.0), ("b", 1.0), ("c", 0.0)]], [1, 1], normalise)
    deviation = (2 / 3) ** 0.5 if normalise == "zscore" else 1
    values = [2.0, 1.5, 0.0] if normalise == "minmax" else [value / deviation for value in expected]
    assert fused == approximately(list(zip("abc", values, strict=True)))


@pytest.mark.parametrize("lists", [[], [[]], [[], []]])
def test_nothing_fused_is_nothing(lists: list[Ranking]) -> None:
    assert reciprocal_rank_fusion(lists) == []
    assert weighted_sum(lists, [1.0] * len(lists)) == []


def test_an_empty_list_changes_nothing() -> None:
    assert weighted_sum([DENSE, []], [1, 5]) == weighted_sum([DENSE], [1])
    assert reciprocal_rank_fusion([DENSE, []]) == reciprocal_rank_fusion([DENSE])


RANKINGS = st.lists(
    st.dictionaries(st.sampled_from("abcdefgh"), st.integers(-4, 4).map(float)).map(
        lambda scores: sorted(scores.items(), key=lambda item: -item[1])
    ),
    min_size=1,
    max_size=4,
)


@given(RANKINGS, st.floats(0.1, 8), st.floats(-8, 8))
def test_the_scale_of_a_list_does_not_matter(lists: list[Ranking], scale: float, shift: float) -> None:
    moved = [[(name, score * scale + shift) for name, score in ranking] for ranking in lists]
    weights = [1.0] * len(lists)
    assert reciprocal_rank_fusion(moved) == reciprocal_rank_fusion(lists)
    for normalise in ("minmax", "zscore"):
        before, after = (dict(weighted_sum(each, weights, normalise)) for each in (lists, moved))
        assert after == pytest.approx(before, abs=1e-9)


@given(RANKINGS)
def test_every_document_comes_once_in_descending_order(lists: list[Ranking]) -> None:
    names = {name for ranking in lists for name, _ in ranking}
    for fused in (reciprocal_rank_fusion(lists), weighted_sum(lists, [1.0] * len(lists))):
        assert sorted(name for name, _ in fused) == sorted(names)
        assert [score for _, score in fused] == sorted((score for _, score in fused), reverse=True)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: reciprocal_rank_fusion([DENSE], k=0), "k = 0"),
        (lambda: reciprocal_rank_fusion([DENSE], depth=0), "depth = 0"),
        (lambda: reciprocal_rank_fusion([DENSE], weights=[1, 2]), "1 lists and 2 weights"),
        (lambda: weighted_sum([DENSE], [-1.0]), "at least 0"),
        (lambda: weighted_sum([DENSE], [float("nan")]), "at least 0"),
        (lambda: weighted_sum([[("a", float("inf"))]], [1.0]), "document 'a'"),
        (lambda: weighted_sum([DENSE], [1.0], "max"), "normalise = 'max'"),
    ],
)
def test_bad_input_is_named(call: object, message: str) -> None:
    with pytest.raises(InputError, match=message):
        call()
