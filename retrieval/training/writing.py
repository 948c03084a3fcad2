"""Training examples written once to an Arrow file, streamed, never a whole corpus in memory.

How many negatives an example has is one number for all, or, where data sets are mixed, one for each of them.
"""

import logging
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ...errors import InputError
from ...files import new_folder
from ..readers.examples import TrainingExample, read_examples
from ..readers.rows import RowOptions
from .data import EXAMPLES_FILE, SCORES, SOURCE, negative_names
from .false_negatives import FalseNegativeFilter

ROWS_A_BATCH = 1024
logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class ReadingPlan:
    """What is taken of the examples that sources hold.

    Attributes:
        negatives: Negatives an example, the first ones; examples with fewer are left out, and counted in a warning.
            None is one where the first example has any, else none; with scores, the number that keeps most documents,
            for which all sources are read once more.
        scored_negatives: Keep a teacher's scores, of the positive and then of each negative, of examples that have them
            and at least so many negatives; documents of theirs that are cut off are counted in a warning. 0 keeps no
            scores.
        mixed: Keep which source an example is from; each source has its own number of negatives, none where its first
            example has none.
        false_negatives: Tells which negatives are left out before they are counted.
    """

    negatives: int | None = None
    scored_negatives: int = 0
    mixed: bool = False
    false_negatives: FalseNegativeFilter = field(default_factory=FalseNegativeFilter)

    @property
    def scored(self) -> bool:
        """Whether scores are kept."""
        return self.scored_negatives > 0


@dataclass
class Counts:
    """What became of the examples that were read.

    Attributes:
        used: Examples that were written.
        left_out: Those with too few negatives, or without scores.
        most: Most negatives of one.
        most_scored: Most of one with scores; None where there is none.
        cut: Negatives behind those that are kept.
        read: Negatives in all.
        false: Those that the filter took.
        judged: Examples with scores to compare.
    """

    used: int = 0
    left_out: int = 0
    most: int = 0
    most_scored: int | None = None
    cut: int = 0
    read: int = 0
    false: int = 0
    judged: int = 0


def write_examples(sources: Sequence[str], options: RowOptions, plan: ReadingPlan, folder: Path) -> None:
    """Stream examples into `folder`/examples.arrow; the folder appears when it is complete.

    Args:
        sources: Read one after the other.
        options: How to read them.
        plan: What to take.
        folder: Replaced if it is there.

    Raises:
        InputError: A line is broken, there is no example at all, or none with so many negatives, or with scores; where
            sources are mixed, in any of them.
        OSError: The disk is full; nothing is left behind.
    """
    groups = [[source] for source in sources] if plan.mixed else [list(sources)]
    widths = _widths(groups, options, plan)
    counts = [Counts() for _ in groups]
    with new_folder(folder) as temporary:
        rows = (
            (number, example)
            for number, group in enumerate(groups)
            for example in _taken(_examples(group, options), widths[number], plan, counts[number])
        )
        _write_arrow(rows, max(widths), plan, temporary / EXAMPLES_FILE)
        for group, width, count in zip(groups, widths, counts, strict=True):
            _check(", ".join(group), width, plan, count)
    for group, width, count in zip(groups, widths, counts, strict=True):
        _tell(f"{group[0]}: " if len(groups) > 1 else "", width, plan, count)


def _examples(sources: Sequence[str], options: RowOptions) -> Iterator[TrainingExample]:
    return (example for source in sources for example in read_examples(source, options))


def _widths(groups: list[list[str]], options: RowOptions, plan: ReadingPlan) -> list[int]:
    """Return the number of negatives of an example of each group of sources."""
    if plan.scored:
        wanted = plan.negatives
        if wanted is None:
            found = (plan.false_negatives.kept(example) for group in groups for example in _examples(group, options))
            wanted = _keeping_most(Counter(len(one.negatives) for one in found if one.scores), plan.scored_negatives)
        return [wanted] * len(groups)
    if plan.negatives is not None and not plan.mixed:
        return [plan.negatives]
    widths = []
    for group in groups:
        first = next(_examples(group, options), None)
        if first is None:
            raise InputError(f"no training examples in {', '.join(group)}")
        most = 1 if plan.negatives is None else plan.negatives
        widths.append(most if first.negatives else 0)
    return widths


def _keeping_most(sizes: Counter[int], least: int) -> int:
    """Return the number of negatives, at least so many, with which most documents are kept; of several the smallest.

    Args:
        sizes: How many examples there are of each number of negatives.
        least: The smallest to return.
    """

    def kept(wanted: int) -> int:
        return (1 + wanted) * sum(count for size, count in sizes.items() if size >= wanted)

    return max(sorted({least, *(size for size in sizes if size > least)}), key=kept)


def _taken(
    examples: Iterator[TrainingExample], width: int, plan: ReadingPlan, counts: Counts
) -> Iterator[TrainingExample]:
    for read in examples:
        example = plan.false_negatives.kept(read)
        size = len(example.negatives)
        counts.read += len(read.negatives)
        counts.false += len(read.negatives) - size
        counts.judged += bool(read.scores)
        counts.most = max(counts.most, size)
        if plan.scored and example.scores:
            counts.most_scored = max(counts.most_scored or 0, size)
        if size < width or (plan.scored and not example.scores):
            counts.left_out += 1
            continue
        counts.used += 1
        counts.cut += size - width
        yield TrainingExample(example.query, example.positive, example.negatives[:width], example.scores[: 1 + width])


def _write_arrow(rows: Iterator[tuple[int, TrainingExample]], width: int, plan: ReadingPlan, path: Path) -> None:
    import pyarrow

    fields = [(name, pyarrow.string()) for name in ("query", "positive", *negative_names(width))]
    if plan.scored:
        fields.append((SCORES, pyarrow.list_(pyarrow.float32())))
    if plan.mixed:
        fields.append((SOURCE, pyarrow.int32()))
    schema = pyarrow.schema(fields)
    waiting: list[tuple[Any, ...]] = []
    with path.open("wb") as stream, pyarrow.ipc.new_stream(stream, schema) as writer:

        def flush() -> None:
            if waiting:
                columns = map(pyarrow.array, zip(*waiting, strict=True), schema.types)
                writer.write_batch(pyarrow.record_batch(list(columns), schema=schema))
            waiting.clear()

        for number, example in rows:
            lacking = [None] * (width - len(example.negatives))
            row = [example.query, example.positive, *example.negatives, *lacking]
            waiting.append((*row, *([example.scores] if plan.scored else []), *([number] if plan.mixed else [])))
            if len(waiting) == ROWS_A_BATCH:
                flush()
        flush()


def _check(names: str, width: int, plan: ReadingPlan, counts: Counts) -> None:
    if not counts.used + counts.left_out:
        raise InputError(f"no training examples in {names}")
    if plan.false_negatives.compares and counts.read and not counts.judged:
        raise InputError(
            f"{names}: no example has a teacher's scores, which --false-negative-ratio and --false-negative-margin "
            "compare; let modernir score write some, or leave these settings out"
        )
    if not counts.used:
        raise InputError(f"{names}: {_why_none(counts, width, plan)}")


def _why_none(counts: Counts, width: int, plan: ReadingPlan) -> str:
    if plan.scored and counts.most_scored is None:
        return (
            "no example has a teacher's scores, which this --loss follows; give each a list under scores, the "
            "positive's and then each negative's, or train with --loss contrastive"
        )
    if counts.most_scored is not None and counts.most_scored < plan.scored_negatives:
        instead = "; use margin-mse, which compares two" if counts.most_scored else ""
        return (
            f"no example has scores of {1 + plan.scored_negatives} documents or more, which this --loss compares, but "
            f"at most of {1 + counts.most_scored}{instead}"
        )
    taken = f", {counts.false} likely false ones aside" if counts.false else ""
    return (
        f"{width} negatives are asked for, but no example has more than {counts.most}{taken}; lower --negatives, or "
        "mine some first"
    )


def _tell(where: str, width: int, plan: ReadingPlan, counts: Counts) -> None:
    if counts.false:
        reason = (
            "that score too near to their positive, or are its text"
            if plan.false_negatives.compares
            else ("that are the text of their positive")
        )
        logger.warning("%sleft out %d of %d negatives, %s", where, counts.false, counts.read, reason)
    if counts.left_out:
        total = counts.used + counts.left_out
        lack = f"fewer than {width} negatives" + (" or no scores" if plan.scored else "")
        logger.warning("%sused %d of %d examples: the others have %s", where, counts.used, total, lack)
    if plan.scored and counts.cut:
        logger.warning("%sused the first %d negatives an example: %d more are cut off", where, width, counts.cut)
