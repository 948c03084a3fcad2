"""What a search from the shell opens and shows."""

import sys
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from .encoder import Encoder
from .explaining.explanation import Explanation
from .retriever import Hit, Retriever
from .texts import CONTROLS, NOTHING_FOUND

SNIPPET_CHARACTERS = 160


def open_for_search(
    index: Path,
    model: str | None = None,
    device: str | None = None,
    precision: str | None = None,
    any_encoder: bool = False,
    trust_remote_code: bool = False,
    attention: str | None = None,
    without_encoder: bool = False,
    writable: bool = False,
    memory: str | None = None,
) -> Retriever:
    """Open an index with the named encoder, or with the one that built it; see `load_recorded` for its precision.

    Args:
        index: The index folder.
        model: The encoder; None takes the one that built the index.
        device: See `load_encoder`, as for the others up to `attention`.
        precision: None takes the index's where it is to be had.
        any_encoder: Take an encoder with another fingerprint too.
        trust_remote_code: Run Python code that the checkpoint brings.
        attention: Name of an attention back-end.
        without_encoder: Load none, for lexical searches.
        writable: Whether documents will be added or deleted.
        memory: Bytes that building may take, such as "4GB".

    Raises:
        InputError: There is no index, or the encoder is not to be had or another than the index's.
    """
    if without_encoder:
        return Retriever.open(index, without_encoder=True)
    from ..encoders.loading import load_encoder
    from ..index.index import Index
    from .recorded import load_recorded

    with Index.open(index) as opened:
        if model is not None and any_encoder:  # what the index was built in says nothing of another model
            encoder: Encoder = load_encoder(model, device, precision, trust_remote_code, attention)
        else:
            encoder = load_recorded(opened, model, device, precision, trust_remote_code, attention)
    return Retriever.open(index, encoder, writable, any_encoder, memory=memory)


def to_json(
    asked: Sequence[tuple[str, str]],
    hits: Sequence[Sequence[Hit]],
    explanations: Sequence[Sequence[Explanation]] | None = None,
) -> list[dict[str, Any]]:
    """Return the results as JSON values, one object a query; hits with their explanations where there are any."""
    return [
        {
            "query_id": identifier,
            "query": text,
            "hits": [
                {
                    "rank": rank,
                    "score": hit.score,
                    "id": hit.id,
                    "title": hit.document.title,
                    "text": hit.document.text,
                    "metadata": dict(hit.document.metadata),
                    **({} if explanations is None else {"explanation": explanations[query][rank - 1].to_json()}),
                }
                for rank, hit in enumerate(found, 1)
            ],
        }
        for query, ((identifier, text), found) in enumerate(zip(asked, hits, strict=True))
    ]


def print_hits(asked: Sequence[tuple[str, str]], hits: Sequence[Sequence[Hit]]) -> None:
    """Print a table a query: rank, score, id, title and the beginning of the text."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console(file=sys.stdout)
    for (_, query), found in zip(asked, hits, strict=True):
        title = Text(query.translate(CONTROLS))
        table = Table(title=title, title_justify="left", show_lines=False, pad_edge=False, box=None)
        table.add_column("#", justify="right", style="dim")
        table.add_column("score", justify="right", no_wrap=True)
        table.add_column("id", overflow="fold", style="cyan")
        table.add_column("title and text", overflow="fold")
        for rank, hit in enumerate(found, 1):
            text = Text(hit.document.title.translate(CONTROLS), style="bold")
            snippet = textwrap.shorten(hit.document.text.translate(CONTROLS), SNIPPET_CHARACTERS, placeholder=" …")
            if snippet:
                text.append(f"\n{snippet}" if hit.document.title else snippet, style="not bold")
            table.add_row(str(rank), f"{hit.score:.4f}", Text(hit.id.translate(CONTROLS)), text)
        console.print(table)
        if not found:
            console.print(NOTHING_FOUND)
        console.print()
