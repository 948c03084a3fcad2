"""Texts to learn a tokenizer from, of whatever source, each with the field it stood in."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from ...errors import InputError
from ..readers.beir import QUERY_FILES
from ..readers.documents import TEXT_NAMES, TITLE_NAMES, corpus_file, found, read_documents
from ..readers.examples import NEGATIVE_NAMES, POSITIVE_NAMES, QUERY_NAMES
from ..readers.lines import ending_of
from ..readers.plain import PLAIN, read_blocks
from ..readers.queries import read_queries
from ..readers.rows import Row, RowOptions, read_rows

FIELDS = (*QUERY_NAMES, *POSITIVE_NAMES, *NEGATIVE_NAMES, *TITLE_NAMES, *TEXT_NAMES)


class FieldText(NamedTuple):
    """A text and the field it stood in, empty for plain text."""

    field: str
    text: str


def read_field_texts(source: str | Path, options: RowOptions | None = None) -> Iterator[FieldText]:
    """Stream the texts of a source.

    Args:
        source: Plain text (.txt, also .gz or .zst) in blocks of lines up to a blank one; a folder with a corpus in
            BEIR's layout, its documents and queries; or whatever `read_rows` takes, the fields of documents, pairs and
            triplets that hold a text or a list of texts.
        options: See `RowOptions`.

    Raises:
        InputError: The source cannot be read, or a row has none of those fields; its place is named.
    """
    path = Path(source)
    if _is_plain(path):
        return (FieldText("", block.text) for block in read_blocks(source))
    if path.is_dir() and corpus_file(path) != path:
        return _collection(path)
    return (text for row in read_rows(source, options) for text in _of_row(row))


def _is_plain(path: Path) -> bool:
    return ending_of(path) in PLAIN and not path.is_dir()


def _collection(folder: Path) -> Iterator[FieldText]:
    for document, _ in read_documents(folder, empty="skip"):
        yield FieldText("documents", document.content)
    queries = next((folder / name for name in QUERY_FILES if (folder / name).is_file()), None)
    if queries is not None:
        yield from (FieldText("queries", text) for _, text in read_queries(queries))


def _of_row(row: Row) -> Iterator[FieldText]:
    fields: dict[str, Any] = {name: value for name in FIELDS if (value := row.fields.get(name)) is not None}
    if not fields:
        expected = "query, positive, title, text or another name of these"
        raise InputError(f"{row.where}: expected a text under {expected}; {found(row.fields)}")
    for name, value in fields.items():
        texts = value if isinstance(value, list | tuple) else [value]
        yield from (FieldText(name, text) for text in texts if isinstance(text, str) and text.strip())
