"""Documents of a corpus: a file, a BEIR folder or a data set, whatever its columns are called."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

from ...errors import InputError
from ...index.documents import Document
from .rows import Row, RowOptions, read_rows

ID_NAMES = ("_id", "id", "doc_id", "docid", "pid", "corpus-id", "corpus_id")
TEXT_NAMES = ("text", "contents", "content", "body", "passage", "document")
TITLE_NAMES = ("title", "heading")
CORPUS_FILES = ("corpus.jsonl", "corpus.jsonl.gz", "corpus.jsonl.zst", "corpus.parquet", "corpus.tsv", "corpus.csv")

Empty = Literal["error", "skip", "keep"]


def read_documents(
    source: str | Path, options: RowOptions | None = None, empty: Empty = "error"
) -> Iterator[tuple[Document, str]]:
    """Stream a corpus as (document, place it came from).

    Args:
        source: A file, a folder that holds a `corpus.…` file (BEIR's layout), or a data set.
        options: See `RowOptions`.
        empty: What to do with a document whose title and text are both empty.

    Raises:
        InputError: A record has no id or no text, with its file and line.
    """
    for row in read_rows(corpus_file(source), options):
        document = to_document(row)
        if not document.content and empty != "keep":
            if empty == "skip":
                continue
            raise InputError(f"{row.where}: document {document.id!r} has no text; give it one or use --empty skip")
        yield document, row.where


def corpus_file(source: str | Path) -> str | Path:
    """Return the corpus file of a BEIR folder, or the source itself where it is anything else."""
    folder = Path(source)
    return next((folder / name for name in CORPUS_FILES if (folder / name).is_file()), source)


def to_document(row: Row) -> Document:
    """Read a row as a document; fields that are not id, title or text become metadata.

    Raises:
        InputError: The id or the text is missing or of the wrong type.
    """
    fields = dict(row.fields)
    identifier = take(fields, ID_NAMES)
    text = take(fields, TEXT_NAMES)
    title = take(fields, TITLE_NAMES)
    if isinstance(identifier, int) and not isinstance(identifier, bool):
        identifier = str(identifier)
    if not isinstance(identifier, str) or not identifier:
        header = "; a file without a header line wants --columns id,text" if separated(row.where) else ""
        raise InputError(f"{row.where}: expected an id under {' or '.join(ID_NAMES[:2])}; {found(row.fields)}{header}")
    if not isinstance(text, str):
        raise InputError(f"{row.where}: document {identifier!r} has no text; expected one under text; {found(fields)}")
    metadata = fields.pop("metadata", None)
    if isinstance(metadata, Mapping):
        fields |= metadata
    return Document(identifier, text, "" if title is None else str(title), fields)


def take(fields: dict[str, Any], names: tuple[str, ...]) -> Any:  # noqa: ANN401 - a field may hold anything
    """Remove the first of `names` that `fields` has and return its value, or None."""
    name = next((name for name in names if name in fields), None)
    return None if name is None else fields.pop(name)


def separated(where: str) -> bool:
    """Say whether a place is in a CSV or TSV file."""
    return any(f"{ending}{end}" in where for ending in (".csv", ".tsv") for end in (":", ".gz:", ".zst:"))


def found(fields: Mapping[str, Any]) -> str:
    """Say which fields a record has, for an error message."""
    return f"found the fields {', '.join(map(repr, fields))}" if fields else "found no fields"
