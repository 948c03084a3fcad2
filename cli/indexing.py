"""Commands that build indexes and look after them."""

import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..errors import InputError, ModernirError
from .options import (
    AsJson,
    Attention,
    Device,
    DocumentLength,
    IndexFolder,
    Memory,
    Model,
    OtherModel,
    Overlap,
    PoolFactor,
    Precision,
    RemoteCode,
    check_files,
    print_json,
    tell,
    write_shown,
)
from .root import index_app

if TYPE_CHECKING:
    from ..retrieval.readers.rows import RowOptions


class Kind(StrEnum):
    """What an index holds of a text."""

    dense = "dense"
    late = "late"


class Empty(StrEnum):
    """What to do with a document whose title and text are both empty."""

    error = "error"
    skip = "skip"
    keep = "keep"


def _row_options(columns: str | None, split: str | None, config: str | None) -> "RowOptions":
    from ..retrieval.readers.rows import RowOptions

    names = tuple(name.strip() for name in columns.split(",")) if columns else None
    return RowOptions(names, split, config)


@index_app.command("corpus")
def index_corpus(
    source: Annotated[str, typer.Argument(help="JSONL, TSV, CSV (.gz, .zst), Parquet, BEIR folder or data set.")],
    model: Model,
    index: Annotated[Path, typer.Option("--index", "-i", help="Folder of the new index.")],
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace an index that is there, once the new one is whole.")
    ] = False,
    empty: Annotated[Empty, typer.Option(help="What to do with a document without text.")] = Empty.error,
    columns: Annotated[str | None, typer.Option(help="Column names of a file without a header: id,text")] = None,
    split: Annotated[str | None, typer.Option(help="Split of a data set.")] = None,
    config: Annotated[str | None, typer.Option(help="Configuration of a data set on the hub.")] = None,
    kind: Annotated[
        Kind | None, typer.Option(help="One vector a text (dense) or a token (late); the model's, if not given.")
    ] = None,
    nbits: Annotated[
        int | None, typer.Option(help="Of a late index: bits a dimension, 2, 4, 8; 16 or 32 keep all. Default 4.")
    ] = None,
    structure: Annotated[
        str | None,
        typer.Option(help="Of a dense index: auto, flat, pq, ivfpq, hnsw, int8, binary or a FAISS factory string."),
    ] = None,
    target_recall: Annotated[
        float | None, typer.Option(help="Share of the exact 10 best that a search is to find, such as 0.97.")
    ] = None,
    pool_factor: PoolFactor = None,
    document_length: DocumentLength = None,
    overlap: Overlap = None,
    memory: Memory = None,
    device: Device = None,
    precision: Precision = None,
    attention: Attention = None,
    trust_remote_code: RemoteCode = False,
    as_json: AsJson = False,
) -> None:
    """Encode a corpus and write an index; after an interruption, the same command goes on where it stopped."""
    from ..encoders.loading import load_encoder
    from ..retrieval.build import build_index
    from ..retrieval.recorded import check_kind
    from ..retrieval.target import check_target

    check_target(index, overwrite)
    encoder = load_encoder(
        model,
        device,
        precision,
        trust_remote_code,
        attention,
        pool_factor=pool_factor,
        document_length=document_length,
        overlap=overlap,
    )
    check_kind(encoder, kind.value if kind else None)
    options = _row_options(columns, split, config)
    wanted = {"nbits": nbits, "structure": structure, "target_recall": target_recall}
    with build_index(
        source,
        encoder,
        index,
        options=options,
        empty=empty.value,
        overwrite=overwrite,
        memory=memory,
        engine={name: value for name, value in wanted.items() if value is not None},
    ) as retriever:
        _print_index(retriever.index.info(), as_json)


@index_app.command("info")
def index_info(
    index: IndexFolder,
    as_json: AsJson = False,
) -> None:
    """Say what an index holds and which encoder built it."""
    from ..index.index import Index

    with Index.open(index) as opened:
        _print_index(opened.info(), as_json)


@index_app.command("verify")
def index_verify(
    index: IndexFolder,
    as_json: AsJson = False,
) -> None:
    """Read every file of an index again and compare checksums and counts with the catalog."""
    from ..index.index import Index

    with Index.open(index) as opened:
        faults, documents = opened.verify(), len(opened)
    if as_json:
        print_json({"path": str(index), "documents": documents, "faults": faults})
    if faults:
        raise ModernirError("; ".join(faults))
    if not as_json:
        sys.stdout.write(f"{index}: {documents:,} documents, sound\n")


@index_app.command("add")
def index_add(
    source: Annotated[str, typer.Argument(help="Documents, as for index corpus.")],
    index: IndexFolder,
    model: OtherModel = None,
    empty: Annotated[Empty, typer.Option(help="What to do with a document without text.")] = Empty.error,
    columns: Annotated[str | None, typer.Option(help="Column names of a file without a header: id,text")] = None,
    split: Annotated[str | None, typer.Option(help="Split of a data set.")] = None,
    config: Annotated[str | None, typer.Option(help="Configuration of a data set on the hub.")] = None,
    memory: Memory = None,
    device: Device = None,
    precision: Precision = None,
    attention: Attention = None,
    trust_remote_code: RemoteCode = False,
    as_json: AsJson = False,
) -> None:
    """Add documents to an index; one whose id is there already is replaced."""
    from ..retrieval.changes import add_corpus
    from ..retrieval.results import open_for_search

    options = _row_options(columns, split, config)
    with open_for_search(
        index, model, device, precision, False, trust_remote_code, attention, writable=True, memory=memory
    ) as retriever:
        added = add_corpus(retriever, source, options, empty.value)
        documents = len(retriever.index)
    if as_json:
        print_json({"path": str(index), "added": added, "documents": documents})
    else:
        sys.stdout.write(f"{index}: {added:,} documents added or replaced, {documents:,} in all\n")


@index_app.command("delete")
def index_delete(
    index: IndexFolder,
    ids: Annotated[list[str] | None, typer.Argument(help="Ids of documents.")] = None,
    ids_file: Annotated[
        Path | None, typer.Option("--ids", help="File with an id a line; - is stdin.", allow_dash=True)
    ] = None,
    filter: Annotated[str | None, typer.Option("--filter", help="Delete what fulfils it, see docs/filters.md.")] = None,
    as_json: AsJson = False,
) -> None:
    """Delete documents by id or by a filter; ids that are not there are told and do no harm."""
    from ..index.index import Index
    from ..retrieval.changes import read_ids

    wanted = read_ids(ids or [], ids_file, sys.stdin)
    with Index.open(index, writable=True) as opened:
        opened.require_finished()
        wanted += opened.matching(filter) if filter is not None else []
        if not wanted and filter is None:
            raise InputError("nothing to delete; give ids, --ids FILE or --filter")
        missing = opened.delete(wanted)
        documents = len(opened)
    deleted = len(wanted) - len(missing)
    if as_json:
        print_json({"path": str(index), "deleted": deleted, "missing": missing, "documents": documents})
        return
    for identifier in missing:
        tell(f"{identifier}: no document of this id")
    sys.stdout.write(f"{index}: {deleted:,} documents deleted, {documents:,} left\n")


@index_app.command("compact")
def index_compact(index: IndexFolder, memory: Memory = None, as_json: AsJson = False) -> None:
    """Merge the segments of an index into one, without what was deleted, and build what its size calls for."""
    from ..index.index import Index

    with Index.open(index, writable=True, memory=memory) as opened:
        opened.require_finished()
        before = opened.info()
        opened.compact()
        after = opened.info()
    if as_json:
        print_json({"before": before, "after": after})
    else:
        sys.stdout.write(
            f"{index}: {before['segments']} segments, {before['deleted']:,} deleted, {before['bytes'] / 1e6:,.1f} MB → "
            f"{after['segments']}, {after['deleted']:,}, {after['bytes'] / 1e6:,.1f} MB\n"
        )


@index_app.command("recall")
def index_recall(
    index: Annotated[
        list[Path],
        typer.Option(
            "--index", "-i", help="Index folder; others of the same documents are measured against the first's vectors."
        ),
    ],
    queries: Annotated[
        Path | None, typer.Option("--queries", "-q", help="As for search. Default: documents of the index as queries.")
    ] = None,
    sample: Annotated[int, typer.Option(min=1, help="Queries to measure with.")] = 200,
    k: Annotated[list[int] | None, typer.Option("-k", min=1, help="Cut-off; repeatable. Default 10 and 100.")] = None,
    model: OtherModel = None,
    device: Device = None,
    precision: Precision = None,
    trust_remote_code: RemoteCode = False,
    as_json: AsJson = False,
    csv: Annotated[Path | None, typer.Option("--csv", help="Write all figures to this file.")] = None,
    html: Annotated[
        Path | None, typer.Option("--html", help="Write a page that plots recall against latency and bytes.")
    ] = None,
) -> None:
    """Measure recall against exact search, the latency and the bytes, over settings of the search and indexes."""
    from ..retrieval.recall.export import to_csv, to_json
    from ..retrieval.recall.measure import measure_recall_of
    from ..retrieval.recall.page import page
    from ..retrieval.recall.terminal import print_recall

    check_files(csv, html)
    found = measure_recall_of(index, queries, sample, k or [10, 100], model, device, precision, trust_remote_code)
    write_shown(found, (csv, to_csv), (html, page))
    if as_json:
        print_json({"path": str(index[0]), **to_json(found)})
    else:
        print_recall(found)


@index_app.command("export")
def index_export(
    index: IndexFolder,
    output: Annotated[Path, typer.Option("--output", "-o", help="New folder.")],
    muvera: Annotated[
        bool, typer.Option("--muvera", help="Of a late index: one vector a document, for any vector database.")
    ] = False,
    repetitions: Annotated[int | None, typer.Option(min=1, help="Of MUVERA; 256 dimensions each. Default 20.")] = None,
) -> None:
    """Write the documents (corpus.jsonl) and their vectors (NumPy arrays) of an index to a folder."""
    from ..index.export import export_index
    from ..index.index import Index

    parameters = {} if repetitions is None else {"repetitions": repetitions}
    with Index.open(index) as opened:
        opened.require_finished()
        export_index(opened, output, parameters if muvera else None)
    sys.stdout.write(f"{output}\n")


def _print_index(info: dict[str, Any], as_json: bool) -> None:
    if as_json:
        print_json(info)
        return
    encoder = info["encoder"] or {"name": "unknown", "fingerprint": "unknown"}
    sys.stdout.write(
        f"{info['path']}: {info['documents']:,} documents, {info['kind']}, {info['dim']} dimensions, {info['metric']}, "
        f"{info['bytes'] / 1e6:,.1f} MB in {info['segments']} segments, {info['deleted']:,} deleted\n"
        f"structure: {_in_words(info['structure'])}\n"
        f"encoder: {encoder['name']} ({encoder['fingerprint'][:12]})\n"
    )
    if documents := encoder.get("documents"):
        shown = [f"{name} {'none' if value is None else f'{value:g}'}" for name, value in documents.items()]
        sys.stdout.write(f"documents: {', '.join(shown)}\n")


def _in_words(structure: dict[str, Any]) -> str:
    """Return what an engine says of its structure in one line; what is none, zero or a list of segments is left out."""
    shown = {name: value for name, value in structure.items() if value not in (None, 0) and name != "segments"}
    kinds = {str(part["structure"]["factory"]) for part in structure.get("segments", []) if part["structure"]}
    return ", ".join([*(f"{name} {value}" for name, value in shown.items()), *sorted(kinds)])
