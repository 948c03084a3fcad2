"""Training examples: a query, a text that answers it and, where the data has them, negatives and scores."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...errors import InputError
from .beir import BeirFolder
from .documents import found, take
from .rows import Row, RowOptions, read_rows

QUERY_NAMES = ("query", "anchor", "question", "sentence1")
POSITIVE_NAMES = ("positive", "positives", "pos", "document", "answer", "passage", "sentence2")
NEGATIVE_NAMES = ("negative", "negatives", "neg")
SCORE_NAMES = ("scores", "score", "labels")
CANDIDATE_NAMES = ("documents", "candidates", "passages")
"""A list of texts that only their scores tell apart."""
LARGEST_SCORE = 3.4028234e38
"""What float32, in which scores are kept, can hold."""


@dataclass(frozen=True, slots=True)
class TrainingExample:
    """A query with a relevant text.

    Attributes:
        query: What is asked.
        positive: A text that answers it.
        negatives: Texts that do not, hardest first where the data says so.
        scores: A teacher's score for the positive and then for each negative, or empty.
    """

    query: str
    positive: str
    negatives: tuple[str, ...] = ()
    scores: tuple[float, ...] = ()


def read_examples(source: str | Path, options: RowOptions | None = None) -> Iterator[TrainingExample]:
    """Stream training examples from a file, a data set, or a BEIR folder (its judgements, by default `train`).

    A record with several positives becomes one example each.

    Raises:
        InputError: A record is broken, with its file and line.
    """
    if BeirFolder.is_one(source):
        split = (options.split if options else None) or "train"
        yield from _judged_pairs(BeirFolder(Path(source)), split)
        return
    for row in read_rows(source, options):
        yield from to_examples(row)


def to_examples(row: Row) -> Iterator[TrainingExample]:
    """Read a row as one example per positive; of scored candidates without one, the best is the positive.

    Scores are those of the positives and then of the negatives; an example has its own positive's.

    Raises:
        InputError: The query or the positive is missing or empty, a negative or a candidate is not a text or empty, or
            the scores do not fit.
    """
    fields = _with_positive(dict(row.fields), row.where)
    query = take(fields, QUERY_NAMES)
    positives = _texts(take(fields, POSITIVE_NAMES))
    negatives = _texts(take(fields, NEGATIVE_NAMES) or [])
    numbered = sorted((name for name in fields if _is_numbered_negative(name)), key=lambda name: int(name[9:]))
    if negatives is not None:
        negatives += [fields[name] for name in numbered if fields[name]]
    if not _is_text(query):
        raise InputError(f"{row.where}: expected a text under query (or anchor); {found(row.fields)}")
    if not positives or not all(map(_is_text, positives)):
        raise InputError(f"{row.where}: expected a text or a list of texts under positive; {found(row.fields)}")
    if negatives is None or not all(map(_is_text, negatives)):
        raise InputError(f"{row.where}: expected a text or a list of texts, none of them empty, under negatives")
    scores = _scores(take(fields, SCORE_NAMES), len(positives), len(negatives), row.where)
    for place, positive in enumerate(positives):
        own = (scores[place], *scores[len(positives) :]) if scores else ()
        yield TrainingExample(query, positive, tuple(negatives), own)


def _is_numbered_negative(name: str) -> bool:
    return name.startswith("negative_") and name[9:].isdigit()


def _is_text(value: Any) -> bool:  # noqa: ANN401 - what is checked
    return isinstance(value, str) and bool(value.strip())


def _texts(value: Any) -> list[Any] | None:  # noqa: ANN401 - checked by the caller
    if isinstance(value, str):
        return [value]
    return list(value) if isinstance(value, list | tuple) else None


def _scores(value: Any, positives: int, negatives: int, where: str) -> tuple[float, ...]:  # noqa: ANN401 - checked
    expected = positives + negatives
    if value is None or (isinstance(value, int | float) and expected == 1):
        return ()  # one score for one pair says nothing that a contrastive loss can use
    _check_scores(value, where)
    if len(value) != expected:
        raise InputError(
            f"{where}: expected {expected} scores (of each positive, then of each negative), found {len(value)}"
        )
    return tuple(map(float, value))


def _check_scores(value: Any, where: str) -> None:  # noqa: ANN401 - checked here
    if not isinstance(value, list) or not all(isinstance(score, int | float) for score in value):
        raise InputError(f"{where}: expected a list of numbers under scores, found {value!r}")
    wrong = next((score for score in value if not abs(score) <= LARGEST_SCORE), None)  # so that NaN is found too
    if wrong is not None:
        raise InputError(f"{where}: a score is {wrong!r}, which is not finite or too large for a float32")


def _with_positive(fields: dict[str, Any], where: str) -> dict[str, Any]:
    """Put a list of scored candidates, where there is no positive, in the order of their scores."""
    candidates = next((fields[name] for name in CANDIDATE_NAMES if isinstance(fields.get(name), list)), None)
    if candidates is None or any(name in fields for name in POSITIVE_NAMES):
        return fields
    scores = take(fields, SCORE_NAMES)
    _check_scores(scores, where)
    if len(scores) != len(candidates) or not candidates:
        raise InputError(f"{where}: expected a score for each of {len(candidates)} candidates, found {len(scores)}")
    broken = next((place for place, text in enumerate(candidates) if not _is_text(text)), None)
    if broken is not None:
        raise InputError(f"{where}: candidate {broken + 1} is {candidates[broken]!r}, where a text was expected")
    order = sorted(range(len(scores)), key=lambda place: -scores[place])
    texts = [candidates[place] for place in order]
    return fields | {"positive": texts[0], "negatives": texts[1:], "scores": [scores[place] for place in order]}


def _judged_pairs(folder: BeirFolder, split: str) -> Iterator[TrainingExample]:
    relevant = {
        query: [doc for doc, grade in grades.items() if grade > 0] for query, grades in folder.qrels(split).items()
    }
    needed = {doc for docs in relevant.values() for doc in docs}
    texts = {document.id: document.content for document, _ in folder.documents() if document.id in needed}
    for query, text in folder.queries().items():
        for doc in relevant.get(query, []):
            if texts.get(doc):
                yield TrainingExample(text, texts[doc])
