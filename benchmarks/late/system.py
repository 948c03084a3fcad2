"""What a measured system can do: built once in a folder, opened from it, searched, added to and deleted from.

The systems are classes with one form, so that one worker and one program of measurements serve them all. A document is
known by its position in the collection. Each class imports its library in `prepare`, in a process of its own.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from .cached import Tokens

Setting = Mapping[str, int | bool]
"""Arguments of a search; an empty one means the system's defaults."""


class System(ABC):
    """One system over one folder.

    Args:
        folder: Where its index is, or will be.
        collection: The folder that `cached` reads; for systems that keep no index of their own.
        threads: Threads that it may use.
    """

    def __init__(self, folder: Path, collection: Path, threads: int) -> None:
        self.folder, self.collection, self.threads = folder, collection, threads

    @abstractmethod
    def prepare(self) -> None:
        """Import the library; not counted in any figure but that of the import."""

    @abstractmethod
    def build(self, documents: Tokens) -> None:
        """Make the index, complete and on disk."""

    @abstractmethod
    def open(self, size: str) -> None:
        """Make it ready for searching; `size` is the collection's name."""

    @abstractmethod
    def search(self, query: np.ndarray, k: int, setting: Setting) -> np.ndarray:
        """Return (≤ k,) positions of the best documents, best first, for one (tokens, dim) float32 query."""

    def search_all(self, queries: Tokens, k: int, setting: Setting) -> list[np.ndarray]:
        """Return the positions for many queries, handed over at once where the library takes them so."""
        return [self.search(queries[row], k, setting) for row in range(len(queries))]

    def add(self, first: int, documents: Tokens) -> None:
        """Add documents at the positions from `first`; done when a crash would no longer lose them.

        Raises:
            NotImplementedError: The system cannot.
        """
        raise NotImplementedError("keeps no index")

    def delete(self, positions: list[int]) -> None:
        """Delete documents; see `add`.

        Raises:
            NotImplementedError: The system cannot.
        """
        raise NotImplementedError("keeps no index")
