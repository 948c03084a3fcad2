"""Embeddings kept on disk and found again by their texts, so that no text is encoded twice.

A folder holds the embeddings of one model as shards, files that never change (`embedding_shards.py`). A shard is named
by its content and complete from the moment in which it is there at all: any number of processes may fill one folder,
and one that dies loses what it was writing and nothing else. Rows are mapped for as long as they are read; in memory
there are 20 bytes a text, and 8 more where texts have several rows.
"""

import os
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import numpy as np
import xxhash

from ..errors import InputError
from .embedding_shards import KEYS, Layout, Shard, Vectors, layout_of, ranges, write_shard
from .sorted_keys import SortedKeys
from .tokens import TokenMatrix

STALE_SECONDS = 24 * 3600
"""Age of a half-written file whose process must have died."""
SHARD_BITS = 32
"""A text's place is its shard's number above so many bits, and its number in the shard below."""


def text_key(task: str, text: str) -> int:
    """Return the 64 bits under which the embedding of a "query" or "document" is found."""
    return xxhash.xxh3_64_intdigest(f"{task}\0{text}".encode("utf-8", "surrogatepass"))


class EmbeddingStore:
    """The embeddings of one model in a folder.

    Args:
        folder: Made if it is not there.
        layout: What its rows are; None takes what is there, or comes first.

    Attributes:
        layout: Of all its rows; None as long as there are none.

    Raises:
        InputError: A file in it is damaged, or holds rows of another layout.
    """

    def __init__(self, folder: Path, layout: Layout | None = None) -> None:
        self.folder = folder
        self.layout = layout
        self._names: set[str] = set()
        self._shards: list[Shard] = []
        self._places = SortedKeys()
        folder.mkdir(parents=True, exist_ok=True)
        self._sweep()
        self._refresh()

    def __len__(self) -> int:
        return len(self._places)

    @property
    def dim(self) -> int:
        """Numbers of a row; 0 as long as there are none."""
        return self.layout.dim if self.layout else 0

    @property
    def size(self) -> int:
        """Bytes on disk."""
        return sum(file.stat().st_size for file in self.folder.iterdir() if file.is_file())

    def holds(self, keys: np.ndarray) -> np.ndarray:
        """Say which of (n,) uint64 keys have an embedding, another process's included: (n,) bool.

        Raises:
            InputError: A file that came since is damaged.
        """
        return self._find(keys) >= 0

    def put(self, keys: np.ndarray, vectors: Vectors) -> None:
        """Keep embeddings; durable when it returns. Those of keys that are here already are left as they are.

        Args:
            keys: (n,) uint64, one a text.
            vectors: (n, dim), or the rows of n texts; of the layout of those here.

        Raises:
            InputError: They are of another layout.
            OSError: The disk is full; nothing is then kept of them.
        """
        if len(keys) != len(vectors):
            raise ValueError(f"{len(keys)} keys for the embeddings of {len(vectors)} texts")
        if self.layout not in (None, layout_of(vectors)):
            raise InputError(f"{self.folder}: holds {self.layout}, and these are {layout_of(vectors)}")
        fresh = np.zeros(len(keys), np.bool_)
        fresh[np.unique(keys, return_index=True)[1]] = True
        fresh &= self._find(keys) < 0
        if fresh.any():
            name = write_shard(self.folder, keys[fresh], _some(vectors, fresh))
            self._add([name])

    def take(self, keys: np.ndarray) -> Vectors:
        """Return the embeddings of (n,) uint64 keys in their order, as they were put.

        Raises:
            KeyError: One has none, or there are no rows yet.
            InputError: A file has been damaged since it was written.
        """
        places = self._find(keys)
        if self.layout is None or (places < 0).any():
            raise KeyError("a text that has not been encoded")
        shards, texts = places >> SHARD_BITS, places & ((1 << SHARD_BITS) - 1)
        chosen = [(self._shards[shard], np.flatnonzero(shards == shard)) for shard in np.unique(shards).tolist()]
        if not self.layout.ragged:
            vectors = np.empty((len(keys), self.layout.dim), self.layout.dtype)
            for shard, here in chosen:
                vectors[here] = shard.read(texts[here])[0]
            return vectors
        lengths = np.empty(len(keys), np.int64)
        for shard, here in chosen:
            lengths[here] = shard.lengths(texts[here])
        rows = TokenMatrix.empty(lengths, self.layout.dim, self.layout.dtype)
        for shard, here in chosen:
            own = ranges(rows.offsets[here], lengths[here])
            rows.values[own], scales = shard.read(texts[here])
            if rows.scales is not None:
                rows.scales[own] = scales
        return rows

    def _find(self, keys: np.ndarray) -> np.ndarray:
        """Return the place of each key, (n,) int64, −1 for none; the folder is looked at again where one has none."""
        places = self._places.find(keys)
        if (places < 0).any() and self._refresh():
            places = self._places.find(keys)
        return places

    def _refresh(self) -> bool:
        """Take up the shards that came since, and say whether there were any."""
        files = os.listdir(self.folder)  # noqa: PTH208 - names are all it takes, of thousands of files
        there = {name.removesuffix(KEYS) for name in files if name.endswith(KEYS) and not name.startswith(".")}
        # of a text that is in two shards the first is taken, whatever order they were written in
        fresh = sorted(there - self._names)
        self._add(fresh)
        return bool(fresh)

    def _sweep(self) -> None:
        for file in self.folder.glob(".*.npy.*.tmp"):
            with suppress(FileNotFoundError):  # its process lives, or another one sweeps too
                if file.stat().st_mtime < time.time() - STALE_SECONDS:
                    file.unlink()

    def _add(self, names: list[str]) -> None:
        opened = list(self._opened(names))
        first = len(self._shards)
        places = [(np.int64(first + n) << SHARD_BITS) + np.arange(len(keys)) for n, (_, keys) in enumerate(opened)]
        if opened:
            self._places.add(np.concatenate([keys for _, keys in opened]), np.concatenate(places))
        self._shards += [shard for shard, _ in opened]
        self._names.update(names)

    def _opened(self, names: list[str]) -> Iterator[tuple[Shard, np.ndarray]]:
        for name in names:
            shard, keys = Shard.open(self.folder / name, self.layout)
            self.layout = self.layout or shard.layout
            yield shard, keys


def _some(vectors: Vectors, chosen: np.ndarray) -> Vectors:
    if isinstance(vectors, np.ndarray):
        return vectors[chosen]
    rows = np.repeat(chosen, vectors.lengths)
    offsets = np.concatenate([[0], np.cumsum(vectors.lengths[chosen])]).astype(np.int64)
    return TokenMatrix(vectors.values[rows], offsets, None if vectors.scales is None else vectors.scales[rows])
