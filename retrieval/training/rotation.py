"""A teacher's embeddings at another width: their principal directions, turned towards a model that learns on."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import xxhash

from ...encoders.embedding_store import EmbeddingStore
from ...files import atomic_write

SAMPLE = 20_000
"""Embeddings from which the directions are found."""


def principal_directions(embeddings: np.ndarray, width: int) -> np.ndarray:
    """Return the orthonormal directions on which embeddings are to be projected to keep their inner products best.

    They are the right singular vectors of the matrix as it is, without centring, which is the best approximation of
    its Gram matrix of that rank (Eckart and Young, "The Approximation of One Matrix by Another of Lower Rank", 1936).
    Each points to where its largest number is positive, so that they are the same on every machine.

    Args:
        embeddings: (n, dim).
        width: Of the result; beyond dim, the columns are zero and inner products stay what they are.

    Returns:
        (dim, width) float32, the most important direction first.
    """
    wide = embeddings.astype(np.float64)
    return directions_of(wide.T @ wide, width)


def directions_of(products: np.ndarray, width: int) -> np.ndarray:
    """Return the principal directions of embeddings X of which only Xᵀ X, (dim, dim) float64, is at hand."""
    directions = np.linalg.eigh(products)[1][:, ::-1]
    largest = np.abs(directions).argmax(0)
    directions = directions * np.sign(directions[largest, np.arange(directions.shape[1])])
    result = np.zeros((len(products), width), dtype=np.float32)
    found = min(width, directions.shape[1])
    result[:, :found] = directions[:, :found]
    return result


def turned(directions: np.ndarray, teacher: np.ndarray, student: np.ndarray) -> np.ndarray:
    """Turn directions so that what a teacher's embeddings are on them comes nearest to a student's.

    The inner products on them stay what they are. The orthogonal Procrustes problem (Schönemann, "A generalized
    solution of the orthogonal Procrustes problem", 1966).

    Args:
        directions: (dim, width), see `principal_directions`.
        teacher: (n, dim) embeddings.
        student: (n, width) embeddings of the same texts.

    Returns:
        (dim, width) float32.
    """
    left, _, right = np.linalg.svd((teacher @ directions).astype(np.float64).T @ student.astype(np.float64))
    return (directions @ (left @ right)).astype(np.float32)


def dense_rows(cache: EmbeddingStore, keys: np.ndarray) -> np.ndarray:
    """Return the embeddings of (n,) uint64 keys, (n, dim) float32.

    Raises:
        KeyError: One of them has none.
    """
    return np.asarray(cache.take(keys), np.float32)


def load_rotation(cache: EmbeddingStore, keys: np.ndarray, width: int, seed: int) -> np.ndarray:
    """Return the directions of a seeded sample of embeddings; kept beside them, and found again for the same texts.

    Args:
        cache: Has all the keys.
        keys: (n,) uint64, sorted.
        width: See `principal_directions`.
        seed: Of the sample.
    """
    draw = np.random.default_rng(seed)
    sample = np.sort(draw.choice(keys, SAMPLE, replace=False)) if len(keys) > SAMPLE else keys
    file = cache.folder / f"rotation-{width}-{xxhash.xxh3_64_hexdigest(sample.tobytes())}.npy"
    return kept(file, lambda: principal_directions(dense_rows(cache, sample), width))


def kept(file: Path, make: Callable[[], np.ndarray]) -> np.ndarray:
    """Return the array in a file, which is made where there is none."""
    if not file.is_file():
        made = make()
        atomic_write(file, lambda stream: np.save(stream, made, allow_pickle=False))
    found: np.ndarray = np.load(file, allow_pickle=False)
    return found
