"""From texts to token ids with a checkpoint's own tokenizer, in any thread.

Imports tokenizers and no transformers. Where transformers would read the texts otherwise than the tokenizer's file
says, `reads_as_saved` says so.
"""

from collections.abc import Container, Sequence
from dataclasses import dataclass

import numpy as np
from tokenizers import Tokenizer

from ..errors import InputError
from .checkpoint import Checkpoint, read_object

TOKENIZER = "tokenizer.json"
NORMALIZER_OVERRIDES: dict[str, tuple[str, object]] = {
    "do_lower_case": ("lowercase", True),
    "strip_accents": ("strip_accents", None),
    "tokenize_chinese_chars": ("handle_chinese_chars", True),
}
"""Keys of `tokenizer_config.json`, with their defaults, that transformers puts over fields of `tokenizer.json`."""
POST_PROCESSOR_OVERRIDES = ("add_bos_token", "add_eos_token")
"""Keys that make transformers write special tokens otherwise than `tokenizer.json` says."""
NOT_READ_HERE = ("do_lower_case", "processing_kwargs", "query_expansion")
"""Settings of how texts are read that only sentence-transformers follows."""


@dataclass(frozen=True)
class Tokens:
    """Token ids of texts, end to end.

    Attributes:
        ids: (tokens,) int32.
        offsets: (texts + 1,) int64, where each text starts and the last one ends.
        cut: Texts that were longer than the maximum.
        attended: (texts,) int64, how many of its first tokens each text attends to; None where to all.
    """

    ids: np.ndarray
    offsets: np.ndarray
    cut: int
    attended: np.ndarray | None = None

    @property
    def lengths(self) -> np.ndarray:
        """(texts,) int64, tokens of each text."""
        return np.diff(self.offsets)

    def of(self, texts: np.ndarray) -> np.ndarray:
        """Return the ids of some texts end to end, (tokens,) int64."""
        parts = [self.ids[start:end] for start, end in zip(self.offsets[texts], self.offsets[texts + 1], strict=True)]
        return np.concatenate(parts).astype(np.int64)


class TextReader:
    """The tokenizer of a checkpoint, which cuts texts at the length of one task, "query" or "document".

    Attributes:
        tokenizer: As it was read.
        max_length: Where it cuts, special tokens included.

    Args:
        checkpoint: Whose tokenizer.
        task: "query" or "document".
        max_length: Where to cut; None takes the checkpoint's length for the task.

    Raises:
        InputError: The tokenizer's file cannot be read, or the length leaves no room for text.
    """

    def __init__(self, checkpoint: Checkpoint, task: str, max_length: int | None = None) -> None:
        self.tokenizer = open_tokenizer(checkpoint)
        self.max_length = checkpoint.length_of(task) if max_length is None else max_length
        special = self.tokenizer.num_special_tokens_to_add(is_pair=False)
        if self.max_length <= special:
            raise InputError(
                f"{checkpoint.network_folder}: of a {task}, {self.max_length} tokens are read, which with {special} "
                f"special ones leaves none for text; set a larger {task}_length or max_seq_length in the checkpoint"
            )
        self.tokenizer.no_padding()
        self.tokenizer.enable_truncation(self.max_length)

    def read(self, texts: Sequence[str]) -> Tokens:
        """Tokenise at least one text."""
        ids, cut = self.read_each(texts)
        offsets = np.concatenate([[0], np.cumsum([len(tokens) for tokens in ids])])
        return Tokens(np.concatenate(ids), offsets, cut)

    def read_each(self, texts: Sequence[str]) -> tuple[list[np.ndarray], int]:
        """Return the token ids of each text, (tokens,) int32, and how many texts were cut."""
        encodings = self.tokenizer.encode_batch(texts)
        ids = [np.array(encoding.ids, dtype=np.int32) for encoding in encodings]
        cut = sum(bool(encoding.overflowing) for encoding in encodings if len(encoding) >= self.max_length)
        return ids, cut


def open_tokenizer(checkpoint: Checkpoint) -> Tokenizer:
    """Read a checkpoint's `tokenizer.json`.

    Raises:
        InputError: It cannot be read.
    """
    file = checkpoint.network_folder / TOKENIZER
    try:
        return Tokenizer.from_file(str(file))
    except Exception as error:  # tokenizers raises plain exceptions
        raise InputError(f"{file}: not a tokenizer that this version of tokenizers reads ({error})") from error


def check_vocabulary(checkpoint: Checkpoint, tokenizer: Tokenizer, rows: int) -> None:
    """Refuse a tokenizer with tokens beyond the embedding table.

    Raises:
        InputError: There is such a token.
    """
    tokens = tokenizer.get_vocab_size()
    # where all numbers up to the last are taken, there are as many tokens; making the whole dictionary takes 10 ms
    highest = tokens - 1 if tokens > rows else max(tokenizer.get_vocab().values(), default=-1)
    if highest >= rows:
        raise InputError(
            f"{checkpoint.network_folder / TOKENIZER}: has token {highest}, but config.json has vocab_size {rows}; "
            "take the tokenizer that the model was trained with"
        )


def reads_as_saved(checkpoint: Checkpoint, followed: Container[str] = ()) -> bool:
    """Say whether `TextReader` reads texts as sentence-transformers does for this checkpoint.

    Args:
        checkpoint: Whose tokenizer.
        followed: Settings of `NOT_READ_HERE` that the caller itself follows.
    """
    file = checkpoint.network_folder / TOKENIZER
    unread = [name for name in NOT_READ_HERE if name not in followed]
    if not file.is_file() or any(checkpoint.reading.get(name) for name in unread):
        return False
    config, saved = checkpoint.tokenizer_config, read_object(file)
    normalizer = saved.get("normalizer")
    normalizer = normalizer if isinstance(normalizer, dict) else {}
    overridden = any(
        field in normalizer and normalizer[field] != config.get(key, default)
        for key, (field, default) in NORMALIZER_OVERRIDES.items()
    )
    if overridden or any(key in config for key in POST_PROCESSOR_OVERRIDES):
        return False
    return config.get("truncation_side", "right") == "right"
