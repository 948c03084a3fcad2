"""The index: documents and their vectors in a folder, searched exactly with FAISS.

Adds, updates and deletes are durable when they return; `batch` groups several into one commit. Any number of
processes may search while one writes; a second writer is refused.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock, Timeout

from ..errors import InputError
from .catalog import CATALOG_FILE, Catalog
from .documents import Document
from .segments import Segment, damaged, is_segment_file, merge, write_segment

KINDS = ("dense",)
METRICS = ("cosine", "dot")
LOCK_FILE = "writer.lock"
OWN_NAMES = {LOCK_FILE, f".{CATALOG_FILE}.tmp", *(f"{CATALOG_FILE}{end}" for end in ("", "-wal", "-shm", "-journal"))}
"""Names of an index's files but for the segments."""
SPILL_BYTES = 256 << 20


class Index:
    """An index folder; see `Index.create` and `Index.open`.

    Attributes:
        path: The folder.
        dim: Length of a vector.
        metric: "cosine" (vectors are normalised on the way in) or "dot".
    """

    def __init__(self, path: Path, writable: bool) -> None:
        self.path = path
        self._lock = FileLock(path / LOCK_FILE) if writable and (path / CATALOG_FILE).is_file() else None
        if self._lock is not None:
            try:
                self._lock.acquire(timeout=0)
            except Timeout as error:
                raise InputError(f"{path}: another process is writing to this index; wait for it to end") from error
        try:
            self._catalog = Catalog(path, writable)
            self.dim = int(self.setting("dim"))
            self.metric = str(self.setting("metric"))
            if writable:
                self._sweep()
            with self._catalog.snapshot():
                self._refresh()
        except BaseException:
            self._unlock()
            raise
        self._staged: list[np.ndarray] = []
        self._first_key = self._next_key = 0
        self._in_batch = False

    @classmethod
    def create(
        cls,
        path: str | Path,
        kind: str = "dense",
        *,
        dim: int,
        metric: str = "cosine",
        settings: Mapping[str, Any] | None = None,
    ) -> "Index":
        """Make a new, empty index and open it for writing.

        Args:
            path: Its folder; made where it does not exist.
            dim: Length of a vector.
            kind: "dense": one vector a document.
            metric: "cosine" or "dot".
            settings: JSON values to keep with it.

        Raises:
            InputError: An index is there already, or an argument is not one of its values.
        """
        for name, value, known in (("kind", kind, KINDS), ("metric", metric, METRICS)):
            if value not in known:
                raise InputError(f"unknown {name} {value!r}; expected one of {', '.join(known)}")
        if dim < 1:
            raise InputError(f"expected a positive dim, found {dim}")
        Catalog.create(Path(path), {**(settings or {}), "kind": kind, "dim": dim, "metric": metric})
        return cls(Path(path), writable=True)

    @classmethod
    def open(cls, path: str | Path, writable: bool = False) -> "Index":
        """Open an index; its segments are mapped, not loaded.

        Raises:
            InputError: There is no index, it is of a newer format, or `writable` and another process writes to it.
            ModernirError: A segment file is missing or cut.
        """
        return cls(Path(path), writable)

    def close(self) -> None:
        """Let go of the files; an index may also be used in a `with` block."""
        self._catalog.close()
        self._unlock()

    def __enter__(self) -> "Index":
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def __len__(self) -> int:
        return self._catalog.count()

    def setting(self, name: str) -> Any:  # noqa: ANN401 - whatever JSON can hold
        """Return a committed setting, or None."""
        return self._catalog.setting(name)

    def set(self, **settings: Any) -> None:  # noqa: ANN401 - whatever JSON can hold
        """Store settings as JSON values."""
        with self.batch():
            for name, value in settings.items():
                self._catalog.put_setting(name, value)

    # Writing

    @contextmanager
    def batch(self) -> Iterator[None]:
        """Group adds, deletes and settings into one commit; an exception in the block undoes all of them."""
        if self._in_batch:
            yield
            return
        self._catalog.require_writer()
        self._in_batch = True
        try:
            self._catalog.begin()
            self._first_key = self._next_key = self._catalog.next_key()
            yield
            self._write_staged()
            self._catalog.commit()
        except BaseException:
            self._catalog.rollback()
            self._sweep()  # by what the catalog names: a Ctrl-C during the commit finds it done
            raise
        finally:
            self._in_batch = False
            self._staged = []
        with self._catalog.snapshot():
            self._refresh()

    def add(self, ids: Sequence[str], vectors: np.ndarray, documents: Sequence[Document] | None = None) -> None:
        """Add documents; one whose id is there already replaces it.

        Args:
            ids: Document ids, each once.
            vectors: (n, dim) float32, or what converts to it; finite.
            documents: Their texts, to be shown with results; None keeps none.

        Raises:
            InputError: Shapes differ, an id is empty or comes twice, or a vector is not finite.
        """
        rows = self._prepared(vectors)
        documents = [Document(identifier, "") for identifier in ids] if documents is None else documents
        if not len(ids) == len(rows) == len(documents):
            raise InputError(f"{len(ids)} ids, {len(rows)} vectors and {len(documents)} documents; expected as many")
        if len(set(ids)) != len(ids):
            twice = next(identifier for identifier, count in Counter(ids).items() if count > 1)
            raise InputError(f"document id {twice!r} comes twice in one call")
        if not all(isinstance(identifier, str) and identifier for identifier in ids):
            raise InputError("expected non-empty strings as document ids")
        for identifier, document in zip(ids, documents, strict=True):
            if document.id != identifier:
                raise InputError(f"document {document.id!r} was given for the id {identifier!r}")
        if not len(ids):
            return
        if np.may_share_memory(rows, vectors):
            rows = rows.copy()  # the caller may fill the array again before the batch ends
        with self.batch():
            with self._catalog.savepoint():  # a batch may catch the failure of one add and go on
                for key, (identifier, document) in enumerate(zip(ids, documents, strict=True), self._next_key):
                    self._catalog.bury(identifier)
                    self._catalog.put_document(key, document)
            self._next_key += len(ids)
            self._staged.append(rows)
            if sum(part.nbytes for part in self._staged) >= SPILL_BYTES:
                self._write_staged()

    def delete(self, ids: Iterable[str]) -> list[str]:
        """Delete documents and return those of `ids` that the index did not hold."""
        if isinstance(ids, str):
            raise TypeError(f"expected several ids, found one; write [{ids!r}]")
        with self.batch():
            return [identifier for identifier in ids if not self._catalog.bury(identifier)]

    def holds(self, identifier: str) -> bool:
        """Say whether there is a document of this id, in a batch the batch's own ones included."""
        return self._catalog.has(identifier)

    def _prepared(self, vectors: np.ndarray) -> np.ndarray:
        rows: np.ndarray = np.ascontiguousarray(vectors, dtype=np.float32)
        if rows.ndim != 2 or rows.shape[1] != self.dim:
            raise InputError(f"vectors of shape {rows.shape}; this index holds (n, {self.dim})")
        finite = np.isfinite(rows).all(axis=1)
        if not finite.all():
            raise InputError(f"vector {int(np.argmin(finite))} holds NaN or infinity")
        if self.metric == "cosine":
            norms = np.linalg.norm(rows, axis=1, keepdims=True)
            rows = rows / np.where(norms > 0, norms, 1)
        return rows

    def _write_staged(self) -> None:
        if not self._staged:
            return
        segment = write_segment(self.path, self._first_key, np.concatenate(self._staged))
        self._catalog.put_segment(segment)
        self._staged, self._first_key = [], self._next_key

    def _sweep(self) -> None:
        """Remove what a writer that died or failed left behind: segment files that no row names, temporary files."""
        named = {segment.file for segment in self._catalog.segments()}
        for file in own_files(self.path):
            if file.suffix == ".tmp" or (is_segment_file(file.name) and file.name not in named):
                file.unlink()

    def _unlock(self) -> None:
        if self._lock is not None:
            self._lock.release()

    # Reading

    def search(self, query_vectors: np.ndarray, k: int = 10) -> tuple[list[list[str]], list[np.ndarray]]:
        """Return the k best documents of each query, best first; equal scores in the order of adding.

        Args:
            query_vectors: (n, dim) float32.
            k: Documents a query; fewer where the index holds fewer.

        Returns:
            ids, one list a query, and their scores, one (≤ k,) float32 array a query.

        Raises:
            InputError: The vectors do not fit the index, or k is not positive.
        """
        if k < 1:
            raise InputError(f"expected k of at least 1, found {k}")
        queries = self._prepared(query_vectors)
        with self._catalog.snapshot():
            if self._catalog.version() != self._version:
                self._refresh()
            if not self._segments or not len(queries):
                return [[] for _ in queries], [np.empty(0, np.float32) for _ in queries]
            scores, keys = merge((segment.search(queries, k, self._dead) for segment in self._segments), k)
            names = self._catalog.ids(keys[keys >= 0].tolist())
        found = keys >= 0
        ids = [[names[key] for key in row[live].tolist()] for row, live in zip(keys, found, strict=True)]
        return ids, [row[live] for row, live in zip(scores, found, strict=True)]

    def documents(self, ids: Sequence[str]) -> dict[str, Document]:
        """Return id to document for those of `ids` that the index holds."""
        return self._catalog.documents(ids)

    def verify(self) -> list[str]:
        """Read everything again and return what is wrong, one line a fault; an empty list means sound."""
        if faults := self._catalog.damage():
            return faults
        with self._catalog.snapshot():
            segments, documents = self._catalog.segments(), len(self)
            expected = sum(segment.rows for segment in segments) - len(self._catalog.tombstones())
        faults = [fault for segment in segments if (fault := damaged(self.path, segment))]
        if expected != documents:
            faults.append(f"{self.path}: the segments hold {expected} live vectors for {documents} documents")
        return faults

    def info(self) -> dict[str, Any]:
        """Return what the index holds, as JSON values."""
        return {
            "path": str(self.path),
            "kind": self.setting("kind"),
            "documents": len(self),
            "dim": self.dim,
            "metric": self.metric,
            "segments": len(self._segments),
            "bytes": sum(file.stat().st_size for file in self.path.iterdir() if file.is_file()),
            "finished": self.setting("build") is None,
            "source": self.setting("source"),
            "encoder": self.setting("encoder"),
        }

    def _refresh(self) -> None:
        self._version = self._catalog.version()
        opened = {segment.row: segment for segment in getattr(self, "_segments", [])}
        self._segments = [opened.get(row) or Segment(self.path, row) for row in self._catalog.segments()]
        self._dead = self._catalog.tombstones()


def own_files(folder: Path) -> list[Path]:
    """Return the files in a folder that are an index's, whole or left over."""
    return [file for file in folder.iterdir() if file.name in OWN_NAMES or is_segment_file(file.name)]


def remove_index(folder: Path) -> None:
    """Delete an index, and its folder unless something else is in it."""
    for file in sorted(own_files(folder), key=lambda file: file.name != CATALOG_FILE):  # without it, it is none
        file.unlink(missing_ok=True)
    with suppress(OSError):  # not empty
        folder.rmdir()
