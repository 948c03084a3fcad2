"""The texts that pairs are made from: documents of a corpus, paragraphs of plain text, whole files of a folder."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

from ...errors import InputError
from ..readers.documents import TEXT_NAMES, TITLE_NAMES, corpus_file, found, take
from ..readers.lines import ending_of, numbered_lines
from ..readers.rows import RowOptions, read_rows
from .headings import sections

PLAIN = ".txt"
WHOLE = (".py", ".md")
"""Files that are one text each."""


@dataclass(frozen=True, slots=True)
class Text:
    """A text to make pairs from.

    Attributes:
        body: The text.
        title: What it is called; empty where nothing says it.
    """

    body: str
    title: str = ""


def read_texts(source: str | Path, options: RowOptions, at_headings: bool = False) -> Iterator[Text]:
    """Stream the texts of a source.

    Args:
        source: A BEIR folder; rows with a field text, and perhaps title; a text file (.txt), whose paragraphs blank
            lines separate; a file of Markdown or Python; or a folder with files of these three kinds, taken in the
            order of their names. Text files and rows may be compressed (.gz, .zst).
        options: How to read rows.
        at_headings: Part text files before each Markdown heading instead.

    Raises:
        InputError: The source cannot be read, or a row has no text; its place is named.
    """
    path = Path(corpus_file(source))
    if path.is_dir():
        files = [file for file in sorted(path.rglob("*")) if file.is_file() and ending_of(file) in (PLAIN, *WHOLE)]
        if files:
            for file in files:
                yield from _of_file(file, at_headings)
            return
    if ending_of(path) in (PLAIN, *WHOLE) and not path.is_dir():
        yield from _of_file(path, at_headings)
        return
    for row in read_rows(corpus_file(source), options):
        fields = dict(row.fields)
        body, title = take(fields, TEXT_NAMES), take(fields, TITLE_NAMES)
        if not isinstance(body, str):
            raise InputError(f"{row.where}: expected a text under text; {found(row.fields)}")
        yield Text(body, title if isinstance(title, str) else "")


def _of_file(path: Path, at_headings: bool) -> Iterator[Text]:
    lines = (line.rstrip("\r\n") for _, line in numbered_lines(path))
    if ending_of(path) in WHOLE:
        yield Text("\n".join(lines))
    elif at_headings:
        for level, heading, body in sections(lines):
            yield Text("\n".join([f"{'#' * level} {heading}", *body] if level else body))
    else:
        yield from map(Text, paragraphs(lines))


def paragraphs(lines: Iterable[str]) -> Iterator[str]:
    """Join lines up to a blank one; blank lines belong to nothing."""
    for blank, members in groupby(lines, key=lambda line: not line.strip()):
        if not blank:
            yield "\n".join(members)
