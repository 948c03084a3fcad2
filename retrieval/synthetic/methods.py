"""Ways to make a query out of a text: a function each, and their table."""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from random import Random
from typing import NamedTuple

from .code import functions
from .headings import sections
from .texts import Text

BREAK = re.compile(r"(?<=[.!?])[\"')\]]*\s+(?=[\"'(\[]*[A-Z0-9])|\n[ \t]*\n")
ABBREVIATED = re.compile(r"(?:\b(?:[A-Z]|e\.g|i\.e|cf|vs|al|Dr|Mr|Mrs|Ms|Prof|St|Fig|Eq|Sec)\.)$")
"""What a full stop follows that ends no sentence."""
LEFT_IN = 0.1
"""How often the sentence that asks stays in the text, so that a model learns to match words too."""


class Pair(NamedTuple):
    """A query and the text that it asks for."""

    query: str
    positive: str


def from_title(text: Text, draw: Random) -> Iterator[Pair]:
    """Let the title ask for the text."""
    if text.title.strip():
        yield Pair(text.title, text.body)


def from_headings(text: Text, draw: Random) -> Iterator[Pair]:
    """Let each Markdown heading ask for its section, after the title and the headings above it.

    A section ends at the next heading of whatever level.
    """
    above = {0: text.title.strip()}
    for level, heading, lines in sections(text.body.split("\n")):
        if level:
            above = {place: words for place, words in above.items() if place < level} | {level: heading.strip()}
            yield Pair(" - ".join(dict.fromkeys(filter(None, above.values()))), "\n".join(lines))


def from_first_sentence(text: Text, draw: Random) -> Iterator[Pair]:
    """Let the first sentence ask for the rest."""
    first, *rest = sentences(text.body)
    if rest:
        yield Pair(first, text.body[text.body.index(first) + len(first) :].strip())


def from_cloze(text: Text, draw: Random) -> Iterator[Pair]:
    """Let a random sentence ask for the text around it, in which it stays one time in ten.

    The Inverse Cloze Task of Lee, Chang and Toutanova, "Latent Retrieval for Weakly Supervised Open Domain Question
    Answering" (2019), arXiv 1906.00300.
    """
    found = sentences(text.body)
    if len(found) < 2:
        return
    place = draw.randrange(len(found))
    kept = found if draw.random() < LEFT_IN else found[:place] + found[place + 1 :]
    yield Pair(found[place], " ".join(kept))


def from_docstrings(text: Text, draw: Random) -> Iterator[Pair]:
    """Let the docstring of each Python function, or the comment above it, ask for its code without it."""
    return (Pair(*found) for found in functions(text.body))


def sentences(text: str) -> list[str]:
    """Return the sentences of a text, without the white space around them; at least one, which may be empty.

    One ends at a full stop, question or exclamation mark before a capital letter or a digit, or at a blank line.
    """
    parts: list[str] = []
    begin = 0
    for gap in BREAK.finditer(text):
        if ABBREVIATED.search(text, max(begin, gap.start() - 8), gap.start()) and "\n\n" not in gap[0]:
            continue
        parts.append(text[begin : gap.start()] + gap[0].rstrip())
        begin = gap.end()
    parts.append(text[begin:])
    return [part for part in map(str.strip, parts) if part] or [""]


@dataclass(frozen=True)
class Method:
    """A way to make queries.

    Attributes:
        make: Yields the pairs of a text; draws from a generator that is the text's own.
        needs: What a text must have, for the message where no text has it.
        at_headings: Text files are parted at headings and not at blank lines.
    """

    make: Callable[[Text, Random], Iterator[Pair]]
    needs: str
    at_headings: bool = False


METHODS = {
    "title": Method(from_title, "a title beside their text"),
    "heading": Method(from_headings, "Markdown headings (lines that begin with #)", at_headings=True),
    "first-sentence": Method(from_first_sentence, "two sentences or more"),
    "cloze": Method(from_cloze, "two sentences or more"),
    "docstring": Method(from_docstrings, "Python functions with a docstring or a comment above them"),
}
