"""Commands that measure retrievers on benchmarks, and on collections of the user's own."""

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


@eval_app.command("local")
@evaluation_command
def eval_local(
    evaluation: Evaluation,
    folder: Annotated[list[Path], typer.Argument(help="A folder with corpus.jsonl, queries.jsonl and qrels/.")],
    split: Annotated[str | None, typer.Option(help="Whose judgements. Default: test, else the only one.")] = None,
) -> None:
    """Evaluate models on collections of your own, which no table of public benchmarks says anything about."""
    from ..eval.loading import load_local

    evaluation.run([load_local(one, split) for one in folder])
