"""The figures of a comparison's page: bars of scores with intervals, and queries scattered over two systems' scores.

SVG without script or style of its own: positions are attributes, colours classes of the page.
"""

from collections import defaultdict
from html import escape
from math import sqrt

from ...pages.bars import Bar, Card, bar_cards
from .comparison import ComparedSet, Comparison, Row

SIZE, LEFT, BOTTOM, EDGE = 320, 42, 36, 14
"""Of a scatter plot: its side, and the room left of, below and around the frame."""
QUERIES_A_POINT = 5
"""That its title names."""
LARGEST_POINT = 16
"""Queries beyond which a point grows no more, so that it hides no others."""
TEXT_CHARACTERS = 160


def bars(comparison: Comparison) -> str:
    """Return a bar for each system and set, grouped by sets, on one scale from 0."""
    return bar_cards([Card(row.name, f"{row.queries} queries", _bars(comparison, row)) for row in comparison.rows])


def _bars(comparison: Comparison, row: Row) -> list[Bar]:
    marks = ["", *("†" if comparison.significant(difference) else "" for difference in row.differences)]
    return [
        Bar(system, mean, *interval, plain=number == 0, mark=mark)
        for number, (system, mean, interval, mark) in enumerate(
            zip(comparison.systems, row.means, row.intervals, marks, strict=True)
        )
    ]


def scatter(comparison: Comparison, one: ComparedSet, number: int) -> str:
    """Return the plot of a set's queries: the baseline's score to the right, system `number`'s upwards.

    Queries that would lie on one another share a point, whose area is their number; its title names them.
    """
    places: dict[tuple[float, float, str], list[str]] = defaultdict(list)
    rows = zip(one.queries, one.scores[0], one.scores[number], one.differences[number - 1], strict=True)
    for query, before, after, difference in rows:
        kind = "tie" if difference == 0 else "win" if difference > 0 else "loss"
        places[round(float(before), 3), round(float(after), 3), kind].append(query)
    crowded = sorted(places.items(), key=lambda item: -len(item[1]))  # large points first, so that they hide no other
    points = "".join(_point(before, after, kind, queries, one.texts) for (before, after, kind), queries in crowded)
    inner, right, base = SIZE - LEFT - EDGE, SIZE - EDGE, SIZE - BOTTOM
    ticks = "".join(
        f'<text x="{_x(value):.1f}" y="{base + 25}" text-anchor="middle">{value:g}</text>'
        f'<text x="{LEFT - 16}" y="{_y(value) + 4:.1f}" text-anchor="end">{value:g}</text>'
        for value in (0, 0.5, 1)
    )
    return (
        f'<svg viewBox="0 0 {SIZE} {SIZE}" role="img" aria-label="scores of single queries">'
        f'<rect class="frame" x="{LEFT}" y="{EDGE}" width="{inner}" height="{base - EDGE}"/>'
        f'<line class="diagonal" x1="{LEFT}" y1="{base}" x2="{right}" y2="{EDGE}"/>{ticks}{points}</svg>'
    )


def _point(before: float, after: float, kind: str, queries: list[str], texts: dict[str, str]) -> str:
    named = [f"{query}: {shortened(texts[query])}" if query in texts else query for query in queries[:QUERIES_A_POINT]]
    if len(queries) > len(named):
        named.append(f"and {len(queries) - len(named)} more")
    title = escape("\n".join([f"{before:g} → {after:g}", *named]))
    radius = 3 * sqrt(min(len(queries), LARGEST_POINT))
    place = f'cx="{_x(before):.1f}" cy="{_y(after):.1f}" r="{radius:.1f}"'
    return f'<circle class="{kind}" {place}><title>{title}</title></circle>'


def shortened(text: str) -> str:
    """Return a text on one line, cut where it is long."""
    line = " ".join(text.split())
    return line if len(line) <= TEXT_CHARACTERS else f"{line[: TEXT_CHARACTERS - 2]} …"


def _x(value: float) -> float:
    return LEFT + value * (SIZE - LEFT - EDGE)


def _y(value: float) -> float:
    return SIZE - BOTTOM - value * (SIZE - BOTTOM - EDGE)
