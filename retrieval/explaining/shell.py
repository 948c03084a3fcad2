"""What `search --explain` checks before it loads a model, and what it explains and shows."""

from collections.abc import Sequence
from pathlib import Path

from ...errors import InputError
from ..retriever import Hit, Retriever
from .compute import check_explainable, explain_documents
from .explanation import Explanation

EXPLAINED = 3
"""Documents a query to explain where nobody says how many: more would not fit on a screen."""


def check_asked(index: Path, mode: str | None, page: Path | None) -> None:
    """Refuse what cannot be explained, or a page that cannot be written, before any work is done.

    Args:
        index: The index folder.
        mode: That of the search.
        page: File of the page, or None.

    Raises:
        InputError: The search is lexical, there is no index or a dense one, or the page is a folder.
    """
    from ...index.index import Index
    from .page import check_page

    if page is not None:
        check_page(page)
    if mode == "lexical":
        raise InputError(
            "--explain shows which token vectors met, of which a lexical search knows nothing; leave out --mode lexical"
        )
    with Index.open(index) as opened:
        check_explainable(opened)


def explain_hits(
    retriever: Retriever, asked: Sequence[tuple[str, str]], hits: Sequence[Sequence[Hit]]
) -> list[list[Explanation]]:
    """Explain the documents that were found for each query, in their order.

    Raises:
        InputError: See `explain_documents`.
    """
    pairs = zip(asked, hits, strict=True)
    return [
        explain_documents(retriever.index, retriever.encoder, text, [hit.id for hit in found])
        for (_, text), found in pairs
    ]


def show(
    asked: Sequence[tuple[str, str]], explanations: Sequence[Sequence[Explanation]], page: Path | None, quiet: bool
) -> None:
    """Write the page, where one is asked for, and print the explanations, unless `quiet`."""
    from .page import write_page
    from .terminal import print_explanations

    if page is not None:
        write_page(page, asked, explanations)
    if not quiet:
        print_explanations(asked, explanations)
