"""Explanations for the terminal: the document with what was matched in colour, and a table of words that met.

Where there are no colours, in a file or with NO_COLOR, matched words stand between «», so that nothing is lost.
"""

import re
import sys
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from ..texts import CONTROLS, NOTHING_FOUND
from .explanation import Explanation, WordMatch
from .passages import passages
from .shown import named, names_met, scored, shade, text_met

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

SHADES = ("#fff3cd", "#ffe08a", "#ffc845", "#ffab1a")
"""Behind matched words, from the least contribution to the largest; the letters are black on all of them."""
SHOWN = 900
"""Characters of a document to show; of a longer one the passages with matches, the weightiest first."""
CONTEXT = 24
"""Characters on either side of a word in the table."""
MOST_MET = 3
"""Words that a word met to name in the table."""
NARROW = 64
"""Columns below which the table does without contexts."""
Mark = tuple[int, int, float]
"""Start and end of a word that was matched, and what that adds to the score."""


def print_explanations(asked: Sequence[tuple[str, str]], explanations: Sequence[Sequence[Explanation]]) -> None:
    """Print why each query's documents have their scores, best first.

    Args:
        asked: (id, text) of each query.
        explanations: Those of each query's documents.
    """
    from rich.console import Console
    from rich.text import Text

    console = Console(file=sys.stdout)
    for (_, query), found in zip(asked, explanations, strict=True):
        console.print(Text(query.translate(CONTROLS), style="bold italic"))
        console.print()
        for rank, explanation in enumerate(found, 1):
            _print_one(console, rank, explanation)
        if not found:
            console.print(NOTHING_FOUND)
            console.print()


def _print_one(console: "Console", rank: int, explanation: Explanation) -> None:
    from rich.padding import Padding
    from rich.text import Text

    coloured = console.color_system is not None and not console.no_color
    head = Text(f"{rank}  {scored(explanation.score)}  ")
    head.append(explanation.id.translate(CONTROLS), style="cyan")
    if explanation.index_score is not None:
        head.append(f"  by the vectors coded in the index {scored(explanation.index_score)}", style="dim")
    console.print(head)
    console.print(Padding(_document(explanation, coloured), (0, 0, 1, 3), expand=False))
    if explanation.note:
        console.print(Padding(Text(explanation.note, style="yellow"), (0, 0, 1, 3), expand=False))
    if explanation.words:
        console.print(Padding(_table(explanation, coloured, console.width >= NARROW), (0, 0, 1, 3), expand=False))


def _document(explanation: Explanation, coloured: bool) -> "Text":
    """Return the title, and the text or its passages, with the words that were matched marked."""
    from rich.text import Text

    matched = {number for match in explanation.words for number, _ in match.met}
    words = zip(explanation.document_words, explanation.document_scores, strict=True)
    marks = [
        (word.start, word.end, score)
        for number, (word, score) in enumerate(words)
        if number in matched and word.is_text
    ]
    highest = max((score for *_, score in marks), default=0.0) if coloured else None
    content, title = explanation.content, explanation.title_end
    shown = Text()
    if title:
        _append_marked(shown, content, (0, title), marks, highest)
        shown.stylize("bold")
        shown.append("\n" if content[title:].strip() else "", style="not bold")
    begin = len(content) - len(content[title:].lstrip())
    stretches = passages(
        content[begin:], [(one - begin, two - begin, score) for one, two, score in marks if one >= begin], SHOWN
    )
    for number, (start, end) in enumerate(stretches):
        shown.append(" … " if number else "… " if start else "", style="not bold")
        _append_marked(shown, content, (begin + start, begin + end), marks, highest)
    shown.append(" …" if begin + stretches[-1][1] < len(content) else "")
    return shown


def _append_marked(
    shown: "Text",
    content: str,
    stretch: tuple[int, int],
    marks: Iterable[Mark],
    highest: float | None,
) -> None:
    """Append a stretch of a text with its marks in colours up to the highest score, or, without one, between «»."""
    place, until = stretch
    for start, end, score in marks:
        if end <= place or start >= until:
            continue
        start, end = max(start, place), min(end, until)
        shown.append(content[place:start].translate(CONTROLS))
        _append_mark(shown, content[start:end].translate(CONTROLS), score, highest)
        place = end
    shown.append(content[place:until].translate(CONTROLS))


def _append_mark(shown: "Text", word: str, score: float, highest: float | None) -> None:
    if highest is None:
        shown.append(f"«{word}»")
    else:
        shown.append(word, style=f"black on {SHADES[shade(score, highest, len(SHADES))]}")


def _table(explanation: Explanation, coloured: bool, contexts: bool) -> "Table":
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False)
    table.add_column("query", overflow="fold", style="bold" if coloured else "")
    table.add_column("score", justify="right", no_wrap=True)
    table.add_column("met", overflow="fold")
    if contexts:
        table.add_column("in", overflow="fold", ratio=1)
    for match in explanation.words:
        row = [Text(named(match.word)), Text(f"{match.score:.3f}"), Text(names_met(explanation, match, MOST_MET))]
        table.add_row(*row, *([_context(explanation, match, coloured)] if contexts else []))
    return table


def _context(explanation: Explanation, match: WordMatch, coloured: bool) -> "Text":
    """Return the surroundings of the word of the text that was met most."""
    from rich.text import Text

    word = text_met(explanation, match)
    if word is None:
        return Text("")
    start, end = explanation.context(word, CONTEXT)
    content = explanation.content
    shown = Text("…" if start else "")
    shown.append(_on_one_line(content[start : word.start]))
    _append_mark(shown, named(word), 1.0, 1.0 if coloured else None)
    shown.append(_on_one_line(content[word.end : end]))
    return shown.append("…" if end < len(content) else "")


def _on_one_line(text: str) -> str:
    return re.sub(r"\s+", " ", text.translate(CONTROLS))
