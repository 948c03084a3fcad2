"""Which segments are merged, and that merging stays cheap and bounded."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from modernir.index.maintenance import MOST_SEGMENTS, Size, due


def sizes(*rows: int) -> list[Size]:
    return [Size(count, 0, True) for count in rows]


def test_few_whole_segments_are_left_alone() -> None:
    assert due([]) == []
    assert due(sizes(100, 1, 50, 3, 2, 7, 9, 1)) == []


def test_small_segments_are_merged_and_a_large_one_before_them_is_not() -> None:
    assert due(sizes(1000, 1, 1, 1, 1, 1, 1, 1, 1)) == [range(1, 9)]


def test_a_segment_with_many_deleted_rows_is_rewritten_alone() -> None:
    assert due([Size(100, 0, True), Size(100, 20, True), Size(100, 21, True)]) == [range(2, 3)]


def test_a_segment_whose_rows_are_all_deleted_goes() -> None:
    assert due([Size(5, 5, True), Size(3, 0, True)]) == [range(1)]


def test_a_segment_that_is_not_in_its_form_is_rewritten_with_its_neighbour() -> None:
    assert due([Size(9, 0, False), Size(9, 0, False), Size(9, 0, True)]) == [range(2)]


SIZES = st.builds(Size, rows=st.integers(1, 1000), dead=st.integers(0, 1000), settled=st.booleans())


@given(st.lists(SIZES, max_size=30))
def test_runs_are_disjoint_and_leave_few_segments(found: list[Size]) -> None:
    found = [Size(size.rows, min(size.dead, size.rows), size.settled) for size in found]
    runs = due(found)
    assert all(0 <= run.start < run.stop <= len(found) for run in runs)
    assert all(one.stop < other.start for one, other in pairwise(runs))
    assert len(found) - sum(len(run) - 1 for run in runs) <= MOST_SEGMENTS


@given(st.lists(st.integers(1, 50), min_size=200, max_size=400))
def test_a_row_is_rewritten_a_logarithmic_number_of_times(adds: list[int]) -> None:
    kept: list[Size] = []
    written = 0
    for rows in adds:
        kept.append(Size(rows, 0, True))
        for run in reversed(due(kept)):
            merged = sum(size.rows for size in kept[run.start : run.stop])
            written += merged
            kept[run.start : run.stop] = [Size(merged, 0, True)]
    assert written <= sum(adds) * 12
