"""The recall of an index, or of several of the same documents, against exact search, over settings of the search."""

import sys
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from ...errors import InputError
from ...index.index import Index
from ...index.recall import Measured, measure_indexes
from ..readers.queries import gather_queries
from ..recorded import check_encoder, load_recorded

QUERY_TOKENS = 32
NPROBES = (4, 8, 16, 32, 64, 128)
K_FACTORS = (1, 2, 4, 8, 16, 32)
EFS = (16, 32, 64, 128, 256)
CANDIDATES = (128, 256, 512, 1024)


@dataclass(frozen=True)
class Row:
    """A setting of one index with its figures.

    Attributes:
        index: What tables call the index.
        measured: See `Measured`.
        document_bytes: Bytes a document of the index's files without the texts.
        token_bytes: Bytes a token vector, of a late index.
    """

    index: str
    measured: Measured
    document_bytes: float
    token_bytes: float | None

    @property
    def setting(self) -> str:
        """The setting in words."""
        options = self.measured.options
        words = (name if value is True else f"{name} {value}" for name, value in options.items())
        return " ".join(words) if options else "default"

    def to_json(self) -> dict[str, Any]:
        """Return the row as JSON values."""
        one = self.measured
        recall = {f"R@{k}": value for k, value in one.recall.items()}
        latency = {"p50_ms": one.median, "p95_ms": one.p95}
        size = {"bytes_per_document": self.document_bytes, "bytes_per_token": self.token_bytes}
        return {"index": self.index, "options": dict(one.options), **recall, **latency, **size}


@dataclass(frozen=True)
class RecallTable:
    """What was measured.

    Attributes:
        rows: A row for each index and setting; of each index the exact search last.
        indexes: What tables call the indexes; exact search in the first is what all are measured against.
        queries: What the queries were.
        documents: Documents of each index.
    """

    rows: tuple[Row, ...]
    indexes: tuple[str, ...]
    queries: str
    documents: int

    @property
    def cuts(self) -> list[int]:
        """Values of k."""
        return list(self.rows[0].measured.recall)


def measure_recall_of(
    paths: Sequence[Path],
    queries: Path | None,
    sample: int,
    cuts: Sequence[int],
    model: str | None = None,
    device: str | None = None,
    precision: str | None = None,
    trust_remote_code: bool = False,
) -> RecallTable:
    """Measure indexes with real queries, or with documents of the first in their place.

    Args:
        paths: Index folders; several hold the same documents, and are measured against exact search in the first.
        queries: File of queries; None takes documents of the first index, of which a late one takes 32 tokens.
        sample: Queries to measure with.
        cuts: Values of k.
        model: Encoder of the queries; None loads the first index's.
        device: See `load_encoder`, as for the others.
        precision: As the index's where it is to be had.
        trust_remote_code: Run Python code that the checkpoint brings.

    Raises:
        InputError: An index is empty, comes twice, or does not hold the documents, kind of vectors and encoder of the
            first; or the queries or the model cannot be read.
    """
    names = _names(paths)
    with ExitStack() as stack:
        indexes = [stack.enter_context(Index.open(path)) for path in paths]
        for index in indexes:
            index.require_finished()
            if not len(index):
                raise InputError(f"{index.path}: holds no documents to measure with")
        for other in indexes[1:]:
            _check_alike(indexes[0], other)
        if queries is None:
            vectors, of = _own_documents(indexes[0], sample), f"documents of {names[0]}"
        else:
            encoder = load_recorded(indexes[0], model, device, precision, trust_remote_code)
            check_encoder(indexes[0], encoder)
            texts = [text for _, text in gather_queries(None, queries, sys.stdin)][:sample]
            vectors, of = [encoder.encode_queries([text]) for text in texts], f"queries of {queries}"
        measured = measure_indexes([(index, _settings(index)) for index in indexes], vectors, cuts)
        sizes = [_bytes(index) for index in indexes]
        rows = tuple(
            Row(name, one, *size)
            for name, size, of_index in zip(names, sizes, measured, strict=True)
            for one in of_index
        )
        return RecallTable(rows, tuple(names), f"{len(vectors)} {of}", len(indexes[0]))


def _names(paths: Sequence[Path]) -> list[str]:
    """Return folders' names, or their paths where two are called the same."""
    resolved = [path.resolve() for path in paths]
    for path, place in zip(paths, resolved, strict=True):
        if resolved.count(place) > 1:
            raise InputError(f"{path}: named twice; measure different indexes")
    short = [place.name for place in resolved]
    return [name if short.count(name) == 1 else str(path) for name, path in zip(short, paths, strict=True)]


def _check_alike(first: Index, other: Index) -> None:
    if (other.kind, other.dim, other.metric) != (first.kind, first.dim, first.metric):
        ours, theirs = (f"{one.kind}, {one.dim} dimensions, {one.metric}" for one in (first, other))
        raise InputError(f"{other.path}: of other vectors ({theirs}) than {first.path} ({ours}); measure it by itself")
    encoders = [(one.setting("encoder") or {}).get("fingerprint") for one in (first, other)]
    if encoders[0] != encoders[1]:
        raise InputError(f"{other.path}: built with another encoder than {first.path}; measure it by itself")
    if len(other) != len(first):
        counts = f"{len(other):,} documents, {first.path} {len(first):,}"
        raise InputError(f"{other.path}: holds {counts}; measure indexes of the same documents")
    for block in first.stream():
        ids = [document.id for document in block]
        there = other.documents(ids)
        if missing := [identifier for identifier in ids if identifier not in there]:
            lacks = f"lacks document {missing[0]!r} of {first.path}"
            raise InputError(f"{other.path}: {lacks}; measure indexes of the same documents")


def _bytes(index: Index) -> tuple[float, float | None]:
    info = index.info()
    tokens = info["structure"].get("tokens")
    return info["vector_bytes"] / info["documents"], info["vector_bytes"] / tokens if tokens else None


def _settings(index: Index) -> list[dict[str, Any]]:
    """Return the settings to measure: first what a search takes by itself, then what its structure can be asked for."""
    structure = index.info()["structure"]
    if index.kind == "late":
        if not structure["centroids"]:
            return []
        grid = product(NPROBES[1:5], CANDIDATES)
        return [{}, *({"nprobe": nprobe, "candidates": candidates} for nprobe, candidates in grid)]
    factories = " ".join(str(segment["structure"]) for segment in structure["segments"])
    if "IVF" in factories:
        return [{}, *({"nprobe": nprobe} for nprobe in NPROBES)]
    if "HNSW" in factories:
        return [{}, *({"ef": ef} for ef in EFS)]
    return [{}, *({"k_factor": factor} for factor in K_FACTORS)] if "PQ" in factories else []


def _own_documents(index: Index, sample: int) -> list[Any]:
    """Return the vectors of documents spread over the index, each in the form of one query."""
    every = max(1, len(index) // sample)
    chosen: list[Any] = []
    number = 0
    for ids, vectors in index.vectors():
        places = [place for place in range(len(ids)) if (number + place) % every == 0]
        number += len(ids)
        for place in places:
            if index.kind == "dense":
                chosen.append(vectors[place : place + 1])
            else:
                values, offsets = vectors
                tokens = values[offsets[place] : min(offsets[place + 1], offsets[place] + QUERY_TOKENS)]
                chosen.append((tokens, np.array([0, len(tokens)], np.int64)))
        if len(chosen) >= sample:
            break
    return chosen[:sample]
