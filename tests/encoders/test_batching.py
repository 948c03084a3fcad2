"""Batches keep within their budget, lose nothing and put texts of like length together."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from modernir.encoders.batching import token_budget_batches


@given(st.lists(st.integers(0, 600), max_size=200), st.integers(1, 4096))
def test_each_text_comes_once_and_no_batch_exceeds_the_budget(lengths: list[int], budget: int) -> None:
    batches = list(token_budget_batches(lengths, budget))
    assert sorted(np.concatenate(batches).tolist() if batches else []) == list(range(len(lengths)))
    for batch in batches:
        longest = max(lengths[number] for number in batch)
        assert len(batch) == 1 or longest * len(batch) <= budget


@given(st.lists(st.integers(1, 600), min_size=1, max_size=200), st.integers(1, 4096))
def test_lengths_never_rise_from_one_batch_to_the_next(lengths: list[int], budget: int) -> None:
    ordered = [lengths[number] for batch in token_budget_batches(lengths, budget) for number in batch]
    assert ordered == sorted(lengths, reverse=True)
