"""BEIR's folder layout: `corpus.jsonl`, `queries.jsonl`, `qrels/<split>.tsv`, each also compressed."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ...errors import InputError
from ...index.documents import Document
from .documents import CORPUS_FILES, Empty, corpus_file, read_documents
from .lines import numbered_lines
from .queries import read_queries

QUERY_FILES = ("queries.jsonl", "queries.jsonl.gz", "queries.jsonl.zst")
QRELS_ENDINGS = (".tsv", ".tsv.gz", ".tsv.zst")

Qrels = dict[str, dict[str, int]]
"""Judgements: query id to document id to grade."""


@dataclass(frozen=True)
class BeirFolder:
    """A test collection in BEIR's layout."""

    path: Path

    @staticmethod
    def is_one(source: str | Path) -> bool:
        """Say whether `source` is a folder with a corpus and judgements."""
        path = Path(source)
        return (path / "qrels").is_dir() and any((path / name).is_file() for name in CORPUS_FILES)

    @property
    def splits(self) -> list[str]:
        """Names of the splits that have judgements."""
        files = (self.path / "qrels").glob("*.tsv*")
        return sorted({file.name.split(".")[0] for file in files})

    def documents(self, empty: Empty = "keep") -> Iterator[tuple[Document, str]]:
        """Stream the corpus, see `read_documents`; a collection's empty documents belong to it."""
        return read_documents(corpus_file(self.path), empty=empty)

    def queries(self) -> dict[str, str]:
        """Return query id to text, in the file's order.

        Raises:
            InputError: There is no queries file or a line of it is broken.
        """
        file = next((self.path / name for name in QUERY_FILES if (self.path / name).is_file()), None)
        if file is None:
            raise InputError(f"{self.path}: no queries.jsonl in this folder")
        return dict(read_queries(file))

    def qrels(self, split: str) -> Qrels:
        """Return the judgements of a split, in the file's order.

        Raises:
            InputError: There is no such split, a line is broken, or it holds no judgement.
        """
        file = next((f for end in QRELS_ENDINGS if (f := self.path / "qrels" / f"{split}{end}").is_file()), None)
        if file is None:
            splits = ", ".join(self.splits) or "none"
            raise InputError(f"{self.path}: no split {split!r} (no qrels/{split}.tsv); there: {splits}")
        return read_qrels(file)


def read_qrels(path: Path) -> Qrels:
    """Read judgements: BEIR's `query-id corpus-id score` with a header, or TREC's `query 0 document grade`.

    Raises:
        InputError: A line has another shape, a grade is no integer, or there is no judgement at all.
    """
    qrels: Qrels = {}
    for number, line in numbered_lines(path):
        parts = line.rstrip("\r\n").split("\t")
        if len(parts) == 1:
            parts = line.split()
        if not any(parts) or (number == 1 and parts[-1].lower() == "score"):
            continue
        if len(parts) not in (3, 4) or not all(parts):
            columns = len([part for part in parts if part])
            raise InputError(f"{path}:{number}: expected query-id, corpus-id and score, found {columns} columns")
        query, document, grade = parts[0], parts[-2], parts[-1]
        try:
            qrels.setdefault(query, {})[document] = int(grade)
        except ValueError as error:
            raise InputError(f"{path}:{number}: expected a whole number as grade, found {grade!r}") from error
    if not qrels:
        raise InputError(f"{path}: no judgements in this file")
    return qrels
