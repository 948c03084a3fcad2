"""How much a benchmark's folder should hold, and whether it does: what notices a wrong or damaged copy."""

from pathlib import Path
from typing import TYPE_CHECKING

from ..files import read_json
from ..retrieval.readers.beir import BeirFolder, Qrels
from ..retrieval.readers.documents import corpus_file
from ..retrieval.readers.lines import numbered_lines
from .registry.entry import Entry

if TYPE_CHECKING:
    from ..index.reading import IndexReader

IDS_AT_ONCE = 1000
COUNTS = "counts.json"
"""In a folder that was made of a hub's files: its documents, and by split its judged queries and judgements."""


def size_problem(folder: BeirFolder, entry: Entry) -> str | None:
    """Say in what a folder differs from the sizes that are known of it, or return None.

    They are the registry's; what it does not tell is compared with the counts of when the folder was made.

    Raises:
        InputError: A part is missing or damaged.
    """
    made = read_json(folder.path / COUNTS) if (folder.path / COUNTS).is_file() else {}
    expected = made.get("documents") if entry.documents is None else entry.documents
    if expected is not None and (documents := _count_documents(folder)) != expected:
        return f"expected {expected:,} documents, found {documents:,}"
    expected = made.get("queries", {}).get(entry.split) if entry.queries is None else entry.queries
    if expected is not None and entry.split in folder.splits:
        queries = len(folder.qrels(entry.split))
        if queries != expected:
            return f"expected judgements of {expected:,} queries in split {entry.split}, found {queries:,}"
    return None


def missing_relevant(index: "IndexReader", qrels: Qrels) -> int:
    """Return how many of the documents that are judged relevant an index does not hold; no search can find them."""
    relevant = list(dict.fromkeys(name for judged in qrels.values() for name, grade in judged.items() if grade > 0))
    parts = (relevant[first : first + IDS_AT_ONCE] for first in range(0, len(relevant), IDS_AT_ONCE))
    if not hasattr(index, "documents"):  # what stands in for an index does not tell
        return 0
    return len(relevant) - sum(len(index.documents(part)) for part in parts)


def _count_documents(folder: BeirFolder) -> int:
    file = Path(corpus_file(folder.path))
    if ".jsonl" in file.suffixes:  # lines are enough: parsing 8.8 million documents takes minutes
        return sum(1 for _, line in numbered_lines(file) if line.strip())
    return sum(1 for _ in folder.documents())
