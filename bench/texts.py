"""Texts of a wanted number of tokens, for whatever tokenizer a model has.

They are made of words that the tokenizer keeps whole, drawn with a seed; what is reported is always the number of
tokens that the tokenizer gives for the finished text.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from ..encoders.checkpoint import Checkpoint
from ..errors import InputError

if TYPE_CHECKING:
    from tokenizers import Tokenizer

WORDS = 1024
CANDIDATES = 16_384
WARM_UP_WORDS = 32
SPACE_MARKS = "Ġ▁"


class TextMaker:
    """Makes texts for one checkpoint; its prompts and special tokens count as part of a text's length.

    Attributes:
        words: Words of one token each, wherever they stand in a text.
    """

    def __init__(self, checkpoint: Checkpoint, seed: int = 0) -> None:
        self._checkpoint = checkpoint
        self._tokenizer = _load_tokenizer(checkpoint)
        self._random = np.random.default_rng(seed)
        self.words = _whole_words(self._tokenizer, self._random)
        if not self.words:
            raise InputError(
                f"{checkpoint.name}: its tokenizer keeps no word whole, so that no texts can be made for it"
            )

    def make(self, lengths: Sequence[int], task: str) -> list[str]:
        """Return one text for each number of tokens, for a "query" or a "document"."""
        spare = self.count([self.words[0]], task)[0] - 1
        return [" ".join(self._random.choice(self.words, max(1, length - spare))) for length in lengths]

    def count(self, texts: Sequence[str], task: str) -> list[int]:
        """Return the tokens that a model reads of each text: prompt and special tokens count, what is cut does not."""
        prompt, longest = self._checkpoint.prompt(task), self._checkpoint.length_of(task)
        encodings = self._tokenizer.encode_batch([prompt + text for text in texts])
        return [min(longest, len(encoding.ids)) for encoding in encodings]

    def warm_up(self) -> list[str]:
        """Return short texts that hold every word, so that a model has touched each embedding that it will read."""
        starts = range(0, len(self.words), WARM_UP_WORDS)
        return [" ".join(self.words[start : start + WARM_UP_WORDS]) for start in starts]


def _load_tokenizer(checkpoint: Checkpoint) -> "Tokenizer":
    from tokenizers import Tokenizer

    file = checkpoint.network_folder / "tokenizer.json"
    if not file.is_file():
        raise InputError(
            f"{checkpoint.name}: no tokenizer.json in {checkpoint.network_folder}, which texts are made for"
        )
    try:
        tokenizer: Tokenizer = Tokenizer.from_file(str(file))
    except Exception as error:  # tokenizers raises plain exceptions
        raise InputError(f"{file}: not a tokenizer that this version of tokenizers reads ({error})") from error
    tokenizer.no_padding()
    tokenizer.no_truncation()
    return tokenizer


def _whole_words(tokenizer: "Tokenizer", random: np.random.Generator) -> list[str]:
    vocabulary = sorted({token.lstrip(SPACE_MARKS) for token in tokenizer.get_vocab()})
    plain = [
        word for word in vocabulary if len(word) > 1 and word.isascii() and word.isalnum() and word == word.lower()
    ]
    if not plain:
        return []
    tried = [str(word) for word in random.permutation(plain)[:CANDIDATES]]
    # three in a row: a first word has no space before it, and one token may span two words
    encodings = tokenizer.encode_batch([f"{word} {word} {word}" for word in tried], add_special_tokens=False)
    return [word for word, encoding in zip(tried, encodings, strict=True) if len(encoding.ids) == 3][:WORDS]
