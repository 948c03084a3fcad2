"""Tokens put back together into the words that a reader knows, and the share of each vector that a word has."""

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from ...encoders.colbert.spans import NO_WORD, NOWHERE, Piece

MARKER = re.compile(r"\[[^\[\]\s]+\]")
"""A token of a prompt that has a name of its own, such as "[Q]"."""
Row = tuple[Piece, ...]
"""What one vector stands for: one piece, or several where like tokens were merged."""


@dataclass(frozen=True)
class Word:
    """A word of a text, or the tokens of one name that are no part of it.

    Attributes:
        text: As the text has it; else the name of the tokens, such as "[CLS]" or "[Q]", or "prompt".
        start, end: Characters of the text; −1 where it is no part of it.
        shares: Rows that stand for it, ascending, each with the share of the row that is this word's: 1, or less where
            the row stands for several words.
    """

    text: str
    start: int
    end: int
    shares: tuple[tuple[int, float], ...]

    @property
    def is_text(self) -> bool:
        """Whether it is a part of the text."""
        return self.start != NOWHERE


def words_of(rows: Sequence[Row], text: str) -> tuple[Word, ...]:
    """Group the pieces of rows into words; every row's shares add up to 1.

    Pieces belong together where the tokenizer made them of one word and nothing is between them, or where they stand
    for the same characters.

    Args:
        rows: Of each vector its pieces.
        text: What they are pieces of.

    Returns:
        Words in the order of their first rows, those of the text among one another in its order.
    """
    numbered = [(piece, row) for row, pieces in enumerate(rows) for piece in pieces]
    inside = sorted(((piece, row) for piece, row in numbered if piece.is_text), key=lambda pair: pair[0].start)
    found = [_word(text, start, end, of, rows) for start, end, of in _stretches(inside)]
    others: dict[str, list[int]] = {}
    for piece, row in numbered:
        if not piece.is_text:
            others.setdefault(label(piece), []).append(row)
    found += [Word(name, NOWHERE, NOWHERE, _shares(of, rows)) for name, of in others.items()]
    return tuple(_in_reading_order(found))


def label(piece: Piece) -> str:
    """Return what a token that is no part of the text is called."""
    name = piece.token.strip()
    return "prompt" if piece.kind == "prompt" and not MARKER.fullmatch(name) else name


def _stretches(inside: Iterable[tuple[Piece, int]]) -> Iterator[tuple[int, int, list[int]]]:
    start, end, word, of = 0, 0, NO_WORD, list[int]()
    for piece, row in inside:
        joins = piece.start < end or (piece.start == end and piece.word == word != NO_WORD)
        if of and joins:
            end, word = max(end, piece.end), piece.word
            of.append(row)
            continue
        if of:
            yield start, end, of
        start, end, word, of = piece.start, piece.end, piece.word, [row]
    if of:
        yield start, end, of


def _word(text: str, start: int, end: int, of: Iterable[int], rows: Sequence[Row]) -> Word:
    part = text[start:end]
    if part.strip():  # a tokenizer may have made a token of its own of the blank before a word
        start, end = start + len(part) - len(part.lstrip()), end - len(part) + len(part.rstrip())
    return Word(text[start:end], start, end, _shares(of, rows))


def _shares(of: Iterable[int], rows: Sequence[Row]) -> tuple[tuple[int, float], ...]:
    return tuple((row, count / len(rows[row])) for row, count in sorted(Counter(of).items()))


def _in_reading_order(words: Sequence[Word]) -> list[Word]:
    """Return words of the text in its order, and every other one before the first that has a later row."""
    inside = [word for word in words if word.is_text]
    placed = []
    for other in sorted((word for word in words if not word.is_text), key=lambda word: word.shares[0][0]):
        while inside and inside[0].shares[0][0] < other.shares[0][0]:
            placed.append(inside.pop(0))
        placed.append(other)
    return placed + inside
