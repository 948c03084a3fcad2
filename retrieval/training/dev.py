"""A folder in BEIR's layout as what a run is measured on, in place of held-out queries."""

from pathlib import Path

from ...errors import InputError
from ..readers.beir import BeirFolder
from .data import HeldOut


def dev_collection(folder: str, split: str) -> HeldOut:
    """Return the whole corpus, the judged queries, and which documents have a grade above 0 for which query.

    Args:
        folder: Has a corpus, queries and judgements.
        split: Of the judgements.

    Raises:
        InputError: It is no such folder, has no such split, a line is broken, or a judged query is missing.
    """
    if not BeirFolder.is_one(folder):
        raise InputError(f"{folder}: no folder with corpus.jsonl and qrels, which --dev measures on")
    beir = BeirFolder(Path(folder))
    judged = {
        query: {document for document, grade in grades.items() if grade > 0}
        for query, grades in beir.qrels(split).items()
    }
    relevant = {query: documents for query, documents in judged.items() if documents}
    if not relevant:
        raise InputError(f"{folder}: no grade above 0 in split {split!r}")
    queries = beir.queries()
    if missing := relevant.keys() - queries.keys():
        raise InputError(f"{folder}: query {min(missing)!r} is judged in split {split!r}, but not in queries.jsonl")
    documents = {document.id: document.content for document, _ in beir.documents()}
    return HeldOut({query: queries[query] for query in relevant}, documents, relevant)
