"""Texts of a wanted number of tokens, for whatever tokenizer a model has.

They are made of words that the tokenizer keeps whole, drawn with a seed; what is reported is always the number of
tokens that the tokenizer gives for the finished text.
"""

from collections.abc import Sequence

import numpy as np
from tokenizers import Tokenizer

from ..encoders.checkpoint import TASKS, Checkpoint
from ..encoders.reading import TextReader
from ..errors import InputError

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
        file = checkpoint.network_folder / "tokenizer.json"
        if not file.is_file():
            raise InputError(f"{checkpoint.name}: no tokenizer.json in {file.parent}, which texts are made for")
        self._checkpoint = checkpoint
        self._readers = {task: TextReader(checkpoint, task) for task in TASKS}
        self._random = np.random.default_rng(seed)
        self.words = _whole_words(Tokenizer.from_file(str(file)), self._random)
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
        prompt = self._checkpoint.prompt(task)
        lengths: list[int] = self._readers[task].read([prompt + text for text in texts]).lengths.tolist()
        return lengths

    def warm_up(self) -> list[str]:
        """Return short texts that hold every word, so that a model has touched each embedding that it will read."""
        starts = range(0, len(self.words), WARM_UP_WORDS)
        return [" ".join(self.words[start : start + WARM_UP_WORDS]) for start in starts]


def _whole_words(tokenizer: Tokenizer, random: np.random.Generator) -> list[str]:
    tokenizer.no_padding()
    tokenizer.no_truncation()
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
