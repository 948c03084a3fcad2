"""The index: documents and their vectors in a folder, searched as they are committed.

Adds, updates and deletes are durable when they return; `batch` groups several into one commit. Any number of
processes may search while one writes; a second writer is refused.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from threading import RLock
from typing import Any

from ..errors import InputError, ModernirError
from ..sizes import parse_bytes
from .catalog import Catalog
from .catalog_reader import CATALOG_FILE
from .documents import Document
from .engine import Batch
from .folder import locked, sweep
from .kinds import checked_kind
from .maintenance import Size, due
from .masks import Mask
from .reading import IndexReader
from .view import OpenSegment
from .writer import Writer

DEFAULT_MEMORY = 1 << 30
LEAST_MEMORY = 1 << 24
ROUNDS = 3
"""Times that a merge may make another one due."""


class Index(IndexReader):
    """An index folder; see `Index.create` and `Index.open`."""

    def __init__(self, path: Path, writable: bool, memory: int | str | None) -> None:
        self.path, budget = path, _budget(memory)
        self._writer: Writer | None = None
        self._changing = RLock()
        with ExitStack() as opened:
            if writable and (path / CATALOG_FILE).is_file():
                opened.enter_context(locked(path))
            self._catalog = opened.enter_context(closing(Catalog(path, writable)))
            if writable:
                self._sweep()
            super().__init__(path, self._catalog, budget)
            self._opened = opened.pop_all()

    @classmethod
    def create(
        cls,
        path: str | Path,
        kind: str = "dense",
        *,
        dim: int,
        metric: str = "cosine",
        settings: Mapping[str, Any] | None = None,
        memory: int | str | None = None,
        **engine: Any,  # noqa: ANN401 - each kind has its own
    ) -> "Index":
        """Make a new, empty index and open it for writing.

        Args:
            path: Its folder; made where it does not exist.
            dim: Length of a vector.
            kind: "dense": one vector a document; "late": one vector a token.
            metric: "cosine" or "dot".
            settings: JSON values to keep with it.
            memory: Bytes that building may take, such as "4GB"; 1 GiB by default.
            engine: Settings of the kind: see `DenseEngine` and `LateEngine`.

        Raises:
            InputError: An index is there already, or an argument is not one of its values.
        """
        checked, budget = checked_kind(kind, dim, metric, engine), _budget(memory)
        own = {"kind": kind, "dim": dim, "metric": metric, "engine": checked}
        Catalog.create(Path(path), {**(settings or {}), **own})
        return cls(Path(path), writable=True, memory=budget)

    @classmethod
    def open(
        cls, path: str | Path, writable: bool = False, memory: int | str | None = None, verify: bool = False
    ) -> "Index":
        """Open an index; its segments are mapped, not loaded.

        Args:
            path: Its folder.
            writable: Whether it will be changed.
            memory: Bytes that building may take, such as "4GB"; 1 GiB by default.
            verify: Read all files first and compare their checksums.

        Raises:
            InputError: There is no index, it is of a newer format, or `writable` and another process writes to it.
            ModernirError: A segment file is missing or cut, or `verify` found a fault.
        """
        index = cls(Path(path), writable, memory)
        if verify and (faults := index.verify()):
            index.close()
            raise ModernirError("; ".join(faults))
        return index

    def close(self) -> None:
        """Let go of the files; an index may also be used in a `with` block."""
        self._opened.close()

    def __enter__(self) -> "Index":
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def set(self, **settings: Any) -> None:  # noqa: ANN401 - whatever JSON can hold
        """Store settings as JSON values."""
        with self.batch():
            for name, value in settings.items():
                self._catalog.put_setting(name, value)

    # Writing

    @contextmanager
    def batch(self) -> Iterator[None]:
        """Group adds, deletes and settings into one commit; an exception that leaves the block undoes all of them.

        A batch inside a batch is part of it. Other threads that write wait for the outermost one to end. Afterwards
        segments are merged where it is due, unless a build of the index is under way.
        """
        with self._changing:
            if self._writer is not None:
                yield
                return
            with self._transaction(self._is_building):
                yield
            if not self._is_building:
                self._maintain()

    @contextmanager
    def _transaction(self, building: bool) -> Iterator[Writer]:
        try:
            self._catalog.begin()
            self._writer = Writer(self.path, self._catalog, self._current(), self._memory, building)
            yield self._writer
            self._writer.finish()
            self._catalog.commit()
        except BaseException:
            self._catalog.rollback()
            self._sweep()  # by what the catalog names: a Ctrl-C during the commit finds it done
            raise
        else:
            if self._writer.replaced:
                self._sweep()
        finally:
            self._writer = None
        self._current()

    @property
    def _is_building(self) -> bool:
        return self.setting("build") is not None

    def add(self, ids: Sequence[str], vectors: Any, documents: Sequence[Document] | None = None) -> None:  # noqa: ANN401
        """Add documents; one whose id is there already replaces it.

        Args:
            ids: Document ids, each once.
            vectors: Of a dense index (n, dim) float32, or what converts to it. Of a late one the pair of all token
                vectors (total, dim) float32 and offsets (n + 1,) int64, or an object with these as `values` and
                `offsets`; float16 will do, and so will int8 where the object has `scales`, (total,). Finite.
            documents: Their texts, to be shown with results; None keeps none.

        Raises:
            InputError: Shapes differ, an id is empty or comes twice, or a vector is not finite.
        """
        batch = self._view.engine.accept(vectors)
        documents = [Document(identifier, "") for identifier in ids] if documents is None else documents
        if not len(ids) == len(batch) == len(documents):
            raise InputError(f"{len(ids)} ids, {len(batch)} vectors and {len(documents)} documents; expected as many")
        if len(set(ids)) != len(ids):
            twice = next(identifier for identifier, count in Counter(ids).items() if count > 1)
            raise InputError(f"document id {twice!r} comes twice in one call")
        _checked_ids(ids)
        for identifier, document in zip(ids, documents, strict=True):
            if document.id != identifier:
                raise InputError(f"document {document.id!r} was given for the id {identifier!r}")
        if len(ids):
            with self.batch():
                self._write_documents(documents, batch)

    def _write_documents(self, documents: Sequence[Document], batch: Batch) -> None:
        try:
            self._writing.add(documents, batch)
        except UnicodeEncodeError as error:
            raise InputError(f"a document holds half of a character that UTF-8 cannot hold ({error.reason})") from error

    def delete(self, ids: Iterable[str]) -> list[str]:
        """Delete documents and return those of `ids` that the index did not hold.

        Raises:
            InputError: An id is no string, or empty.
        """
        if isinstance(ids, str):
            raise TypeError(f"expected several ids, found one; write [{ids!r}]")
        wanted = _checked_ids(dict.fromkeys(ids))
        with self.batch():
            found = self._catalog.bury(wanted)
        return [identifier for identifier in wanted if identifier not in found]

    def holds(self, identifier: str) -> bool:
        """Say whether there is a document of this id, in a batch the batch's own ones included."""
        return self._catalog.has(identifier)

    def verify(self) -> list[str]:
        """See `IndexReader.verify`; one that is open for writing also compares the full-text index with the texts."""
        return super().verify() or self._catalog.text_damage()

    def compact(self) -> None:
        """Merge all segments into one, without what was deleted, in the form that its size calls for.

        An interruption leaves the index as it was.

        Raises:
            InputError: Inside a batch, or the index was opened for reading only.
        """
        with self._changing:
            if self._writer is not None:
                raise InputError("a compaction is no part of a batch; call it before or after")
            with self._transaction(building=False) as writer:
                sizes = [_size(segment, mask) for segment, mask in self._view.segments_and_masks]
                unsettled = writer.adapt() or any(not size.settled or size.dead for size in sizes)
                if sizes and (unsettled or len(sizes) > 1):
                    writer.merge(range(len(sizes)), self._view.dead)
            self._catalog.tidy()

    def _maintain(self) -> None:
        for _ in range(ROUNDS):
            runs = due([_size(segment, mask) for segment, mask in self._view.segments_and_masks])
            if not runs:
                return
            with self._transaction(building=False) as writer:
                for run in reversed(runs):
                    writer.merge(run, self._view.dead)

    @property
    def _writing(self) -> Writer:
        assert self._writer is not None  # only asked for inside `batch`
        return self._writer

    def _sweep(self) -> None:
        shared = self._catalog.shared_file()
        named = [file.name for segment in self._catalog.segments() for file in segment.files]
        sweep(self.path, [*named, shared.name] if shared else named)


def _size(segment: OpenSegment, mask: Mask | None) -> Size:
    rows = len(segment.rows)
    return Size(rows, 0 if mask is None else rows - mask.count, segment.vectors.settled)


def _budget(memory: int | str | None) -> int:
    return max(parse_bytes(DEFAULT_MEMORY if memory is None else memory), LEAST_MEMORY)


def _checked_ids(ids: Iterable[str]) -> list[str]:
    checked = list(ids)
    for identifier in checked:
        if not (isinstance(identifier, str) and identifier):
            raise InputError(f"expected non-empty strings as document ids, found {identifier!r}")
    return checked
