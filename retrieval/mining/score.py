"""A teacher's scores for the documents of training examples, as distillation reads them."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from ...encoders.batching import bounded_blocks
from ...errors import InputError
from ...progress import progress
from ..readers.rows import RowOptions
from .lines import ResumableLines
from .miner import rounded
from .sources import describe_sources, examples_of
from .teachers import CHARACTERS_AT_ONCE, Asked, load_teacher, scored


@dataclass(frozen=True)
class Scoring:
    """What is to be scored by what.

    Attributes:
        examples: Files, BEIR folders or data sets with training examples; scores that they bring are not kept.
        model: A dense model, a ColBERT or a cross-encoder, a folder or a hub name.
        output: The file to write: .jsonl, .jsonl.gz or .jsonl.zst.
        cross_encoder: Take the model for a cross-encoder, whatever its files say.
        split: Split of the data sets, and whose judgements of a BEIR folder.
        subset: Configuration of the data sets on a hub.
        block: Examples that are scored together, at most; fewer where they are long.
        device: Where the model runs; None takes the best there is.
        precision: Of the model; None takes the fastest that keeps quality.
        overwrite: Replace a file that is there, or an unfinished run with other settings.

    Raises:
        InputError: A value is out of range.
    """

    examples: tuple[str, ...]
    model: str
    output: Path
    cross_encoder: bool = False
    split: str | None = None
    subset: str | None = None
    block: int = 4096
    device: str | None = None
    precision: str | None = None
    overwrite: bool = False

    def __post_init__(self) -> None:
        if not self.examples:
            raise InputError("no examples; name files or data sets of queries and documents")
        if self.block < 1:
            raise InputError(f"block: expected at least 1, found {self.block}")


def score_examples(settings: Scoring, quiet: bool = False) -> tuple[Path, str]:
    """Write examples with a teacher's scores; run again after an interruption, it goes on where it stopped.

    Args:
        settings: Of the run.
        quiet: Show no progress.

    Returns:
        The file, and a line that says what is in it.

    Raises:
        InputError: The examples or the model cannot be used, or an unfinished run of this file has other settings.
        KeyboardInterrupt: Ctrl-C came; whole blocks are kept.
    """
    options = RowOptions(split=settings.split, config=settings.subset)
    names = ("split", "subset", "model", "cross_encoder")
    began = {name: getattr(settings, name) for name in names}
    with ResumableLines(settings.output, began, "examples", settings.overwrite) as lines:
        total = sum(1 for _ in examples_of(settings.examples, options))
        if not total:
            raise InputError(f"no training examples in {', '.join(settings.examples)}")
        lines.settle({"examples": describe_sources(settings.examples, options)})
        teacher = load_teacher(settings.model, settings.device, settings.precision, settings.cross_encoder)
        lines.settle({"fingerprint": teacher.fingerprint[:12], "precision": teacher.precision})
        rest = islice(examples_of(settings.examples, options), lines.done, None)
        pairs = ((one, Asked(one.query, [one.positive, *one.negatives])) for one in rest)
        with progress("scoring", total, "examples", lines.done, quiet) as report:
            for block in bounded_blocks(pairs, settings.block, lambda pair: pair[1].characters, CHARACTERS_AT_ONCE):
                scores = [list(map(rounded, row)) for row in scored(teacher, [asked for _, asked in block])]
                rows = [
                    {"query": one.query, "positive": one.positive, "negatives": list(one.negatives), "scores": row}
                    for (one, _), row in zip(block, scores, strict=True)
                ]
                lines.append(rows, _counts(scores), len(block))
                report(lines.done)
        counts = lines.counts
        best = f"the positive is best in {counts['best']:,}"
        said = f"{lines.done:,} examples, {counts['documents']:,} documents scored; {best}"
        return lines.finish(), said


def _counts(scores: Sequence[Sequence[float]]) -> dict[str, int]:
    best = sum(row[0] >= max(row) for row in scores)
    return {"documents": sum(map(len, scores)), "best": best}
