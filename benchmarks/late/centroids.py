"""Centroids that are handed to fast-plaid in place of its own k-means."""

from pathlib import Path

import numpy as np

from .cached import DIM, load_tokens
from .prepare import save

COUNT = 4096
POINTS = 48
"""Training tokens a centroid."""


def train(folder: Path) -> None:
    """Train spherical k-means with FAISS on tokens of the real documents; keep the result in the folder."""
    import faiss

    if (folder / "centroids.npy").is_file():
        return
    values = load_tokens(folder, "tokens.npy", "offsets.npy").values
    count = min(COUNT, len(values) // POINTS)
    rows = np.random.default_rng(0).choice(len(values), count * POINTS, replace=False)
    kmeans = faiss.Kmeans(DIM, count, niter=10, spherical=True, seed=1, min_points_per_centroid=1)
    kmeans.train(values[np.sort(rows)].astype(np.float32))
    save(folder / "centroids.npy", kmeans.centroids)
