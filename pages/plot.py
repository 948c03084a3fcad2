"""Plots of points between which one chooses: dearer to the right, better upwards, and the front that nothing beats.

SVG without script or style of its own: positions are attributes, colours classes of the page.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from itertools import pairwise

from .axes import Axis

WIDTH, HEIGHT, LEFT, TOP, RIGHT, BOTTOM = 480, 340, 46, 12, 14, 42
RADIUS = 4.5
SERIES = 6
"""Colours that the page has for them."""
LETTER, LINE = 6.2, 12.0
"""About the width and height of a letter of a label."""

Place = tuple[float, float]
"""Across and down."""
Box = tuple[float, float, float, float]
"""Left, top, right and bottom."""


@dataclass(frozen=True)
class Point:
    """What can be chosen.

    Attributes:
        x: What it costs.
        y: How good it is.
        label: A few words beside it, where there is room.
        title: All that is told of it.
        series: Number of what it belongs to, which is its colour.
        named_first: Whether its label takes its place before all others'.
    """

    x: float
    y: float
    label: str
    title: str
    series: int = 0
    named_first: bool = False


def pareto_front(points: Sequence[Point]) -> list[Point]:
    """Return the points better than all that cost no more, the cheapest first; of equal ones the first."""
    front: list[Point] = []
    for point in sorted(points, key=lambda one: (one.x, -one.y)):
        if not front or point.y > front[-1].y:
            front.append(point)
    return front


def plot(points: Sequence[Point], across: Axis, up: Axis, x_name: str, y_name: str) -> str:
    """Return a plot with its Pareto front as a line of steps.

    Args:
        points: At least one.
        across: The axis of what they cost.
        up: The axis of how good they are.
        x_name: What the former is, with its unit.
        y_name: What the latter is.
    """
    front = pareto_front(points)
    rest = [point for point in points if point not in front]
    places = {id(point): _place(point, across, up) for point in points}
    dots = "".join(_dot(point, places[id(point)]) for point in [*rest, *reversed(front)])
    corners = _corners([places[id(point)] for point in front])
    line = "M " + " L ".join(f"{x:.1f} {y:.1f}" for x, y in corners)
    names = _names(sorted([*front, *rest], key=lambda point: not point.named_first), places, corners)
    inner, base = WIDTH - LEFT - RIGHT, HEIGHT - BOTTOM
    scale = " (logarithmic scale)" if across.logarithmic else ""
    return (
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(f"{y_name} against {x_name}")}">'
        f'<rect class="frame" x="{LEFT}" y="{TOP}" width="{inner}" height="{base - TOP}"/>{_ticks(across, up)}'
        f'<text x="{LEFT + inner / 2:.1f}" y="{HEIGHT - 6}" text-anchor="middle">{escape(x_name + scale)}</text>'
        f'<path class="front" d="{line}"/>{dots}{names}</svg>'
    )


def legend(names: Sequence[str]) -> str:
    """Return the colours of series with their names."""
    items = "".join(
        f'<li><svg viewBox="0 0 10 10" aria-hidden="true"><circle class="s{number % SERIES}" cx="5" cy="5" r="4.5"/>'
        f"</svg> {escape(name)}</li>"
        for number, name in enumerate(names)
    )
    return f'<ul class="legend">{items}</ul>\n'


def _place(point: Point, across: Axis, up: Axis) -> Place:
    return (
        LEFT + across.place(point.x) * (WIDTH - LEFT - RIGHT),
        HEIGHT - BOTTOM - up.place(point.y) * (HEIGHT - BOTTOM - TOP),
    )


def _ticks(across: Axis, up: Axis) -> str:
    base, right = HEIGHT - BOTTOM, WIDTH - RIGHT
    lines = []
    for value in across.ticks:
        x = LEFT + across.place(value) * (right - LEFT)
        lines.append(f'<line class="grid" x1="{x:.1f}" x2="{x:.1f}" y1="{TOP}" y2="{base}"/>')
        lines.append(f'<text x="{x:.1f}" y="{base + 16}" text-anchor="middle">{_written(value)}</text>')
    for value in up.ticks:
        y = base - up.place(value) * (base - TOP)
        lines.append(f'<line class="grid" x1="{LEFT}" x2="{right}" y1="{y:.1f}" y2="{y:.1f}"/>')
        lines.append(f'<text x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{_written(value)}</text>')
    return "".join(lines)


def _written(value: float) -> str:
    return f"{value:,.0f}" if value >= 1000 else f"{value:g}"


def _dot(point: Point, place: Place) -> str:
    x, y = place
    return (
        f'<circle class="s{point.series % SERIES}" cx="{x:.1f}" cy="{y:.1f}" r="{RADIUS}">'
        f"<title>{escape(point.title)}</title></circle>"
    )


def _corners(places: Sequence[Place]) -> list[Place]:
    """Return the corners of a front: level until the next point's cost, then up; at last to the end of the axis."""
    level = [(next_x, y) for (_, y), (next_x, _) in pairwise(places)]
    steps = [corner for pair in zip(places, level, strict=False) for corner in pair]
    return [*steps, places[-1], (float(WIDTH - RIGHT), places[-1][1])]


def _names(points: Sequence[Point], places: dict[int, Place], corners: Sequence[Place]) -> str:
    """Return labels beside their points, first come first served; one that would lie on something is left out."""
    taken: list[Box] = [(x - RADIUS, y - RADIUS, x + RADIUS, y + RADIUS) for x, y in places.values()]
    taken += [
        (min(x, to_x) - 1, min(y, to_y) - 1, max(x, to_x) + 1, max(y, to_y) + 1)
        for (x, y), (to_x, to_y) in pairwise(corners)
    ]
    written = []
    for point in points:
        x, y = places[id(point)]
        for anchor, left, base in _sides(x, y, len(point.label) * LETTER):
            right = left + len(point.label) * LETTER
            box = (left, base - LINE + 2, right, base + 2)
            if _inside(box) and not any(_overlap(box, other) for other in taken):
                taken.append((left - LETTER, box[1], right + LETTER, box[3]))
                at = {"start": left, "middle": (left + right) / 2, "end": right}[anchor]
                text = f'<text class="name" x="{at:.1f}" y="{base:.1f}" text-anchor="{anchor}">'
                written.append(f"{text}{escape(point.label)}</text>")
                break
    return "".join(written)


def _sides(x: float, y: float, width: float) -> list[tuple[str, float, float]]:
    """Return where a label may stand, best first: its anchor, left edge and base line."""
    gap = RADIUS + 3
    return [
        ("start", x + gap, y + 4),
        ("start", x + gap, y + LINE + 2),
        ("end", x - gap - width, y + 4),
        ("middle", x - width / 2, y + gap + LINE - 3),
        ("middle", x - width / 2, y - gap),
        ("end", x - gap - width, y - 4),
    ]


def _inside(box: Box) -> bool:
    return box[0] >= LEFT and box[1] >= TOP and box[2] <= WIDTH - RIGHT and box[3] <= HEIGHT - BOTTOM


def _overlap(one: Box, other: Box) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]
