"""From texts to token ids with a checkpoint's own tokenizer, in any thread.

Imports tokenizers and no transformers. Where transformers would read the texts otherwise than the tokenizer's file
says, `reads_as_saved` says so.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from tokenizers import Tokenizer

from ..errors import InputError
from ..files import read_json
from .checkpoint import Checkpoint

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
    """

    ids: np.ndarray
    offsets: np.ndarray
    cut: int

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

    Raises:
        InputError: The tokenizer's file cannot be read.
    """

    def __init__(self, checkpoint: Checkpoint, task: str) -> None:
        file = checkpoint.network_folder / "tokenizer.json"
        try:
            self._tokenizer: Tokenizer = Tokenizer.from_file(str(file))
        except Exception as error:  # tokenizers raises plain exceptions
            raise InputError(f"{file}: not a tokenizer that this version of tokenizers reads ({error})") from error
        self.max_length = checkpoint.length_of(task)
        self._tokenizer.no_padding()
        self._tokenizer.enable_truncation(self.max_length)

    def read(self, texts: Sequence[str]) -> Tokens:
        """Tokenise at least one text."""
        encodings = self._tokenizer.encode_batch(texts)
        ids = [np.array(encoding.ids, dtype=np.int32) for encoding in encodings]
        offsets = np.concatenate([[0], np.cumsum([len(tokens) for tokens in ids])])
        cut = sum(bool(encoding.overflowing) for encoding in encodings if len(encoding) >= self.max_length)
        return Tokens(np.concatenate(ids), offsets, cut)


def reads_as_saved(checkpoint: Checkpoint) -> bool:
    """Say whether `TextReader` reads texts as sentence-transformers does for this checkpoint."""
    file = checkpoint.network_folder / "tokenizer.json"
    if not file.is_file() or any(checkpoint.reading.get(name) for name in NOT_READ_HERE):
        return False
    config, saved = checkpoint.tokenizer_config, read_json(file)
    normalizer = saved.get("normalizer") or {}
    overridden = any(
        field in normalizer and normalizer[field] != config.get(key, default)
        for key, (field, default) in NORMALIZER_OVERRIDES.items()
    )
    if overridden or any(key in config for key in POST_PROCESSOR_OVERRIDES):
        return False
    return config.get("truncation_side", "right") == "right"
