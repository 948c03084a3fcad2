"""Inverted files that are larger than memory: filled in parts on disk, then written list by list as one file.

FAISS maps the lists of such a file when it opens it. Its layout is that of `faiss.write_index`: the head of the trained
index, then the size of each list, then of each list the codes and the ids.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Any, BinaryIO

import faiss
import numpy as np

from ...files import atomic_write
from .storage import ROWS_AT, write_index

LISTS_MARK = b"ilar"


def maps_lists(index: Any) -> bool:  # noqa: ANN401 - FAISS's
    """Say whether an index is an inverted file whose lists FAISS maps into memory; those of fast-scan it does not."""
    return isinstance(index, faiss.IndexIVF) and isinstance(
        faiss.downcast_InvertedLists(index.invlists), faiss.ArrayInvertedLists
    )


def write_inverted(path: Path, trained: Any, blocks: Iterable[np.ndarray], part_rows: int) -> None:  # noqa: ANN401
    """Write an inverted file over rows that come in blocks.

    Args:
        path: The file; parts are written beside it and removed at the end.
        trained: A trained inverted file without rows; it is without rows again at the end.
        blocks: (n, dim) float32, in the order of rows.
        part_rows: Rows of a part, which is held in memory.
    """
    head = faiss.serialize_index(trained).tobytes()
    paths: list[Path] = []
    try:
        first = row = 0
        for block in blocks:
            trained.add_with_ids(block, np.arange(row, row + len(block)))
            row += len(block)
            if row - first >= part_rows:
                paths.append(_put_aside(path, trained, len(paths)))
                first = row
        if row > first:
            paths.append(_put_aside(path, trained, len(paths)))
        parts = [faiss.read_index(str(part), faiss.IO_FLAG_MMAP_IFC) for part in paths]
        atomic_write(path, lambda stream: _write(stream, head, row, [part.invlists for part in parts]))
    finally:
        for part in paths:
            part.unlink(missing_ok=True)


def _put_aside(path: Path, index: Any, number: int) -> Path:  # noqa: ANN401
    part = path.with_name(f"{path.name}.part-{number}")
    write_index(part, index)
    index.reset()
    return part


def _write(stream: BinaryIO, head: bytes, rows: int, parts: list[Any]) -> None:
    nlist, code_size = parts[0].nlist, parts[0].code_size
    sizes = np.array([[part.list_size(number) for number in range(nlist)] for part in parts], dtype=np.uint64)
    head = head[: head.rindex(LISTS_MARK)]
    stream.write(head[: ROWS_AT.start] + rows.to_bytes(8, "little") + head[ROWS_AT.stop :] + LISTS_MARK)
    stream.write(np.array([nlist, code_size], np.uint64).tobytes() + b"full")
    stream.write(np.array([nlist], np.uint64).tobytes() + sizes.sum(axis=0, dtype=np.uint64).tobytes())
    for number in range(nlist):
        held = [(part, int(size)) for part, size in zip(parts, sizes[:, number], strict=True) if size]
        for part, size in held:
            stream.write(faiss.rev_swig_ptr(part.get_codes(number), size * code_size).data)
        for part, size in held:
            stream.write(faiss.rev_swig_ptr(part.get_ids(number), size).data)
