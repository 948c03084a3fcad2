"""Which pieces of a text the vectors of a ColBERT stand for, parallel to the rows of its `TokenMatrix`.

A tokenizer says where in the text each of its tokens comes from; prompts, markers, special tokens and those that fill
queries up come from nowhere in it and have a kind instead. Which rows there are is the reader's and the encoder's to
say: this module only names them.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from tokenizers import Encoding, Tokenizer

NOWHERE = -1
NO_WORD = -1


@dataclass(frozen=True, slots=True)
class Piece:
    """One token, and the characters that it stands for.

    Attributes:
        token: Its name in the vocabulary, such as "##ing" or "[MASK]".
        kind: "text", or, for what is no part of the text, "prompt", "marker", "special" or "expansion".
        start, end: Characters of the text, without prompt, from `start` to before `end` and without blanks around them;
            −1 where it is no part of the text. The pieces of a character that takes several each have all of it.
        word: Number of the word that the tokenizer made it of, shared by the pieces of a word; −1 where of none.
    """

    token: str
    kind: str
    start: int = NOWHERE
    end: int = NOWHERE
    word: int = NO_WORD

    @property
    def is_text(self) -> bool:
        """Whether it is a part of the text."""
        return self.kind == "text"


@dataclass(frozen=True)
class TokenSpans:
    """What the rows of a `TokenMatrix` stand for.

    Attributes:
        rows: Of each row of the matrix its pieces: one, or several where like tokens were merged.
        offsets: (n + 1,) int64, those of the matrix.
    """

    rows: tuple[tuple[Piece, ...], ...]
    offsets: np.ndarray

    @classmethod
    def of(cls, texts: Sequence[Sequence[tuple[Piece, ...]]]) -> "TokenSpans":
        """Lay the rows of texts end to end."""
        offsets = np.concatenate([[0], np.cumsum([len(rows) for rows in texts])]).astype(np.int64)
        return cls(tuple(row for rows in texts for row in rows), offsets)

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, text: int) -> tuple[tuple[Piece, ...], ...]:
        """Return the pieces of each row of one text.

        Raises:
            IndexError: There is no such text.
        """
        if not 0 <= text < len(self):
            raise IndexError(f"there are {len(self)} texts; {text} is none of them")
        return self.rows[self.offsets[text] : self.offsets[text + 1]]

    def __iter__(self) -> Iterator[tuple[tuple[Piece, ...], ...]]:
        return (self[text] for text in range(len(self)))


def added_names(tokenizer: "Tokenizer") -> dict[int, str]:
    """Return the names of the tokens that were added to a vocabulary, which encodings tell in lower case or worse."""
    return {number: token.content for number, token in tokenizer.get_added_tokens_decoder().items()}


def pieces_of(encoding: "Encoding", text: str, prompt: str, names: Mapping[int, str]) -> list[Piece]:
    """Say what each token of an encoding stands for.

    Args:
        encoding: Of the prompt and the text after it, cut or not.
        text: The text.
        prompt: What stands before it.
        names: See `added_names`.
    """
    tokens = [names.get(number, token) for number, token in zip(encoding.ids, encoding.tokens, strict=True)]
    found = zip(tokens, encoding.offsets, encoding.special_tokens_mask, encoding.word_ids, strict=True)
    return [
        Piece(token, "special") if special or start == end else _placed(token, start, end, word, text, len(prompt))
        for token, (start, end), special, word in found
    ]


def _placed(token: str, start: int, end: int, word: int | None, text: str, prompt: int) -> Piece:
    start, end = max(start - prompt, 0), end - prompt
    if end <= 0:
        return Piece(token, "prompt")
    part = text[start:end]
    if part.strip():  # blanks between words belong to neither, whichever token the tokenizer puts them into
        start, end = start + len(part) - len(part.lstrip()), end - len(part) + len(part.rstrip())
    return Piece(token, "text", start, end, NO_WORD if word is None else word)


def merged(pieces: Sequence[Piece], places: np.ndarray) -> list[tuple[Piece, ...]]:
    """Group the pieces of a text by the row that they became part of.

    Args:
        pieces: Of each row before like tokens are merged.
        places: (pieces,) int64, the row that each became part of; none is left out up to the highest.
    """
    rows: list[list[Piece]] = [[] for _ in range(int(places.max(initial=-1)) + 1)]
    for place, piece in zip(places.tolist(), pieces, strict=True):
        rows[place].append(piece)
    return [tuple(row) for row in rows]
