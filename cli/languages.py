"""Commands that measure models on benchmarks of several languages, each of them a data set of its own."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from .evaluation import Evaluation, evaluation_command
from .root import eval_app

Data = Annotated[Path | None, typer.Option(help="A folder of them in BEIR's layout, in place of downloading.")]
Source = Annotated[str | None, typer.Option(help="Address of the hub that holds the data sets.")]


class Form(StrEnum):
    """What is searched in CodeSearchNet, and for what."""

    coir = "coir"
    reversed = "reversed"
    challenge = "challenge"


@eval_app.command("mldr")
@evaluation_command
def eval_mldr(
    evaluation: Evaluation,
    language: Annotated[
        list[str] | None, typer.Option("--language", "-l", help="Such as en; repeatable. Default: all 13.")
    ] = None,
    split: Annotated[str, typer.Option(help="dev or test.")] = "test",
    data: Data = None,
    source: Source = None,
) -> None:
    """Evaluate models on MLDR: questions about long documents, in 13 languages."""
    from ..eval.loading import choose_parts

    evaluation.run(choose_parts("mldr", language or [], data), data=data, split=split, source_url=source)


@eval_app.command("codesearchnet")
@evaluation_command
def eval_codesearchnet(
    evaluation: Evaluation,
    language: Annotated[
        list[str] | None, typer.Option("--language", "-l", help="Such as python; repeatable. Default: all six.")
    ] = None,
    form: Annotated[
        Form,
        typer.Option(
            help="coir: documentation is searched with functions; reversed: functions with documentation; "
            "challenge: functions with the 99 queries that people graded (with --data only)."
        ),
    ] = Form.coir,
    split: Annotated[str, typer.Option(help="train, valid or test; the challenge has test alone.")] = "test",
    data: Data = None,
    source: Source = None,
) -> None:
    """Evaluate models on CodeSearchNet: functions in six languages and what is said of them."""
    from ..eval.loading import choose_parts

    family = "codesearchnet" if form is Form.coir else f"codesearchnet-{form.value}"
    evaluation.run(choose_parts(family, language or [], data), data=data, split=split, source_url=source)
