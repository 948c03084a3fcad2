"""Fewer vectors a document: like tokens are merged into their mean, by hierarchical clustering.

Clavié, Chaffin and Adams, "Reducing the Footprint of Multi-Vector Retrieval with Minimal Performance Impact via Token
Pooling" (2024), arXiv 2409.14683: Ward's clustering of a document's tokens by cosine distance, cut where one cluster
is left for every `factor` tokens. Numbers are those of sentence-transformers' `HierarchicalTokenPooling`.
"""

import numpy as np

from ..tokens import TokenMatrix
from .settings import TokenPooling

MOST_TOGETHER = 8192
"""Tokens that are clustered together, since time and memory grow with their square: a longer text is merged stretch by
stretch."""


def pooled(tokens: TokenMatrix, pooling: TokenPooling, row_type: str = "float32") -> TokenMatrix:
    """Merge like tokens of every text.

    Args:
        tokens: Rows of length 1.
        pooling: How.
        row_type: Type of the rows that are returned, see `TokenMatrix`.

    Returns:
        The first `protected` rows of each text as they are, then the means of its clusters.
    """
    if pooling.factor <= 1:
        rows = tokens.astype(np.float32).values
        return TokenMatrix(_unit(rows) if pooling.normalized else rows, tokens.offsets).astype(row_type)
    texts = [_pooled(rows.astype(np.float32, copy=False), pooling) for rows in tokens]
    return TokenMatrix.of(texts, tokens.dim, row_type)


def places(rows: np.ndarray, pooling: TokenPooling) -> np.ndarray:
    """Say which row of a merged text each of its rows becomes part of.

    Args:
        rows: (n, dim) of one text, of length 1.
        pooling: How they are merged.

    Returns:
        (n,) int64, without gaps from 0.
    """
    others = rows[pooling.protected :].astype(np.float32, copy=False)
    found, count = [np.arange(len(rows) - len(others))], len(rows) - len(others)
    for start in range(0, len(others), MOST_TOGETHER):
        stretch = others[start : start + MOST_TOGETHER]
        clusters = max(int(len(stretch) // pooling.factor), 1)
        labels = _labels(stretch, clusters) if clusters < len(stretch) else np.arange(len(stretch))
        found.append(count + labels)
        count += int(labels.max()) + 1
    return np.concatenate(found)


def _pooled(rows: np.ndarray, pooling: TokenPooling) -> np.ndarray:
    into = places(rows, pooling)
    count = int(into.max(initial=-1)) + 1
    if count < len(rows):
        sums = np.zeros((count, rows.shape[1]), dtype=np.float32)
        np.add.at(sums, into, rows)
        rows = sums / np.bincount(into)[:, None].astype(np.float32)
    return _unit(rows) if pooling.normalized else rows


def _labels(rows: np.ndarray, clusters: int) -> np.ndarray:
    """Return the cluster of each row, numbered without gaps from 0."""
    from scipy.cluster.hierarchy import fcluster, linkage
    from scipy.spatial.distance import squareform

    distances = np.clip(1 - rows @ rows.T, 0, 2)
    tree = linkage(squareform(distances, checks=False), method="ward")
    labels: np.ndarray = np.unique(fcluster(tree, t=clusters, criterion="maxclust"), return_inverse=True)[1]
    return labels


def _unit(rows: np.ndarray) -> np.ndarray:
    return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12).astype(np.float32)
