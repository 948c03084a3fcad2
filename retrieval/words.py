"""BM25 as a system of its own: what stands where an encoder stands, and makes no vectors worth the name.

An index keeps the full text beside the vectors and ranks by it without them, so that a lexical evaluation is the same
build, resumed and reused alike, of an index whose vectors are a zero each.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import xxhash

from ..index.bm25 import DEFAULT
from ..index.lexical_terms import TOKENIZER

ENGINE: Mapping[str, Any] = {"structure": "flat"}
"""Settings of its index: no structure over vectors that nothing looks at."""


class Words:
    """Takes an encoder's place in a lexical search; see `retrieval.encoder.Encoder` for the attributes."""

    kind = "dense"
    name = "BM25"
    dim = 1
    similarity = "dot"
    precision = "none"
    max_length = 0
    query_prompt = document_prompt = ""
    block_size = 4096

    @property
    def fingerprint(self) -> str:
        """Changes with BM25's constants and the tokenizer."""
        return xxhash.xxh3_128(f"BM25 {DEFAULT.k1} {DEFAULT.b} {TOKENIZER}".encode()).hexdigest()

    def encode_queries(self, texts: Sequence[str]) -> np.ndarray:
        """Return (n, 1) zeros."""
        return np.zeros((len(texts), self.dim), np.float32)

    def encode_documents(self, texts: Sequence[str]) -> np.ndarray:
        """Return (n, 1) zeros."""
        return self.encode_queries(texts)
