"""The command that brings a checkpoint into another format."""

import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from .root import app


class CheckpointFormat(StrEnum):
    """Formats of ColBERT checkpoints."""

    sentence_transformers = "sentence-transformers"
    pylate = "pylate"
    stanford = "stanford"


@app.command("convert")
def convert_checkpoint(
    source: Annotated[str, typer.Argument(metavar="IN", help="ColBERT checkpoint: folder or hub name.")],
    target: Annotated[Path, typer.Argument(metavar="OUT", help="Folder to write; it must not hold anything yet.")],
    form: Annotated[CheckpointFormat, typer.Option("--format", "-f", help="Format to write.")],
) -> None:
    """Write a ColBERT checkpoint in another format, with the same embeddings."""
    from ..encoders.convert import convert

    sys.stdout.write(f"{convert(source, target, form.value)}\n")
