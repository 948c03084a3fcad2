"""One system's results as tables for people: scores with intervals and published figures, then costs."""

from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table
from rich.text import Text

from ..report import results_table
from .costs import measured
from .results import SystemResults


def show_results(results: SystemResults, console: Console) -> None:
    """Print the table of scores, and below it that of costs, if any were measured."""
    console.print(results.name, markup=False, highlight=False)
    console.print(results_table(results.reports))
    costs = measured([row.costs for row in results.rows])
    if costs:
        table = Table(box=SIMPLE, title="costs, of one machine and run", title_justify="left")
        table.add_column("set", overflow="fold")
        for cost in costs:
            table.add_column(cost.head, justify="right")
        for row in results.rows[: len(results.reports)]:
            table.add_row(Text(row.name), *(cost.shown(row.costs.get(cost.name)) for cost in costs))
        console.print(table)
