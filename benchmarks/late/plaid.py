"""fast-plaid, a PLAID index in Rust over torch (Santhanam et al., 2022, PLAID).

Its k-means, flat over 16·√tokens centroids, takes longer than all the rest of its build; `FastPlaid` is handed
centroids that FAISS trained instead, fewer than it would take, which favours it in build and search time alike.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from .cached import Tokens
from .system import Setting, System


class FastPlaid(System):
    """fast-plaid with 4 bits and given centroids."""

    own_kmeans = False

    def prepare(self) -> None:
        """Import it and limit torch's threads."""
        import torch
        from fast_plaid import search

        torch.set_num_threads(self.threads)
        if not self.own_kmeans:
            module = search.fast_plaid
            module.compute_kmeans = self._given(module.compute_kmeans)

    def build(self, documents: Tokens) -> None:
        """Create the index from a list of tensors, as it wants them."""
        self._connect()
        self.plaid.create(documents_embeddings=tensors(documents), nbits=4)

    def open(self, size: str) -> None:
        """Load the index."""
        self._connect()

    def search(self, query: np.ndarray, k: int, setting: Setting) -> np.ndarray:
        """Search with one query."""
        import torch

        found = self.plaid.search(torch.from_numpy(query)[None], top_k=k, show_progress=False, n_processes=1, **setting)
        return np.array([position for position, _ in found[0]], np.int64)

    def search_all(self, queries: Tokens, k: int, setting: Setting) -> list[np.ndarray]:
        """Search with many queries in one call, in as many joblib threads as are allowed."""
        found = self.plaid.search(tensors(queries), top_k=k, show_progress=False, n_processes=self.threads, **setting)
        return [np.array([position for position, _ in row], np.int64) for row in found]

    def add(self, first: int, documents: Tokens) -> None:
        """Update; it writes in place and flushes nothing, so a crash may lose more than the added documents."""
        self.plaid.update(documents_embeddings=tensors(documents))

    def delete(self, positions: list[int]) -> None:
        """Delete; it writes in place and numbers the documents anew."""
        self.plaid.delete(subset=positions)

    def _connect(self) -> None:
        from fast_plaid import search

        self.plaid = search.FastPlaid(index=str(self.folder), device="cpu")

    def _given(self, original: Callable[..., Any]) -> Callable[..., Any]:
        import torch

        def compute_kmeans(**arguments: object) -> torch.Tensor:
            if arguments.get("num_partitions") is not None:  # of outliers, while it adds
                return original(**arguments)
            return torch.from_numpy(np.load(self.collection / "centroids.npy")).half()

        return compute_kmeans


class FastPlaidOwnKmeans(FastPlaid):
    """fast-plaid as it comes."""

    own_kmeans = True


def tensors(texts: Tokens) -> list:
    """Return one (tokens, dim) float16 tensor a text."""
    import torch

    return [
        torch.from_numpy(np.array(block[row], np.float16)) for block in texts.blocks(256) for row in range(len(block))
    ]
