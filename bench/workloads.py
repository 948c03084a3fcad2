"""What is encoded: the lengths, in tokens, of the texts of each workload, drawn with a seed.

Passages have a mean of 171 tokens and a standard deviation of 80, queries are log-normal with a mean of 16, as
measured on retrieval collections; the fixed and the variable shapes are those of the ModernBERT paper. Special tokens
count.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

SHORTEST = 4
SORTED_CORPUS = 10_000
Draw = Callable[[np.random.Generator, int, int], np.ndarray]
"""Makes lengths from a generator, the number of texts and the model's maximum length."""


@dataclass(frozen=True)
class Shape:
    """One kind of workload.

    Attributes:
        texts: How many, before scaling.
        draw: Their lengths.
        task: "query" or "document".
        longest: Tokens that a model has to read for the workload to mean anything.
        about: A line for the user.
        batch: Texts a call; None hands them over in one.
    """

    texts: int
    draw: Draw
    task: str
    longest: int
    about: str
    batch: int | None = None


@dataclass(frozen=True)
class Workload:
    """A drawn workload.

    Attributes:
        name: One of `SHAPES`.
        task: "query" or "document".
        lengths: Tokens that each text is to have.
        batch: Texts a call; None hands them over in one.
    """

    name: str
    task: str
    lengths: tuple[int, ...]
    batch: int | None = None


def passages(random: np.random.Generator, texts: int, longest: int) -> np.ndarray:
    """Return lengths of passages, (texts,) int64."""
    return _clipped(random.normal(171, 80, texts), longest)


def queries(random: np.random.Generator, texts: int, longest: int) -> np.ndarray:
    """Return lengths of queries, (texts,) int64: log-normal, with a mean of 16 and a deviation of 0.5 in the log."""
    return _clipped(random.lognormal(np.log(16) - 0.5**2 / 2, 0.5, texts), longest)


def neighbours(random: np.random.Generator, texts: int, longest: int) -> np.ndarray:
    """Return lengths of passages that lie side by side in a large corpus sorted by length, (texts,) int64."""
    corpus = np.sort(passages(random, max(SORTED_CORPUS, texts), longest))
    start = min(int(np.searchsorted(corpus, corpus.mean())), len(corpus) - texts)
    return corpus[start : start + texts]


def _fixed(tokens: int) -> Draw:
    return lambda random, texts, longest: np.full(texts, tokens)


def _normal(mean: int, deviation: int) -> Draw:
    return lambda random, texts, longest: _clipped(random.normal(mean, deviation, texts), longest)


def _clipped(lengths: np.ndarray, longest: int) -> np.ndarray:
    return np.clip(lengths.round(), SHORTEST, longest).astype(np.int64)


SHAPES = {
    "queries": Shape(96, queries, "query", 16, "queries, mean 16 tokens"),
    "single": Shape(32, queries, "query", 16, "queries, mean 16 tokens, one a call", batch=1),
    "calls32": Shape(96, queries, "query", 16, "queries, mean 16 tokens, 32 a call", batch=32),
    "passages": Shape(24, passages, "document", 171, "random passages, mean 171 tokens, in one call"),
    "bulk": Shape(16, neighbours, "document", 171, "neighbours in a corpus of 10,000 passages sorted by length"),
    "long": Shape(1, lambda random, texts, longest: np.full(texts, longest), "document", 1, "the model's longest text"),
    "fixed512": Shape(8, _fixed(512), "document", 512, "512 tokens each"),
    "fixed8192": Shape(1, _fixed(8192), "document", 8192, "8,192 tokens each"),
    "variable256": Shape(16, _normal(256, 64), "document", 256, "normal, mean 256, deviation 64"),
    "variable4096": Shape(2, _normal(4096, 1024), "document", 4096, "normal, mean 4,096, deviation 1,024"),
}


def draw_workload(name: str, longest: int, scale: float = 1.0, seed: int = 0) -> Workload | None:
    """Draw the lengths of one workload, or return None where the model cannot read texts that long.

    Args:
        name: One of `SHAPES`.
        longest: Tokens that the model reads.
        scale: Times as many texts as usual, at least one.
        seed: The same seed gives the same lengths.
    """
    shape = SHAPES[name]
    if shape.longest > longest:
        return None
    texts = max(1, round(shape.texts * scale))
    lengths = shape.draw(np.random.default_rng(seed), texts, longest)
    return Workload(name, shape.task, tuple(int(length) for length in lengths), shape.batch)
