"""Packs hold each text once, never more than they may, and next to nothing free."""

import time
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from modernir.encoders.packing import fullness, pack

CAPACITY = 40
LENGTHS = st.lists(st.integers(1, CAPACITY), max_size=60)


@given(LENGTHS, st.one_of(st.none(), st.integers(1, 5)))
def test_each_text_comes_once_and_no_pack_exceeds_its_limits(lengths: list[int], max_texts: int | None) -> None:
    packs = pack(lengths, CAPACITY, max_texts)
    members = [row.tolist() for row in packs]
    assert sorted(text for row in members for text in row) == list(range(len(lengths)))
    for row in members:
        assert 1 <= len(row) <= (max_texts or len(lengths))
        assert sum(lengths[text] for text in row) <= CAPACITY


@given(LENGTHS)
def test_no_two_packs_would_fit_in_one(lengths: list[int]) -> None:
    sums = sorted(sum(lengths[text] for text in row) for row in pack(lengths, CAPACITY))
    assert all(one + other > CAPACITY for one, other in pairwise(sums))


@given(LENGTHS)
def test_never_more_packs_than_next_fit_on_the_sorted_lengths(lengths: list[int]) -> None:
    assert len(pack(lengths, CAPACITY)) <= next_fit(sorted(lengths, reverse=True))


def next_fit(lengths: list[int]) -> int:
    rows, room = 0, 0
    for length in lengths:
        if length > room:
            rows, room = rows + 1, CAPACITY
        room -= length
    return rows


@given(LENGTHS)
def test_never_more_packs_than_best_fit_decreasing_on_single_texts(lengths: list[int]) -> None:
    assert len(pack(lengths, CAPACITY)) <= best_fit(lengths, CAPACITY)


def best_fit(lengths: list[int], capacity: int) -> int:
    rooms: list[int] = []
    for length in sorted(lengths, reverse=True):
        fitting = [(room, number) for number, room in enumerate(rooms) if room >= length]
        number = min(fitting)[1] if fitting else len(rooms)
        rooms[number:] = rooms[number:] or [capacity]
        rooms[number] -= length
    return len(rooms)


def test_lengths_that_vary_little_are_matched_to_end_rows_exactly() -> None:
    lengths = np.random.default_rng(0).normal(340, 80, 2000).astype(np.int64).clip(1, 1024)
    packs = pack(lengths, 1024)
    assert fullness(packs, lengths, 1024) >= 0.97
    assert len(packs) < 0.99 * best_fit(lengths.tolist(), 1024)


@given(LENGTHS)
def test_the_same_lengths_give_the_same_packs(lengths: list[int]) -> None:
    first, second = pack(lengths, CAPACITY), pack(np.array(lengths, dtype=np.int64), CAPACITY)
    np.testing.assert_array_equal(first.texts, second.texts)
    np.testing.assert_array_equal(first.offsets, second.offsets)


@pytest.mark.parametrize("capacity", [1024, 8192])
@pytest.mark.parametrize(
    ("log_mean", "log_deviation"), [(5.6, 1.1), (5.1, 1.0), (4.2, 0.8)], ids=["prose", "code", "short"]
)
def test_lognormal_lengths_fill_packs_to_99_percent(log_mean: float, log_deviation: float, capacity: int) -> None:
    drawn = np.random.default_rng(0).lognormal(log_mean, log_deviation, 20_000).astype(np.int64)
    lengths = drawn.clip(1, capacity)
    packs = pack(lengths, capacity)
    assert fullness(packs, lengths, capacity) >= 0.99
    assert fullness(packs, lengths, capacity) == pytest.approx(lengths.sum() / (len(packs) * capacity))


def test_a_million_lengths_take_less_than_a_second_or_so() -> None:
    lengths = np.random.default_rng(0).lognormal(5.6, 1.1, 1_000_000).astype(np.int64).clip(1, 8192)
    started = time.perf_counter()
    packs = pack(lengths, 8192)
    assert time.perf_counter() - started < 10
    assert (np.bincount(packs.texts, minlength=len(lengths)) == 1).all()
    assert np.add.reduceat(lengths[packs.texts], packs.offsets[:-1]).max() <= 8192


def test_no_texts_fill_no_packs() -> None:
    packs = pack([], 8)
    assert list(packs) == []
    assert fullness(packs, [], 8) == 1.0


@pytest.mark.parametrize(
    ("lengths", "capacity", "max_texts"), [([3, 9], 8, None), ([0], 8, None), ([1], 0, None), ([1], 8, 0)]
)
def test_what_cannot_be_packed_is_refused(lengths: list[int], capacity: int, max_texts: int | None) -> None:
    with pytest.raises(ValueError, match="expected"):
        pack(lengths, capacity, max_texts)
