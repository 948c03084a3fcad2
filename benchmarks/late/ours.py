"""modernir through its public interface."""

import numpy as np

from .cached import DIM, Tokens
from .system import Setting, System

BLOCK = 512
"""Documents an add call."""


class Modernir(System):
    """A late-interaction index of modernir.

    Attributes:
        nbits: Bits of a residual's component.
    """

    nbits = 4

    def prepare(self) -> None:
        """Import it."""
        import modernir.index.index  # noqa: F401

    def build(self, documents: Tokens) -> None:
        """Add all in one batch, then compact."""
        from modernir.index.index import Index

        with Index.create(self.folder, kind="late", dim=DIM, nbits=self.nbits) as index:
            with index.batch():
                first = 0
                for block in documents.blocks(BLOCK):
                    index.add(names(first, len(block)), (block.values.astype(np.float32), block.offsets))
                    first += len(block)
            index.compact()

    def open(self, size: str) -> None:
        """Map the files."""
        from modernir.index.index import Index

        self.index = Index.open(self.folder)

    def search(self, query: np.ndarray, k: int, setting: Setting) -> np.ndarray:
        """Search with one query."""
        ids, _ = self.index.search((query, np.array([0, len(query)])), k, threads=1, **setting)
        return np.array(ids[0], np.int64)

    def search_all(self, queries: Tokens, k: int, setting: Setting) -> list[np.ndarray]:
        """Search with many queries in one call."""
        ids, _ = self.index.search((queries.values, queries.offsets), k, threads=self.threads, **setting)
        return [np.array(row, np.int64) for row in ids]

    def add(self, first: int, documents: Tokens) -> None:
        """Add in one commit."""
        self._writer().add(names(first, len(documents)), (documents.values, documents.offsets))

    def delete(self, positions: list[int]) -> None:
        """Delete in one commit."""
        self._writer().delete([str(position) for position in positions])

    def _writer(self):  # noqa: ANN202 - an Index, imported where it is used
        from modernir.index.index import Index

        if not hasattr(self, "_open_writer"):
            self._open_writer = Index.open(self.folder, writable=True)
        return self._open_writer


class Modernir2(Modernir):
    """The same with 2 bits."""

    nbits = 2


class Modernir8(Modernir):
    """The same with 8 bits."""

    nbits = 8


class Modernir16(Modernir):
    """The same without a codec; it scores all documents."""

    nbits = 16


def names(first: int, count: int) -> list[str]:
    """Return the ids of documents at consecutive positions."""
    return [str(position) for position in range(first, first + count)]
