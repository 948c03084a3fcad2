"""What every dense embedder offers, whichever network is behind it: one vector a text."""

from abc import ABC, abstractmethod
from collections.abc import Sequence

import numpy as np

from .checkpoint import Checkpoint


class DenseEncoder(ABC):
    """A single-vector text encoder; `modernir.load_encoder` makes one.

    Attributes:
        name: The model's folder or hub name, as it was given.
        dim: Length of an embedding.
        max_length: Tokens that are read of a text; the rest is cut.
        similarity: "cosine" (embeddings are compared normalised) or "dot".
        device: Where it runs, such as "cpu" or "cuda:0".
        precision: "fp32", "bf16" or "fp16"; embeddings are float32 whatever it is.
        fingerprint: 32 hexadecimal digits that change when the model does.
        query_prompt, document_prompt: Texts put before every query and document.
    """

    def __init__(self, checkpoint: Checkpoint, dim: int, max_length: int, device: str, precision: str) -> None:
        self.name = checkpoint.name
        self.dim = dim
        self.max_length = max_length
        self.similarity = checkpoint.similarity
        self.device = device
        self.precision = precision
        self.query_prompt = checkpoint.prompt("query")
        self.document_prompt = checkpoint.prompt("document")
        self._checkpoint = checkpoint
        self._fingerprint: str | None = None

    @property
    def block_size(self) -> int:
        """Texts to hand over at once: enough to fill batches with texts of like length, few enough to see progress."""
        return 512 if self.device == "cpu" else 8192

    @property
    def fingerprint(self) -> str:
        """See the class; computed on first use."""
        if self._fingerprint is None:
            self._fingerprint = self._checkpoint.fingerprint()
        return self._fingerprint

    def encode_queries(self, texts: Sequence[str]) -> np.ndarray:
        """Return the embeddings of queries, (n, dim) float32, in the order of `texts`."""
        return self._checked(texts, self.query_prompt, "query")

    def encode_documents(self, texts: Sequence[str]) -> np.ndarray:
        """Return the embeddings of documents, (n, dim) float32, in the order of `texts`."""
        return self._checked(texts, self.document_prompt, "document")

    def _checked(self, texts: Sequence[str], prompt: str, task: str) -> np.ndarray:
        if isinstance(texts, str):
            raise TypeError(f"expected a list of texts, found one text; write [{texts[:20]!r}]")
        if len(texts) == 0:
            return np.empty((0, self.dim), dtype=np.float32)
        return self._encode(texts, prompt, task)

    @abstractmethod
    def _encode(self, texts: Sequence[str], prompt: str, task: str) -> np.ndarray:
        """Embed at least one text, (n, dim) float32."""
