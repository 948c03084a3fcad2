"""Batches keep within their budget, lose nothing and put texts of like length together."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from modernir.encoders.batching import token_budget_batches

LENGTHS = st.lists(st.integers(0, 600), max_size=200)
BUDGETS = st.integers(1, 4096)


@pytest.mark.parametrize("padded", [True, False])
@given(lengths=LENGTHS, budget=BUDGETS)
def test_each_text_comes_once_and_no_batch_exceeds_the_budget(padded: bool, lengths: list[int], budget: int) -> None:
    batches = list(token_budget_batches(lengths, budget, padded))
    assert sorted(np.concatenate(batches).tolist() if batches else []) == list(range(len(lengths)))
    for batch in batches:
        counted = [lengths[number] for number in batch]
        assert len(batch) == 1 or (max(counted) * len(batch) if padded else sum(counted)) <= budget


@pytest.mark.parametrize("padded", [True, False])
@given(lengths=LENGTHS, budget=BUDGETS)
def test_lengths_never_rise_from_one_batch_to_the_next(padded: bool, lengths: list[int], budget: int) -> None:
    ordered = [lengths[number] for batch in token_budget_batches(lengths, budget, padded) for number in batch]
    assert ordered == sorted(lengths, reverse=True)


@pytest.mark.parametrize("padded", [True, False])
@given(lengths=LENGTHS, budget=BUDGETS)
def test_a_batch_ends_only_where_the_next_text_would_not_fit(padded: bool, lengths: list[int], budget: int) -> None:
    batches = [[lengths[number] for number in batch] for batch in token_budget_batches(lengths, budget, padded)]
    for batch, following in pairwise(batches):
        more = max(1, *batch) * (len(batch) + 1) if padded else sum(batch) + following[0]
        assert more > budget


def test_a_text_above_the_budget_is_alone_and_short_ones_join_long_ones() -> None:
    batches = [batch.tolist() for batch in token_budget_batches([5, 700, 90, 5, 4], 100, padded=False)]
    assert batches == [[1], [2, 0, 3], [4]]
