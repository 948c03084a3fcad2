"""A comparison as tables for people: every figure with its interval and test, and the queries that changed most."""

from rich.box import SIMPLE
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from ..intervals import shown
from .comparison import Comparison, Difference, Row

DAGGER = "†"


def show_comparison(comparison: Comparison, console: Console) -> None:
    """Print the table of figures, how they were computed, and for each system the queries that changed most."""
    console.print(f"{comparison.measure}, compared with {comparison.baseline}", markup=False, highlight=False)
    console.print(figures_table(comparison))
    for system, changes in zip(comparison.systems[1:], comparison.changes, strict=True):
        if changes:
            title = f"queries that changed most from {comparison.baseline} to {system}"
            table = Table(box=SIMPLE, title=Text(title), title_justify="left")
            several = len(comparison.sets) > 1
            columns = (["set"] if several else []) + ["query", comparison.baseline, system, "difference"]
            for name in columns:
                right = name not in ("set", "query")
                table.add_column(Text(name), justify="right" if right else "left", overflow="fold")
            table.add_column("text", overflow="fold", max_width=80)
            for change in changes:
                figures = [f"{change.baseline:.4f}", f"{change.score:.4f}", f"{change.difference:+.4f}"]
                names = [change.set, change.query] if several else [change.query]
                table.add_row(*map(Text, names), *figures, Text(" ".join(change.text.split())))
            console.print(table)


def figures_table(comparison: Comparison) -> Table:
    """Return a table with a section for each set, and in it each system with its intervals below; the best is bold."""
    caption = f"{DAGGER} corrected p of the randomization test below {comparison.alpha:g}\n{comparison.method}"
    table = Table(box=SIMPLE, caption=escape(caption), caption_justify="left", collapse_padding=True)
    table.add_column("", overflow="fold")
    for name in (comparison.measure, "difference", "p rand.", "p t", "win/tie/loss"):
        table.add_column(name, justify="right", no_wrap=True)
    for row in comparison.rows:
        table.add_section()
        table.add_row(Text(row.name, style="bold"), Text(f"{row.queries} queries", style="dim"))
        for number, system in enumerate(comparison.systems):
            mean = Text(f"{row.means[number]:.4f}", style="bold" if is_best(row, number) else "")
            difference = row.differences[number - 1] if number else None
            table.add_row(Text(f"  {system}"), mean, *_difference_cells(comparison, difference))
            apart = shown(difference.interval, "+") if difference else ""
            table.add_row("", shown(row.intervals[number]), apart, style="dim")
    return table


def is_best(row: Row, number: int, digits: int = 4) -> bool:
    """Say whether no system of a row has a higher mean, of those digits that are shown."""
    return round(row.means[number], digits) == round(max(row.means), digits)


def _difference_cells(comparison: Comparison, difference: Difference | None) -> list[str]:
    if difference is None:
        return ["baseline"]
    mark = DAGGER if comparison.significant(difference) else " "
    return [
        f"{difference.mean:+.4f}{mark}",
        probability(difference.corrected_randomization),
        probability(difference.corrected_t),
        f"{difference.wins}/{difference.ties}/{difference.losses}",
    ]


def probability(value: float) -> str:
    """Return a p value with the digits that mean something."""
    return "<0.0001" if value < 1e-4 else f"{value:.4f}" if value < 0.01 else f"{value:.3f}"
