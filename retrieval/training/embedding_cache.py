"""A teacher's embeddings on disk, found again by their texts, memory-mapped and added to in shards.

A shard is two files, the vectors and then the keys, so that one without keys was cut short and is not there. Its name
is the hash of its keys: runs that fill one cache at the same time write the same file or different ones.
"""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import xxhash

from ...errors import InputError
from ...files import atomic_write

KEYS, VECTORS = ".keys.npy", ".vectors.npy"


def text_key(task: str, text: str) -> int:
    """Return the 64 bits under which the embedding of a "query" or "document" is found."""
    return xxhash.xxh3_64_intdigest(f"{task}\0{text}".encode())


class EmbeddingCache:
    """Embeddings of one model.

    Args:
        folder: Made if it is not there.
        dim: Numbers of an embedding.
        dtype: Of those on disk, "float16" or "float32".

    Raises:
        InputError: A file in it is damaged, or of another model.
    """

    def __init__(self, folder: Path, dim: int, dtype: str) -> None:
        self.folder = folder
        self.dim = dim
        self.dtype = np.dtype(dtype)
        folder.mkdir(parents=True, exist_ok=True)
        self._load()

    def __len__(self) -> int:
        return len(self._keys)

    def _load(self) -> None:
        names = [file.name.removesuffix(KEYS) for file in sorted(self.folder.glob(f"*{KEYS}"))]
        keys = [self._open(f"{name}{KEYS}", None, np.dtype(np.uint64)) for name in names]
        shards = zip(names, keys, strict=True)
        self._shards = [self._open(f"{name}{VECTORS}", (len(own), self.dim), self.dtype) for name, own in shards]
        self._ends = np.cumsum([len(own) for own in keys], dtype=np.int64)
        # of a text that is in two shards the first is taken, whatever order they were written in
        self._keys, self._rows = np.unique(np.concatenate([np.empty(0, np.uint64), *keys]), return_index=True)

    def _open(self, name: str, shape: tuple[int, int] | None, dtype: np.dtype) -> np.ndarray:
        path = self.folder / name
        try:
            found: np.ndarray = np.load(path, mmap_mode="r", allow_pickle=False)
        except (OSError, ValueError, EOFError) as error:
            raise InputError(f"{path}: damaged ({error}); remove it, and its texts are encoded again") from error
        if found.dtype != dtype or (found.ndim != 1 if shape is None else found.shape != shape):
            raise InputError(f"{path}: {found.dtype} {found.shape} is not what this teacher gives; remove it")
        return found

    def holds(self, keys: np.ndarray) -> np.ndarray:
        """Say which of (n,) uint64 keys have an embedding: (n,) bool."""
        if not len(self):
            return np.zeros(len(keys), dtype=bool)
        found: np.ndarray = self._keys[self._places(keys)] == keys
        return found

    def _places(self, keys: np.ndarray) -> np.ndarray:
        return np.minimum(np.searchsorted(self._keys, keys), len(self) - 1)

    def add(self, shards: Iterable[tuple[np.ndarray, np.ndarray]]) -> None:
        """Write shards as they come; whatever ends this, those that came are kept.

        Args:
            shards: (n,) uint64 keys and (n, dim) vectors.

        Raises:
            OSError: The disk is full.
        """
        try:
            for keys, vectors in shards:
                name = xxhash.xxh3_128_hexdigest(keys.tobytes())
                _save(self.folder / f"{name}{VECTORS}", vectors.astype(self.dtype))
                _save(self.folder / f"{name}{KEYS}", keys)
        finally:
            self._load()

    def take(self, keys: np.ndarray) -> np.ndarray:
        """Return the embeddings of (n,) uint64 keys, (n, dim) float32.

        Raises:
            KeyError: One of them has none.
        """
        if not self.holds(keys).all():
            raise KeyError("a text that the teacher has not encoded")
        rows = self._rows[self._places(keys)]
        shards = np.searchsorted(self._ends, rows, side="right")
        vectors = np.empty((len(keys), self.dim), dtype=np.float32)
        for shard in np.unique(shards).tolist():
            here = shards == shard
            begin = self._ends[shard] - len(self._shards[shard])
            vectors[here] = self._shards[shard][rows[here] - begin]
        return vectors


def _save(path: Path, array: np.ndarray) -> None:
    atomic_write(path, lambda stream: np.save(stream, array, allow_pickle=False))
