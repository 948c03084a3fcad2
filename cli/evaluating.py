"""Commands that measure retrievers on benchmarks."""

from pathlib import Path
from typing import Annotated

import typer

from .options import (
    AsJson,
    Attention,
    Device,
    DocumentLength,
    Model,
    Overlap,
    PoolFactor,
    Precision,
    RemoteCode,
    print_json,
    tell,
)
from .root import eval_app


@eval_app.command("beir")
def eval_beir(
    model: Model,
    data: Annotated[
        Path | None, typer.Option(help="A BEIR folder, or a folder of them, in place of downloading.")
    ] = None,
    dataset: Annotated[
        list[str] | None, typer.Option(help="Data set, such as scifact; repeatable. Default: all in --data.")
    ] = None,
    split: Annotated[str | None, typer.Option(help="Whose judgements. Default: the published one, else test.")] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Results folder. Default: modernir-eval/<model>.")
    ] = None,
    measure: Annotated[
        list[str] | None,
        typer.Option(help="Such as nDCG@10; repeatable. Default: nDCG@10, Recall@100, MAP@100, MRR@10."),
    ] = None,
    depth: Annotated[int, typer.Option(min=1, help="Results to search for; at least the largest cut-off.")] = 100,
    device: Device = None,
    precision: Precision = None,
    attention: Attention = None,
    pool_factor: PoolFactor = None,
    document_length: DocumentLength = None,
    overlap: Overlap = None,
    source: Annotated[str | None, typer.Option(help="Address that holds the ZIP files of the data sets.")] = None,
    trust_remote_code: RemoteCode = False,
    as_json: AsJson = False,
    force: Annotated[bool, typer.Option("--force", help="Run finished sets again, from the encoding on.")] = False,
) -> None:
    """Evaluate a model on BEIR data sets, or on any folder in BEIR's layout."""
    from rich.console import Console

    from ..encoders.loading import load_encoder
    from ..eval.beir import evaluate_beir
    from ..eval.loading import choose_datasets
    from ..eval.measures import DEFAULT_MEASURES, parse_measures
    from ..eval.report import show_reports

    measures = parse_measures(measure) if measure else DEFAULT_MEASURES
    datasets = choose_datasets(dataset or [], data)
    encoder = load_encoder(
        model,
        device,
        precision,
        trust_remote_code,
        attention,
        pool_factor=pool_factor,
        document_length=document_length,
        overlap=overlap,
    )
    reports = evaluate_beir(
        encoder,
        datasets,
        output=output or Path("modernir-eval") / Path(model).resolve().name,
        data=data,
        split=split,
        source_url=source,
        measures=measures,
        depth=depth,
        force=force,
        on_message=tell,
    )
    if as_json:
        print_json([report.to_json() for report in reports])
    else:
        show_reports(reports, Console())
