"""What every dense embedder offers, whichever network is behind it: one vector a text."""

from abc import abstractmethod
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from .encoder import TextEncoder
from .encoder import encode_blocks as encode_blocks

TEXTS_PER_BLOCK = 4096
"""Texts that are tokenised at once."""


class DenseEncoder(TextEncoder[np.ndarray]):
    """A single-vector text encoder; see `TextEncoder`. Embeddings of n texts are (n, dim) float32."""

    kind = "dense"

    @property
    def block_size(self) -> int:
        """Texts to hand over at once; see `TextEncoder`."""
        return 512 if self.device == "cpu" else 8192

    @property
    def _texts_at_once(self) -> int:
        return TEXTS_PER_BLOCK

    def _joined(self, count: int, blocks: Iterable[tuple[Sequence[str], np.ndarray]]) -> np.ndarray:
        vectors = np.empty((count, self.dim), dtype=np.float32)
        start = 0
        for block, embedded in blocks:
            vectors[start : start + len(block)] = embedded
            start += len(block)
        return vectors

    @abstractmethod
    def _encode(self, read: Any) -> np.ndarray:  # noqa: ANN401 - what the class's own `_read` returns
        """Embed what `_read` made ready, (n, dim) float32."""
