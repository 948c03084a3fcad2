"""A comparison as one page of HTML that needs nothing else and reads without its script; all texts are escaped."""

from collections.abc import Sequence
from html import escape

from ...pages.frame import page_of
from ...pages.look import SCRIPT, STYLE
from ...pages.tables import number_cell, table, word_cell
from .comparison import Change, Comparison, Row
from .figures import bars, scatter
from .terminal import is_best, probability

FIGURES = ("set", "system", "", "95 % interval", "difference", "95 % interval", "p rand.", "p t", "wins",
           "ties", "losses")  # fmt: skip
WORDS = ("set", "system", "query", "text")


def page(comparison: Comparison) -> str:
    """Return the page of a comparison: bars, the table, queries scattered over two systems, the largest changes."""
    title = f"{comparison.measure}: {', '.join(comparison.systems)}"
    pairs = "".join(_pair(comparison, number) for number in range(1, len(comparison.systems)))
    body = f"""<h1>{escape(comparison.measure)}, compared with {escape(comparison.baseline)}</h1>
<p class="soft">† corrected p of the randomization test below {comparison.alpha:g}. {escape(comparison.method)}.</p>
<section><h2>Scores</h2>
{bars(comparison)}</section>
<section><h2>Differences and tests</h2>
<div class="card wide" tabindex="0">{_figures(comparison)}</div></section>
{pairs}"""
    return page_of(title, STYLE, body, SCRIPT, "en")


def _figures(comparison: Comparison) -> str:
    heads = [name or comparison.measure for name in FIGURES]
    rows = (_cells(comparison, row, number) for row in comparison.rows for number in range(len(comparison.systems)))
    return table(heads, rows, WORDS)


def _cells(comparison: Comparison, row: Row, number: int) -> list[str]:
    low, high = row.intervals[number]
    cells = [
        word_cell(row.name),
        word_cell(comparison.systems[number]),
        number_cell(row.means[number], f"{row.means[number]:.4f}", best=is_best(row, number)),
        number_cell(low, f"{low:.3f} to {high:.3f}"),
    ]
    if number == 0:
        return [*cells, '<td class="number">baseline', *[number_cell(None, "")] * (len(FIGURES) - 5)]
    one = row.differences[number - 1]
    mark = "†" if comparison.significant(one) else ""
    return [
        *cells,
        number_cell(one.mean, f"{one.mean:+.4f}{mark}"),
        number_cell(one.interval[0], f"{one.interval[0]:+.3f} to {one.interval[1]:+.3f}"),
        number_cell(one.corrected_randomization, probability(one.corrected_randomization)),
        number_cell(one.corrected_t, probability(one.corrected_t)),
        *(number_cell(count, str(count)) for count in (one.wins, one.ties, one.losses)),
    ]


def _pair(comparison: Comparison, number: int) -> str:
    system = escape(comparison.systems[number])
    base = escape(comparison.baseline)
    plots = "".join(
        f"<figure><h3>{escape(one.name)}</h3>{scatter(comparison, one, number)}<figcaption>→ {base}<br>↑ {system}"
        "</figcaption><output></output></figure>\n"
        for one in comparison.sets
    )
    return f"""<section><h2>{system} against {base}, query by query</h2>
<p class="soft">A point above the diagonal is a query that <span class="win">{system}</span> answers better, below it
<span class="loss">{base}</span>. Queries with the same scores share a point. Point at one to read it.</p>
<div class="plots">{plots}</div>
{_changed(comparison, number, comparison.changes[number - 1])}</section>
"""


def _changed(comparison: Comparison, number: int, changes: Sequence[Change]) -> str:
    if not changes:
        return '<p class="soft">No query changed.</p>'
    heads = ["set", "query", "text", comparison.baseline, comparison.systems[number], "difference"]
    rows = (
        [
            word_cell(change.set),
            f"<td>{escape(change.query)}",
            f'<td class="text" dir="auto">{escape(change.text)}',
            number_cell(change.baseline, f"{change.baseline:.4f}"),
            number_cell(change.score, f"{change.score:.4f}"),
            number_cell(change.difference, f"{change.difference:+.4f}"),
        ]
        for change in changes
    )
    changed = table(heads, rows, WORDS)
    return f'<h3 class="after">Queries that changed most</h3><div class="card wide" tabindex="0">{changed}</div>'
