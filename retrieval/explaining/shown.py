"""What terminal and page show alike: names of words, shades of scores, the words that a word met."""

import math

from ..texts import CONTROLS
from .explanation import Explanation, WordMatch
from .words import Word


def named(word: Word) -> str:
    """Return a word on one line, tokens of one name with how many they are."""
    name = " ".join(word.text.translate(CONTROLS).split()) or "blank"
    count = len(word.shares)
    return name if word.is_text or count == 1 else f"{name} x {count}"


def scored(score: float) -> str:
    """Return a score for a reader."""
    return f"{score:.4f}" if math.isfinite(score) else "no score"


def names_met(explanation: Explanation, match: WordMatch, most: int) -> str:
    """Return the words that a word met, those that add most, and how many more there are."""
    names = ", ".join(named(explanation.document_words[number]) for number, _ in match.met[:most])
    return names + (f" +{len(match.met) - most}" if len(match.met) > most else "")


def text_met(explanation: Explanation, match: WordMatch) -> Word | None:
    """Return the word of the text that a word met and that adds most, or None where it met none."""
    words = (explanation.document_words[number] for number, _ in match.met)
    return next((word for word in words if word.is_text), None)


def shade(score: float, highest: float, shades: int) -> int:
    """Return which of so many shades, from 0, stands for a score, where the last stands for the highest."""
    return min(shades - 1, max(0, int(shades * score / highest))) if highest > 0 else 0
