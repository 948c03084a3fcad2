"""Centroids of tokens: k-means in two levels with FAISS.

A first k-means makes about 2·√K cells, a second one in each cell its share of the centroids, by size: the cost of
k-means with some √K centroids, twice, for K of them. Same sample and same seed give the same centroids.
"""

import numpy as np

ROUNDS = 8
PER_CENTROID = 48  # tokens of the sample for each centroid; the first level uses at most _PER_CELL a cell
_PER_CELL = 256


def centroid_count(tokens: int) -> int:
    """Return how many centroids a collection calls for: the power of two nearest to 4·√tokens."""
    return 1 << round(np.log2(4 * np.sqrt(max(tokens, 1))))


def two_level(sample: np.ndarray, count: int, spherical: bool, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Train centroids.

    Args:
        sample: (n, dim) float32, n at least 1; rows of length 1 if spherical.
        count: Number of centroids wanted; there are fewer where the sample has fewer different rows.
        spherical: Whether centroids have length 1 too.
        seed: Of the choice of first centroids.

    Returns:
        centroids (≤ count, dim) and cells (about 2·√count, dim), float32.
    """
    sample = np.ascontiguousarray(sample, dtype=np.float32)
    if len(sample) < 2 * count:
        sample = np.unique(sample, axis=0)
    count = min(count, len(sample))
    cells = _clusters(sample, min(count, 1 << round(np.log2(count) / 2 + 1)), spherical, seed)
    owners = _nearest(sample, cells)
    sizes = np.bincount(owners, minlength=len(cells))
    order = np.argsort(owners, kind="stable")
    members = np.split(order, np.cumsum(sizes)[:-1])
    shares = _shares(sizes, count)
    found = [
        _clusters(sample[rows], share, spherical, seed) for rows, share in zip(members, shares, strict=True) if share
    ]
    return np.concatenate(found), cells


def _clusters(sample: np.ndarray, count: int, spherical: bool, seed: int) -> np.ndarray:
    if count >= len(sample):
        return sample
    import faiss

    training = faiss.Kmeans(
        sample.shape[1],
        count,
        niter=ROUNDS,
        seed=seed,
        spherical=spherical,
        min_points_per_centroid=1,
        max_points_per_centroid=_PER_CELL,
    )
    training.train(sample)
    return np.asarray(training.centroids, dtype=np.float32)


def _nearest(sample: np.ndarray, cells: np.ndarray) -> np.ndarray:
    import faiss

    index = faiss.IndexFlatL2(cells.shape[1])
    index.add(cells)
    return np.asarray(index.search(sample, 1)[1][:, 0])


def _shares(sizes: np.ndarray, count: int) -> np.ndarray:
    """Share out centroids by size, never more to a cell than it has members (largest remainders)."""
    exact = sizes * (count / sizes.sum())
    shares = np.minimum(np.maximum(np.floor(exact).astype(np.int64), sizes > 0), sizes)
    while (missing := count - int(shares.sum())) != 0:
        step = 1 if missing > 0 else -1
        able = shares < sizes if missing > 0 else shares > 1
        wish = np.where(able, step * (exact - shares), -np.inf)
        chosen = np.argsort(-wish, kind="stable")[: min(abs(missing), int(able.sum()))]
        shares[chosen] += step
    return shares
