"""The command that searches."""

import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from .options import AsJson, Attention, Device, OtherModel, Precision, RemoteCode, print_json
from .root import app

FOUND = 10
"""Documents a query where nobody says how many."""


class Mode(StrEnum):
    """What a search goes by."""

    dense = "dense"
    late = "late"
    lexical = "lexical"
    hybrid = "hybrid"


@app.command()
def search(
    query: Annotated[str | None, typer.Argument(help="The query; without one, queries come from stdin.")] = None,
    index: Annotated[Path, typer.Option("--index", "-i", help="Index folder.")] = Path("index"),
    k: Annotated[
        int | None, typer.Option("-k", min=1, help="Documents a query; by default 10, with --explain 3.")
    ] = None,
    queries: Annotated[
        Path | None, typer.Option("--queries", "-q", help="One a line, or by its ending JSONL, TSV, CSV; - is stdin.")
    ] = None,
    model: OtherModel = None,
    mode: Annotated[
        Mode | None, typer.Option(help="By vectors (dense or late, as the index), words (lexical) or both (hybrid).")
    ] = None,
    filter: Annotated[
        str | None, typer.Option("--filter", help="Only documents that fulfil it: \"year >= 2020 and lang = 'en'\".")
    ] = None,
    rerank: Annotated[
        int | None, typer.Option(min=1, help="Order so many results by their exact scores with the index's vectors.")
    ] = None,
    exact: Annotated[bool, typer.Option("--exact", help="Compare with every document.")] = False,
    nprobe: Annotated[int | None, typer.Option(min=1, help="Centroids or lists to look into.")] = None,
    candidates: Annotated[int | None, typer.Option(min=1, help="Of a late index: documents to score exactly.")] = None,
    any_encoder: Annotated[bool, typer.Option("--any-encoder", help="Take another encoder than the index's.")] = False,
    device: Device = None,
    precision: Precision = None,
    attention: Attention = None,
    trust_remote_code: RemoteCode = False,
    explain: Annotated[
        bool, typer.Option("--explain", help="Show what each word of the query met in the documents of a late index.")
    ] = False,
    html: Annotated[
        Path | None, typer.Option("--html", help="Write the explanations as a page to this file; implies --explain.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Search an index with one query, or with many from a file or stdin."""
    from ..retrieval.readers.queries import gather_queries

    asked = gather_queries(query, queries, sys.stdin)
    from ..retrieval.explaining.shell import EXPLAINED, check_asked, explain_hits, show
    from ..retrieval.results import open_for_search, print_hits, to_json

    way = mode.value if mode else None
    options = {"exact": exact or None, "nprobe": nprobe, "candidates": candidates}
    given: dict[str, Any] = {name: value for name, value in options.items() if value is not None}
    lexical = way == "lexical" and rerank is None
    explain = explain or html is not None
    if explain:
        check_asked(index, way, html)
    k = k or (EXPLAINED if explain else FOUND)
    with open_for_search(
        index, model, device, precision, any_encoder, trust_remote_code, attention, without_encoder=lexical
    ) as retriever:
        hits = retriever.search([text for _, text in asked], k, way, filter, rerank, **given)
        explanations = explain_hits(retriever, asked, hits) if explain else None
    if explanations is not None:
        show(asked, explanations, html, quiet=as_json)
    if as_json:
        print_json(to_json(asked, hits, explanations))
    elif explanations is None:
        print_hits(asked, hits)
