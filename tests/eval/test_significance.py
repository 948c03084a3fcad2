"""Paired tests equal enumeration in plain Python and scipy's; Holm's correction equals an example done by hand."""

from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from modernir.eval.significance import FLIPS, holm, paired_t_test, randomization_test

SMALL = st.lists(st.sampled_from([-1.0, -0.5, -0.1, 0.0, 0.1, 0.3, 0.7, 1.0]), min_size=1, max_size=6)


def enumerated(strata: list[list[float]]) -> float:
    """The share of all patterns of signs with a mean difference as far from 0, written out."""

    def mean(signed: list[list[float]]) -> float:
        return sum(sum(differences) / len(differences) for differences in signed) / len(signed)

    observed = abs(mean(strata))
    flat = [(number, value) for number, differences in enumerate(strata) for value in differences]
    extreme = 0
    for signs in product((1, -1), repeat=len(flat)):
        signed: list[list[float]] = [[] for _ in strata]
        for sign, (number, value) in zip(signs, flat, strict=True):
            signed[number].append(sign * value)
        extreme += abs(mean(signed)) >= observed - 1e-12
    return extreme / 2 ** len(flat)


@settings(max_examples=60, deadline=None)
@given(strata=st.lists(SMALL, min_size=1, max_size=2))
def test_few_queries_are_tested_exactly(strata: list[list[float]]) -> None:
    assert randomization_test([np.array(differences) for differences in strata]) == pytest.approx(enumerated(strata))


def test_fifteen_queries_equal_scipys_exact_permutation_test() -> None:
    rng = np.random.default_rng(3)
    first, second = rng.random(15), rng.random(15) + 0.15
    theirs = stats.permutation_test(
        (first, second), lambda x, y: np.mean(x - y), permutation_type="samples", n_resamples=np.inf
    )
    assert randomization_test([first - second]) == pytest.approx(theirs.pvalue, abs=1e-12)
    with_ties = np.concatenate([first - second, np.zeros(300)])  # queries without difference flip nothing
    assert randomization_test([with_ties]) == pytest.approx(theirs.pvalue, abs=1e-12)


@pytest.mark.parametrize("shift", [0.0, 0.02, 0.04, 0.3])
def test_many_queries_equal_scipys_random_permutations(shift: float) -> None:
    differences = np.random.default_rng(5).normal(shift, 0.2, 203)
    theirs = stats.permutation_test(
        (differences, np.zeros(203)), lambda x, y, axis: np.mean(x - y, axis=axis), permutation_type="samples",
        n_resamples=20_000, vectorized=True, rng=1,
    )  # fmt: skip
    ours = randomization_test([differences])
    assert ours == pytest.approx(theirs.pvalue, abs=4 * np.sqrt(0.25 / 20_000))
    assert ours == randomization_test([differences])
    assert ours >= 1 / (FLIPS + 1)


def test_each_set_counts_once_whatever_its_number_of_queries() -> None:
    rng = np.random.default_rng(9)
    large, small = rng.normal(0, 0.3, 400), rng.normal(0.4, 0.3, 30)
    flips = rng.choice([-1.0, 1.0], (20_000, 430))
    means = ((flips[:, :400] * large).mean(axis=1) + (flips[:, 400:] * small).mean(axis=1)) / 2
    observed = abs(large.mean() + small.mean()) / 2
    assert randomization_test([large, small]) == pytest.approx(np.mean(np.abs(means) >= observed), abs=0.01)


def test_false_alarms_are_as_frequent_as_they_may_be() -> None:
    rng = np.random.default_rng(0)
    p_values = [randomization_test([rng.normal(0, 1, 40)], flips=400) for _ in range(400)]
    assert np.mean(np.array(p_values) < 0.1) == pytest.approx(0.1, abs=0.05)


@settings(max_examples=60, deadline=None)
@given(
    first=st.lists(st.floats(0, 1), min_size=3, max_size=30), second=st.lists(st.floats(0, 1), min_size=3, max_size=30)
)
def test_the_t_test_equals_scipys(first: list[float], second: list[float]) -> None:
    one, two = np.array(first), np.array(second)
    if one.std() > 1e-6:
        assert paired_t_test([one]) == pytest.approx(stats.ttest_rel(one, np.zeros(len(one))).pvalue, abs=1e-9)
    if one.std() > 1e-6 and two.std() > 1e-6:  # Welch compares one with the other negated: their sum with 0
        theirs = stats.ttest_ind(one, -two, equal_var=False).pvalue
        assert paired_t_test([one, two]) == pytest.approx(theirs, abs=1e-9)


def test_tests_without_evidence_say_one() -> None:
    zeros = np.zeros(50)
    assert (randomization_test([zeros]), paired_t_test([zeros])) == (1.0, 1.0)
    assert (randomization_test([np.array([0.3])]), paired_t_test([np.array([0.3])])) == (1.0, 1.0)
    assert paired_t_test([np.full(5, 0.25)]) == 0.0


def test_holm_equals_an_example_done_by_hand() -> None:
    # sorted .005 .01 .03 .04, times 4 3 2 1: .02 .03 .06 .04, and none below one before it
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.5, 0.4]) == pytest.approx([0.8, 0.8])
    assert holm([0.9, 0.6, 0.7]) == [1.0, 1.0, 1.0]
    assert holm([0.03]) == [0.03]
    assert holm([]) == []


@settings(deadline=None)
@given(p_values=st.lists(st.floats(0, 1), max_size=8), alpha=st.floats(0.001, 0.5))
def test_holm_rejects_what_the_step_down_procedure_does(p_values: list[float], alpha: float) -> None:
    rejected = set()
    for step, place in enumerate(sorted(range(len(p_values)), key=lambda place: p_values[place])):
        if p_values[place] * (len(p_values) - step) >= alpha:
            break
        rejected.add(place)
    assert {place for place, p in enumerate(holm(p_values)) if p < alpha} == rejected
