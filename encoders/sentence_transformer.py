"""Any dense sentence-transformers checkpoint behind the interface of `DenseEncoder`.

The way for every architecture that this package has no network of its own for.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch

from .batching import token_budget_batches
from .checkpoint import TASKS, Checkpoint
from .dense import DenseEncoder
from .foreign import LONGEST, TextCounter, Texts, load_model, token_budget


class SentenceTransformerEncoder(DenseEncoder):
    """A dense encoder that runs through sentence-transformers; see `DenseEncoder`.

    Attributes:
        model: The `SentenceTransformer`.

    Args:
        checkpoint: What it says; where the first module is a `Router`, of the route.
        device: Where to run.
        precision: What to compute in.
        trust_remote_code: Run Python code that the checkpoint brings.
        tower: Task and name of the route that this encoder is for; None where there is no `Router`.
        model: The model, where it is loaded already.

    Raises:
        InputError: The library cannot load it.
    """

    def __init__(
        self,
        checkpoint: Checkpoint,
        device: torch.device,
        precision: str,
        trust_remote_code: bool,
        tower: tuple[str, str] | None = None,
        model: Any = None,  # noqa: ANN401 - a SentenceTransformer
    ) -> None:
        from sentence_transformers import SentenceTransformer

        self.model = model or load_model(SentenceTransformer, checkpoint, device, precision, trust_remote_code)
        task, route = tower or ("document", None)
        dim = self._encoder(task)([""], show_progress_bar=False).shape[1]  # what the modules say of it need not be so
        self._reads = self.model[0] if route is None else self.model[0].sub_modules[route][0]
        length = getattr(self._reads, "max_seq_length", None) or checkpoint.max_length
        # a bag of static embeddings reads texts of any length
        length = int(length) if math.isfinite(length) else LONGEST
        super().__init__(checkpoint, int(dim), length, str(device), precision)
        self.query_length, self.document_length = (self._longest(task) for task in TASKS)
        self._counter = TextCounter(self._reads.tokenizer if route else self.model.tokenizer)

    def _encoder(self, task: str) -> Callable[..., np.ndarray]:
        found: Callable[..., np.ndarray] = self.model.encode_query if task == "query" else self.model.encode_document
        return found

    def _longest(self, task: str) -> int:
        return int(getattr(self._reads, f"{task}_length", None) or self.max_length)

    def _read(self, texts: Sequence[str], task: str) -> Texts:
        prompt = self.query_prompt if task == "query" else self.document_prompt
        return self._counter.read(texts, task, prompt, self._longest(task))

    def _encode(self, read: Texts) -> np.ndarray:
        encode = self._encoder(read.task)
        vectors = np.empty((len(read.texts), self.dim), dtype=np.float32)
        for batch in token_budget_batches(read.lengths, token_budget(self.device)):
            chosen = [read.texts[number] for number in batch]
            vectors[batch] = encode(chosen, batch_size=len(chosen), show_progress_bar=False, convert_to_numpy=True)
        return vectors
