"""One system's results as files for other programs: CSV with every number, and a LaTeX table as papers print it."""

import csv
from io import StringIO

from ..intervals import LEVEL, shown
from ..latex import latex_escape, latex_table
from .costs import COSTS, measured
from .results import ResultRow, SystemResults

LATEX_DIGITS = 3


def to_csv(results: SystemResults) -> str:
    """Return a line for each set, and for the mean, with all digits: scores, ends of intervals, costs."""
    stream = StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    scores = [column for name in results.measures for column in (name, f"{name} low", f"{name} high")]
    writer.writerow(["system", "set", "queries", *scores, *(cost.name for cost in COSTS)])
    for row in results.rows:
        figures = [
            value
            for name in results.measures
            for value in ((row.means[name], *row.intervals[name]) if name in row.means else ("", "", ""))
        ]
        costs = [row.costs.get(cost.name, "") for cost in COSTS]
        writer.writerow([results.name, row.name, row.queries, *figures, *costs])
    return stream.getvalue()


def to_latex(results: SystemResults) -> str:
    r"""Return a booktabs table: for each set the scores beside the costs, the scores' intervals below them.

    The document needs `\usepackage{booktabs}`.
    """
    costs = [cost for cost in measured([row.costs for row in results.rows]) if cost.printed]
    heads = ["", "queries", *(latex_escape(name) for name in results.measures)]
    rows = [
        line
        for row in results.rows
        for line in (
            [
                latex_escape(row.name),
                str(row.queries),
                *(f"{row.means[name]:.{LATEX_DIGITS}f}" if name in row.means else "" for name in results.measures),
                *(latex_escape(cost.shown(row.costs.get(cost.name))) for cost in costs),
            ],
            ["", "", *(_interval(row, name) for name in results.measures), *[""] * len(costs)],
        )
    ]
    caption = rf"{latex_escape(results.name)}, with {LEVEL * 100:g}\,\% bootstrap intervals over queries."
    above_mean = len(rows) - 2 if results.several else None
    return latex_table(caption, [*heads, *(latex_escape(cost.head) for cost in costs)], rows, above_mean)


def _interval(row: ResultRow, name: str) -> str:
    return rf"{{\scriptsize {shown(row.intervals[name]).replace(' ', '--')}}}" if name in row.intervals else ""
