"""The recall of an index against exact search, over settings of the search, as a table."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import InputError
from ..index.index import Index
from ..index.recall import Measured, measure_recall
from .readers.queries import gather_queries
from .recorded import check_encoder, load_recorded

QUERY_TOKENS = 32
NPROBES = (4, 8, 16, 32, 64, 128)
K_FACTORS = (1, 2, 4, 8, 16, 32)
EFS = (16, 32, 64, 128, 256)
CANDIDATES = (128, 256, 512, 1024)


@dataclass(frozen=True)
class Row:
    """A setting with its figures, see `Measured`."""

    measured: Measured

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
        return {"options": dict(one.options), **recall, "p50_ms": one.median, "p95_ms": one.p95}


def measure_index(
    path: Path,
    queries: Path | None,
    sample: int,
    cuts: Sequence[int],
    model: str | None = None,
    device: str | None = None,
    precision: str | None = None,
    trust_remote_code: bool = False,
) -> tuple[list[Row], str]:
    """Measure an index with real queries, or with documents of its own in their place.

    Args:
        path: The index folder.
        queries: File of queries; None takes documents of the index, of which a late index takes the first 32 tokens.
        sample: Queries to measure with.
        cuts: Values of k.
        model: Encoder of the queries; None loads the index's.
        device: See `load_encoder`, as for the others.
        precision: As the index's where it is to be had.
        trust_remote_code: Run Python code that the checkpoint brings.

    Returns:
        The rows, exact search last, and what the queries were.

    Raises:
        InputError: The index is empty, or the queries or the model cannot be read.
    """
    with Index.open(path) as index:
        index.require_finished()
        if not len(index):
            raise InputError(f"{path}: holds no documents to measure with")
        if queries is None:
            vectors, of = _own_documents(index, sample), "documents of the index"
        else:
            encoder = load_recorded(index, model, device, precision, trust_remote_code)
            check_encoder(index, encoder)
            texts = [text for _, text in gather_queries(None, queries, sys.stdin)][:sample]
            vectors = [encoder.encode_queries([text]) for text in texts]
            of = str(queries)
        rows = [Row(measured) for measured in measure_recall(index, vectors, cuts, _settings(index))]
    return rows, f"{len(vectors)} {of}" if queries is None else f"{len(vectors)} queries of {of}"


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


def print_recall(rows: Sequence[Row], of: str) -> None:
    """Print a table: a line a setting, with recall at each cut-off and the latency."""
    from rich.console import Console
    from rich.table import Table

    table = Table(title=f"recall against exact search, {of}", title_justify="left", box=None, pad_edge=False)
    table.add_column("setting")
    for k in rows[0].measured.recall:
        table.add_column(f"R@{k}", justify="right")
    table.add_column("p50 ms", justify="right")
    table.add_column("p95 ms", justify="right")
    for row in rows:
        recall = [f"{value:.3f}" for value in row.measured.recall.values()]
        table.add_row(row.setting, *recall, f"{row.measured.median:.2f}", f"{row.measured.p95:.2f}")
    Console(file=sys.stdout).print(table)
