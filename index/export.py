"""Taking everything out of an index again: documents as a BEIR corpus, vectors as NumPy arrays."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import InputError
from ..files import new_folder, sync_files, write_json
from .index import Index
from .late.muvera import Muvera, document_encodings


def export_index(index: Index, target: Path, muvera: Mapping[str, int] | None = None) -> None:
    """Write a folder with `corpus.jsonl` and the vectors, row by row in the same order.

    A dense index gives `vectors.npy` (n, dim) float32; a late one `tokens.npy` (total, dim) float32, decoded, and
    `offsets.npy` (n + 1,) int64: document i has the rows offsets[i] to offsets[i + 1]. With `muvera` it gives one
    vector a document instead, `vectors.npy` (n, size) float32, for any vector database by inner product, and
    `muvera.json`, the parameters with which `query_encodings` encodes the queries.

    Args:
        index: What to export, as of now.
        target: The new folder; it appears whole or not at all.
        muvera: Of a late index: parameters of the encoding, see `Muvera`; those left out have its defaults.

    Raises:
        InputError: The target is there already, or `muvera` is asked of a dense index or wrong.
    """
    if target.exists():
        raise InputError(f"{target}: is there already; choose another folder")
    encoding = None if muvera is None else _encoding(index, muvera)
    with new_folder(target) as folder, index.one_state():
        lengths = _write_corpus(index, folder / "corpus.jsonl")
        parts = (vectors for _, vectors in index.vectors())
        if encoding is not None:
            encoded = (document_encodings(values, offsets, encoding) for values, offsets in parts)
            _write_rows(folder / "vectors.npy", len(lengths), encoding.size, encoded)
            write_json(folder / "muvera.json", asdict(encoding))
        elif index.kind == "late":
            np.save(folder / "offsets.npy", np.cumsum([0, *lengths], dtype=np.int64))
            _write_rows(folder / "tokens.npy", sum(lengths), index.dim, (values for values, _ in parts))
        else:
            _write_rows(folder / "vectors.npy", len(lengths), index.dim, parts)
        sync_files(folder)


def _encoding(index: Index, parameters: Mapping[str, int]) -> Muvera:
    if index.kind != "late":
        raise InputError(f"{index.path}: a dense index has one vector a document already; export it without MUVERA")
    try:
        return Muvera(index.dim, **parameters)
    except (TypeError, ValueError) as error:
        raise InputError(f"muvera: {error}") from error


def _write_corpus(index: Index, path: Path) -> list[int]:
    """Write the documents in the order of their vectors, and return each one's number of vectors."""
    lengths: list[int] = []
    with path.open("w", encoding="utf-8") as stream:
        for ids, vectors in index.vectors():
            kept = index.documents(ids)
            for identifier in ids:
                document = kept[identifier]
                fields = {"_id": identifier, "title": document.title, "text": document.text}
                stream.write(json.dumps(fields | {"metadata": dict(document.metadata)}, ensure_ascii=False) + "\n")
            lengths += np.diff(vectors[1]).tolist() if index.kind == "late" else [1] * len(ids)
    return lengths


def _write_rows(path: Path, rows: int, dim: int, parts: Iterator[Any]) -> None:
    if not rows:
        np.save(path, np.empty((0, dim), np.float32))
        return
    array = np.lib.format.open_memmap(path, mode="w+", dtype=np.float32, shape=(rows, dim))
    start = 0
    for part in parts:
        array[start : start + len(part)] = part
        start += len(part)
    array.flush()
