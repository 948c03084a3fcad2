"""Commands that make the parts of a model: a tokenizer, and the average of checkpoints."""

import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from .options import AsJson, print_json, tell
from .root import app


class TokenizerStyle(StrEnum):
    """How a tokenizer sees texts."""

    reversible = "reversible"
    folded = "folded"


class StoredPrecision(StrEnum):
    """What weights are stored in."""

    bf16 = "bf16"
    fp32 = "fp32"


@app.command("train-tokenizer")
def train_tokenizer(
    sources: Annotated[list[str], typer.Argument(help="Texts: .txt, JSONL and other rows, BEIR folders, data sets.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder to write; it must not hold anything yet.")],
    vocabulary: Annotated[int, typer.Option(help="Most tokens; filled up to a multiple of 64.")] = 50_368,
    style: Annotated[
        TokenizerStyle, typer.Option(help="Lose nothing, or fold case and drop blanks, for retrievers.")
    ] = TokenizerStyle.reversible,
    markers: Annotated[
        list[str] | None, typer.Option("--markers", help="A special token of yours, such as '[Q] '; repeatable.")
    ] = None,
    words: Annotated[
        list[str] | None,
        typer.Option("--words", help="A list of words, or a tokenizer whose words are to be tokens; repeatable."),
    ] = None,
    word_count: Annotated[int, typer.Option(min=1, help="How often each of these words is counted.")] = 110,
    sample: Annotated[str, typer.Option(help="Bytes taken of each source.")] = "20MB",
    report: Annotated[
        list[str] | None, typer.Option("--report", help="Texts to measure on that it does not learn from; repeatable.")
    ] = None,
    against: Annotated[
        list[str] | None, typer.Option(help="Model or tokenizer to measure beside it; repeatable.")
    ] = None,
    split: Annotated[str | None, typer.Option(help="Split of the data sets.")] = None,
    seed: Annotated[int, typer.Option(help="Of the samples.")] = 12,
    as_json: AsJson = False,
) -> None:
    """Learn a byte-level BPE tokenizer, and say how many bytes a token stands for on text and on code."""
    from ..retrieval.tokenizing.train import TokenizerTraining, learn_tokenizer

    learnt = learn_tokenizer(
        TokenizerTraining(
            sources=tuple(sources),
            output=output,
            vocabulary=vocabulary,
            style=style.value,
            markers=tuple(markers or ()),
            words=tuple(words or ()),
            word_count=word_count,
            sample=sample,
            report=tuple(report or ()),
            against=tuple(against or ()),
            split=split,
            seed=seed,
        )
    )
    if as_json:
        print_json(learnt.to_json())
        return

    from rich.console import Console

    from ..retrieval.tokenizing.rates import rates_table

    tell(f"{learnt.folder}: {learnt.tokens:,} tokens, {learnt.used:,} of them used")
    Console().print(rates_table([*learnt.rates, *learnt.totals]))


@app.command("average")
def average_checkpoints(
    models: Annotated[list[str], typer.Argument(help="Model folders or checkpoints of one architecture.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder to write; it must not hold anything yet.")],
    weights: Annotated[
        str | None, typer.Option(help="Of the models in their order, with commas, such as 2,1,1. Default: all alike.")
    ] = None,
    dtype: Annotated[
        StoredPrecision | None, typer.Option(help="What to store weights in. Default: as the first model.")
    ] = None,
) -> None:
    """Average the weights of models, or store those of one in another precision."""
    from ..encoders.average import average, parse_weights

    given = parse_weights(weights) if weights else None
    sys.stdout.write(f"{average(models, output, given, dtype.value if dtype else None)}\n")
