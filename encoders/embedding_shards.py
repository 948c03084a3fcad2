"""Shards of embeddings on disk: files that say which texts, and what their rows are.

    NAME.vectors.npy    (rows, dim) float32, float16 or int8
    NAME.offsets.npy    (n + 1,) int64, where a text has any number of rows: those from one offset to before the next
    NAME.scales.npy     (rows,) float32, of int8: a row's numbers are its values times its scale
    NAME.sums.npy       (n,) uint32, XXH32 of each text's rows with their scales; a shard without it is not checked
    NAME.keys.npy       (n,) uint64, written last, so that a shard without it was cut short and is not there

NAME is the XXH3-128 of all that: processes that write a shard of one name write the same bytes.
"""

from dataclasses import dataclass
from functools import partial
from mmap import ACCESS_READ, mmap
from pathlib import Path
from typing import BinaryIO

import numpy as np
import xxhash
from numpy.typing import DTypeLike

from ..errors import InputError
from ..files import atomic_write_together
from .tokens import TokenMatrix

VECTORS, OFFSETS, SCALES, SUMS, KEYS = (f".{name}.npy" for name in ("vectors", "offsets", "scales", "sums", "keys"))

Vectors = np.ndarray | TokenMatrix
"""A row a text, (n, dim), or the rows of n texts end to end."""


@dataclass(frozen=True)
class Layout:
    """What rows are.

    Attributes:
        dtype: "float32" or "float16"; "int8" with a scale each, of ragged ones.
        dim: Numbers of a row.
        ragged: Whether a text has any number of rows, and not one.
    """

    dtype: str
    dim: int
    ragged: bool = False

    def __str__(self) -> str:
        each = "any number of rows" if self.ragged else "one row"
        return f"{each} a text of {self.dim} numbers in {self.dtype}"


def layout_of(vectors: Vectors) -> Layout:
    """Return what the rows of embeddings are."""
    if isinstance(vectors, np.ndarray):
        return Layout(vectors.dtype.name, int(vectors.shape[1]))
    return Layout(vectors.values.dtype.name, vectors.dim, ragged=True)


def ranges(starts: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """Return the numbers from each start on, as many as its length says, end to end: (sum of lengths,) int64."""
    ends = np.cumsum(lengths)
    numbers: np.ndarray = np.arange(ends[-1] if len(ends) else 0) + np.repeat(starts - ends + lengths, lengths)
    return numbers


def write_shard(folder: Path, keys: np.ndarray, vectors: Vectors) -> str:
    """Write a shard and return its name; it is durable then.

    Args:
        folder: Is there.
        keys: (n,) uint64, each once.
        vectors: Of n texts.

    Raises:
        OSError: The disk is full; there is no such shard then.
    """
    dense = isinstance(vectors, np.ndarray)
    values = np.ascontiguousarray(vectors if isinstance(vectors, np.ndarray) else vectors.values)
    offsets = np.arange(len(keys) + 1) if isinstance(vectors, np.ndarray) else vectors.offsets
    scales = None if isinstance(vectors, np.ndarray) else vectors.scales
    sums = _sums(values, scales, np.diff(offsets))
    given = {VECTORS: values, OFFSETS: None if dense else offsets, SCALES: scales, SUMS: sums, KEYS: keys}
    arrays = {ending: np.ascontiguousarray(array) for ending, array in given.items() if array is not None}
    digest = xxhash.xxh3_128()
    for array in arrays.values():
        digest.update(_bytes(array))
    name = digest.hexdigest()
    atomic_write_together({folder / f"{name}{ending}": partial(_save, array) for ending, array in arrays.items()})
    return name


@dataclass(frozen=True, eq=False)
class Shard:
    """One that is there; its rows stay on disk.

    Attributes:
        stem: Path of its files without their endings.
        layout: Of its rows.
        rows: Number of them.
        begin: Byte of the file in which they begin.
        sums: (n,) uint32; None where it has none.
        offsets: (n + 1,) int64; None where a text has one row.
    """

    stem: Path
    layout: Layout
    rows: int
    begin: int
    sums: np.ndarray | None
    offsets: np.ndarray | None

    @classmethod
    def open(cls, stem: Path, expected: Layout | None) -> "tuple[Shard, np.ndarray]":
        """Open a shard and return it with its keys, (n,) uint64.

        Raises:
            InputError: A file is damaged, or its rows are not of the layout that is expected.
        """
        keys = _load(stem, KEYS, np.uint64)
        vectors = _mapped(stem, VECTORS)
        sums = _load(stem, SUMS, np.uint32) if _path(stem, SUMS).is_file() else None
        offsets = _load(stem, OFFSETS, np.int64) if _path(stem, OFFSETS).is_file() else None
        if vectors.ndim != 2 or not vectors.flags.c_contiguous:
            raise _damaged(stem, VECTORS, f"an array of shape {vectors.shape}, not rows")
        layout = Layout(vectors.dtype.name, vectors.shape[1], offsets is not None)
        if expected not in (None, layout):
            said = f"{_path(stem, VECTORS)}: {layout}, where {expected} is expected"
            raise InputError(f"{said}; remove {stem.name}.* or name another folder")
        wanted = {VECTORS: len(vectors) if offsets is None else len(offsets) - 1}
        if sums is not None:
            wanted[SUMS] = len(sums)
        for ending, texts in wanted.items():
            if texts != len(keys):
                raise _damaged(stem, ending, f"of {texts:,} texts, where there are {len(keys):,} keys")
        if offsets is not None and (offsets[0] != 0 or offsets[-1] != len(vectors) or (np.diff(offsets) < 0).any()):
            raise _damaged(stem, OFFSETS, f"they are not those of {len(vectors):,} rows")
        return cls(stem, layout, len(vectors), vectors.offset, sums, offsets), keys

    def lengths(self, texts: np.ndarray) -> np.ndarray:
        """Return how many rows texts have, (n,) int64, by their numbers in the shard."""
        if self.offsets is None:
            return np.ones(len(texts), np.int64)
        found: np.ndarray = self.offsets[texts + 1] - self.offsets[texts]
        return found

    def read(self, texts: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
        """Return the rows of texts end to end, and their scales where they have some.

        The file is mapped for so long only: pages of a map that stays count as memory of the process until it holds
        all of it, and an open file each is more than a process may have.

        Args:
            texts: (n,) numbers in the shard.

        Raises:
            InputError: The files are gone or damaged.
        """
        lengths = self.lengths(texts)
        chosen = texts if self.offsets is None else ranges(self.offsets[texts], lengths)
        try:
            with _path(self.stem, VECTORS).open("rb", buffering=0) as stream:
                whole = mmap(stream.fileno(), 0, access=ACCESS_READ)
            rows = np.frombuffer(whole, self.layout.dtype, self.rows * self.layout.dim, self.begin)
        except (OSError, ValueError) as error:
            raise _damaged(self.stem, VECTORS, error) from error
        values = rows.reshape(self.rows, self.layout.dim)[chosen]
        scaled = self.layout.ragged and self.layout.dtype == "int8"
        scales = np.asarray(_mapped(self.stem, SCALES))[chosen] if scaled else None
        if self.sums is not None and (_sums(values, scales, lengths) != self.sums[texts]).any():
            raise _damaged(self.stem, VECTORS, "rows are not as they were written")
        return values, scales


def _sums(values: np.ndarray, scales: np.ndarray | None, lengths: np.ndarray) -> np.ndarray:
    """Return the checksum of each text's rows, which lie end to end, (n,) uint32."""
    stops = np.cumsum(lengths).tolist()
    found = np.empty(len(lengths), np.uint32)
    for number, (stop, length) in enumerate(zip(stops, lengths.tolist(), strict=True)):
        digest = xxhash.xxh32(_bytes(values[stop - length : stop]))
        if scales is not None:
            digest.update(_bytes(scales[stop - length : stop]))
        found[number] = digest.intdigest()
    return found


def _bytes(array: np.ndarray) -> memoryview | bytes:
    return array.data.cast("B") if array.size else b""  # what is empty cannot be cast


def _save(array: np.ndarray, stream: BinaryIO) -> None:
    np.save(stream, array, allow_pickle=False)


def _path(stem: Path, ending: str) -> Path:
    return stem.with_name(f"{stem.name}{ending}")


def _load(stem: Path, ending: str, dtype: DTypeLike) -> np.ndarray:
    found = np.array(_mapped(stem, ending))
    if found.ndim != 1 or found.dtype != dtype:
        raise _damaged(stem, ending, f"{found.dtype} of shape {found.shape}")
    return found


def _mapped(stem: Path, ending: str) -> np.memmap:
    try:
        found: np.memmap = np.load(_path(stem, ending), mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise _damaged(stem, ending, error) from error
    return found


def _damaged(stem: Path, ending: str, reason: object) -> InputError:
    said = " ".join(str(reason).split())
    return InputError(
        f"{_path(stem, ending)}: damaged ({said}); remove {stem.name}.* there, and its texts are encoded again"
    )
