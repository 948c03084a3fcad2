"""The folder of token vectors that the systems are measured on: names, shapes and how to read them.

NumPy and the standard library only, since the peers read it with interpreters of their own. `prepare` fills it.
"""

import json
import mmap
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

DIM = 128
TOP = 100
NOISE = 0.6
"""Length of the noise added to a unit vector by `noisy`: cosines of 1 / sqrt(1 + NOISE²) = 0.86 to the original."""


@dataclass(frozen=True)
class Tokens:
    """Token vectors of several texts, end to end.

    Attributes:
        values: (tokens, dim) float16 or float32, rows L2-normalised.
        offsets: (texts + 1,) int64, where each text starts and the last one ends.
    """

    values: np.ndarray
    offsets: np.ndarray

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, text: int) -> np.ndarray:
        return self.values[self.offsets[text] : self.offsets[text + 1]]

    def part(self, first: int, last: int) -> "Tokens":
        """Return the texts from `first` to before `last`; the values are a view."""
        offsets = self.offsets[first : last + 1]
        return Tokens(self.values[offsets[0] : offsets[-1]], offsets - offsets[0])

    def blocks(self, texts: int) -> Iterator["Tokens"]:
        """Yield the texts in order, `texts` at a time; pages of a mapped file do not stay in this process's memory."""
        mapped = getattr(self.values, "_mmap", None)
        for first in range(0, len(self), texts):
            yield self.part(first, min(first + texts, len(self)))
            if mapped is not None:
                mapped.madvise(mmap.MADV_DONTNEED)


@dataclass(frozen=True)
class Size:
    """A collection made of the real documents and noisy copies of them.

    Attributes:
        name: What the command line calls it.
        copies: How often the documents are there, the real ones included.
        queries: How many of the queries have an exact answer; the first ones.
    """

    name: str
    copies: int
    queries: int


SIZES = {size.name: size for size in (Size("1m", 1, 300), Size("4m", 3, 100), Size("10m", 8, 100))}


@dataclass(frozen=True)
class Collection:
    """Documents, queries and the exact answer, see `load`.

    Attributes:
        documents: float16 values, memory-mapped.
        queries: float32 values.
        exact: (queries, TOP) int64, the best documents by exact MaxSim, best first, equal scores by position.
        exact_scores: (queries, TOP) float32.
        relevant: One list a query: positions of the documents judged relevant.
    """

    documents: Tokens
    queries: Tokens
    exact: np.ndarray
    exact_scores: np.ndarray
    relevant: list[list[int]]

    @property
    def tokens(self) -> int:
        """Tokens of all documents."""
        return len(self.documents.values)


def noisy(texts: Tokens, random: np.random.Generator) -> Tokens:
    """Return a copy with Gaussian noise, as float32."""
    values = texts.values.astype(np.float32)
    values += random.standard_normal(values.shape, np.float32) * np.float32(NOISE / np.sqrt(values.shape[1]))
    values /= np.linalg.norm(values, axis=1, keepdims=True)
    return Tokens(values, texts.offsets)


def document_files(size: Size) -> tuple[str, str]:
    """Return the names of the values and the offsets of a size."""
    ending = ".npy" if size.copies == 1 else f"_{size.name}.npy"
    return f"tokens{ending}", f"offsets{ending}"


def exact_file(size: Size) -> str:
    """Return the name of the exact answers of a size."""
    return f"exact_{size.name}_top.npz"


def load_tokens(folder: Path, values: str, offsets: str) -> Tokens:
    """Map a pair of files."""
    return Tokens(np.load(folder / values, mmap_mode="r"), np.load(folder / offsets))


def load_json(path: Path) -> Any:  # noqa: ANN401 - whatever JSON can hold
    """Read a JSON file."""
    return json.loads(path.read_text(encoding="utf-8"))


def load(folder: Path, name: str) -> Collection:
    """Read the collection of a size; `prepare.prepare` must have made it."""
    size = SIZES[name]
    queries = load_tokens(folder, "query_tokens.npy", "query_offsets.npy").part(0, size.queries)
    with np.load(folder / exact_file(size), allow_pickle=False) as top:
        positions, scores = top["positions"], top["scores"]
    rows = {identifier: row for row, identifier in enumerate(load_json(folder / "ids.json"))}
    judged = load_json(folder / "qrels.json")
    relevant = [
        [rows[document] for document, grade in judged[query].items() if grade > 0 and document in rows]
        for query in load_json(folder / "query_ids.json")[: size.queries]
    ]
    return Collection(load_tokens(folder, *document_files(size)), queries, positions, scores, relevant)
