"""Commands that make training data out of pairs: hard negatives, and a teacher's scores."""

import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from .options import Device, Precision, tell
from .root import app
from .searching import Mode

Output = Annotated[Path, typer.Option("--output", "-o", help="File to write: .jsonl, .jsonl.gz or .jsonl.zst.")]
Split = Annotated[str | None, typer.Option(help="Split of the data sets; of a BEIR folder, whose judgements.")]
Subset = Annotated[str | None, typer.Option(help="Configuration of the data sets on a hub.")]
Block = Annotated[int, typer.Option(min=1, help="Examples worked on together, and kept when that is done.")]
CrossEncoder = Annotated[bool, typer.Option("--cross-encoder", help="Take that model for a cross-encoder.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace the file, or another unfinished run of it.")]


class Pick(StrEnum):
    """Which of the allowed documents become negatives."""

    top = "top"
    random = "random"


@app.command("mine-negatives")
def mine_negatives(
    pairs: Annotated[list[str], typer.Argument(help="Files, BEIR folders or data sets, as train-dense reads them.")],
    output: Output,
    index: Annotated[Path | None, typer.Option("--index", "-i", help="Index to search.")] = None,
    model: Annotated[str | None, typer.Option("--model", "-m", help="Encoder; an index is built for the run.")] = None,
    bm25: Annotated[bool, typer.Option("--bm25", help="Search by words; an index is built for the run.")] = False,
    corpus: Annotated[
        str | None, typer.Option(help="What to build an index of. Default: the positives of the pairs.")
    ] = None,
    mode: Annotated[Mode | None, typer.Option(help="By vectors (dense or late), words (lexical) or both.")] = None,
    exact: Annotated[bool, typer.Option("--exact", help="Compare with every document.")] = False,
    ranks: Annotated[str, typer.Option(help="First and last rank to take negatives from.")] = "10:100",
    negatives: Annotated[int, typer.Option(min=1, help="Negatives a pair, at most.")] = 5,
    pick: Annotated[Pick, typer.Option(help="The first allowed, or random ones.")] = Pick.top,
    max_score: Annotated[float | None, typer.Option(help="Highest score of a negative.")] = None,
    margin: Annotated[float | None, typer.Option(help="How far below the positive's score, at least.")] = None,
    ratio: Annotated[float | None, typer.Option(help="Highest share of the positive's score, such as 0.95.")] = None,
    scores: Annotated[bool, typer.Option("--scores", help="Write the scores of the search.")] = False,
    scores_from: Annotated[
        str | None, typer.Option(help="Write the scores of this model, and let the limits go by them.")
    ] = None,
    cross_encoder: CrossEncoder = False,
    split: Split = None,
    subset: Subset = None,
    seed: Annotated[int, typer.Option(min=0, help="Of random picks.")] = 12,
    block: Block = 4096,
    device: Device = None,
    precision: Precision = None,
    overwrite: Overwrite = False,
) -> None:
    """Mine hard negatives for pairs from an index, a model or BM25; the same command goes on after a stop."""
    given = dict(locals())  # every parameter is called as its setting

    from ..retrieval.mining.mine import mine_negatives as mine
    from ..retrieval.mining.settings import Mining

    plain: dict[str, Any] = {
        name: value.value if isinstance(value, StrEnum) else value for name, value in given.items()
    }
    file, said = mine(Mining(**plain | {"pairs": tuple(pairs)}))
    tell(said)
    sys.stdout.write(f"{file}\n")


@app.command("score")
def score(
    examples: Annotated[list[str], typer.Argument(help="Files or data sets, as train-colbert reads them.")],
    model: Annotated[str, typer.Option("--model", "-m", help="Dense model, ColBERT or cross-encoder.")],
    output: Output,
    cross_encoder: CrossEncoder = False,
    split: Split = None,
    subset: Subset = None,
    block: Block = 4096,
    device: Device = None,
    precision: Precision = None,
    overwrite: Overwrite = False,
) -> None:
    """Write a teacher's scores for the documents of examples; the same command goes on after a stop."""
    given = dict(locals())  # as above

    from ..retrieval.mining.score import Scoring, score_examples

    file, said = score_examples(Scoring(**given | {"examples": tuple(examples)}))
    tell(said)
    sys.stdout.write(f"{file}\n")
