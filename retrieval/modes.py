"""The ways to search an index with texts: by its vectors, by words, by both, and with a second look at the best."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..errors import InputError
from ..index.bm25 import BM25, DEFAULT
from ..index.index import Index
from .encoder import Encoder
from .fusion import weighted_sum

MODES = ("dense", "late", "lexical", "hybrid")
HYBRID_DEPTH = 100
"""Documents of each list that are fused; more where more are asked for."""
HYBRID_WEIGHTS = (0.5, 0.5)
"""Of vectors and words; on SciFact, NFCorpus and code .011 nDCG@10 above reciprocal rank fusion (benchmarks)."""

Hits = list[list[tuple[str, float]]]
"""(id, score) of each query's documents, best first."""


@dataclass(frozen=True)
class Search:
    """How to search.

    Attributes:
        k: Documents a query.
        mode: "dense" or "late", as the index holds them; "lexical" for BM25; "hybrid" for both, their scores brought
            to one scale and summed; None for the index's vectors.
        filter: What a document's metadata must fulfil, see `compile_filter`.
        rerank: Take so many documents of the search and order them by their exact scores with the index's vectors.
        options: Settings of the vector search, such as `exact` or `nprobe`; see `Index.search`.
        bm25: How a search by words scores.
    """

    k: int = 10
    mode: str | None = None
    filter: str | None = None
    rerank: int | None = None
    options: Mapping[str, Any] | None = None
    bm25: BM25 = DEFAULT

    def needs_encoder(self) -> bool:
        """Say whether queries have to be encoded."""
        return self.mode != "lexical" or self.rerank is not None


def search_index(index: Index, encoder: Encoder | None, queries: Sequence[str], search: Search) -> Hits:
    """Search an index with texts.

    Args:
        index: Where to search.
        encoder: The one that built it; None for a lexical search.
        queries: Texts; a blank one finds nothing, whatever vectors an encoder makes of it.
        search: How.

    Raises:
        InputError: The index does not hold vectors of the mode's kind, or a value is out of range.
    """
    mode = checked_mode(index, search.mode)
    if search.rerank is not None and search.rerank < search.k:
        raise InputError(f"expected to rerank at least the k = {search.k} documents asked for, found {search.rerank}")
    depth = search.rerank or search.k
    vectors = encoder.encode_queries(queries) if encoder is not None and search.needs_encoder() else None
    if mode == "lexical":
        hits = _pairs(*index.search_text(queries, depth, search.filter, search.bm25))
    elif mode == "hybrid":
        wider = max(depth, HYBRID_DEPTH)
        by_words = _pairs(*index.search_text(queries, wider, search.filter, search.bm25))
        by_vectors = _pairs(*index.search(vectors, wider, search.filter, **(search.options or {})))
        hits = [weighted_sum(lists, HYBRID_WEIGHTS)[:depth] for lists in zip(by_vectors, by_words, strict=True)]
    else:
        hits = _pairs(*index.search(vectors, depth, search.filter, **(search.options or {})))
    if search.rerank is not None:
        hits = _reranked(index, vectors, hits, search.k)
    return [found if query.strip() else [] for query, found in zip(queries, hits, strict=True)]


def checked_mode(index: Index, mode: str | None) -> str:
    """Return the mode of a search, the index's kind where none is named.

    Raises:
        InputError: There is no such mode, or the index has no vectors of that kind.
    """
    if mode is None:
        return index.kind
    if mode not in MODES:
        raise InputError(f"unknown mode {mode!r}; expected one of {', '.join(MODES)}")
    if mode in ("dense", "late") and mode != index.kind:
        raise InputError(
            f"{index.path}: holds {index.kind} vectors; search with --mode {index.kind}, lexical or hybrid"
        )
    return mode


def _pairs(ids: Sequence[Sequence[str]], scores: Sequence[np.ndarray]) -> Hits:
    return [list(zip(names, row.tolist(), strict=True)) for names, row in zip(ids, scores, strict=True)]


def _reranked(index: Index, vectors: Any, hits: Hits, k: int) -> Hits:  # noqa: ANN401 - as the encoder returned them
    ids = [[identifier for identifier, _ in found] for found in hits]
    results = []
    for names, scores in zip(ids, index.score(vectors, ids), strict=True):
        order = np.argsort(-scores, kind="stable")[:k]
        results.append([(names[place], float(scores[place])) for place in order.tolist() if scores[place] > -np.inf])
    return results
