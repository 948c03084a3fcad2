"""Building an index from a corpus: streamed, committed as it goes, resumed where it stopped.

A finished index is never touched unless `overwrite` says so, and then only when the new one is whole.
"""

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, nullcontext
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import Any, TypeVar

from ..encoders.dense import encode_blocks
from ..errors import InputError
from ..files import replace_folder
from ..index.catalog_reader import CATALOG_FILE
from ..index.documents import Document
from ..index.folder import locked, remove_index
from ..index.index import DEFAULT_MEMORY, Index
from ..index.kinds import checked_kind
from ..progress import progress
from ..sizes import parse_bytes
from .cuts import cut_so_far, tell_of_cuts
from .document_options import difference
from .encoder import Encoder, encoder_blocks, kind_of
from .readers.documents import Empty, corpus_file, read_documents
from .readers.rows import RowOptions, blocks, count_rows
from .recorded import describe
from .retriever import Retriever
from .target import check_target, describe_source, is_finished

T = TypeVar("T")

COMMIT_DOCUMENTS = 65536
COMMIT_SECONDS = 60.0
CHECK_DOCUMENTS = 500
MEMORY_SHARE = 4
"""A quarter of the memory holds vectors that wait for a commit."""


def build_index(
    source: str | Path,
    encoder: Encoder,
    path: str | Path,
    *,
    options: RowOptions | None = None,
    empty: Empty = "error",
    overwrite: bool = False,
    reuse: bool = False,
    quiet: bool = False,
    memory: int | str | None = None,
    engine: Mapping[str, Any] | None = None,
) -> Retriever:
    """Index a corpus; run again after an interruption, it goes on where it stopped.

    Args:
        source: A file, a BEIR folder or a data set; see `read_documents`.
        encoder: Makes the vectors.
        path: The index folder.
        options: See `RowOptions`.
        empty: What to do with a document whose title and text are both empty.
        overwrite: Replace a finished index once the new one is whole, or another corpus's or encoder's unfinished one.
        reuse: Take a finished index of the same corpus, encoder and precision as it is.
        quiet: Show no progress.
        memory: Bytes that building may take, such as "4GB"; 1 GiB by default.
        engine: Settings of the index, see `Index.create`.

    Returns:
        The finished index, open for reading, with its encoder.

    Raises:
        InputError: The corpus is broken, empty or changed since the interrupted run, or the folder holds another
            index. What was committed before stays and the same command goes on from there.
    """
    path = Path(path)
    origin = describe_source(source, options)
    kind, metric = kind_of(encoder), encoder.similarity
    plan = _Plan(encoder, origin, checked_kind(kind, encoder.dim, metric, engine or {}), memory, overwrite, quiet)
    if reuse and is_finished(path) and (index := _matching(path, plan)):
        return Retriever(encoder, index)
    check_target(path, overwrite)
    place = path.resolve()
    fresh = place.with_name(f"{place.name}.rebuild")
    if is_finished(path) or (overwrite and fresh.exists()):  # it stays when a crash comes between the two renames
        with locked(place) if place.exists() else nullcontext():  # who writes to the old one would lose it
            _build(source, plan, fresh, options, empty)
            replace_folder(fresh, place)
        return Retriever.open(place, encoder)
    _build(source, plan, path, options, empty)
    return Retriever.open(path, encoder)


@dataclass(frozen=True)
class _Plan:
    """What is to be built: with which encoder, of which corpus, with which settings of the index, and how."""

    encoder: Encoder
    origin: dict[str, str | None]
    engine: dict[str, Any]
    memory: int | str | None
    overwrite: bool
    quiet: bool


def _matching(path: Path, plan: _Plan) -> Index | None:
    index = Index.open(path)
    whole = _same_content(index.setting("source") or {}, plan.origin) or index.setting("source") == plan.origin
    if whole and _difference(index, plan) is None:
        return index
    index.close()
    return None


def _same_content(one: Mapping[str, str | None], other: Mapping[str, str | None]) -> bool:
    return other["checksum"] is not None and one.get("checksum") == other["checksum"]


def _difference(index: Index, plan: _Plan) -> str | None:
    corpus, made_by = index.setting("source") or {}, index.setting("encoder") or {}
    if corpus.get("name") != plan.origin["name"] and not _same_content(corpus, plan.origin):
        return f"of {corpus.get('name')}"
    if made_by.get("fingerprint") != plan.encoder.fingerprint:
        return f"made with another encoder, {made_by.get('name')}"
    if made_by.get("precision") != plan.encoder.precision:
        return f"made with --precision {made_by.get('precision')}"
    if (otherwise := difference(made_by, plan.encoder)) is not None:
        return otherwise
    if index.setting("engine") != plan.engine:
        return f"made with other settings, {index.setting('engine')}"
    return None


def _build(source: str | Path, plan: _Plan, path: Path, options: RowOptions | None, empty: Empty) -> None:
    documents = read_documents(source, options, empty)
    first = next(documents, None)
    if first is None:
        raise InputError(f"{source}: no documents in it")
    encoder, quiet = plan.encoder, plan.quiet
    with _open_or_create(path, plan) as index:
        build = _Build(index, parse_bytes(plan.memory or DEFAULT_MEMORY) // MEMORY_SHARE, encoder)
        start, cut = build.done, cut_so_far(encoder, "documents")
        with (
            _nothing_left_of_nothing(build),
            progress("indexing", count_rows(corpus_file(source)), "docs", build.done, quiet) as report,
        ):
            try:
                fresh = encoder_blocks(encoder, build.fresh(chain([first], documents)))
                with closing(encode_blocks(encoder, fresh, lambda document: document.content)) as encoded:
                    for block, vectors in build.timed(encoded):
                        build.add(block, vectors)
                        report(build.done + build.waiting)
                        if build.is_commit_due:
                            build.commit()
            except KeyboardInterrupt as interrupt:
                build.commit()
                kept = f"{build.done:,} documents are kept in {path}; the same command goes on from there"
                raise KeyboardInterrupt(kept if build.done else "nothing was encoded yet") from interrupt
            finally:
                build.commit()
        _finish(index, plan)
        if not quiet:
            tell_of_cuts(encoder, "documents", cut, build.done - start)


def _finish(index: Index, plan: _Plan) -> None:
    """Merge the segments into the form that the whole calls for, and call the index finished."""
    try:
        index.compact()
    except KeyboardInterrupt as interrupt:
        kept = f"all documents are kept in {index.path}; the same command goes on from there"
        raise KeyboardInterrupt(kept) from interrupt
    build = index.setting("build") or {}
    encoding = {"documents": len(index) - build.get("reused", 0), "seconds": build.get("seconds", 0.0)}
    # the corpus's end may have been mended since the build began
    index.set(build=None, source=plan.origin, encoding=encoding)


@contextmanager
def _nothing_left_of_nothing(build: "_Build") -> Iterator[None]:
    try:
        yield
    except BaseException:
        if not build.done:
            build.index.close()
            remove_index(build.index.path)
        raise


def _open_or_create(path: Path, plan: _Plan) -> Index:
    if (path / CATALOG_FILE).is_file():
        index = Index.open(path, writable=True, memory=plan.memory)
        difference = _difference(index, plan)
        if difference is None:
            return index
        index.close()
        if not plan.overwrite:
            raise InputError(f"{path}: an unfinished index {difference}; finish it, or replace it with --overwrite")
        remove_index(path)
    encoder = plan.encoder
    settings = describe(encoder) | {"source": plan.origin, "build": {"done": 0}}
    kind, metric = kind_of(encoder), encoder.similarity
    return Index.create(
        path, kind, dim=encoder.dim, metric=metric, settings=settings, memory=plan.memory, **plan.engine
    )


def _same(one: Document, other: Document) -> bool:
    texts = (one.title, one.text) == (other.title, other.text)
    return texts and one.metadata_json() == other.metadata_json()


class _Build:
    """How far a build is: documents committed (`done`), encoded since (`waiting`), and `seconds` of encoding in all.

    Documents whose vectors an encoder had already, which it tells as `reused_documents`, are counted apart.
    """

    def __init__(self, index: Index, most_bytes: int, encoder: Encoder) -> None:
        self.index = index
        self._encoder = encoder
        state = index.setting("build") or {"done": len(index)}
        self.done = int(state["done"])
        self.seconds = float(state.get("seconds", 0.0))
        self._reused_before = int(state.get("reused", 0)) - self._reused_now
        self._most_bytes = most_bytes
        self._blocks: list[tuple[Sequence[Document], Any]] = []
        self._uncommitted: set[str] = set()
        self._last_commit = time.monotonic()

    @property
    def _reused_now(self) -> int:
        return getattr(self._encoder, "reused_documents", 0)

    @property
    def waiting(self) -> int:
        """Documents encoded and not yet committed."""
        return sum(len(documents) for documents, _ in self._blocks)

    @property
    def is_commit_due(self) -> bool:
        """Whether enough documents, vectors or time have gathered for a commit."""
        if self.waiting >= COMMIT_DOCUMENTS or time.monotonic() - self._last_commit >= COMMIT_SECONDS:
            return True
        return sum(_bytes(vectors) for _, vectors in self._blocks) >= self._most_bytes

    def fresh(self, documents: Iterator[tuple[Document, str]]) -> Iterator[Document]:
        """Pass over what an interrupted run committed, making sure that the corpus is the same, and return the rest.

        Raises:
            InputError: An id comes twice, or the corpus changed.
        """
        self._check_committed(islice(documents, self.done))
        return self._unseen(documents)

    def _unseen(self, documents: Iterator[tuple[Document, str]]) -> Iterator[Document]:
        for document, where in documents:
            if self.index.holds(document.id) or document.id in self._uncommitted:
                raise InputError(f"{where}: document id {document.id!r} comes twice; ids must be unique")
            self._uncommitted.add(document.id)
            yield document

    def _check_committed(self, documents: Iterable[tuple[Document, str]]) -> None:
        cure = f"the corpus changed; remove {self.index.path} to start over"
        count = 0
        for block in blocks(documents, CHECK_DOCUMENTS):
            count += len(block)
            kept = self.index.documents([document.id for document, _ in block])
            for document, where in block:
                if document.id not in kept or not _same(document, kept[document.id]):
                    raise InputError(f"{where}: document {document.id!r} was not so in the interrupted run: {cure}")
        if count < self.done:
            raise InputError(f"{count:,} documents are left of the {self.done:,} of the interrupted run: {cure}")

    def timed(self, encoded: Iterator[T]) -> Iterator[T]:
        """Yield what an encoder makes and add up how long it takes, without what is done with it."""
        while True:
            began = time.perf_counter()
            block = next(encoded, None)
            self.seconds += time.perf_counter() - began
            if block is None:
                return
            yield block

    def add(self, documents: Sequence[Document], vectors: Any) -> None:  # noqa: ANN401 - see `Index.add`
        """Take encoded documents; they are durable after the next commit."""
        self._blocks.append((documents, vectors))

    def commit(self) -> None:
        """Make what waits durable."""
        if not self._blocks:
            return
        ids = [document.id for documents, _ in self._blocks for document in documents]
        with self.index.batch():
            for documents, vectors in self._blocks:
                self.index.add([document.id for document in documents], vectors, documents)
            reused = self._reused_before + self._reused_now
            self.index.set(build={"done": self.done + len(ids), "seconds": round(self.seconds, 3), "reused": reused})
        self.done += len(ids)
        self._blocks = []
        self._uncommitted.difference_update(ids)  # the build reads ahead: later documents are known already
        self._last_commit = time.monotonic()


def _bytes(vectors: Any) -> int:  # noqa: ANN401 - a matrix or a TokenMatrix
    return int(getattr(vectors, "values", vectors).nbytes)
