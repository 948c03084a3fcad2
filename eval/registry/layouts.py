"""What the rows of data sets on a hub mean: small functions from a row's fields to a document, query or judgements.

A missing field is a `KeyError` and a value of the wrong kind a `ValueError`; who reads the rows knows where they stand.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

Fields = Mapping[str, Any]

Document = tuple[str, str, str]
"""Id, title and text."""
Query = tuple[str, str]
"""Id and text."""
Judgement = tuple[str, str, int]
"""Query id, document id and grade."""


@dataclass(frozen=True)
class Layout:
    """How to read the rows of the three parts.

    Attributes:
        document: A row of the corpus.
        query: A row of the queries.
        judgements: A row of the judgements, which may hold none, one or several.
    """

    document: Callable[[Fields], Document]
    query: Callable[[Fields], Query]
    judgements: Callable[[Fields], Iterable[Judgement]]


def identifier(value: object) -> str:
    """Return an id as text.

    Raises:
        ValueError: It is empty, or holds a tab or line break, which a file of judgements cannot express.
    """
    text = str(value) if isinstance(value, str | int) else ""
    if not text or any(mark in text for mark in "\t\r\n"):
        raise ValueError(f"{value!r} is no id")
    return text


def words(value: object) -> str:
    """Return a text; none at all is an empty one.

    Raises:
        ValueError: It is no text.
    """
    if value is not None and not isinstance(value, str):
        raise ValueError(f"{value!r} is no text")
    return value or ""


def _document(row: Fields) -> Document:
    return identifier(row["_id"]), words(row.get("title")), words(row["text"])


def _query(row: Fields) -> Query:
    return identifier(row["_id"]), words(row["text"])


def _judgement(row: Fields) -> list[Judgement]:
    return [(identifier(row["query-id"]), identifier(row["corpus-id"]), int(row.get("score", 1)))]


BEIR = Layout(_document, _query, _judgement)
"""`_id`, `title`, `text`; `query-id`, `corpus-id`, `score`: the fields of BEIR and of CoIR. In NanoBEIR there are
neither titles nor scores."""


def _document_of_query(row: Fields) -> Document:
    return identifier(row["_id"]), "", words(row["text"])


def _swapped(row: Fields) -> list[Judgement]:
    return [(document, query, grade) for query, document, grade in _judgement(row)]


BEIR_REVERSED = Layout(_document_of_query, _query, _swapped)
"""BEIR's fields in the other direction: documents are searched for the queries that they answer."""


def _mldr_document(row: Fields) -> Document:
    return identifier(row["docid"]), "", words(row["text"])


def _mldr_query(row: Fields) -> Query:
    return identifier(row["query_id"]), words(row["query"])


def _mldr_judgements(row: Fields) -> list[Judgement]:
    query = identifier(row["query_id"])
    return [(query, identifier(passage["docid"]), 1) for passage in row["positive_passages"]]


MLDR = Layout(_mldr_document, _mldr_query, _mldr_judgements)
"""A query's row holds its relevant documents, in the form of Mr. TyDi."""


def _longembed_document(row: Fields) -> Document:
    return identifier(row["doc_id"]), "", words(row["text"])


def _longembed_query(row: Fields) -> Query:
    return identifier(row["qid"]), words(row["text"])


def _longembed_judgement(row: Fields) -> list[Judgement]:
    return [(identifier(row["qid"]), identifier(row["doc_id"]), 1)]


LONGEMBED = Layout(_longembed_document, _longembed_query, _longembed_judgement)
"""`doc_id`, `text`; `qid`, `text`; `qid`, `doc_id`."""
