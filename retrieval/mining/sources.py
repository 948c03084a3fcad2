"""The files, folders and data sets that examples come from, as training reads them, and what tells of a change."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from ...files import file_checksum
from ..readers.beir import QRELS_ENDINGS, QUERY_FILES, BeirFolder
from ..readers.documents import CORPUS_FILES
from ..readers.examples import TrainingExample, read_examples
from ..readers.rows import RowOptions


def examples_of(sources: Sequence[str], options: RowOptions) -> Iterator[TrainingExample]:
    """Stream the examples of all sources, one source after the other.

    Raises:
        InputError: A source is not there, or a record is broken.
    """
    return (example for source in sources for example in read_examples(source, options))


def judged_elsewhere(sources: Sequence[str], options: RowOptions) -> Iterator[TrainingExample]:
    """Stream what the other splits of BEIR folders judge relevant; other sources have none."""
    for source in filter(BeirFolder.is_one, sources):
        for split in BeirFolder(Path(source)).splits:
            if split != (options.split or "train"):
                yield from read_examples(source, replace(options, split=split))


def describe_sources(sources: Sequence[str], options: RowOptions) -> list[str]:
    """Return a line for each source that changes when a file of it does; a data set of a hub has only its name."""
    return [_described(source, options) for source in sources]


def _described(source: str, options: RowOptions) -> str:
    path = Path(source)
    if path.is_file():
        return f"{path.resolve()} ({file_checksum(path)[:12]})"
    if BeirFolder.is_one(source):
        split = options.split or "train"
        names = (*CORPUS_FILES, *QUERY_FILES, *(f"qrels/{split}{ending}" for ending in QRELS_ENDINGS))
        found = " ".join(file_checksum(path / name)[:12] for name in names if (path / name).is_file())
        return f"{path.resolve()}:{split} ({found})"
    details = [detail for detail in (options.config, options.split) if detail]
    return ":".join([str(path.resolve()) if path.exists() else source, *details])
