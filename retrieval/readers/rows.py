"""Rows of named fields from whatever people keep their texts in, streamed, each with the place it came from.

The formats are a table; a format is a function from a path to rows. What the fields mean is for `documents`,
`examples` and `queries` to say.
"""

import csv
import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from ...errors import InputError
from .lines import COMPRESSED, ending_of, numbered_lines

csv.field_size_limit(1 << 30)

QUICK_TO_EXPAND = 64 << 20

T = TypeVar("T")


class Row(NamedTuple):
    """Fields of one record and where it stands, as `file:line`."""

    fields: dict[str, Any]
    where: str


@dataclass(frozen=True)
class RowOptions:
    """How to read a source that does not say it itself.

    Attributes:
        columns: Names of the columns of a CSV or TSV file that has no header line.
        split: Split of a data set; None takes its only one.
        config: Configuration of a data set on a hub.
    """

    columns: tuple[str, ...] | None = None
    split: str | None = None
    config: str | None = None


def read_jsonl(path: Path, options: RowOptions) -> Iterator[Row]:
    """Yield one row a line of a JSON Lines file; blank lines are passed over."""
    for number, line in numbered_lines(path):
        if not line.strip():
            continue
        where = f"{path}:{number}"
        try:
            fields = json.loads(line)
            if "\\u" in line:  # the only way to write half a character
                json.dumps(fields, ensure_ascii=False).encode()
        except UnicodeEncodeError as error:
            raise InputError(f"{where}: holds half of a surrogate pair, which is no character") from error
        except (ValueError, RecursionError) as error:
            raise InputError(f"{where}: not a line of JSON ({error})") from error
        if not isinstance(fields, dict):
            raise InputError(f"{where}: expected a JSON object {{…}}, found {type(fields).__name__}")
        yield Row(fields, where)


def _read_separated(path: Path, options: RowOptions, dialect: dict[str, Any]) -> Iterator[Row]:
    reader = csv.reader((line for _, line in numbered_lines(path)), strict=True, **dialect)
    names = list(options.columns) if options.columns else None
    try:
        for record in reader:
            if not record:
                continue
            if names is None:
                names = [name.strip() for name in record]
                continue
            where = f"{path}:{reader.line_num}"
            if len(record) != len(names):
                expected = f"{len(names)} columns ({', '.join(names)})"
                raise InputError(f"{where}: expected {expected}, found {len(record)}")
            yield Row(dict(zip(names, record, strict=True)), where)
    except csv.Error as error:
        raise InputError(f"{path}:{reader.line_num}: {error}") from error


def read_csv(path: Path, options: RowOptions) -> Iterator[Row]:
    """Yield the rows of a comma-separated file, quoted as spreadsheets do."""
    return _read_separated(path, options, {"delimiter": ","})


def read_tsv(path: Path, options: RowOptions) -> Iterator[Row]:
    """Yield the rows of a tab-separated file; quotes are ordinary characters, as in MS MARCO's files."""
    return _read_separated(path, options, {"delimiter": "\t", "quoting": csv.QUOTE_NONE})


def read_parquet(path: Path, options: RowOptions) -> Iterator[Row]:
    """Yield the rows of a Parquet file, a batch of them in memory at a time."""
    import pyarrow
    import pyarrow.parquet

    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            number = 0
            for batch in file.iter_batches(batch_size=1024):
                for fields in batch.to_pylist():
                    number += 1
                    yield Row(fields, f"{path}: row {number}")
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such file") from error
    except (pyarrow.ArrowException, OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: not a readable Parquet file ({error})") from error


def read_dataset(name: str, options: RowOptions) -> Iterator[Row]:
    """Yield the rows of a data set of the `datasets` library: a folder it saved or can load, or a hub name.

    A hub data set is streamed. Data sets that need code of their own to load are refused by the library.
    """
    import datasets

    path = Path(name)
    try:
        if path.is_dir() and any((path / mark).is_file() for mark in ("state.json", "dataset_dict.json")):
            loaded = datasets.load_from_disk(path)
        else:
            loaded = datasets.load_dataset(name, options.config, streaming=True)
    except Exception as error:  # the library raises its own, the hub's and the network's kinds
        reason = str(error).strip().split("\n")[0]
        raise InputError(f"{name}: not a file or folder here, and not loadable as a data set ({reason})") from error
    if hasattr(loaded, "keys"):
        splits = list(loaded.keys())
        split = options.split or (splits[0] if len(splits) == 1 else None)
        if split not in splits:
            found = f"no split {options.split!r}" if options.split else "several splits"
            raise InputError(f"{name}: {found}; name one of {', '.join(splits)} with --split")
        loaded = loaded[split]
    number = 0
    try:
        for number, fields in enumerate(loaded, 1):
            yield Row(dict(fields), f"{name}: row {number}")
    except Exception as error:  # as above
        reason = str(error).strip().split("\n")[0]
        raise InputError(f"{name}: cannot be read after row {number} ({reason})") from error


FORMATS: dict[str, Callable[[Path, RowOptions], Iterator[Row]]] = {
    ".jsonl": read_jsonl,
    ".ndjson": read_jsonl,
    ".json": read_jsonl,
    ".csv": read_csv,
    ".tsv": read_tsv,
    ".parquet": read_parquet,
}


def read_rows(source: str | Path, options: RowOptions | None = None) -> Iterator[Row]:
    """Yield the rows of a file (by its ending: .jsonl, .csv, .tsv, plain or .gz/.zst; .parquet) or a data set.

    Raises:
        InputError: The source does not exist, has an unknown ending, or a row of it is broken.
    """
    options = options or RowOptions()
    path = Path(source)
    if path.is_dir() or (not path.exists() and not _looks_like_file(path)):
        return read_dataset(str(source), options)
    reader = FORMATS.get(ending_of(path))
    if not path.exists():
        raise InputError(f"{path}: no such file")
    if reader is None:
        known = ", ".join(FORMATS)
        raise InputError(f"{path}: unknown file type; expected one of {known}, the text ones also with .gz or .zst")
    return reader(path, options)


def _looks_like_file(path: Path) -> bool:
    return path.is_absolute() or path.suffix in (*FORMATS, *COMPRESSED, ".txt", ".zip") or len(path.parts) > 2


def count_rows(source: str | Path) -> int | None:
    """Return about how many records a file holds, for progress, or None where counting would take long."""
    path = Path(source)
    if not path.is_file():
        return None
    if path.suffix == ".parquet":
        import pyarrow.parquet

        return int(pyarrow.parquet.read_metadata(path).num_rows)
    if path.suffix in COMPRESSED and path.stat().st_size > QUICK_TO_EXPAND:
        return None
    if path.suffix in COMPRESSED:
        return sum(1 for _ in numbered_lines(path))
    with path.open("rb") as stream:
        return sum(chunk.count(b"\n") for chunk in iter(lambda: stream.read(1 << 22), b""))


def blocks(items: Iterable[T], size: int) -> Iterator[list[T]]:
    """Yield the items in lists of `size`, the last one shorter."""
    iterator = iter(items)
    while block := list(islice(iterator, size)):
        yield block
