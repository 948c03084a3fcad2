"""The command that makes training pairs from documents."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from .root import app


@app.command("make-pairs")
def make_pairs(
    sources: Annotated[
        list[str],
        typer.Argument(metavar="SOURCES…", help="BEIR folder, rows with text and title, .txt, .md, .py, folder."),
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="New file: .jsonl, .jsonl.gz or .jsonl.zst.")],
    method: Annotated[str, typer.Option(help="title, heading, first-sentence, cloze or docstring.")],
    min_query: Annotated[int, typer.Option(help="Words of a query, at least.")] = 2,
    max_query: Annotated[int, typer.Option(help="Words of a query, at most.")] = 64,
    min_text: Annotated[int, typer.Option(help="Words of a text, at least.")] = 10,
    max_text: Annotated[int, typer.Option(help="Words after which a text is cut.")] = 1000,
    max_pairs: Annotated[int | None, typer.Option(help="Stop after so many. Default: all.")] = None,
    seed: Annotated[int, typer.Option(help="Of what is drawn at random.")] = 12,
    split: Annotated[str | None, typer.Option(help="Split of a data set.")] = None,
    subset: Annotated[str | None, typer.Option(help="Configuration of a data set on a hub.")] = None,
) -> None:
    """Make training pairs from documents alone: a title, heading, sentence or docstring asks for a text."""
    from ..retrieval.readers.rows import RowOptions
    from ..retrieval.synthetic.write import PairOptions, write_pairs

    options = PairOptions(method, min_query, max_query, min_text, max_text, max_pairs, seed)
    summary = write_pairs(sources, output, options, RowOptions(split=split, config=subset))
    sys.stdout.write(f"{output}: {summary}\n")
