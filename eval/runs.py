"""Runs: what a system returned for each query, in memory and as TREC run files.

The one place that knows trec_eval's order (score as a 32-bit float, then document id, both descending), so that
ranks in files, cut-offs and measures agree. Scores are written so that they read back to the same number.
"""

from collections.abc import Iterable, Mapping
from math import isnan
from pathlib import Path
from typing import BinaryIO

import numpy as np

from ..errors import InputError
from ..files import atomic_write
from ..retrieval.readers.lines import numbered_lines

Run = dict[str, dict[str, float]]
"""Results: query id to document id to score."""

Results = Mapping[str, Mapping[str, float] | Iterable[tuple[str, float]]]
"""What callers may hand in as a run: for each query a mapping, or pairs, of document id and score."""

COLUMNS = "query, Q0, document, rank, score, tag"


def to_run(results: Results) -> Run:
    """Copy results into a run with plain float scores.

    Raises:
        InputError: A score is not a number, or a document comes twice for one query.
    """
    run: Run = {}
    for query, documents in results.items():
        scores = run.setdefault(str(query), {})
        for document, score in documents.items() if isinstance(documents, Mapping) else documents:
            if document in scores:
                raise InputError(f"run: query {query!r} has document {document!r} twice")
            try:
                scores[document] = float(score)
            except (TypeError, ValueError) as error:
                raise InputError(
                    f"run: query {query!r}, document {document!r}: score {score!r} is no number"
                ) from error
            if isnan(scores[document]):
                raise InputError(f"run: query {query!r}, document {document!r}: score is NaN, which has no rank")
    return run


def ranked(scores: Mapping[str, float]) -> list[str]:
    """Return document ids best first, in trec_eval's order.

    trec_eval keeps scores as 32-bit floats, so two doubles that round to the same one are a tie, and breaks ties by
    the ids' bytes, descending.
    """
    with np.errstate(over="ignore"):
        keys = np.fromiter(scores.values(), np.float64, len(scores)).astype(np.float32).tolist()
    rows = sorted(zip(keys, (document.encode() for document in scores), scores, strict=True), reverse=True)
    return [document for _, _, document in rows]


def read_run(path: Path) -> Run:
    """Read a TREC run file, plain or compressed: `query Q0 document rank score tag`; the rank is not used.

    Columns stand apart by blanks, or by tabs where ids hold blanks.

    Raises:
        InputError: The file is missing or empty, a line has another number of columns or a score that is no number,
            or a document comes twice for one query.
    """
    run: Run = {}
    for number, line in numbered_lines(path):
        parts = line.rstrip("\r\n").split("\t")
        if len(parts) != 6:
            parts = line.split()
        if not parts:
            continue
        where = f"{path}:{number}"
        if len(parts) != 6:
            raise InputError(f"{where}: expected 6 columns ({COLUMNS}), found {len(parts)}")
        query, _, document, _, text, _ = parts
        try:
            score = float(text)
        except ValueError as error:
            raise InputError(f"{where}: expected a number as score, found {text!r}") from error
        if isnan(score):
            raise InputError(f"{where}: expected a number as score, found {text!r}")
        scores = run.setdefault(query, {})
        if document in scores:
            raise InputError(f"{where}: document {document!r} comes twice for query {query!r}")
        scores[document] = score
    if not run:
        raise InputError(f"{path}: no results in this file; expected lines of 6 columns ({COLUMNS})")
    return run


def write_run(path: Path, run: Run, tag: str = "modernir") -> None:
    """Write a run as a TREC run file, best document first, atomically.

    Raises:
        InputError: An id is empty or holds a tab or a line break, which the format cannot express.
    """
    tag = "_".join(tag.split()) or "modernir"

    def write(stream: BinaryIO) -> None:
        for query, scores in run.items():
            for rank, document in enumerate(ranked(scores), 1):
                columns = (query, "Q0", document, str(rank), repr(scores[document]), tag)
                stream.write(_line(columns).encode())

    atomic_write(path, write)


def _line(columns: tuple[str, ...]) -> str:
    blanks = False
    for value in columns:
        if not value or any(mark in value for mark in "\t\r\n"):
            raise InputError(f"a run file cannot hold the id {value!r}: it is empty or has a tab or line break")
        blanks = blanks or any(mark.isspace() for mark in value)
    return ("\t" if blanks else " ").join(columns) + "\n"
