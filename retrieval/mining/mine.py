"""Hard negatives: for each pair, documents that a search finds near the query and that do not answer it.

A block of pairs is searched for together, each distinct query once. What is written has the form that training reads,
and a run that was cut goes on with the next block.
"""

from collections.abc import Mapping
from itertools import islice
from pathlib import Path

from ...errors import InputError
from ...progress import progress
from ..readers.rows import RowOptions, blocks
from .collection import open_collection
from .lines import ResumableLines
from .miner import Miner
from .positives import Positives
from .settings import Mining
from .sources import describe_sources, examples_of, judged_elsewhere
from .teachers import load_teacher

REASONS = {
    "positive": "positives",
    "max-score": "above --max-score",
    "margin": "within --margin",
    "ratio": "above --ratio",
    "repeated": "repeated",
    "empty": "empty",
}
"""Why a document was dropped, in the words of the closing line."""


def mine_negatives(settings: Mining, quiet: bool = False) -> tuple[Path, str]:
    """Write pairs with hard negatives, see `Mining`; run again after an interruption, it goes on where it stopped.

    A pair for which fewer negatives are found than asked for is written with those; one without any is left out.

    Args:
        settings: Of the run.
        quiet: Show no progress.

    Returns:
        The file, and a line that says what is in it and what was left out.

    Raises:
        InputError: The settings, the pairs, the index or a model cannot be used, or an unfinished run of this file has
            other settings.
        KeyboardInterrupt: Ctrl-C came; whole blocks are kept.
    """
    options = RowOptions(split=settings.split, config=settings.subset)

    with ResumableLines(settings.output, settings.deciding(), "pairs", settings.overwrite) as lines:
        positives = Positives(examples_of(settings.pairs, options), judged_elsewhere(settings.pairs, options))
        if not positives.pairs:
            raise InputError(f"no training examples in {', '.join(settings.pairs)}")
        lines.settle({"pairs": describe_sources(settings.pairs, options)})
        wanted = settings.scores_from
        teacher = wanted and load_teacher(wanted, settings.device, settings.precision, settings.cross_encoder)
        with open_collection(settings, lines.folder, examples_of(settings.pairs, options), quiet) as collection:
            lines.settle(collection.describe() | {"teacher": teacher and f"{wanted} ({teacher.fingerprint[:12]})"})
            positives.locate(collection.documents())
            lines.settle({"the documents' hash": collection.content})
            miner = Miner(settings, collection, positives, teacher or None)
            with progress("mining", positives.pairs, "pairs", lines.done, quiet) as report:
                for block in blocks(islice(examples_of(settings.pairs, options), lines.done, None), settings.block):
                    lines.append(*miner.mine(block, lines.done), len(block))
                    report(lines.done)
        return lines.finish(), summary(lines.done, lines.counts, settings.negatives)


def summary(pairs: int, counts: Mapping[str, int], wanted: int) -> str:
    """Return the closing line of a run.

    Args:
        pairs: Pairs that were read.
        counts: What `Miner.mine` counted of them.
        wanted: Negatives asked for, a pair.
    """
    written = pairs - counts["none"]
    average = counts["negatives"] / written if written else 0.0
    dropped = ", ".join(f"{counts[name]:,} {words}" for name, words in REASONS.items() if counts.get(name))
    without = f"{counts['none']:,} without any left out"
    if counts["unscored"]:
        without += f" ({counts['unscored']:,} since the search gives their positives no score)"
    return (
        f"{pairs:,} pairs, {average:.2f} negatives each on average; {counts['few']:,} with fewer than {wanted}, "
        f"{without}; documents dropped: {dropped or 'none'}"
    )
