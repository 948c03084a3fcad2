"""Queries: JSON Lines with an id and a text, or plain text with one query a line."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TextIO

from ...errors import InputError
from .documents import ID_NAMES, found, take
from .lines import ending_of, numbered_lines
from .rows import FORMATS, read_rows

QUERY_TEXT_NAMES = ("text", "query", "question")


def read_queries(path: Path) -> Iterator[tuple[str, str]]:
    """Yield (query id, text) from a file: by its ending JSON Lines, TSV, CSV or Parquet, else one query a line.

    A query without an id of its own is numbered from 1.

    Raises:
        InputError: The file is missing, a record has no text, or an id comes twice.
    """
    if path.is_dir() or not path.exists():  # a pipe is as good as a file
        raise InputError(f"{path}: {'a folder, where a file was expected' if path.is_dir() else 'no such file'}")
    if ending_of(path) not in FORMATS:
        yield from plain_queries(line for _, line in numbered_lines(path))
        return
    seen: set[str] = set()
    for number, row in enumerate(read_rows(path), 1):
        fields = dict(row.fields)
        identifier = take(fields, ("query_id", "qid", *ID_NAMES))
        identifier = str(number if identifier is None else identifier)
        text = take(fields, QUERY_TEXT_NAMES)
        if not isinstance(text, str) or not text.strip():
            raise InputError(f"{row.where}: expected a query under text; {found(row.fields)}")
        if identifier in seen:
            raise InputError(f"{row.where}: query id {identifier!r} comes twice")
        seen.add(identifier)
        yield identifier, text


def plain_queries(lines: Iterable[str]) -> Iterator[tuple[str, str]]:
    """Yield (number from 1, query) of every line that is not blank."""
    texts = (line.strip() for line in lines)
    for number, text in enumerate(filter(None, texts), 1):
        yield str(number), text


def gather_queries(query: str | None, file: Path | None, stdin: TextIO | None) -> list[tuple[str, str]]:
    """Return (id, text) of what the user asks: the query, or those of a file, or those on standard input.

    Raises:
        InputError: Both or neither were given, or there is no query in them.
    """
    if query is not None and file is not None:
        raise InputError("give a query or --queries FILE, not both")
    if query is None and file is None and (stdin is None or stdin.isatty()):
        raise InputError('no query; give one: modernir search "…" --index DIR, or --queries FILE')
    try:
        asked = list(_given(query, file, stdin))
        for _, text in asked:
            text.encode()  # a shell passes bytes that are no text on as half characters
    except (UnicodeDecodeError, UnicodeEncodeError) as error:
        raise InputError(f"{file or 'the query'}: not UTF-8 ({error.reason})") from error
    if not asked:
        raise InputError(f"no query in {file or 'the input'}; every line is blank")
    return asked


def _given(query: str | None, file: Path | None, stdin: TextIO | None) -> Iterator[tuple[str, str]]:
    if query is not None:
        return plain_queries([query])
    if file is not None and str(file) != "-":
        return read_queries(file)
    return plain_queries(stdin or ())
