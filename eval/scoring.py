"""Runs of any system, scored: on a benchmark with a saved report, or with judgements alone."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from rich.box import SIMPLE
from rich.table import Table
from rich.text import Text

from ..errors import InputError
from ..retrieval.readers.beir import Qrels
from .evaluate import Report, evaluate
from .intervals import mean_intervals, shown
from .loading import load_benchmark
from .measures import DEFAULT_MEASURES, Measure, means, score_run
from .results import REPORT, load, run_file, run_name, save, set_folder
from .runs import Run

OUTPUT = Path("modernir-eval")


def score_saved_run(
    source: Path,
    data: Path | None = None,
    dataset: str | None = None,
    split: str | None = None,
    output: Path | None = None,
    name: str | None = None,
    measures: Sequence[Measure] = DEFAULT_MEASURES,
    force: bool = False,
) -> tuple[Report, Path]:
    """Score a run on a benchmark and save the report with the run.

    Args:
        source: A TREC run file, or the results folder of one set.
        data: A folder in BEIR's layout, or one of such folders, of which `dataset` names one.
        dataset: The benchmark's name; without `data` it is downloaded.
        split: Whose judgements; None takes the benchmark's default.
        output: Results folder; by default one in `OUTPUT` with the system's name.
        name: The system's; by default the file's.
        measures: What to compute.
        force: Replace results of another system.

    Returns:
        The report and the folder that it was saved to.

    Raises:
        InputError: The benchmark or the run is not what it should be, the run has none of the judged queries, or the
            folder holds the results of another system.
    """
    if dataset is not None:
        benchmark = load_benchmark(dataset, split, data)
    elif data is not None:
        benchmark = load_benchmark(data, split)
    else:
        raise InputError("no benchmark to score the run on; name a folder with --data, or a data set with --dataset")
    report = evaluate(run_file(source), benchmark, measures)
    if report.counts["queries_without_results"] == report.counts["queries"]:
        raise InputError(f"{source}: has results for no judged query of {benchmark.name} ({benchmark.split})")
    name = name or run_name(source)
    output = OUTPUT / name if output is None else output
    _check_owner(output, benchmark.name, name, force)
    report = replace(report, model=name)
    return report, save(report, output)


def _check_owner(output: Path, benchmark: str, name: str, force: bool) -> None:
    folder = set_folder(output, benchmark)
    if force or not (folder / REPORT).exists():
        return
    before = load(folder)
    if before.fingerprint or before.model != name:
        raise InputError(f"{folder}: holds the results of {before.model}; choose another --output, or --force")


def scores_of_runs(runs: Mapping[str, Run], qrels: Qrels, measures: Sequence[Measure]) -> dict[str, dict[str, Any]]:
    """Score runs with judgements alone; a judged query that a run lacks counts as zero.

    Returns:
        Run's name to `metrics`, `intervals` (95 % bootstrap) and `queries_without_results`.

    Raises:
        InputError: A run has results for no judged query.
    """
    found = {}
    names = [str(measure) for measure in measures]
    for name, run in runs.items():
        missing = sum(not run.get(query) for query in qrels)
        if missing == len(qrels):
            raise InputError(f"{name}: has results for no judged query")
        scores = score_run(run, qrels, measures)
        found[name] = {
            "metrics": means(scores, measures),
            "intervals": mean_intervals(scores, names),
            "queries_without_results": missing,
        }
    return found


def scores_table(scores: Mapping[str, Mapping[str, Any]]) -> Table:
    """Return a table of what `scores_of_runs` found, a row for each run with its intervals below."""
    measures = list(next(iter(scores.values()))["metrics"])
    table = Table(box=SIMPLE)
    table.add_column("run", overflow="fold")
    for measure in measures:
        table.add_column(measure, justify="right", no_wrap=True)
    for name, found in scores.items():
        table.add_row(Text(name), *(f"{found['metrics'][measure]:.4f}" for measure in measures))
        table.add_row("  95 % interval", *(shown(found["intervals"][name]) for name in measures), style="dim")
    return table
