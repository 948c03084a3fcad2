"""Changing an index that is there: adding a corpus to it, and the ids of what is to go."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TextIO

from ..encoders.dense import encode_blocks
from ..errors import InputError
from ..progress import progress
from .cuts import cut_so_far, tell_of_cuts
from .encoder import encoder_blocks
from .readers.documents import Empty, corpus_file, read_documents
from .readers.lines import numbered_lines
from .readers.rows import RowOptions, blocks, count_rows
from .retriever import DOCUMENTS_PER_COMMIT, Retriever


def add_corpus(
    retriever: Retriever, source: str | Path, options: RowOptions | None = None, empty: Empty = "error"
) -> int:
    """Add the documents of a corpus, and return their number; those whose ids are there are replaced.

    What was committed before an interruption stays; the same command again replaces it by itself.

    Args:
        retriever: Of an index that is open for writing.
        source: See `read_documents`.
        options: See `RowOptions`.
        empty: What to do with a document whose title and text are both empty.

    Raises:
        InputError: The corpus is broken or an id comes twice in it.
    """
    encoder, index = retriever.encoder, retriever.index
    seen: set[str] = set()
    done, cut = 0, cut_so_far(encoder, "documents")
    with progress("adding", count_rows(corpus_file(source)), "docs") as report:
        try:
            for block in blocks(read_documents(source, options, empty), DOCUMENTS_PER_COMMIT):
                for document, where in block:
                    if document.id in seen:
                        raise InputError(f"{where}: document id {document.id!r} comes twice; ids must be unique")
                    seen.add(document.id)
                documents = [document for document, _ in block]
                with index.batch():
                    parts = encoder_blocks(encoder, documents)
                    for part, vectors in encode_blocks(encoder, parts, lambda one: one.content):
                        index.add([document.id for document in part], vectors, part)
                done += len(documents)
                report(done)
        except KeyboardInterrupt as interrupt:
            raise KeyboardInterrupt(f"{done:,} documents were added and are kept in {index.path}") from interrupt
    tell_of_cuts(encoder, "documents", cut, done)
    return done


def read_ids(given: Sequence[str], file: Path | None, stdin: TextIO) -> list[str]:
    """Return ids given one by one and those of a file, one a line; `-` is standard input.

    Raises:
        InputError: There is no such file.
    """
    if file is None:
        return list(given)
    if str(file) != "-" and not file.is_file():
        raise InputError(f"{file}: no such file")
    lines: Iterable[str] = stdin if str(file) == "-" else (line for _, line in numbered_lines(file))
    return [*given, *(line.strip() for line in lines if line.strip())]
