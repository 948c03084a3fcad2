"""Reports as a table for people: sets by measures, their mean, and published figures under ours."""

from collections.abc import Mapping, Sequence

from rich.box import SIMPLE
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from .evaluate import Report
from .intervals import Interval, matrix, means_of_sets, percentile_intervals, resampled_means, shown


def results_table(reports: Sequence[Report]) -> Table:
    """Return a table with a row for each set, and the mean of several sets.

    Below the figures stand their 95 % bootstrap intervals over queries, and what others published. The mean is over
    sets, each counting once, and only of measures that all of them have.
    """
    measures = list(dict.fromkeys(name for report in reports for name in report.metrics))
    table = Table(box=SIMPLE, caption=_sources(reports, measures), caption_justify="left", collapse_padding=True)
    table.add_column("set")
    table.add_column("queries", justify="right")
    for measure in measures:
        table.add_column(measure, justify="right")
    for report in reports:
        figures = _cells(report.metrics, measures)
        name = escape(f"{report.benchmark} ({report.split})")
        table.add_row(name, str(report.counts["queries"]), *figures, style="bold")
        table.add_row("  95 % interval", "", *_interval_cells(report.intervals, measures), style="dim")
        for published in report.published:
            if published["measure"] in measures:
                # with the digits that were published
                figures = [str(published["value"]) if name == published["measure"] else "" for name in measures]
                table.add_row(f"  {published['system']} *", "", *figures, style="dim")
    if len(reports) > 1:
        shared = [name for name in measures if all(name in report.metrics for report in reports)]
        mean = {name: sum(report.metrics[name] for report in reports) / len(reports) for name in shared}
        table.add_section()
        table.add_row(f"mean of {len(reports)} sets", "", *_cells(mean, measures), style="bold")
        table.add_row("  95 % interval", "", *_interval_cells(_mean_intervals(reports, shared), measures), style="dim")
    return table


def show_reports(reports: Sequence[Report], console: Console) -> None:
    """Print the table to a console, under the model's name."""
    models = dict.fromkeys(report.model for report in reports)
    console.print(", ".join(models), markup=False, highlight=False)
    console.print(results_table(reports))


def _cells(values: dict[str, float], measures: Sequence[str]) -> list[str]:
    return [f"{values[name]:.4f}" if name in values else "" for name in measures]


def _interval_cells(intervals: Mapping[str, Sequence[float]], measures: Sequence[str]) -> list[str]:
    return [shown(intervals[name]) if name in intervals else "" for name in measures]


def _mean_intervals(reports: Sequence[Report], names: Sequence[str]) -> dict[str, Interval]:
    if not names:
        return {}
    samples = [resampled_means(matrix(report.per_query, names)) for report in reports]
    return dict(zip(names, percentile_intervals(means_of_sets(samples)), strict=True))


def _sources(reports: Sequence[Report], measures: Sequence[str]) -> str | None:
    shown = [figure for report in reports for figure in report.published if figure["measure"] in measures]
    sources = dict.fromkeys(f"{figure['system']}: {figure['source']}" for figure in shown)
    return "\n".join(["* published figures", *sources]) if sources else None
