"""Reading an index: searches of every kind on the state that was committed last."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import InputError
from .bm25 import BM25, DEFAULT
from .catalog import Catalog
from .documents import Document
from .filters import compile_filter
from .folder import folder_bytes
from .masks import Mask
from .verification import find_faults
from .view import View, read_view

Ranked = tuple[list[list[str]], list[np.ndarray]]
"""Ids and scores (≤ k,) float32 of each query, best first."""
DOCUMENTS_AT_ONCE = 1024


class IndexReader:
    """What can be asked of an index; `Index` adds what changes it.

    A writer of another process may commit at any time: each call sees one state, the newest.

    Attributes:
        path: The folder.
        kind: "dense" (one vector a document) or "late" (one vector a token).
        dim: Length of a vector.
        metric: "cosine" (vectors are normalised on the way in) or "dot".
    """

    def __init__(self, path: Path, catalog: Catalog, memory: int) -> None:
        self.path = path
        self._catalog = catalog
        self._memory = memory
        self.kind = str(self.setting("kind"))
        self.dim = int(self.setting("dim"))
        self.metric = str(self.setting("metric"))
        self._view = read_view(path, catalog, memory)

    def __len__(self) -> int:
        return self._catalog.count()

    def setting(self, name: str) -> Any:  # noqa: ANN401 - whatever JSON can hold
        """Return a committed setting, or None."""
        return self._catalog.setting(name)

    def search(
        self,
        query_vectors: Any,  # noqa: ANN401 - as in `add`
        k: int = 10,
        filter: str | None = None,
        **options: Any,  # noqa: ANN401 - each kind has its own
    ) -> Ranked:
        """Return the k best documents of each query, best first; equal scores in the order of adding.

        Args:
            query_vectors: As in `add`.
            k: Documents a query; fewer where fewer can be found.
            filter: What a document's metadata must fulfil, see `compile_filter`.
            options: Settings of the search: `exact` for all kinds; see `DenseEngine.search` and `LateEngine.search`.

        Returns:
            ids, one list a query, and their scores, one (≤ k,) float32 array a query.

        Raises:
            InputError: The vectors do not fit the index, k is not positive, or the filter or an option is wrong.
        """
        _check_k(k)
        view = self._current()
        queries = view.engine.queries(query_vectors)
        if filter is None:
            masks: Sequence[Mask | None] = view.masks
        else:
            view, masks = self._filter(filter)
        if not view.segments or not len(queries):
            return [[] for _ in range(len(queries))], [np.empty(0, np.float32) for _ in range(len(queries))]
        scores, positions = view.engine.search(view.vectors, masks, queries, k, options)
        return [view.ids(found) for found in positions], scores

    def search_text(
        self, queries: Sequence[str], k: int = 10, filter: str | None = None, bm25: BM25 = DEFAULT
    ) -> Ranked:
        """Return the k best documents of each query by BM25 on their titles and texts, in the form of `search`.

        Args:
            queries: Texts.
            k: Documents a query; fewer where fewer hold a word of it.
            filter: What a document's metadata must fulfil, see `compile_filter`.
            bm25: How to score.

        Raises:
            InputError: k is not positive, or the filter is wrong.
        """
        _check_k(k)
        condition = None if filter is None else compile_filter(filter)
        found = [self._catalog.search_text(query, k, condition, bm25) for query in queries]
        ids = [[identifier for identifier, _ in hits] for hits in found]
        return ids, [np.array([score for _, score in hits], np.float32) for hits in found]

    def score_text(
        self, queries: Sequence[str], ids: Sequence[Sequence[str]], bm25: BM25 = DEFAULT
    ) -> list[np.ndarray]:
        """Return each query's BM25 scores with documents of its own; see `score`.

        Returns:
            (n,) float32 each; 0 for a document without a word of the query, −inf for one that the index does not hold.

        Raises:
            InputError: There are not as many lists as queries.
        """
        if len(ids) != len(queries):
            raise InputError(f"{len(queries)} queries and {len(ids)} lists of ids; expected as many")
        pairs = zip(queries, ids, strict=True)
        found = [(row, self._catalog.score_text(query, row, bm25)) for query, row in pairs]
        return [np.array([scores.get(name, -np.inf) for name in row], np.float32) for row, scores in found]

    def score(self, query_vectors: Any, ids: Sequence[Sequence[str]]) -> list[np.ndarray]:  # noqa: ANN401
        """Return each query's exact scores with documents of its own, such as those that another search found.

        Args:
            query_vectors: As in `search`.
            ids: One list a query.

        Returns:
            (n,) float32 each; −inf for a document that the index does not hold.

        Raises:
            InputError: The vectors do not fit the index, or there are not as many lists as queries.
        """
        view, keys = self._keys({identifier for row in ids for identifier in row})
        queries = view.engine.queries(query_vectors)
        if len(ids) != len(queries):
            raise InputError(f"{len(queries)} queries and {len(ids)} lists of ids; expected as many")
        wanted = [np.array([keys.get(identifier, -1) for identifier in row], np.int64) for row in ids]
        positions = [view.positions(row) for row in wanted]
        known = [row >= 0 for row in positions]
        pairs = zip(positions, known, strict=True)
        scores = view.engine.score(view.vectors, queries, [row[here] for row, here in pairs])
        results = [np.full(len(row), -np.inf, np.float32) for row in ids]
        for result, here, found in zip(results, known, scores, strict=True):
            result[here] = found
        return results

    def require_finished(self) -> None:
        """Refuse an index whose build is unfinished.

        Raises:
            InputError: It is.
        """
        if self.setting("build") is not None:
            raise InputError(f"{self.path}: the build of this index is unfinished; run its command again to go on")

    def matching(self, filter: str) -> list[str]:
        """Return the ids of the documents that fulfil a filter, in the order of adding.

        Raises:
            InputError: The filter is wrong.
        """
        view, masks = self._filter(filter)
        pairs = zip(view.segments, masks, strict=True)
        return [identifier for segment, mask in pairs for identifier in segment.rows.ids(mask.rows)]

    def documents(self, ids: Sequence[str]) -> dict[str, Document]:
        """Return id to document for those of `ids` that the index holds."""
        return self._catalog.documents(ids)

    def stream(self) -> Iterator[list[Document]]:
        """Yield all documents in blocks, in the order of adding; each block is of the newest state."""
        block, last = self._catalog.documents_after(-1, DOCUMENTS_AT_ONCE)
        while block:
            yield block
            block, last = self._catalog.documents_after(last, DOCUMENTS_AT_ONCE)

    def vectors(self) -> Iterator[tuple[list[str], Any]]:
        """Yield blocks of ids and their vectors, decoded, in the order of adding; what one call yields is one state."""
        return self._current().blocks()

    def verify(self) -> list[str]:
        """Read everything again and return what is wrong, one line a fault; an empty list means sound."""
        return find_faults(self.path)

    def info(self) -> dict[str, Any]:
        """Return what the index holds, as JSON values."""
        view = self._current()
        return {
            "path": str(self.path),
            "kind": self.kind,
            "documents": len(self),
            "dim": self.dim,
            "metric": self.metric,
            "segments": len(view.segments),
            "deleted": len(view.dead),
            "bytes": folder_bytes(self.path),
            "vector_bytes": sum(file.bytes for segment in view.segments for file in segment.row.files),
            "structure": view.engine.describe(view.vectors),
            "finished": self.setting("build") is None,
            "source": self.setting("source"),
            "encoder": self.setting("encoder"),
        }

    def _current(self) -> View:
        """Return the state that was committed last."""
        view = self._view
        if self._catalog.version() != view.version:
            view = self._view = read_view(self.path, self._catalog, self._memory, view)
        return view

    @contextmanager
    def one_state(self) -> Iterator[None]:
        """Let everything that the block reads be of one state, whatever is committed meanwhile.

        Other threads that read the catalog through this object wait for the block to end.
        """
        with self._state():
            yield

    @contextmanager
    def _state(self) -> Iterator[View]:
        while True:
            view = self._current()
            with self._catalog.snapshot():
                if self._catalog.version() == view.version:
                    yield view
                    return

    def _filter(self, expression: str) -> tuple[View, list[Mask]]:
        """Return a state and the masks of the documents in it that a filter lets be found."""
        view = self._current()
        masks = view.filtered(expression)
        if masks is not None:
            return view, masks
        condition = compile_filter(expression)
        with self._state() as view:
            return view, view.remember(expression, self._catalog.matching(condition))

    def _keys(self, ids: Iterable[str]) -> tuple[View, dict[str, int]]:
        """Return a state and the keys of documents in it."""
        with self._state() as view:
            return view, self._catalog.keys(ids)


def _check_k(k: int) -> None:
    if k < 1:
        raise InputError(f"expected k of at least 1, found {k}")
