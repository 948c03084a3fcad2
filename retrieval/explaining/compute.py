"""Explanations of documents of an index: query and documents encoded anew, and all their tokens compared.

The documents are encoded from their texts in the index as they were when it was built; what the index itself holds of
their vectors is coded in fewer bits, and its score is given beside.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from ...errors import InputError
from ...index.index import Index
from ...index.reading import IndexReader
from ..encoder import Encoder
from .explanation import Explanation


def check_explainable(index: IndexReader) -> None:
    """Refuse an index whose scores are no sums over tokens.

    Raises:
        InputError: It is dense.
    """
    if index.kind != "late":
        raise InputError(
            f"{index.path}: holds one vector a document, whose score no single words explain; an index built with a "
            "ColBERT does, see: modernir index corpus"
        )


def explain_documents(index: Index, encoder: Encoder, query: str, ids: Sequence[str]) -> list[Explanation]:
    """Explain the scores of some documents of a late index.

    Args:
        index: Holds their texts.
        encoder: The one that built it.
        query: A query.
        ids: The documents'.

    Raises:
        InputError: The index is dense, there is no such document, it keeps no text of one, or the encoder does not say
            what its vectors stand for.
    """
    check_explainable(index)
    encode: Any = getattr(encoder, "encode_with_spans", None)
    if encode is None:
        raise InputError(f"{encoder.name}: does not say which piece of a text each of its vectors stands for")
    contents = _contents(index, ids)
    if not contents:
        return []
    queries, of_query = encode([query], "query")
    documents, of_documents = encode(contents, "document")
    known = index.documents(ids)
    asked = np.asarray(queries[0], dtype=np.float32)
    scores = index.score(queries, [ids])[0].tolist()
    return [
        Explanation(
            query=query,
            id=identifier,
            title=known[identifier].title,
            content=content,
            query_rows=of_query[0],
            document_rows=rows,
            similarity=asked @ np.asarray(vectors, dtype=np.float32).T,
            index_score=score,
        )
        for identifier, content, rows, vectors, score in zip(
            ids, contents, of_documents, documents, scores, strict=True
        )
    ]


def _contents(index: Index, ids: Sequence[str]) -> list[str]:
    known = index.documents(ids)
    for identifier in ids:
        if identifier not in known:
            raise InputError(f"{index.path}: holds no document {identifier!r}; search names those that it holds")
        if not known[identifier].content:
            raise InputError(
                f"{index.path}: keeps no text of document {identifier!r}, so that nothing can be shown; index it again "
                "with its text"
            )
    return [known[identifier].content for identifier in ids]
