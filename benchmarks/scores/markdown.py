"""The tables as Markdown, with the commands in a list of their own."""

import shlex
from collections.abc import Iterable, Sequence

from modernir.eval.comparing.comparison import Row
from modernir.eval.comparing.terminal import is_best
from modernir.eval.intervals import shown as shown_interval

from . import wording
from .saved import Saved, Table


def markdown(saved: Saved, cost_set: str, machine: str) -> str:
    """Return the document.

    Args:
        saved: What was read.
        cost_set: Set whose costs are shown.
        machine: What it ran on.
    """
    systems = [f"- **{system.title}**: {system.about}" for system in saved.systems]
    parts = ["# Results", "\n".join(systems), *wording.notes(saved, machine)]
    parts.append(
        "`results.html`, beside this file, has the same figures with the command of each, in tables that can be sorted."
    )
    for measure, table in saved.tables.items():
        parts += [f"## {measure}", _scores(saved, table)]
    heads = ["system", *wording.COST_HEADS]
    rows = [[title, *cells] for title, cells in wording.cost_rows(saved, cost_set)]
    parts += ["## Costs", wording.cost_note(saved, cost_set), _table(heads, rows, left=1)]
    parts += ["## Commands", wording.commands_note(), "```sh\n" + "\n".join(_commands(saved)) + "\n```"]
    return "\n\n".join(parts) + "\n"


def _scores(saved: Saved, table: Table) -> str:
    heads = ["set", "queries", *(system.title for system in saved.systems)]
    rows = [
        [
            wording.set_label(table, one),
            f"{row.queries:,}",
            *(
                _cell(table, row, number) + wording.in_domain(system, one) + _interval(row, number)
                for number, system in enumerate(saved.systems)
            ),
        ]
        for one, row in table.rows.items()
    ]
    for label, row in wording.means(table):
        cells = [_cell(table, row, number) + _interval(row, number) for number in range(len(saved.systems))]
        rows.append([label, "", *cells])
    rows += [[label, "", *cells] for label, cells in wording.summary(table)]
    return _table(heads, rows, left=1)


def _cell(table: Table, row: Row, number: int) -> str:
    mean = wording.figure(row.means[number])
    shown = f"**{mean}**" if is_best(row, number, wording.DIGITS) else mean
    return shown + table.mark(row, number)


def _interval(row: Row, number: int) -> str:
    return f"<br><sub>{shown_interval(row.intervals[number])}</sub>"


def _commands(saved: Saved) -> Iterable[str]:
    """Yield a command for each system and group of sets."""
    for system in saved.systems:
        yield f"# {system.title}"
        for group in dict.fromkeys(one.split("/")[0] for one in saved.sets):
            members = [one for one in saved.sets if one.startswith(f"{group}/")]
            yield shlex.join(["modernir", *system.command(group, members, wording.RESULTS)])


def _table(heads: Sequence[str], rows: Iterable[Sequence[str]], left: int) -> str:
    """Return a table whose first `left` columns are texts and whose others are figures."""
    rule = ["---"] * left + ["---:"] * (len(heads) - left)
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (heads, rule, *rows))
