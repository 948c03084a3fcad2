"""What the encoders that run through sentence-transformers share: loading a model, and counting a text's tokens."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from tokenizers import Tokenizer

from ..errors import InputError
from .checkpoint import Checkpoint
from .precision import torch_dtype

TOKENS_PER_BATCH = {"cpu": 8192, "cuda": 65536}
CHARACTERS_PER_TOKEN = 4
LONGEST = 1 << 20
"""Tokens read of a text by a model that reads texts of any length."""


@dataclass(frozen=True)
class Texts:
    """Texts of a task with the tokens that are read of each, and how many texts that cuts."""

    task: str
    texts: Sequence[str]
    lengths: list[int]
    cut: int


def load_model(
    family: Any,  # noqa: ANN401 - a class of sentence-transformers
    checkpoint: Checkpoint,
    device: torch.device,
    precision: str,
    trust_remote_code: bool,
) -> Any:  # noqa: ANN401 - an object of the class
    """Load a checkpoint as a `SentenceTransformer`, a `MultiVectorEncoder` or another class with their constructor.

    Raises:
        InputError: The library cannot load it.
    """
    from transformers.utils import logging as transformers_logging

    transformers_logging.disable_progress_bar()
    logging.getLogger("sentence_transformers").setLevel(logging.WARNING)
    try:
        return family(
            str(checkpoint.folder),
            device=str(device),
            trust_remote_code=trust_remote_code,
            model_kwargs={"dtype": torch_dtype(precision), "use_safetensors": True},
        )
    except Exception as error:  # every parser and loader on the way raises its own
        reason = str(error).strip().split("\n")[0]
        raise InputError(f"{checkpoint.name}: sentence-transformers cannot load it ({reason})") from error


def token_budget(device: str) -> int:
    """Return the tokens of a batch on a device."""
    return TOKENS_PER_BATCH.get(torch.device(device).type, TOKENS_PER_BATCH["cpu"])


class TextCounter:
    """Counts tokens with a copy of a model's tokenizer, since its own may be at work in another thread.

    Args:
        tokenizer: The model's; where it is no fast one, tokens are guessed from characters and no text counts as cut.
    """

    def __init__(self, tokenizer: object) -> None:
        fast = getattr(tokenizer, "backend_tokenizer", None)
        self._tokenizer: Tokenizer | None = None
        if isinstance(fast, Tokenizer):
            self._tokenizer = Tokenizer.from_str(fast.to_str())
            self._tokenizer.no_truncation()
            self._tokenizer.no_padding()

    def read(self, texts: Sequence[str], task: str, prompt: str, longest: int) -> Texts:
        """Count the tokens of each text with a prompt before it, of which at most `longest` are read."""
        if self._tokenizer is None:
            return Texts(task, texts, [min(longest, 2 + len(text) // CHARACTERS_PER_TOKEN) for text in texts], 0)
        whole = [len(encoding) for encoding in self._tokenizer.encode_batch([prompt + text for text in texts])]
        return Texts(task, texts, [min(longest, tokens) for tokens in whole], sum(tokens > longest for tokens in whole))
