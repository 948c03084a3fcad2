"""Words that are to be one token each though the sample hardly has them: a list, or another tokenizer's vocabulary."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from ...encoders.modernbert.tokenizer import open_tokenizer
from ...errors import InputError
from ..readers.lines import ending_of, numbered_lines

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

WORD_STARTS = ("Ġ", "▁")
"""What tokens that begin a word begin with, in byte-level and in SentencePiece vocabularies."""
SHORTEST = 3
"""Letters of a vocabulary's word; shorter ones are mostly pieces of words."""


def read_words(source: str) -> list[str]:
    """Read words from a text file, one a line, or from the vocabulary of a model or a tokenizer.

    Args:
        source: A `.txt` file, also compressed; else a folder, a bundled model or a hub name.

    Raises:
        InputError: It cannot be read or has no words.
    """
    path = Path(source)
    is_list = ending_of(path) == ".txt"
    if path.is_file() and not is_list:
        raise InputError(f"{source}: expected a .txt file of words, one a line, or the folder of a tokenizer")
    if is_list and not path.is_dir():
        words = [word for _, line in numbered_lines(path) if (word := line.strip())]
    else:
        words = list(words_of(open_tokenizer(source)))
    if not words:
        raise InputError(f"{source}: no words in it")
    return words


def words_of(tokenizer: "PreTrainedTokenizerBase") -> Iterator[str]:
    """Yield the words of a vocabulary in the order of their numbers: tokens that begin a word and are all letters."""
    special = set(tokenizer.all_special_tokens)
    tokens = [token for token, _ in sorted(tokenizer.get_vocab().items(), key=lambda item: item[1])]
    marked = any(token.startswith(WORD_STARTS) for token in tokens)
    for token in tokens:
        if token in special or (marked and not token.startswith(WORD_STARTS)):
            continue
        word = tokenizer.convert_tokens_to_string([token]).strip()
        if len(word) >= SHORTEST and word.isalpha():
            yield word


def repeated(words: Iterable[str], count: int) -> Iterator[str]:
    """Yield each word so many times in one text, a blank before each as in a sentence."""
    return (f" {word}" * count for word in words)
