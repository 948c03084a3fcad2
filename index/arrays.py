"""Files of named arrays: written in blocks and flushed to disk, read as memory maps.

The layout is that of safetensors, so anything that reads safetensors reads these files. Arrays may be written from
iterators of blocks, so none of them needs to fit in memory.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from ..errors import ModernirError
from ..files import atomic_write

_NAMES = {
    "U8": "uint8", "I8": "int8", "U16": "uint16", "U32": "uint32", "U64": "uint64", "I32": "int32", "I64": "int64",
    "F16": "float16", "F32": "float32", "F64": "float64",
}  # fmt: skip
_KINDS = {np.dtype(kind): name for name, kind in _NAMES.items()}
_LARGEST_HEADER = 1 << 20


@dataclass(frozen=True)
class Blocks:
    """An array that comes in pieces along its first axis.

    Attributes:
        dtype: Of all pieces.
        shape: Of the whole array.
        parts: Arrays whose rows are the whole's, in order.
    """

    dtype: Any
    shape: tuple[int, ...]
    parts: Iterable[np.ndarray]


def write_arrays(path: Path, arrays: Mapping[str, np.ndarray | Blocks], metadata: Mapping[str, str]) -> None:
    """Write arrays to a file, which appears whole or not at all; its name is the caller's to flush (`sync_folder`).

    Args:
        path: The file; one that is there is replaced.
        arrays: Name to array, or to the pieces of one.
        metadata: Strings to keep with them.

    Raises:
        ValueError: The pieces of an array do not add up to its shape.
        OSError: The disk is full or the folder cannot be written.
    """
    whole = {name: value if isinstance(value, Blocks) else _one_block(value) for name, value in arrays.items()}
    ordered = dict(sorted(whole.items(), key=lambda item: -np.dtype(item[1].dtype).itemsize))  # keeps each aligned
    atomic_write(path, lambda stream: _write(stream, ordered, metadata), flush_folder=False)


def _one_block(array: np.ndarray) -> Blocks:
    return Blocks(array.dtype, array.shape, (array,))


def _write(stream: BinaryIO, arrays: Mapping[str, Blocks], metadata: Mapping[str, str]) -> None:
    header: dict[str, Any] = {"__metadata__": dict(metadata)}
    end = 0
    for name, blocks in arrays.items():
        start, end = end, end + _bytes(np.dtype(blocks.dtype), blocks.shape)
        kind = _KINDS[np.dtype(blocks.dtype)]
        header[name] = {"dtype": kind, "shape": list(blocks.shape), "data_offsets": [start, end]}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 64 + 56)  # data begins at a multiple of 64
    stream.write(len(text).to_bytes(8, "little") + text)
    for name, blocks in arrays.items():
        rows = 0
        for part in blocks.parts:
            if part.shape[1:] != blocks.shape[1:]:
                raise ValueError(f"{name}: a piece of shape {part.shape} for an array of shape {blocks.shape}")
            rows += len(part)
            stream.write(np.ascontiguousarray(part, dtype=blocks.dtype).data.cast("B") if part.size else b"")
        if rows != blocks.shape[0]:
            raise ValueError(f"{name}: {rows} rows for an array of shape {blocks.shape}")


def _bytes(dtype: np.dtype, shape: Iterable[int]) -> int:
    return int(np.prod([*shape], dtype=np.int64)) * dtype.itemsize


def read_arrays(path: Path) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """Map a file's arrays into memory; nothing but the header is read.

    Returns:
        name to read-only array, and the metadata.

    Raises:
        ModernirError: The file is missing, cut, or not one that `write_arrays` wrote.
    """
    try:
        with path.open("rb") as stream:
            size = int.from_bytes(stream.read(8), "little")
            if size > _LARGEST_HEADER:
                raise ValueError("its header is longer than any")
            header = json.loads(stream.read(size))
        metadata = header.pop("__metadata__", {})
        found = path.stat().st_size
        expected = 8 + size + max((entry["data_offsets"][1] for entry in header.values()), default=0)
        if found != expected:
            raise ValueError(f"{found} bytes, expected {expected}")
        return dict(_views(path, header, 8 + size)), metadata
    except FileNotFoundError as error:
        raise ModernirError(f"{path}: missing; rebuild the index or restore the file") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ModernirError(f"{path}: damaged ({error}); rebuild the index or restore the file") from error


def _views(path: Path, header: Mapping[str, Any], start: int) -> Iterator[tuple[str, np.ndarray]]:
    memory = np.memmap(path, dtype=np.uint8, mode="r") if path.stat().st_size > start else np.empty(0, np.uint8)
    for name, entry in header.items():
        first, last = (start + offset for offset in entry["data_offsets"])
        dtype = np.dtype(_NAMES[entry["dtype"]])
        if last - first != _bytes(dtype, entry["shape"]):
            raise ValueError(f"{name}: {last - first} bytes for shape {entry['shape']}")
        # A plain array: a memmap's own class makes every slice dearer.
        yield name, np.asarray(memory[first:last]).view(np.ndarray).view(dtype).reshape(entry["shape"])
