"""An encoder and the index that it built, used as one: add texts, search with texts."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from ..encoders.encoder import encode_blocks
from ..errors import InputError
from ..index.bm25 import BM25, DEFAULT
from ..index.documents import Document
from ..index.index import Index
from .cuts import cut_so_far, tell_of_cuts
from .document_options import check_options
from .encoder import Encoder, encoder_blocks, kind_of
from .explaining.compute import explain_documents
from .explaining.explanation import Explanation
from .modes import Hits, Search, search_index
from .readers.rows import blocks
from .recorded import check_encoder, describe, load_recorded

DOCUMENTS_PER_COMMIT = 4096


@dataclass(frozen=True, slots=True)
class Hit:
    """A document found: its id, its score (higher is better) and what the index keeps of it."""

    id: str
    score: float
    document: Document


class Retriever:
    """An index and the encoder that it belongs to; `create` or `open` one.

    The first time that documents or queries are cut, since they are longer than the model reads, a line on stderr says
    so; the encoder goes on counting them.

    Attributes:
        index: Holds and searches the vectors.
    """

    def __init__(self, encoder: Encoder | None, index: Index) -> None:
        self._encoder = encoder
        self.index = index
        self._told: set[str] = set()

    @property
    def encoder(self) -> Encoder:
        """Turns texts into vectors.

        Raises:
            InputError: The retriever was opened without one.
        """
        if self._encoder is None:
            raise InputError(f"{self.index.path}: opened without an encoder, which only a lexical search can do")
        return self._encoder

    @classmethod
    def create(
        cls,
        path: str | Path,
        encoder: Encoder,
        memory: int | str | None = None,
        **engine: Any,  # noqa: ANN401 - each kind has its own
    ) -> "Retriever":
        """Make a new, empty index for an encoder.

        Args:
            path: Its folder.
            encoder: Fills it.
            memory: Bytes that building may take, such as "4GB".
            engine: Settings of the index, see `Index.create`.

        Raises:
            InputError: An index is there already.
        """
        kind, metric = kind_of(encoder), encoder.similarity
        settings = describe(encoder)
        index = Index.create(path, kind, dim=encoder.dim, metric=metric, settings=settings, memory=memory, **engine)
        return cls(encoder, index)

    @classmethod
    def open(
        cls,
        path: str | Path,
        encoder: Encoder | None = None,
        writable: bool = False,
        any_encoder: bool = False,
        without_encoder: bool = False,
        memory: int | str | None = None,
    ) -> "Retriever":
        """Open an index with the encoder that built it.

        Args:
            path: The index folder.
            encoder: The encoder; None loads the one that the index names, see `load_recorded`.
            writable: Whether documents will be added or deleted.
            any_encoder: Take an encoder with another fingerprint too.
            without_encoder: Load none; enough for lexical searches and for deleting.
            memory: Bytes that building may take, such as "4GB".

        Raises:
            InputError: There is no index, its build is unfinished, the encoder is another one, cannot be loaded, or is
                to add documents to an index whose own it read otherwise.
        """
        index = Index.open(path, writable, memory)
        try:
            index.require_finished()
            if without_encoder:
                return cls(None, index)
            if encoder is None:
                encoder = load_recorded(index)
            check_encoder(index, encoder, any_encoder)
            if writable and not any_encoder:
                check_options(index, encoder)
        except BaseException:
            index.close()
            raise
        return cls(encoder, index)

    def close(self) -> None:
        """Close the index; a retriever may also be used in a `with` block."""
        self.index.close()

    def __enter__(self) -> "Retriever":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def add(self, documents: Iterable[Document]) -> None:
        """Encode and add documents; one whose id is there already replaces it. Durable when it returns.

        Raises:
            InputError: The index was opened for reading only, or a document comes twice in one commit (of 4,096).
        """
        for block in blocks(documents, DOCUMENTS_PER_COMMIT):
            _check_unique(block)
            cut = cut_so_far(self.encoder, "documents")
            with self.index.batch():
                parts = encoder_blocks(self.encoder, block)
                for part, vectors in encode_blocks(self.encoder, parts, lambda document: document.content):
                    self.index.add([document.id for document in part], vectors, part)
            self._tell_once("documents", cut, len(block))

    def delete(self, ids: Iterable[str]) -> list[str]:
        """Delete documents; return those of `ids` that were not there."""
        return self.index.delete(ids)

    def search_ids(
        self,
        queries: Sequence[str],
        k: int = 10,
        mode: str | None = None,
        filter: str | None = None,
        rerank: int | None = None,
        bm25: BM25 = DEFAULT,
        **options: Any,  # noqa: ANN401 - each kind has its own
    ) -> Hits:
        """Return (id, score) of the k best documents of each query, best first; see `search`."""
        search = Search(k, mode, filter, rerank, options, bm25)
        if not search.needs_encoder():
            return search_index(self.index, None, queries, search)
        cut = cut_so_far(self.encoder, "queries")
        hits = search_index(self.index, self.encoder, queries, search)
        self._tell_once("queries", cut, len(queries))
        return hits

    def search(
        self,
        queries: Sequence[str],
        k: int = 10,
        mode: str | None = None,
        filter: str | None = None,
        rerank: int | None = None,
        bm25: BM25 = DEFAULT,
        **options: Any,  # noqa: ANN401 - each kind has its own
    ) -> list[list[Hit]]:
        """Return the k best documents of each query, best first, with their texts.

        Args:
            queries: Texts; a blank one finds nothing.
            k: Documents a query.
            mode: "dense" or "late", as the index holds them (the default), "lexical" or "hybrid".
            filter: What a document's metadata must fulfil, see `compile_filter`.
            rerank: Take so many documents of the search and order them by their exact scores.
            bm25: How a search by words scores.
            options: Settings of the vector search, see `Index.search`.

        Raises:
            InputError: A value is not one of those that there are.
        """
        found = self.search_ids(queries, k, mode, filter, rerank, bm25, **options)
        documents = self.index.documents([identifier for hits in found for identifier, _ in hits])
        return [
            [Hit(identifier, score, documents[identifier]) for identifier, score in hits if identifier in documents]
            for hits in found
        ]

    def explain(self, query: str, id: str) -> Explanation:
        """Say why a document of a late index has its score for a query: what each token of the query met in it.

        Query and document are encoded now and compared exactly; whether the document would be found plays no part.

        Args:
            query: A query.
            id: The document's.

        Raises:
            InputError: The index is dense, there is no such document, it keeps no text of it, or the encoder does not
                say what its vectors stand for.
        """
        return explain_documents(self.index, self.encoder, query, [id])[0]

    def _tell_once(self, kind: str, before: int, texts: int) -> None:
        if kind not in self._told and tell_of_cuts(self.encoder, kind, before, texts):
            self._told.add(kind)


def _check_unique(documents: Sequence[Document]) -> None:
    seen: set[str] = set()
    for document in documents:
        if document.id in seen:
            raise InputError(f"document id {document.id!r} comes twice in one commit; ids must be unique")
        seen.add(document.id)
