"""Training examples on disk: an Arrow file, memory-mapped, and what a run takes from it.

The held-out part is drawn by query: all examples of a query are in it or none, so that no query is measured that was
trained on, whatever data set it is from. It is the queries with the smallest seeded hashes, and so does not depend on
the order of the data.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import xxhash

from ...errors import InputError

if TYPE_CHECKING:
    from datasets import Dataset, DatasetDict

EXAMPLES_FILE = "examples.arrow"
SCORES = "scores"
"""Name of the column that sentence-transformers' collators take for labels."""
SOURCE = "source"
"""Name of the column that tells data sets apart that are mixed, by their numbers from 0."""
NEGATIVE = "negative_"


@dataclass(frozen=True)
class HeldOut:
    """Held-out queries and documents, numbered as text, and which documents answer which query."""

    queries: dict[str, str]
    documents: dict[str, str]
    relevant: dict[str, set[str]]


def negative_names(count: int) -> list[str]:
    """Return the names of the columns of so many negatives."""
    return [f"{NEGATIVE}{number}" for number in range(1, count + 1)]


def is_text(column: str) -> bool:
    """Say whether a column of examples holds texts."""
    return column not in (SCORES, SOURCE)


def open_examples(folder: Path) -> "Dataset":
    """Memory-map what `writing.write_examples` wrote.

    Returns:
        Columns query, positive, negative_1 and so on; where they are kept, scores and source, and texts that are None
        where an example's source has fewer negatives than another.
    """
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
        yield from (value for name, value in row.items() if is_text(name) and value is not None)


def sets_by_source(examples: "Dataset", sources: Sequence[str]) -> "DatasetDict":
    """Part mixed examples by their source, each with the columns of texts that it has.

    Args:
        examples: Has a column source.
        sources: Names of the sources; those of which no example is left are passed over.
    """
    from datasets import DatasetDict

    numbers = examples.with_format("numpy")[SOURCE][:]
    sets = {}
    for number in np.unique(numbers).tolist():
        members = examples.select(np.flatnonzero(numbers == number))
        empty = [name for name, value in members[0].items() if value is None]
        sets[f"{number + 1}. {sources[number]}"] = members.remove_columns([SOURCE, *empty])
    return DatasetDict(sets)
