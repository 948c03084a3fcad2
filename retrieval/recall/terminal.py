"""Recall as a table in the terminal."""

import sys

from .measure import RecallTable


def print_recall(table: RecallTable) -> None:
    """Print a line for each setting with recall, latency and bytes; those of several indexes under their names."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    of = "" if len(table.indexes) == 1 else f" in {table.indexes[0]}"
    title = Text(f"recall against exact search{of}, {table.queries}")
    shown = Table(title=title, title_justify="left", box=None, pad_edge=False)
    shown.add_column("setting")
    late = table.rows[0].token_bytes is not None
    for name in (*(f"R@{k}" for k in table.cuts), "p50 ms", "p95 ms", "B/token" if late else "B/doc"):
        shown.add_column(name, justify="right")
    last = None
    for row in table.rows:
        if len(table.indexes) > 1 and row.index != last:
            shown.add_row(Text(row.index, style="bold"))
        last = row.index
        recall = [f"{value:.3f}" for value in row.measured.recall.values()]
        size = row.document_bytes if row.token_bytes is None else row.token_bytes
        indent = "  " if len(table.indexes) > 1 else ""
        times = f"{row.measured.median:.2f}", f"{row.measured.p95:.2f}"
        shown.add_row(f"{indent}{row.setting}", *recall, *times, f"{size:,.1f}")
    Console(file=sys.stdout).print(shown)
