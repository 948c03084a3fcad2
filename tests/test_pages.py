"""Plots show every point at its place, a front that nothing beats, and labels that lie on nothing."""

import re
from itertools import combinations

import numpy as np
import pytest

from modernir.pages.axes import axis_of, axis_of_shares
from modernir.pages.plot import BOTTOM, HEIGHT, LEFT, RIGHT, TOP, WIDTH, Point, legend, pareto_front, plot
from modernir.pages.tables import number_cell, table, word_cell

NASTY = '<script>alert("x")</script>'


def points_of(seed: int, count: int = 40) -> list[Point]:
    rng = np.random.default_rng(seed)
    return [
        Point(float(x), float(y), f"setting {n}", f"title {n}", n % 8)
        for n, (x, y) in enumerate(
            zip(10 ** rng.uniform(0, 3, count), rng.uniform(0.6, 1, count).round(2), strict=True)
        )
    ]


@pytest.mark.parametrize("seed", range(5))
def test_nothing_beats_the_front_and_everything_else_is_beaten(seed: int) -> None:
    points = points_of(seed)
    front = pareto_front(points)
    for point in points:
        better = [o for o in points if o.x <= point.x and o.y >= point.y and (o.x, o.y) != (point.x, point.y)]
        assert (point in front) == (not better)
    assert front == sorted(front, key=lambda point: (point.x, point.y))


def test_of_equal_points_one_is_on_the_front() -> None:
    first, second = Point(1, 0.5, "a", "a"), Point(1, 0.5, "b", "b")
    assert pareto_front([first, second]) == [first]


def test_a_scale_is_logarithmic_where_the_range_asks_for_it() -> None:
    wide, narrow = axis_of([0.4, 3, 90]), axis_of([3, 4, 9])
    assert (wide.logarithmic, narrow.logarithmic, axis_of([0, 90]).logarithmic) == (True, False, False)
    assert wide.place(np.sqrt(wide.low * wide.high)) == pytest.approx(0.5)
    assert narrow.place((narrow.low + narrow.high) / 2) == pytest.approx(0.5)


@pytest.mark.parametrize("values", [[5.0], [0.0], [0.4, 3, 90], [1e-3, 1e9], [3, 4, 9], [1606.1, 1606.1], [200, 900]])
def test_an_axis_holds_its_values_and_a_few_ticks(values: list[float]) -> None:
    axis = axis_of(values)
    assert all(0 < axis.place(value) < 1 for value in values)
    assert all(0 <= axis.place(tick) <= 1 for tick in axis.ticks)
    assert len(axis.ticks) == len(set(axis.ticks)) <= 14
    assert axis.ticks


@pytest.mark.parametrize("least", [0.0, 0.2, 0.55, 0.91, 0.999, 1.0])
def test_an_axis_of_shares_ends_above_one_and_goes_no_deeper_than_it_must(least: float) -> None:
    axis = axis_of_shares([least, 1.0])
    assert 0 <= axis.place(least) <= axis.place(1.0) < 1
    assert axis.ticks[0] == 1
    assert axis.low <= least


def test_a_plot_shows_every_point_at_its_place() -> None:
    points = points_of(7)
    across, up = axis_of(p.x for p in points), axis_of_shares(p.y for p in points)
    drawn = plot(points, across, up, "ms", "recall")
    circles = re.findall(r'<circle class="s(\d)" cx="([\d.]+)" cy="([\d.]+)" r="[\d.]+"><title>([^<]+)', drawn)
    assert len(circles) == len(points)
    for series, x, y, title in circles:
        point = next(p for p in points if p.title == title)
        share_x = (float(x) - LEFT) / (WIDTH - LEFT - RIGHT)
        share_y = (HEIGHT - BOTTOM - float(y)) / (HEIGHT - BOTTOM - TOP)
        assert across.low * (across.high / across.low) ** share_x == pytest.approx(point.x, rel=0.01)
        assert up.low + share_y * (up.high - up.low) == pytest.approx(point.y, abs=0.001)
        assert int(series) == point.series % 6
    assert "ms (logarithmic scale)" in drawn


def test_labels_lie_on_no_other_and_within_the_frame() -> None:
    points = [*points_of(3), Point(30, 0.7, "chosen", "chosen", named_first=True)]
    drawn = plot(points, axis_of(p.x for p in points), axis_of_shares(p.y for p in points), "ms", "recall")
    labels = re.findall(r'<text class="name" x="([\d.]+)" y="([\d.]+)" text-anchor="(\w+)">([^<]+)', drawn)
    boxes = []
    for x, y, anchor, label in labels:
        width = 6.2 * len(label)
        left = float(x) - {"start": 0, "middle": width / 2, "end": width}[anchor]
        boxes.append((left, left + width, float(y) - 10, float(y) + 2))
        assert left >= LEFT - 0.1 and left + width <= WIDTH - RIGHT + 0.1
    assert len(labels) > 10 and "chosen" in {label for *_, label in labels}
    for one, other in combinations(boxes, 2):
        assert one[1] <= other[0] or other[1] <= one[0] or one[3] <= other[2] or other[3] <= one[2]


def test_texts_are_no_markup() -> None:
    point = Point(1, 1, NASTY, NASTY)
    drawn = plot([point], axis_of([1]), axis_of_shares([1]), NASTY, NASTY)
    drawn += legend([NASTY]) + table([NASTY], [[word_cell(NASTY), number_cell(1.0, NASTY, NASTY)]], ())
    assert "<script" not in drawn
    assert drawn.count("&lt;script&gt;") >= 6
