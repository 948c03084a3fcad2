"""An encoder and the index that it built, used as one: add texts, search with texts."""

import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from ..encoders import loading
from ..encoders.checkpoint import is_model_folder
from ..encoders.dense import DenseEncoder
from ..errors import InputError
from ..index.documents import Document
from ..index.index import Index
from .cuts import cut_so_far, tell_of_cuts
from .readers.rows import blocks

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
        encoder: Turns texts into vectors.
        index: Holds and searches them.
    """

    def __init__(self, encoder: DenseEncoder, index: Index) -> None:
        self.encoder = encoder
        self.index = index
        self._told: set[str] = set()

    @classmethod
    def create(cls, path: str | Path, encoder: DenseEncoder) -> "Retriever":
        """Make a new, empty index for an encoder.

        Raises:
            InputError: An index is there already.
        """
        return cls(encoder, Index.create(path, dim=encoder.dim, metric=encoder.similarity, settings=describe(encoder)))

    @classmethod
    def open(
        cls, path: str | Path, encoder: DenseEncoder | None = None, writable: bool = False, any_encoder: bool = False
    ) -> "Retriever":
        """Open an index with the encoder that built it.

        Args:
            path: The index folder.
            encoder: The encoder; None loads the one that the index names, see `load_recorded`.
            writable: Whether documents will be added or deleted.
            any_encoder: Take an encoder with another fingerprint too.

        Raises:
            InputError: There is no index, its build is unfinished, the encoder is another one or cannot be loaded.
        """
        index = Index.open(path, writable)
        try:
            if index.setting("build") is not None:
                raise InputError(f"{path}: the build of this index is unfinished; run its command again to go on")
            if encoder is None:
                encoder = load_recorded(index)
            check_encoder(index, encoder, any_encoder)
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
            cut = cut_so_far(self.encoder, "documents")
            vectors = self.encoder.encode_documents([document.content for document in block])
            self._tell_once("documents", cut, len(block))
            self.index.add([document.id for document in block], vectors, block)

    def delete(self, ids: Iterable[str]) -> list[str]:
        """Delete documents; return those of `ids` that were not there."""
        return self.index.delete(ids)

    def search_ids(self, queries: Sequence[str], k: int = 10) -> list[list[tuple[str, float]]]:
        """Return (id, score) of the k best documents of each query, best first."""
        cut = cut_so_far(self.encoder, "queries")
        vectors = self.encoder.encode_queries(queries)
        self._tell_once("queries", cut, len(queries))
        ids, scores = self.index.search(vectors, k)
        return [list(zip(names, row.tolist(), strict=True)) for names, row in zip(ids, scores, strict=True)]

    def search(self, queries: Sequence[str], k: int = 10) -> list[list[Hit]]:
        """Return the k best documents of each query, best first, with their texts."""
        found = self.search_ids(queries, k)
        documents = self.index.documents([identifier for hits in found for identifier, _ in hits])
        return [
            [Hit(identifier, score, documents[identifier]) for identifier, score in hits if identifier in documents]
            for hits in found
        ]

    def _tell_once(self, kind: str, before: int, texts: int) -> None:
        if kind not in self._told and tell_of_cuts(self.encoder, kind, before, texts):
            self._told.add(kind)


def describe(encoder: DenseEncoder) -> dict[str, object]:
    """Return what an index records of the encoder that fills it."""
    folder = Path(encoder.name).expanduser()
    return {
        "encoder": {
            "name": str(folder.resolve()) if is_model_folder(folder) else encoder.name,
            "fingerprint": encoder.fingerprint,
            "precision": encoder.precision,
            "max_length": encoder.max_length,
            "query_prompt": encoder.query_prompt,
            "document_prompt": encoder.document_prompt,
        }
    }


def load_recorded(
    index: Index,
    name: str | None = None,
    device: str | None = None,
    precision: str | None = None,
    trust_remote_code: bool = False,
    attention: str | None = None,
) -> DenseEncoder:
    """Load the encoder that built an index, in the precision that it had then, where none is asked for.

    Where this machine does not have that precision, a line on stderr says which one is taken.

    Args:
        index: Names the encoder and its precision.
        name: Where the encoder is now; None takes the name in the index.
        device: See `load_encoder`, as for the others.
        precision: None takes the index's where it is to be had.
        trust_remote_code: Run Python code that the checkpoint brings.
        attention: Name of an attention back-end.

    Raises:
        InputError: The index names no encoder, or it cannot be loaded.
    """
    built_in = (index.setting("encoder") or {}).get("precision")
    encoder = loading.load_encoder(
        name or recorded_encoder(index), device, precision, trust_remote_code, attention, built_in
    )
    if precision is None and built_in not in (None, encoder.precision):
        sys.stderr.write(
            f"{index.path}: built in {built_in}, which this encoder does not have here; searching in "
            f"{encoder.precision}\n"
        )
    return encoder


def recorded_encoder(index: Index) -> str:
    """Return the name of the encoder that built an index.

    Raises:
        InputError: The index names none.
    """
    recorded = index.setting("encoder")
    if recorded is None:
        raise InputError(f"{index.path}: holds vectors of no named encoder; name one with --model")
    return str(recorded["name"])


def check_encoder(index: Index, encoder: DenseEncoder, any_encoder: bool = False) -> None:
    """Refuse an encoder that did not build the index.

    Raises:
        InputError: The fingerprints differ and `any_encoder` is not set, or the vectors have another length.
    """
    recorded = index.setting("encoder")
    if encoder.dim != index.dim:
        raise InputError(f"{index.path}: holds vectors of length {index.dim}, {encoder.name} makes {encoder.dim}")
    if any_encoder or recorded is None or recorded["fingerprint"] == encoder.fingerprint:
        return
    raise InputError(
        f"{index.path}: built with {recorded['name']} (fingerprint {recorded['fingerprint'][:12]}), "
        f"not with {encoder.name} ({encoder.fingerprint[:12]}); search with the former or index again"
    )
