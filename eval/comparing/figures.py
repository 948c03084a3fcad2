"""The figures of a comparison's page: bars of scores with intervals, and queries scattered over two systems' scores.

Plain SVG without script or style of its own: positions are attributes, colours classes of the page.
"""

from collections import defaultdict
from html import escape
from math import ceil, sqrt

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
    highest = max(high for row in comparison.rows for _, high in row.intervals)
    scale = max(0.1, ceil(highest * 10) / 10)
    return "".join(_group(comparison, row, scale) for row in comparison.rows)


def _group(comparison: Comparison, row: Row, scale: float) -> str:
    lines = "".join(_bar(comparison, row, number, scale) for number in range(len(comparison.systems)))
    ends = f"<span>0</span><span>{scale / 2:g}</span><span>{scale:g}</span>"
    return (
        f'<div class="card"><h3>{escape(row.name)} <small>{row.queries} queries</small></h3><div class="bars">{lines}'
        f'<div class="scale chart">{ends}</div></div></div>\n'
    )


def _bar(comparison: Comparison, row: Row, number: int, scale: float) -> str:
    mean, (low, high) = row.means[number], row.intervals[number]
    width, start, end = (f"{100 * value / scale:.2f}%" for value in (mean, low, high))
    kind = "bar" if number else "base"
    marked = number and comparison.significant(row.differences[number - 1])
    return (
        f'<span class="label">{escape(comparison.systems[number])}</span>'
        f'<span class="figure">{mean:.4f}{"†" if marked else ""}</span>'
        f'<svg class="chart" role="img" aria-label="{mean:.4f}, interval {low:.4f} to {high:.4f}">'
        f'<rect class="{kind}" y="15%" height="70%" width="{width}" rx="2"/>'
        f'<line class="whisker" x1="{start}" x2="{end}" y1="50%" y2="50%"/>'
        f'<line class="whisker" x1="{start}" x2="{start}" y1="30%" y2="70%"/>'
        f'<line class="whisker" x1="{end}" x2="{end}" y1="30%" y2="70%"/></svg>'
    )


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
