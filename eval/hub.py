"""A benchmark's files on a hub made into one folder in BEIR's layout, which is all that is read later.

The folder takes its place only once it is whole and holds what it should; `counts.json` in it says how much that is.
Files are fetched by name, not through a data set's configurations: some of these data sets have code in their place,
which `datasets` refuses to run.
"""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import xxhash

from ..errors import InputError
from ..files import new_folder, sync_files, write_json
from ..retrieval.readers.beir import Qrels
from ..retrieval.readers.rows import Row, read_rows
from .counts import COUNTS
from .hub_files import fetch_files
from .registry.entry import HubFiles
from .registry.layouts import Fields

T = TypeVar("T")


def fetch_benchmark(
    hub: HubFiles, target: Path, check: Callable[[Path], str | None], address: str | None = None
) -> None:
    """Download a benchmark's files and write them as the folder `target`, in BEIR's layout.

    Args:
        hub: What to fetch.
        target: Where the folder belongs; it appears there whole or not at all.
        check: Says what is wrong with the folder, or None.
        address: Of the hub, in place of the usual one.

    Raises:
        InputError: The hub does not answer or lacks a file, the connection was cut, a row is not what the layout says,
            or `check` found a fault.
    """
    files = fetch_files(hub, address)
    with new_folder(target) as fresh:
        counts = write_folder(hub, files, fresh)
        source = {"repository": hub.repository, "revision": hub.revision}
        write_json(fresh / COUNTS, source | counts)
        problem = check(fresh)
        if problem:
            raise InputError(f"{hub.repository}: not the data set that was expected: {problem}")
        sync_files(fresh)


def write_folder(hub: HubFiles, files: dict[str, list[Path]], folder: Path) -> dict[str, Any]:
    """Write the rows of local files as a folder in BEIR's layout.

    Of the queries only those are written that a split judges and that have a text.

    Args:
        hub: Which files are which part, and their layout.
        files: Path in the repository, as `hub` has it, to the files here.
        folder: An empty folder.

    Returns:
        How many documents, judged queries and judgements there are, the latter two by split.

    Raises:
        InputError: A row is not what the layout says, or an id stands for two texts.
    """
    rows = _Rows(hub, files)
    qrels = {split: rows.qrels(pattern) for split, pattern in hub.qrels.items()}
    (folder / "qrels").mkdir()
    for split, judged in qrels.items():
        lines = (f"{query}\t{doc}\t{grade}\n" for query, docs in judged.items() for doc, grade in docs.items())
        with (folder / "qrels" / f"{split}.tsv").open("w", encoding="utf-8", newline="\n") as stream:
            stream.write("query-id\tcorpus-id\tscore\n")
            stream.writelines(lines)
    wanted = {query for judged in qrels.values() for query in judged}
    queries = ({"_id": key, "text": text} for key, text in rows.queries() if key in wanted and text.strip())
    _write_records(folder / "queries.jsonl", queries, hub)
    documents = ({"_id": key, "title": title, "text": text} for key, title, text in rows.documents())
    return {
        "documents": _write_records(folder / "corpus.jsonl", documents, hub),
        "queries": {split: len(judged) for split, judged in qrels.items()},
        "judgements": {split: sum(map(len, judged.values())) for split, judged in qrels.items()},
    }


class _Rows:
    """The rows of the parts, read as the layout says."""

    def __init__(self, hub: HubFiles, files: dict[str, list[Path]]) -> None:
        self.hub, self.files = hub, files

    def documents(self) -> Iterator[tuple[str, str, str]]:
        for row in self._of(self.hub.corpus):
            yield _read(self.hub.layout.document, row)

    def queries(self) -> Iterator[tuple[str, str]]:
        for pattern in self.hub.queries:
            for row in self._of(pattern):
                yield _read(self.hub.layout.query, row)

    def qrels(self, pattern: str) -> Qrels:
        qrels: Qrels = {}
        for row in self._of(pattern):
            for query, document, grade in _read(self.hub.layout.judgements, row):
                qrels.setdefault(query, {})[document] = grade
        return qrels

    def _of(self, pattern: str) -> Iterator[Row]:
        only = self.hub.only.items()
        for file in self.files[pattern]:
            yield from (row for row in read_rows(file) if all(row.fields.get(name) == value for name, value in only))


def _read(function: Callable[[Fields], T], row: Row) -> T:
    try:
        return function(row.fields)
    except KeyError as error:
        found = ", ".join(map(repr, row.fields))
        raise InputError(f"{row.where}: expected a field {error}; found {found or 'none'}") from error
    except (TypeError, ValueError) as error:
        raise InputError(f"{row.where}: not a row of this data set ({error})") from error


def _write_records(path: Path, records: Iterator[dict[str, str]], hub: HubFiles) -> int:
    """Write records, each id once, as JSON Lines and return how many they are."""
    seen: dict[str, int] = {}
    with path.open("w", encoding="utf-8", newline="\n") as stream:
        for record in records:
            line = json.dumps(record, ensure_ascii=False) + "\n"
            digest = xxhash.xxh3_64_intdigest(line.encode())
            before = seen.get(record["_id"])
            if before is None:
                seen[record["_id"]] = digest
                stream.write(line)
            elif before != digest:
                raise InputError(f"{hub.repository}: {path.stem} has the id {record['_id']!r} for two texts")
    return len(seen)
