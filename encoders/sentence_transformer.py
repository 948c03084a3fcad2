"""Any dense sentence-transformers checkpoint behind the interface of `DenseEncoder`.

The way for every architecture that this package has no network of its own for.
"""

import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from tokenizers import Tokenizer

from ..errors import InputError
from .batching import token_budget_batches
from .checkpoint import Checkpoint
from .dense import DenseEncoder
from .precision import torch_dtype

TOKENS_PER_BATCH = {"cpu": 8192, "cuda": 65536}
CHARACTERS_PER_TOKEN = 4
LONGEST = 1 << 20


@dataclass(frozen=True)
class Texts:
    """Texts of a task with the tokens that are read of each, and how many texts that cuts."""

    task: str
    texts: Sequence[str]
    lengths: list[int]
    cut: int


class SentenceTransformerEncoder(DenseEncoder):
    """A dense encoder that runs through sentence-transformers; see `DenseEncoder`.

    Attributes:
        model: The `SentenceTransformer`.
    """

    def __init__(self, checkpoint: Checkpoint, device: torch.device, precision: str, trust_remote_code: bool) -> None:
        from sentence_transformers import SentenceTransformer
        from transformers.utils import logging as transformers_logging

        transformers_logging.disable_progress_bar()
        logging.getLogger("sentence_transformers").setLevel(logging.WARNING)
        try:
            self.model = SentenceTransformer(
                str(checkpoint.folder),
                device=str(device),
                trust_remote_code=trust_remote_code,
                model_kwargs={"dtype": torch_dtype(precision), "use_safetensors": True},
            )
        except Exception as error:  # every parser and loader on the way raises its own
            reason = str(error).strip().split("\n")[0]
            raise InputError(f"{checkpoint.name}: sentence-transformers cannot load it ({reason})") from error
        dim = self.model.encode([""]).shape[1]  # what the modules say of it need not be so
        length = self.model.max_seq_length or checkpoint.max_length
        # a bag of static embeddings reads texts of any length
        length = int(length) if math.isfinite(length) else LONGEST
        super().__init__(checkpoint, int(dim), length, str(device), precision)
        self._counter = _counting_tokenizer(self.model.tokenizer)

    def _read(self, texts: Sequence[str], task: str) -> Texts:
        longest = int(getattr(self.model[0], f"{task}_length", None) or self.max_length)
        if self._counter is None:
            return Texts(task, texts, [min(longest, 2 + len(text) // CHARACTERS_PER_TOKEN) for text in texts], 0)
        prompt = self.query_prompt if task == "query" else self.document_prompt
        whole = [len(encoding) for encoding in self._counter.encode_batch([prompt + text for text in texts])]
        return Texts(task, texts, [min(longest, tokens) for tokens in whole], sum(tokens > longest for tokens in whole))

    def _encode(self, read: Texts) -> np.ndarray:
        encode = self.model.encode_query if read.task == "query" else self.model.encode_document
        budget = TOKENS_PER_BATCH.get(torch.device(self.device).type, TOKENS_PER_BATCH["cpu"])
        vectors = np.empty((len(read.texts), self.dim), dtype=np.float32)
        for batch in token_budget_batches(read.lengths, budget):
            chosen = [read.texts[number] for number in batch]
            vectors[batch] = encode(chosen, batch_size=len(chosen), show_progress_bar=False, convert_to_numpy=True)
        return vectors


def _counting_tokenizer(tokenizer: object) -> Tokenizer | None:
    """Copy a fast tokenizer, so that counting in one thread does not meet encoding in another; None for others."""
    fast = getattr(tokenizer, "backend_tokenizer", None)
    if not isinstance(fast, Tokenizer):
        return None
    copy: Tokenizer = Tokenizer.from_str(fast.to_str())
    copy.no_truncation()
    copy.no_padding()
    return copy
