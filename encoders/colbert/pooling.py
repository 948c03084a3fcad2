"""Fewer vectors a document: like tokens are merged into their mean, by hierarchical clustering.

Clavié, Chaffin and Adams, "Reducing the Footprint of Multi-Vector Retrieval with Minimal Performance Impact via Token
Pooling" (2024), arXiv 2409.14683: Ward's clustering of a document's tokens by cosine distance, cut where one cluster
is left for every `factor` tokens. Numbers are those of sentence-transformers' `HierarchicalTokenPooling`.
"""

import numpy as np

from ..tokens import TokenMatrix
from .settings import TokenPooling


def pooled(tokens: TokenMatrix, pooling: TokenPooling) -> TokenMatrix:
    """Merge like tokens of every text.

    Args:
        tokens: Rows of length 1.
        pooling: How.

    Returns:
        The first `protected` rows of each text as they are, then the means of its clusters; float32.
    """
    if pooling.factor <= 1:
        rows = tokens.values.astype(np.float32)
        return TokenMatrix(_unit(rows) if pooling.normalized else rows, tokens.offsets)
    texts = [_pooled(rows.astype(np.float32, copy=False), pooling) for rows in tokens]
    return TokenMatrix.of(texts, tokens.dim)


def _pooled(rows: np.ndarray, pooling: TokenPooling) -> np.ndarray:
    protected, others = rows[: pooling.protected], rows[pooling.protected :]
    clusters = max(int(len(others) // pooling.factor), 1)
    if clusters < len(others):
        labels = _labels(others, clusters)
        sums = np.zeros((labels.max() + 1, rows.shape[1]), dtype=np.float32)
        np.add.at(sums, labels, others)
        rows = np.concatenate([protected, sums / np.bincount(labels)[:, None].astype(np.float32)])
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
