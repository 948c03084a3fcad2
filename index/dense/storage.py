"""The file of stored vectors: a flat index of FAISS, written in blocks and mapped into memory when it is opened.

FAISS writes an index at once, from memory. Its flat indexes end with the codes of all rows, and before them stands how
many there are; so we write the head of an empty index with the numbers put in, and then codes block by block.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import faiss
import numpy as np
import xxhash

from ...errors import InputError, ModernirError
from ...files import atomic_write, read_json
from .settings import STORAGES

ROWS_AT = slice(8, 16)
"""Where the number of rows stands in the head of every index: after the name of the class and the dimension."""
HEAD_BYTES = 1 << 16
"""Bytes at the beginning of a file that are checked when it is opened; FAISS trusts what it reads there."""
BLOCK_BYTES = 16 << 20


def block_rows(dim: int, memory: int) -> int:
    """Return the rows of a block of float32 vectors: 16 MB or, with little memory, an eighth of it."""
    return max(1024, min(BLOCK_BYTES, memory // 8) // (4 * dim))


def write_vectors(
    path: Path, storage: str, dim: int, rows: int, blocks: Iterable[np.ndarray], bounds: np.ndarray | None
) -> None:
    """Write vectors as a flat inner-product index.

    Args:
        path: The file.
        storage: "float32", "float16" or "int8".
        dim: Length of a vector.
        rows: Vectors in all.
        blocks: The vectors, (n, dim) float32 each.
        bounds: The least and the greatest value of each dimension, (2, dim) float32; for int8 alone.

    Raises:
        ValueError: The blocks do not add up to the rows.
    """
    empty = faiss.index_factory(dim, STORAGES[storage], faiss.METRIC_INNER_PRODUCT)
    if not empty.is_trained:
        empty.train(np.zeros((1, dim), np.float32) if bounds is None else bounds)
    head = bytearray(faiss.serialize_index(empty).tobytes())
    head[ROWS_AT] = rows.to_bytes(8, "little")
    unit = 4 if storage == "float32" else 1  # FAISS counts the codes of a float32 index in floats
    head[-8:] = (rows * empty.sa_code_size() // unit).to_bytes(8, "little")

    def write(stream: BinaryIO) -> None:
        stream.write(head)
        written = 0
        for block in blocks:
            stream.write(empty.sa_encode(block).data)
            written += len(block)
        if written != rows:
            raise ValueError(f"{path}: {written} vectors came of {rows}")

    atomic_write(path, write)


def bounds_of(vectors: Iterable[np.ndarray], dim: int) -> np.ndarray:
    """Return the least and the greatest value of each dimension, (2, dim) float32; zeros where there is no vector."""
    ends = [end for block in vectors if len(block) for end in (block.min(axis=0), block.max(axis=0))]
    if not ends:
        return np.zeros((2, dim), np.float32)
    return np.stack([np.min(ends, axis=0), np.max(ends, axis=0)])


def stored_bounds(flat: Any) -> np.ndarray:  # noqa: ANN401 - FAISS's
    """Return the bounds that an int8 index was written with, (2, dim) float32.

    Written again within the same bounds, its vectors keep their codes; within those of the decoded values they would
    move by half a step each time.
    """
    low, width = faiss.vector_to_array(flat.sq.trained).reshape(2, -1)
    return np.stack([low, low + width])


def write_index(path: Path, index: Any) -> None:  # noqa: ANN401 - FAISS's
    """Write an index of FAISS to a file, which appears whole or not at all."""
    atomic_write(path, lambda stream: faiss.write_index(index, faiss.PyCallbackIOWriter(stream.write)))


def seal(path: Path) -> dict[str, Any]:
    """Return what is to be remembered of a file: its size, and the checksum of its beginning."""
    with path.open("rb") as stream:
        return {"bytes": path.stat().st_size, "head": xxhash.xxh3_128_hexdigest(stream.read(HEAD_BYTES))}


def open_index(path: Path, sealed: Mapping[str, Any]) -> Any:  # noqa: ANN401
    """Map an index of FAISS into memory, as far as FAISS can: fast-scan codes are read.

    Raises:
        ModernirError: The file is missing, cut, or damaged at its beginning.
    """
    try:
        found = seal(path)
    except FileNotFoundError as error:
        raise ModernirError(f"{path}: missing; rebuild the index or restore the file") from error
    if found["bytes"] != sealed["bytes"]:
        raise damaged(path, f"{found['bytes']} bytes, expected {sealed['bytes']}")
    if found["head"] != sealed["head"]:
        raise damaged(path, "its beginning was changed")
    try:
        return faiss.read_index(str(path), faiss.IO_FLAG_MMAP_IFC)
    except (RuntimeError, MemoryError) as error:
        raise damaged(path, "FAISS cannot read it") from error


def damaged(path: Path, why: str) -> ModernirError:
    """Return the error for a file that is not as it was written."""
    return ModernirError(f"{path}: damaged ({why}); rebuild the index or restore the file")


def read_about(path: Path) -> dict[str, Any]:
    """Read the JSON file of a segment.

    Raises:
        ModernirError: It is missing or is no JSON object.
    """
    try:
        found = read_json(path)
    except InputError as error:
        raise ModernirError(f"{error}; rebuild the index or restore the file") from error
    if not isinstance(found, dict):
        raise damaged(path, "no JSON object")
    return found


def scores_of(flat: Any, queries: np.ndarray, rows: np.ndarray) -> np.ndarray:  # noqa: ANN401
    """Return the exact scores of chosen rows.

    Args:
        flat: The stored vectors.
        queries: (n, dim) float32.
        rows: (n, m) int64, −1 for none.

    Returns:
        (n, m) float32, −inf for none.
    """
    rows = np.ascontiguousarray(rows)
    if not isinstance(flat, faiss.IndexFlat):
        vectors = [flat.reconstruct_batch(np.maximum(line, 0)) for line in rows]
        scores = np.stack([block @ query for block, query in zip(vectors, queries, strict=True)])
        return np.where(rows < 0, np.float32(-np.inf), scores)
    scores = np.empty(rows.shape, np.float32)
    flat.compute_distance_subset(
        len(rows), faiss.swig_ptr(queries), rows.shape[1], faiss.swig_ptr(scores), faiss.swig_ptr(rows)
    )
    scores[rows < 0] = -np.inf
    return scores
