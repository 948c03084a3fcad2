"""lancedb with a multi-vector column: all documents scored, or an IVF_PQ index over the tokens."""

import os
from collections.abc import Iterator
from typing import Any

import numpy as np

from .cached import DIM, Tokens
from .system import Setting, System

BLOCK = 256
TABLE = "documents"


class LanceFlat(System):
    """lancedb without an index."""

    def prepare(self) -> None:
        """Import it, and keep it from logging a line about every search."""
        os.environ["LANCE_LOG"] = os.environ["RUST_LOG"] = "error"
        import lancedb  # noqa: F401

    def build(self, documents: Tokens) -> None:
        """Write the table."""
        import lancedb

        blocks = self._batches(0, documents)
        self.table = lancedb.connect(self.folder).create_table(TABLE, blocks, schema=schema())

    def open(self, size: str) -> None:
        """Open the table."""
        import lancedb

        self.table = lancedb.connect(self.folder).open_table(TABLE)

    def search(self, query: np.ndarray, k: int, setting: Setting) -> np.ndarray:
        """Search with one query."""
        found = self._refined(self.table.search(query, vector_column_name="tokens").metric("cosine"), setting)
        return found.select(["position"]).limit(k).to_arrow()["position"].to_numpy()

    def add(self, first: int, documents: Tokens) -> None:
        """Add rows."""
        self.table.add(self._batches(first, documents))

    def delete(self, positions: list[int]) -> None:
        """Delete rows."""
        self.table.delete(f"position IN ({', '.join(map(str, positions))})")

    def _batches(self, first: int, documents: Tokens) -> Iterator[Any]:
        import pyarrow as pa

        for block in documents.blocks(BLOCK):
            values = pa.array(np.asarray(block.values, np.float32).ravel())
            vectors = pa.FixedSizeListArray.from_arrays(values, DIM)
            tokens = pa.ListArray.from_arrays(pa.array(block.offsets, pa.int32()), vectors)
            yield pa.record_batch([pa.array(range(first, first + len(block)), pa.int64()), tokens], schema())
            first += len(block)

    @staticmethod
    def _refined(query: Any, setting: Setting) -> Any:  # noqa: ANN401 - lancedb's query builder
        for name, value in setting.items():
            query = getattr(query, name)(value)
        return query


class LanceIvfPq(LanceFlat):
    """lancedb with its IVF_PQ index: 256 lists, 32 sub-vectors of 8 bits."""

    def build(self, documents: Tokens) -> None:
        """Write the table, make the index and wait for it."""
        from datetime import timedelta

        super().build(documents)
        self.table.create_index(
            "cosine",
            vector_column_name="tokens",
            num_partitions=256,
            num_sub_vectors=32,
            wait_timeout=timedelta(hours=2),
        )


def schema() -> Any:  # noqa: ANN401 - a pyarrow schema, imported where it is used
    """Return the table's columns."""
    import pyarrow as pa

    return pa.schema([("position", pa.int64()), ("tokens", pa.list_(pa.list_(pa.float32(), DIM)))])
