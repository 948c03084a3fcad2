"""Any dense sentence-transformers checkpoint behind the interface of `DenseEncoder`.

The way for every architecture that this package has no network of its own for.
"""

import math
from collections.abc import Sequence

import numpy as np
import torch

from .batching import token_budget_batches
from .checkpoint import Checkpoint
from .dense import DenseEncoder
from .foreign import LONGEST, TextCounter, Texts, load_model, token_budget


class SentenceTransformerEncoder(DenseEncoder):
    """A dense encoder that runs through sentence-transformers; see `DenseEncoder`.

    Attributes:
        model: The `SentenceTransformer`.
    """

    def __init__(self, checkpoint: Checkpoint, device: torch.device, precision: str, trust_remote_code: bool) -> None:
        from sentence_transformers import SentenceTransformer

        self.model = load_model(SentenceTransformer, checkpoint, device, precision, trust_remote_code)
        dim = self.model.encode([""]).shape[1]  # what the modules say of it need not be so
        length = self.model.max_seq_length or checkpoint.max_length
        # a bag of static embeddings reads texts of any length
        length = int(length) if math.isfinite(length) else LONGEST
        super().__init__(checkpoint, int(dim), length, str(device), precision)
        self._counter = TextCounter(self.model.tokenizer)

    def _read(self, texts: Sequence[str], task: str) -> Texts:
        longest = int(getattr(self.model[0], f"{task}_length", None) or self.max_length)
        prompt = self.query_prompt if task == "query" else self.document_prompt
        return self._counter.read(texts, task, prompt, longest)

    def _encode(self, read: Texts) -> np.ndarray:
        encode = self.model.encode_query if read.task == "query" else self.model.encode_document
        vectors = np.empty((len(read.texts), self.dim), dtype=np.float32)
        for batch in token_budget_batches(read.lengths, token_budget(self.device)):
            chosen = [read.texts[number] for number in batch]
            vectors[batch] = encode(chosen, batch_size=len(chosen), show_progress_bar=False, convert_to_numpy=True)
        return vectors
