"""A comparison as files for other programs: CSV with every number, and a LaTeX table as papers print it."""

import csv
from io import StringIO

from ..latex import latex_escape, latex_table
from ..significance import FLIPS
from .comparison import Comparison
from .terminal import is_best

LATEX_DIGITS = 3

COLUMNS = (
    "set", "queries", "system", "measure", "mean", "low", "high", "baseline", "difference", "difference_low",
    "difference_high", "p_randomization", "p_t", "corrected_randomization", "corrected_t", "wins", "ties", "losses",
)  # fmt: skip


def to_csv(comparison: Comparison) -> str:
    """Return a line for each set and system, and for the mean, with all digits; the baseline's has no difference."""
    stream = StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(COLUMNS)
    for row in comparison.rows:
        for number, system in enumerate(comparison.systems):
            cells = [row.name, row.queries, system, comparison.measure, row.means[number], *row.intervals[number]]
            if number:
                one = row.differences[number - 1]
                cells += [comparison.baseline, one.mean, *one.interval, one.p_randomization, one.p_t]
                cells += [one.corrected_randomization, one.corrected_t, one.wins, one.ties, one.losses]
            writer.writerow(cells + [""] * (len(COLUMNS) - len(cells)))
    return stream.getvalue()


def to_latex(comparison: Comparison) -> str:
    r"""Return a booktabs table, a row for each system and a column for each set: bold the best, † what is significant.

    The document needs `\usepackage{booktabs}`.
    """
    measure, baseline = latex_escape(comparison.measure), latex_escape(comparison.baseline)
    caption = (
        rf"{measure}, the best in bold. $\dagger$: other than {baseline} by a paired randomization test (two-sided, "
        rf"{FLIPS // 1000}\,000 permutations, Holm-corrected, $p < {comparison.alpha:g}$)."
    )
    heads = ["", *(latex_escape(row.name) for row in comparison.rows)]
    return latex_table(caption, heads, [_latex_row(comparison, number) for number in range(len(comparison.systems))])


def _latex_row(comparison: Comparison, number: int) -> list[str]:
    cells = [latex_escape(comparison.systems[number])]
    for row in comparison.rows:
        figure = f"{row.means[number]:.{LATEX_DIGITS}f}"
        best = is_best(row, number, LATEX_DIGITS)
        mark = r"$^{\dagger}$" if number and comparison.significant(row.differences[number - 1]) else ""
        cells.append((rf"\textbf{{{figure}}}" if best else figure) + mark)
    return cells
