"""The tables as one page of HTML that needs nothing else: every figure opens its command, at the foot of the window."""

import re
from collections.abc import Iterable
from html import escape

from modernir.eval.comparing.comparison import Row
from modernir.eval.comparing.terminal import is_best
from modernir.eval.intervals import shown as shown_interval
from modernir.pages.frame import page_of
from modernir.pages.look import SCRIPT, STYLE

from . import wording
from .saved import Saved, Table

OWN_STYLE = """
body { max-width: 96rem; } details, summary { display: inline; }
summary { cursor: pointer; list-style: none; } summary::-webkit-details-marker { display: none; }
summary:hover, summary:focus-visible { color: var(--on); text-decoration: underline; }
details[open] > summary { outline: 2px solid var(--on); outline-offset: 2px; }
details > code { position: fixed; left: 0; right: 0; bottom: 0; padding: .8rem 1rem; text-align: left;
  white-space: pre-wrap; background: var(--card); border-top: 2px solid var(--on); user-select: all; z-index: 1; }
td small { display: block; white-space: nowrap; font-weight: 400; } td.name { min-width: 9rem; }
thead th.number { white-space: normal; vertical-align: bottom; } li { margin: .1rem 0; }
tfoot tr:first-child td { border-top: 2px solid var(--line); }
"""
CARD = '<div class="card wide" tabindex="0">'


def html_page(saved: Saved, cost_set: str, machine: str) -> str:
    """Return the page; see `markdown`, which takes the same."""
    systems = "".join(f"<li><b>{escape(one.title)}</b>: {escape(one.about)}" for one in saved.systems)
    notes = "".join(f"<p>{_text(note)}</p>\n" for note in wording.notes(saved, machine))
    scores = "".join(
        f"<section><h2>{escape(measure)}</h2>\n{CARD}{_scores(saved, table)}</div></section>\n"
        for measure, table in saved.tables.items()
    )
    body = f"""<h1>Results</h1>
<p class="soft">A figure shows its command at the foot of the window when it is chosen. {_text(wording.commands_note())}
</p>
<ul>{systems}</ul>
{notes}{scores}
<section><h2>Costs</h2>
<p class="soft">{_text(wording.cost_note(saved, cost_set))}</p>
{CARD}{_costs(saved, cost_set)}</div></section>
"""
    return page_of("Results", STYLE + OWN_STYLE, body, SCRIPT, "en")


def _scores(saved: Saved, table: Table) -> str:
    titles = [system.title for system in saved.systems]
    body = []
    for one, row in table.rows.items():
        cells = [f'<td class="name">{escape(wording.set_label(table, one))}', _number(row.queries, f"{row.queries:,}")]
        for number, system in enumerate(saved.systems):
            shown = _figure(table, row, number) + wording.in_domain(system, one)
            command = escape(wording.command(system, one))
            opened = (
                f'<details name="command"><summary title="{command}">{shown}</summary><code>{command}</code></details>'
            )
            cells.append(_cell(row, number, opened))
        body.append(cells)
    foot = [
        [f'<td class="name">{label}', "<td>"]
        + [_cell(row, number, _figure(table, row, number)) for number in range(len(titles))]
        for label, row in wording.means(table)
    ]
    foot += [
        [f'<td class="name">{escape(label)}', "<td>", *(f'<td class="number">{cell}' for cell in cells)]
        for label, cells in wording.summary(table)
    ]
    return _table(["set"], ["queries", *titles], body, foot)


def _figure(table: Table, row: Row, number: int) -> str:
    mark = table.mark(row, number)
    colour = {"▲": "win", "▼": "loss"}.get(mark)
    return wording.figure(row.means[number]) + (f'<span class="{colour}">{mark}</span>' if colour else "")


def _cell(row: Row, number: int, shown: str) -> str:
    best = " best" if is_best(row, number, wording.DIGITS) else ""
    interval = f"<small>{shown_interval(row.intervals[number])}</small>"
    return f'<td class="number{best}" data-value="{row.means[number]!r}">{shown}{interval}'


def _costs(saved: Saved, cost_set: str) -> str:
    rows = [
        [f'<td class="name">{escape(title)}', *(_number(cell.replace(",", ""), cell) for cell in cells)]
        for title, cells in wording.cost_rows(saved, cost_set)
    ]
    return _table(["system"], list(wording.COST_HEADS), rows, [])


def _number(value: object, shown: str) -> str:
    return f'<td class="number" data-value="{value}">{shown}' if shown else '<td class="number">'


def _text(note: str) -> str:
    return re.sub(r"`([^`]+)`", r"<code>\1</code>", escape(note))


def _table(names: list[str], numbers: list[str], body: Iterable[Iterable[str]], foot: Iterable[Iterable[str]]) -> str:
    heads = [f'<th scope="col">{escape(name)}' for name in names]
    heads += [f'<th scope="col" class="number">{escape(name)}' for name in numbers]
    rows, last = ("".join(f"<tr>{'</td>'.join(cells)}</td></tr>\n" for cells in part) for part in (body, foot))
    top = f"<thead><tr>{'</th>'.join(heads)}</th></tr></thead>"
    return f'<table class="sortable">{top}\n<tbody>{rows}</tbody><tfoot>{last}</tfoot></table>'
