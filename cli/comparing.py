"""Commands that score, fuse, show and compare saved runs."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from .options import AsJson, check_files, print_json, tell, write_shown
from .root import eval_app

Data = Annotated[Path | None, typer.Option(help="A BEIR folder, or a folder of them.")]
Qrels = Annotated[Path | None, typer.Option(help="File of judgements, BEIR's or TREC's; every run is scored with it.")]
MeasureNames = Annotated[
    list[str] | None, typer.Option("--measure", help="Such as nDCG@10; repeatable. Default: those of eval beir.")
]
Split = Annotated[str | None, typer.Option(help="Whose judgements. Default: the published one, else test.")]


Csv = Annotated[Path | None, typer.Option("--csv", help="Write all figures to this file.")]
Latex = Annotated[Path | None, typer.Option("--latex", help="Write a booktabs table to this file.")]
Html = Annotated[Path | None, typer.Option("--html", help="Write a page with figures to this file.")]


class FusionMethod(StrEnum):
    """What fusion goes by: ranks or scores."""

    rrf = "rrf"
    weighted = "weighted"


class ScoreScale(StrEnum):
    """How scores of different systems are brought to one scale."""

    minmax = "minmax"
    zscore = "zscore"
    none = "none"


@eval_app.command("run")
def eval_run(
    run: Annotated[Path, typer.Argument(help="TREC run file of any system, or the results folder of one set.")],
    data: Data = None,
    dataset: Annotated[
        str | None, typer.Option(help="Data set, such as scifact; without --data it is downloaded.")
    ] = None,
    split: Split = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Results folder. Default: modernir-eval/<name>.")
    ] = None,
    name: Annotated[str | None, typer.Option(help="What reports call the system. Default: the file's name.")] = None,
    measure: MeasureNames = None,
    as_json: AsJson = False,
    force: Annotated[bool, typer.Option("--force", help="Replace another system's results.")] = False,
) -> None:
    """Score a run file on a benchmark and save the report, like any that eval beir writes."""
    from rich.console import Console

    from ..eval.measures import DEFAULT_MEASURES, parse_measures
    from ..eval.report import show_reports
    from ..eval.scoring import score_saved_run

    measures = parse_measures(measure) if measure else DEFAULT_MEASURES
    report, folder = score_saved_run(run, data, dataset, split, output, name, measures, force)
    tell(f"saved to {folder}")
    if as_json:
        print_json(report.to_json())
    else:
        show_reports([report], Console())


@eval_app.command("fuse")
def eval_fuse(
    runs: Annotated[list[Path], typer.Argument(help="TREC run files, or results folders of one set.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Run file to write.")],
    method: Annotated[
        FusionMethod, typer.Option(help="By reciprocal ranks, or by weighted sums of scores.")
    ] = FusionMethod.rrf,
    weights: Annotated[
        list[float] | None, typer.Option("--weight", help="One for each run, in their order; default all alike.")
    ] = None,
    depth: Annotated[
        int | None, typer.Option(min=1, help="First documents of each run that count, and documents kept; default all.")
    ] = None,
    k: Annotated[
        int, typer.Option("-k", min=1, help="Of reciprocal rank fusion: how slowly a rank's worth falls.")
    ] = 60,
    scale: Annotated[ScoreScale, typer.Option(help="Of weighted sums: how scores are made alike.")] = ScoreScale.minmax,
    qrels: Qrels = None,
    measure: MeasureNames = None,
    as_json: AsJson = False,
) -> None:
    """Fuse saved runs into one run file; with judgements, score it beside what went in."""
    from rich.console import Console

    from ..eval.fuse import fuse_files
    from ..eval.measures import DEFAULT_MEASURES, parse_measures
    from ..eval.scoring import scores_of_runs, scores_table
    from ..retrieval.readers.beir import read_qrels

    measures = parse_measures(measure) if measure else DEFAULT_MEASURES
    judgements = read_qrels(qrels) if qrels else None
    inputs, fused = fuse_files(runs, output, method.value, weights, depth, k, scale.value)
    tell(f"{output}: {len(fused)} queries")
    if judgements is not None:
        scores = scores_of_runs(inputs | {str(output): fused}, judgements, measures)
        if as_json:
            print_json(scores)
        else:
            Console().print(scores_table(scores))


@eval_app.command("compare")
def eval_compare(
    results: Annotated[
        list[Path],
        typer.Argument(help="Results folders, or TREC run files with --qrels or --data; the first is the baseline."),
    ],
    measure: Annotated[str, typer.Option(help="What to compare by, such as nDCG@10.")] = "nDCG@10",
    qrels: Qrels = None,
    data: Data = None,
    dataset: Annotated[list[str] | None, typer.Option(help="Compare only this set; repeatable.")] = None,
    split: Annotated[str | None, typer.Option(help="Of run files with --data: whose judgements.")] = None,
    name: Annotated[
        list[str] | None, typer.Option(help="What to call a system; once for each, in their order.")
    ] = None,
    alpha: Annotated[float, typer.Option(help="Corrected p value below which a difference is marked.")] = 0.05,
    top: Annotated[int, typer.Option(min=0, help="Queries to show that changed most.")] = 10,
    as_json: AsJson = False,
    csv: Csv = None,
    latex: Latex = None,
    html: Html = None,
) -> None:
    """Compare saved results with the first of them: differences, tests, and the queries that changed most."""
    from rich.console import Console

    from ..eval.comparing.export import to_csv, to_latex
    from ..eval.comparing.inputs import Reader
    from ..eval.comparing.page import page
    from ..eval.comparing.saved import compare_saved
    from ..eval.comparing.terminal import show_comparison

    check_files(csv, latex, html)
    reader = Reader(measure, qrels, data, dataset or (), split)
    comparison = compare_saved(results, reader, name or (), alpha, top, tell)
    write_shown(comparison, (csv, to_csv), (latex, to_latex), (html, page))
    if as_json:
        print_json(comparison.to_json())
    else:
        show_comparison(comparison, Console())


@eval_app.command("report")
def eval_report(
    results: Annotated[list[Path], typer.Argument(help="Results folders of one system, of one set or several.")],
    measure: Annotated[list[str] | None, typer.Option(help="Show only this one, such as nDCG@10; repeatable.")] = None,
    dataset: Annotated[list[str] | None, typer.Option(help="Show only this set; repeatable.")] = None,
    name: Annotated[str | None, typer.Option(help="What to call the system. Default: its model and way.")] = None,
    as_json: AsJson = False,
    csv: Csv = None,
    latex: Latex = None,
    html: Html = None,
) -> None:
    """Show what one system reached on its sets, with intervals and costs: as tables, files and a page."""
    from rich.console import Console

    from ..eval.reporting.export import to_csv, to_latex
    from ..eval.reporting.page import page
    from ..eval.reporting.results import read_results
    from ..eval.reporting.terminal import show_results

    check_files(csv, latex, html)
    found = read_results(results, measure or (), dataset or (), name)
    write_shown(found, (csv, to_csv), (latex, to_latex), (html, page))
    if as_json:
        print_json(found.to_json())
    else:
        show_results(found, Console())
