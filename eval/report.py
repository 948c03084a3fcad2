"""Reports as a table for people: sets by measures, their mean, and published figures under ours; several systems."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.box import SIMPLE
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from .evaluate import Report
from .intervals import Interval, matrix, means_of_sets, percentile_intervals, resampled_means, shown

PUBLISHED_ROWS = 4
"""Published figures that a set's table shows at most."""


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
        for published in _published(report, measures):
            # with the digits that were published
            figures = [str(published["value"]) if name == published["measure"] else "" for name in measures]
            table.add_row(f"  {published['system']} *", "", *figures, style="dim")
    if len(reports) > 1:
        mean = means_over_sets(reports)
        table.add_section()
        table.add_row(f"mean of {len(reports)} sets", "", *_cells(mean, measures), style="bold")
        table.add_row(
            "  95 % interval", "", *_interval_cells(intervals_over_sets(reports, list(mean)), measures), style="dim"
        )
    return table


def show_reports(reports: Sequence[Report], console: Console) -> None:
    """Print one system's table to a console, under the model's name and the way it searched, or that of several."""
    systems = dict.fromkeys((report.model, report.way) for report in reports)
    if len(systems) > 1:
        console.print(systems_table(reports))
        return
    for model, way in systems:
        console.print(" ".join(filter(None, [model, way])), markup=False, highlight=False)
    console.print(results_table(reports))


def systems_table(reports: Sequence[Report]) -> Table:
    """Return a table of several systems: for each set a row for each system, then their means over the sets.

    Where it was measured, the median latency of a query in milliseconds and the megabytes of the index's vectors stand
    beside the scores. The way that all of them searched is the title.
    """
    measures = list(dict.fromkeys(name for report in reports for name in report.metrics))
    ways = {report.way for report in reports}
    way = next(iter(ways)) if len(ways) == 1 else ""
    table = Table(box=SIMPLE, pad_edge=False, title=escape(way) or None, title_justify="left", collapse_padding=True)
    table.add_column("system", overflow="fold")
    for heading in (*measures, "p50 ms", "MB"):
        table.add_column(heading, justify="right", no_wrap=True)
    by_set: dict[str, list[Report]] = {}
    by_system: dict[str, list[Report]] = {}
    for report in reports:
        by_set.setdefault(f"{report.benchmark} ({report.split})  {report.counts['queries']} queries", []).append(report)
        by_system.setdefault(Path(report.model).name if way else report.system, []).append(report)
    names = {id(report): name for name, of_system in by_system.items() for report in of_system}
    for heading, of_set in by_set.items():
        table.add_row(escape(heading), style="bold")
        for report in of_set:
            table.add_row(f"  {escape(names[id(report)])}", *_cells(report.metrics, measures), *_cost_cells(report))
        table.add_section()
    if len(by_set) > 1 and all(len(of_system) == len(by_set) for of_system in by_system.values()):
        table.add_row(f"mean of {len(by_set)} sets", style="bold")
        for name, of_system in by_system.items():
            table.add_row(f"  {escape(name)}", *_cells(means_over_sets(of_system), measures))
    return table


def means_over_sets(reports: Sequence[Report]) -> dict[str, float]:
    """Return the means over sets, each counting once, of the measures that all of them have."""
    shared = [name for name in reports[0].metrics if all(name in report.metrics for report in reports)]
    return {name: sum(report.metrics[name] for report in reports) / len(reports) for name in shared}


def _cost_cells(report: Report) -> list[str]:
    latency, size = report.costs.get("p50_ms"), report.costs.get("vector_bytes")
    return ["" if latency is None else f"{latency:.1f}", "" if size is None else f"{size / 1e6:.1f}"]


def _cells(values: dict[str, float], measures: Sequence[str]) -> list[str]:
    return [f"{values[name]:.4f}" if name in values else "" for name in measures]


def _interval_cells(intervals: Mapping[str, Sequence[float]], measures: Sequence[str]) -> list[str]:
    return [shown(intervals[name]) if name in intervals else "" for name in measures]


def intervals_over_sets(reports: Sequence[Report], names: Sequence[str]) -> dict[str, Interval]:
    """Return the 95 % bootstrap intervals of measures' means over sets."""
    if not names:
        return {}
    samples = [resampled_means(matrix(report.per_query, names)) for report in reports]
    return dict(zip(names, percentile_intervals(means_of_sets(samples)), strict=True))


def _published(report: Report, measures: Sequence[str]) -> list[dict[str, Any]]:
    """Return the best of the published figures, in the order of the registry; all of them are in `report.json`."""
    known = [figure for figure in report.published if figure["measure"] in measures]
    best = sorted(known, key=lambda figure: -figure["value"])[:PUBLISHED_ROWS]
    return [figure for figure in known if figure in best]


def _sources(reports: Sequence[Report], measures: Sequence[str]) -> str | None:
    shown = [figure for report in reports for figure in _published(report, measures)]
    sources = dict.fromkeys(f"{figure['system']}: {figure['source']}" for figure in shown)
    return "\n".join(["* published figures", *sources]) if sources else None
