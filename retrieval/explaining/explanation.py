"""Why a document has its score: for each vector of the query the vector of the document that it met, and for each word.

A query token adds to the score its largest inner product with a token of the document (MaxSim; Khattab and Zaharia,
"ColBERT", 2020, arXiv 2004.12832). Everything here follows from the matrix of these products and from what the rows
stand for, and is computed when it is asked for.
"""

import math
from collections import defaultdict
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np

from ...encoders.colbert.spans import Piece
from .passages import around
from .words import Row, Word, label, words_of


class Match(NamedTuple):
    """What a row of the query met.

    Attributes:
        row: Of the document.
        score: Their product, which the query's row adds to the document's score.
    """

    row: int
    score: float


class Met(NamedTuple):
    """A word of the document that a word of the query met.

    Attributes:
        word: Its number among `Explanation.document_words`.
        score: What the two add to the document's score.
    """

    word: int
    score: float


@dataclass(frozen=True)
class WordMatch:
    """What a word of the query adds to the score.

    Attributes:
        word: The word.
        score: What its rows add, summed; a row that stands for several words counts for each in part.
        met: Words of the document that its rows met, those first that add most.
    """

    word: Word
    score: float
    met: tuple[Met, ...]


@dataclass(frozen=True, eq=False)
class Explanation:
    """Why a document has its score.

    Attributes:
        query: The query.
        id: The document's.
        title: The document's.
        content: What the encoder read of the document, its title first; what characters are counted in.
        query_rows: Of each of the query's rows the pieces that it stands for.
        document_rows: Of each of the document's rows the same.
        similarity: (query rows, document rows) float32, their inner products.
        index_score: What the vectors in the index give, which are coded in fewer bits; None where not asked for.
    """

    query: str
    id: str
    title: str
    content: str
    query_rows: tuple[Row, ...] = field(repr=False)
    document_rows: tuple[Row, ...] = field(repr=False)
    similarity: np.ndarray = field(repr=False)
    index_score: float | None = None

    @cached_property
    def matches(self) -> tuple[Match, ...]:
        """What each row of the query met; empty where the document has no row. Of equal products the first counts."""
        if not self.document_rows:
            return ()
        rows = self.similarity.argmax(axis=1).tolist()
        return tuple(Match(row, float(self.similarity[number, row])) for number, row in enumerate(rows))

    @property
    def score(self) -> float:
        """The sum of what the query's rows add; −inf where the query or the document has no row."""
        return math.fsum(match.score for match in self.matches) if self.matches else -math.inf

    @cached_property
    def query_words(self) -> tuple[Word, ...]:
        """The query's tokens as words."""
        return words_of(self.query_rows, self.query)

    @cached_property
    def document_words(self) -> tuple[Word, ...]:
        """The document's tokens as words."""
        return words_of(self.document_rows, self.content)

    @cached_property
    def words(self) -> tuple[WordMatch, ...]:
        """What each word of the query adds to the score and which words it met; they add up to the score."""
        holders: dict[int, list[tuple[int, float]]] = defaultdict(list)
        for number, word in enumerate(self.document_words):
            for row, share in word.shares:
                holders[row].append((number, share))
        found = []
        for word in self.query_words if self.matches else ():
            met: dict[int, float] = defaultdict(float)
            for row, share in word.shares:
                match = self.matches[row]
                for number, of_row in holders[match.row]:
                    met[number] += share * of_row * match.score
            ranked = sorted(met.items(), key=lambda pair: -pair[1])
            found.append(WordMatch(word, math.fsum(met.values()), tuple(Met(*pair) for pair in ranked)))
        return tuple(found)

    @cached_property
    def document_scores(self) -> tuple[float, ...]:
        """What the matches with each of the document's words add to the score; they add up to the score."""
        scores = [0.0] * len(self.document_words)
        for match in self.words:
            for number, score in match.met:
                scores[number] += score
        return tuple(scores)

    @property
    def title_end(self) -> int:
        """The character of `content` at which the title ends; 0 where there is none."""
        return min(len(self.title.strip()), len(self.content))

    @cached_property
    def read_to(self) -> int:
        """The character from which on the encoder read nothing more, since the document is longer than it reads."""
        end = max((word.end for word in self.document_words), default=0)
        cut = end > 0 and any(letter.isalnum() for letter in self.content[end:])
        return end if cut else len(self.content)

    @property
    def note(self) -> str | None:
        """What is to be said where words of the query or the document are missing, or None."""
        if not self.query_rows:
            return "the query has no token, so nothing is matched"
        if not self.document_rows:
            return "the document has no vector, since none of its tokens is kept, so nothing is matched"
        if not any(word.is_text for word in self.query_words):
            return "the query has no words: only the tokens that the encoder puts around every query are matched"
        if not any(word.is_text for word in self.document_words):
            return "no word of the document has a vector: only the tokens that the encoder puts around it are matched"
        return None

    def context(self, word: Word, margin: int) -> tuple[int, int]:
        """Return the stretch of `content` that shows a word of it with some `margin` characters on either side."""
        return around(self.content, word.start, word.end, margin)

    def to_json(self, matrix: bool = False) -> dict[str, Any]:
        """Return everything as JSON values.

        Args:
            matrix: Whether to put the whole `similarity` in, and the pieces of all of the document's rows.
        """
        found: dict[str, Any] = {
            "query": self.query,
            "id": self.id,
            "title": self.title,
            "content": self.content,
            "score": _finite(self.score),
            "index_score": None if self.index_score is None else _finite(self.index_score),
            "note": self.note,
            "words": [self._word_json(match) for match in self.words],
            "tokens": [
                _row_json(self.query_rows[row]) | {"score": match.score, "met": self._met_json(match)}
                for row, match in enumerate(self.matches)
            ],
        }
        if matrix:
            found["document_tokens"] = [_row_json(pieces) for pieces in self.document_rows]
            found["similarity"] = self.similarity.tolist()
        return found

    def _word_json(self, match: WordMatch) -> dict[str, Any]:
        met = [(self.document_words[number], score) for number, score in match.met]
        return {
            **_place_json(match.word),
            "score": match.score,
            "tokens": [row for row, _ in match.word.shares],
            "met": [{**_place_json(word), "score": score} for word, score in met],
        }

    def _met_json(self, match: Match) -> dict[str, Any]:
        pieces = self.document_rows[match.row]
        first = next((piece for piece in pieces if piece.is_text), None)
        stretch = None if first is None else around(self.content, first.start, first.end)
        context = None if stretch is None else self.content[slice(*stretch)]
        return {"row": match.row, **_row_json(pieces), "context": context}


def _place_json(word: Word) -> dict[str, Any]:
    return {"text": word.text, "start": word.start, "end": word.end}


def _row_json(pieces: tuple[Piece, ...]) -> dict[str, Any]:
    return {
        "pieces": [
            {"token": piece.token, "kind": piece.kind, "start": piece.start, "end": piece.end} for piece in pieces
        ]
    }


def row_text(pieces: Row, text: str) -> str:
    """Return what a row stands for, for a reader."""
    return " ".join(text[piece.start : piece.end] if piece.is_text else label(piece) for piece in pieces)


def _finite(score: float) -> float | None:
    return score if math.isfinite(score) else None
