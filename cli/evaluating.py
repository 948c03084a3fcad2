"""Commands that measure retrievers on benchmarks."""

from pathlib import Path
from typing import Annotated

import typer

from .evaluation import Evaluation, evaluation_command
from .root import eval_app


@eval_app.command("beir")
@evaluation_command
def eval_beir(
    evaluation: Evaluation,
    data: Annotated[
        Path | None, typer.Option(help="A BEIR folder, or a folder of them, in place of downloading.")
    ] = None,
    dataset: Annotated[
        list[str] | None, typer.Option(help="Data set, such as scifact; repeatable. Default: all in --data.")
    ] = None,
    split: Annotated[str | None, typer.Option(help="Whose judgements. Default: the published one, else test.")] = None,
    source: Annotated[str | None, typer.Option(help="Address that holds the ZIP files of the data sets.")] = None,
) -> None:
    """Evaluate models on BEIR data sets, or on any folder in BEIR's layout, by any way of searching."""
    from ..eval.loading import choose_datasets

    evaluation.run(choose_datasets(dataset or [], data), data=data, split=split, source_url=source)
