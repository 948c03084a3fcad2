"""One system's results as one page of HTML that needs nothing else and reads without its script."""

from html import escape

from ...pages.bars import Bar, Card, bar_cards
from ...pages.frame import page_of
from ...pages.look import SCRIPT, STYLE
from ...pages.tables import number_cell, table, word_cell
from ..intervals import LEVEL, RESAMPLES, shown
from .costs import MEANINGS, Cost, measured
from .results import ResultRow, SystemResults

WORDS = ("set", "system", "measure", "source")


def page(results: SystemResults) -> str:
    """Return the page: bars of each measure with intervals, the table of scores and costs, published figures."""
    costs = measured([row.costs for row in results.rows])
    heads = ["set", "queries", *results.measures, *(cost.head for cost in costs)]
    figures = table(heads, (_cells(row, results.measures, costs) for row in results.rows), WORDS)
    meanings = f"<p class='soft'>{escape(MEANINGS)}</p>" if costs else ""
    body = f"""<h1>{escape(results.name)}</h1>
<p class="soft">{escape(_made(results))}</p>
<section><h2>Scores</h2>
<p class="soft">Whiskers are {LEVEL:.0%} percentile bootstrap intervals over queries ({RESAMPLES:,} resamples).</p>
<div class="halves">{bar_cards([_card(results, name) for name in results.measures])}</div></section>
<section><h2>Scores and costs</h2>
{meanings}
<div class="card wide" tabindex="0">{figures}</div></section>
{_published(results)}"""
    return page_of(results.name, STYLE, body, SCRIPT, "en")


def _made(results: SystemResults) -> str:
    """Return which model it was and how it was read, in one line."""
    first = results.reports[0]
    settings = {name: value for name, value in first.settings.items() if isinstance(value, str | int | float)}
    named = [f"{name} {value}" for name, value in settings.items() if name not in ("data", "corpus")]
    versions = [f"{name} {value}" for name, value in first.versions.items()]
    fingerprint = [f"fingerprint {first.fingerprint}"] if first.fingerprint else []
    return "; ".join(filter(None, [first.model, *fingerprint, ", ".join(named), ", ".join(versions)]))


def _card(results: SystemResults, measure: str) -> Card:
    rows = [row for row in results.rows if measure in row.means]
    bars = [
        Bar(row.name, row.means[measure], *row.intervals[measure], plain=results.several and row is results.rows[-1])
        for row in rows
    ]
    sets = len(rows) - (results.several and rows[-1] is results.rows[-1])
    return Card(measure, f"{sets} set{'s' if sets > 1 else ''}", bars)


def _cells(row: ResultRow, measures: tuple[str, ...], costs: list[Cost]) -> list[str]:
    cells = [word_cell(row.name), number_cell(row.queries, f"{row.queries:,}")]
    for name in measures:
        if name in row.means:
            cells.append(number_cell(row.means[name], f"{row.means[name]:.4f}", shown(row.intervals[name])))
        else:
            cells.append(number_cell(None, ""))
    values = ((cost, row.costs.get(cost.name)) for cost in costs)
    return cells + [number_cell(value, cost.shown(value)) for cost, value in values]


def _published(results: SystemResults) -> str:
    """Return the figures that others published, each below ours of the same set and measure."""
    rows = []
    for report in results.reports:
        for measure in dict.fromkeys(figure["measure"] for figure in report.published):
            if measure not in report.metrics:
                continue
            theirs = [figure for figure in report.published if figure["measure"] == measure]
            ours = {"system": results.name, "measure": measure, "value": report.metrics[measure], "source": "this page"}
            for number, figure in enumerate([ours, *theirs]):
                value = figure["value"]
                rows.append(
                    [
                        word_cell(f"{report.benchmark} ({report.split})"),
                        word_cell(figure["system"]),
                        word_cell(measure, "measure"),
                        # with the digits that were published
                        number_cell(value, str(value) if number else f"{value:.4f}"),
                        word_cell(figure["source"], "text"),
                    ]
                )
    if not rows:
        return ""
    figures = table(["set", "system", "measure", "value", "source"], rows, WORDS)
    return f"""<section><h2>Beside published figures</h2>
<div class="card wide" tabindex="0">{figures}</div></section>
"""
