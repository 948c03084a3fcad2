"""Training examples on disk: written once to an Arrow file, then memory-mapped, never a whole corpus in memory.

The held-out part is drawn by query: all examples of a query are in it or none, so that no query is measured that was
trained on. It is the queries with the smallest seeded hashes, and so does not depend on the order of the data.
"""

import logging
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import xxhash

from ...errors import InputError
from ...files import new_folder
from ..readers.examples import TrainingExample, read_examples
from ..readers.rows import RowOptions

if TYPE_CHECKING:
    from datasets import Dataset

EXAMPLES_FILE = "examples.arrow"
SCORES = "scores"
"""Name of the column that sentence-transformers' collators take for labels."""
ROWS_A_BATCH = 1024
logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class HeldOut:
    """Held-out queries and documents, numbered as text, and which documents answer which query."""

    queries: dict[str, str]
    documents: dict[str, str]
    relevant: dict[str, set[str]]


def write_examples(
    sources: Sequence[str], options: RowOptions, negatives: int | None, folder: Path, scored_negatives: int = 0
) -> None:
    """Stream examples into `folder`/examples.arrow; the folder appears when it is complete.

    Args:
        sources: Read one after the other.
        options: How to read them.
        negatives: Negatives an example, the first ones; examples with fewer are left out, and counted in a warning.
            None is one where the first example has any, else none; with scores, the number that keeps most documents,
            for which all sources are read once more.
        folder: Replaced if it is there.
        scored_negatives: Keep a teacher's scores, of the positive and then of each negative, of examples that have them
            and at least so many negatives; documents of theirs that are cut off are counted in a warning. 0 keeps no
            scores.

    Raises:
        InputError: A line is broken, there is no example at all, or none with so many negatives, or with scores.
        OSError: The disk is full; nothing is left behind.
    """
    names, scored = ", ".join(sources), scored_negatives > 0
    if scored and negatives is None:
        sizes = Counter(len(example.negatives) for example in _examples(sources, options) if example.scores)
        negatives = _keeping_most(sizes, scored_negatives)
    examples = _examples(sources, options)
    first = next(examples, None)
    if first is None:
        raise InputError(f"no training examples in {names}")
    wanted = min(1, len(first.negatives)) if negatives is None else negatives
    with new_folder(folder) as temporary:
        counts = _write_arrow(_chain(first, examples), wanted, scored, temporary / EXAMPLES_FILE)
        if not counts.used:
            raise InputError(f"{names}: {_why_none(counts, wanted, scored_negatives)}")
    if counts.left_out:
        total = counts.used + counts.left_out
        lack = f"fewer than {wanted} negatives" + (" or no scores" if scored else "")
        logger.warning("used %d of %d examples: the others have %s", counts.used, total, lack)
    if scored and counts.cut:
        logger.warning("used the first %d negatives an example: %d more are cut off", wanted, counts.cut)


def _examples(sources: Sequence[str], options: RowOptions) -> Iterator[TrainingExample]:
    return (example for source in sources for example in read_examples(source, options))


def _keeping_most(sizes: Counter[int], least: int) -> int:
    """Return the number of negatives, at least so many, with which most documents are kept; of several the smallest.

    Args:
        sizes: How many examples there are of each number of negatives.
        least: The smallest to return.
    """

    def kept(wanted: int) -> int:
        return (1 + wanted) * sum(count for size, count in sizes.items() if size >= wanted)

    return max(sorted({least, *(size for size in sizes if size > least)}), key=kept)


@dataclass
class _Counts:
    used: int = 0
    left_out: int = 0
    most: int = 0
    most_scored: int | None = None
    cut: int = 0


def _why_none(counts: _Counts, wanted: int, scored_negatives: int) -> str:
    if scored_negatives and counts.most_scored is None:
        return (
            "no example has a teacher's scores, which this --loss follows; give each a list under scores, the "
            "positive's and then each negative's, or train with --loss contrastive"
        )
    if counts.most_scored is not None and counts.most_scored < scored_negatives:
        instead = "; use margin-mse, which compares two" if counts.most_scored else ""
        return (
            f"no example has scores of {1 + scored_negatives} documents or more, which this --loss compares, but at "
            f"most of {1 + counts.most_scored}{instead}"
        )
    return (
        f"{wanted} negatives are asked for, but no example has more than {counts.most}; lower --negatives, or mine "
        "some first"
    )


def _chain(first: TrainingExample, rest: Iterator[TrainingExample]) -> Iterator[TrainingExample]:
    yield first
    yield from rest


def _write_arrow(examples: Iterator[TrainingExample], negatives: int, scored: bool, path: Path) -> _Counts:
    import pyarrow

    names = ["query", "positive", *(f"negative_{number}" for number in range(1, negatives + 1))]
    scores = [(SCORES, pyarrow.list_(pyarrow.float32()))] if scored else []
    schema = pyarrow.schema([*((name, pyarrow.string()) for name in names), *scores])
    counts = _Counts()
    rows: list[tuple[Any, ...]] = []
    with path.open("wb") as stream, pyarrow.ipc.new_stream(stream, schema) as writer:

        def flush() -> None:
            if rows:
                columns = map(pyarrow.array, zip(*rows, strict=True), schema.types)
                writer.write_batch(pyarrow.record_batch(list(columns), schema=schema))
            rows.clear()

        for example in examples:
            counts.most = max(counts.most, len(example.negatives))
            if scored and example.scores:
                counts.most_scored = max(counts.most_scored or 0, len(example.negatives))
            if len(example.negatives) < negatives or (scored and not example.scores):
                counts.left_out += 1
                continue
            counts.used += 1
            counts.cut += len(example.negatives) - negatives
            texts = (example.query, example.positive, *example.negatives[:negatives])
            rows.append((*texts, example.scores[: 1 + negatives]) if scored else texts)
            if len(rows) == ROWS_A_BATCH:
                flush()
        flush()
    return counts


def open_examples(folder: Path) -> "Dataset":
    """Memory-map what `write_examples` wrote: columns query, positive, negative_1 and so on, and scores where kept."""
    from datasets import Dataset

    return Dataset.from_file(str(folder / EXAMPLES_FILE))


def split_held_out(examples: "Dataset", holdout: float, seed: int) -> tuple["Dataset", "Dataset"]:
    """Part the examples into (training, held out) by query.

    Args:
        examples: Has a column query.
        holdout: Number of queries to hold out, or below 1 their share; 0 holds out none.
        seed: The same seed holds out the same queries.

    Raises:
        InputError: There are not more queries than that.
    """
    hashes = _query_hashes(examples, seed)
    queries = np.unique(hashes)
    count = round(holdout * len(queries)) if holdout < 1 else round(holdout)
    if count >= len(queries):
        raise InputError(f"holdout: {count} queries are to be held out, but the examples have only {len(queries)}")
    held_out = hashes < queries[count]
    return examples.select(np.flatnonzero(~held_out)), examples.select(np.flatnonzero(held_out))


def _query_hashes(examples: "Dataset", seed: int) -> np.ndarray:
    column = examples.data.column("query")
    hashes = np.empty(len(examples), dtype=np.uint64)
    place = 0
    for chunk in column.chunks:
        for query in chunk:
            hashes[place] = xxhash.xxh3_64_intdigest(query.as_py().encode(), seed=seed)
            place += 1
    return hashes


def held_out_collection(held_out: "Dataset") -> HeldOut:
    """Return the held-out examples as a test collection; a text that comes twice is one query or one document."""
    queries: dict[str, str] = {}
    documents: dict[str, str] = {}
    relevant: dict[str, set[str]] = {}
    for example in held_out:
        query = queries.setdefault(example["query"], str(len(queries)))
        document = documents.setdefault(example["positive"], str(len(documents)))
        relevant.setdefault(query, set()).add(document)
    return HeldOut(_inverted(queries), _inverted(documents), relevant)


def _inverted(numbers: dict[str, str]) -> dict[str, str]:
    return {number: text for text, number in numbers.items()}


def sample_texts(examples: "Dataset", most: int) -> Iterator[str]:
    """Yield the texts of at most `most` examples, spread evenly over all of them."""
    step = max(1, -(-len(examples) // most))
    for place in range(0, len(examples), step):
        row: dict[str, Any] = examples[place]
        yield from (value for name, value in row.items() if name != SCORES)
