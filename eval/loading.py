"""Benchmarks, ready to be evaluated on: from a folder, a folder of folders, or a server through a local cache.

A name or a folder becomes a `Benchmark` only when its parts are there and, for a known name, of the known size: what
is wrong comes out here, before anything is encoded.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import xxhash

from ..errors import InputError
from ..files import file_checksum
from ..retrieval.readers.beir import BeirFolder, Qrels
from ..retrieval.readers.documents import corpus_file
from .benchmarks import BENCHMARKS, Entry, parts
from .counts import size_problem
from .download import cache_folder, download_archive
from .hub import fetch_benchmark

LAYOUT = "a folder with corpus.jsonl, queries.jsonl and qrels/<split>.tsv"


@dataclass(frozen=True)
class Benchmark:
    """A test collection and one of its splits.

    Attributes:
        name: Its name, or that of its folder.
        folder: Where its parts are.
        split: The split that `queries` and `qrels` belong to.
        queries: Query id to text, of the judged queries only.
        qrels: Query id to document id to grade; may judge documents that the corpus does not have.
        entry: What the registry knows of it, or None.
    """

    name: str
    folder: BeirFolder
    split: str
    queries: dict[str, str]
    qrels: Qrels
    entry: Entry | None = None

    @property
    def identical_ids(self) -> bool:
        """Whether the document that has the query's own id is ignored."""
        return self.entry is not None and self.entry.identical_ids

    @cached_property
    def corpus_checksum(self) -> str:
        """32 hexadecimal digits that change with the corpus."""
        return file_checksum(Path(corpus_file(self.folder.path)))

    @cached_property
    def checksum(self) -> str:
        """32 hexadecimal digits that change with the corpus, the queries or the judgements."""
        return data_checksum(self.corpus_checksum, self.queries, self.qrels)


def data_checksum(corpus: str, queries: dict[str, str], qrels: Qrels) -> str:
    """Return the checksum of a benchmark whose corpus has the checksum `corpus`."""
    return xxhash.xxh3_128(json.dumps([corpus, queries, qrels]).encode()).hexdigest()


def judged_queries(folder: BeirFolder, qrels: Qrels) -> dict[str, str]:
    """Return id and text of the queries that are judged, in the file's order."""
    return {query: text for query, text in folder.queries().items() if query in qrels}


def load_benchmark(
    name: str | Path, split: str | None = None, data: str | Path | None = None, source_url: str | None = None
) -> Benchmark:
    """Load a benchmark by name or folder, downloading it where it is not here yet.

    Args:
        name: A name of the registry, or a folder in BEIR's layout. A string that is a registered name means that
            benchmark; write `./scifact` for a folder of that name.
        split: Which judgements; None takes the registered default, else `test`, else the only one.
        data: Where to look instead of downloading: a folder in BEIR's layout, or one that holds such folders by name.
        source_url: Address that holds the ZIP files, in place of BEIR's server, or address of a hub.

    Raises:
        InputError: There is no such benchmark or split, it cannot be downloaded, or its parts do not fit together.
    """
    folder = BeirFolder(_locate(name, split, data, source_url))
    return _loaded(folder, BENCHMARKS.get(str(name)) or BENCHMARKS.get(folder.path.resolve().name), split)


def load_local(path: str | Path, split: str | None = None) -> Benchmark:
    """Load a folder in BEIR's layout as a set of the user's own, even where it is called as a public one.

    Args:
        path: The folder.
        split: Which judgements; None takes `test`, else the only one.

    Raises:
        InputError: It is no such folder, has no such split, or its parts do not fit together.
    """
    if not BeirFolder.is_one(path):
        raise InputError(f"{path}: {'not' if Path(path).is_dir() else 'no such folder; expected'} {LAYOUT}")
    return _loaded(BeirFolder(Path(path)), None, split)


def _loaded(folder: BeirFolder, entry: Entry | None, split: str | None) -> Benchmark:
    problem = size_problem(folder, entry) if entry else None
    if entry and problem:
        ours = folder.path.resolve().is_relative_to(cache_folder().resolve())
        cure = "delete the folder to download it again" if ours else "if it is another set, see: modernir eval local"
        raise InputError(f"{folder.path}: not {entry.name} as published: {problem}; {cure}")
    split = _choose_split(folder, entry, split)
    qrels = folder.qrels(split)
    queries = judged_queries(folder, qrels)
    if not queries:
        judged = next(iter(qrels))
        raise InputError(f"{folder.path}: no query of qrels/{split} is in the queries file, e.g. {judged!r}")
    return Benchmark(entry.name if entry else folder.path.resolve().name, folder, split, queries, qrels, entry)


def choose_datasets(names: Sequence[str], data: str | Path | None) -> list[str]:
    """Return the data sets to evaluate: the named ones, else the one that `data` is, else all that it holds.

    Raises:
        InputError: No name is given and `data` says nothing, or holds no folder in BEIR's layout, or is a single one
            for several names.
    """
    if data is not None and len(names) > 1 and BeirFolder.is_one(data):
        raise InputError(f"{data}: one data set, but {len(names)} are named: {', '.join(names)}")
    if names:
        return list(names)
    if data is None:
        raise InputError("no data set given; name one with --dataset (for instance scifact), or a folder with --data")
    folder = _existing(data)
    if BeirFolder.is_one(folder):
        return [folder.resolve().name]
    found = sorted(child.name for child in folder.iterdir() if BeirFolder.is_one(child))
    if not found:
        raise InputError(f"{folder}: neither {LAYOUT} nor a folder of such folders")
    return found


def choose_parts(family: str, chosen: Sequence[str], data: str | Path | None) -> list[str]:
    """Return the names of a family's benchmarks: of the chosen parts, else of those that `data` has, else of all.

    Args:
        family: Such as `mldr`.
        chosen: Parts, such as `en`.
        data: Where to look instead of downloading.

    Raises:
        InputError: There is no such part, or `data` has none of the family, or is a single folder for several parts.
    """
    known = parts(family)
    names = [f"{family}/{part}" for part in chosen]
    for name, part in zip(names, chosen, strict=True):
        if name not in known:
            there = ", ".join(name.partition("/")[2] for name in known)
            raise InputError(f"{family}: no language {part!r}; there: {there}")
    if names or data is None:
        return choose_datasets(names or known, data)
    folder = _existing(data)
    if BeirFolder.is_one(folder):
        raise InputError(f"{folder}: one data set; say with --language which one of {family} it is")
    found = [name for name in known if _is_there(folder, name)]
    if not found:
        raise InputError(f"{folder}: has none of {family}, such as {known[0]}; expected {LAYOUT} for each")
    return found


def _is_there(folder: Path, name: str) -> bool:
    try:
        _locate_in(folder, name)
    except InputError:
        return False
    return True


def _locate(name: str | Path, split: str | None, data: str | Path | None, source_url: str | None) -> Path:
    if data is not None:
        return _locate_in(_existing(data), str(name))
    entry = BENCHMARKS.get(name) if isinstance(name, str) else None
    if entry is None:
        if BeirFolder.is_one(name):
            return Path(name)
        raise InputError(f"{name}: neither {LAYOUT} nor a known benchmark; known: {_known()}")
    if split is not None and split not in entry.splits:
        raise InputError(f"{name}: no split {split!r}; there: {', '.join(entry.splits)}")
    if entry.obtain:
        raise InputError(f"{name}: cannot be downloaded ready for use: {entry.obtain}")
    if entry.hub is not None:
        return _fetched(entry, source_url)
    archive = cache_folder() / entry.archive
    if not archive.is_dir():
        download_archive(entry.url(source_url), archive, lambda unpacked: _archive_problem(unpacked, entry))
    return _part(archive, entry)


def _known() -> str:
    families = [name.partition("/")[0] for name in BENCHMARKS]
    short = (
        name if families.count(family) == 1 else f"{family}/…"
        for name, family in zip(BENCHMARKS, families, strict=True)
    )
    return ", ".join(dict.fromkeys(short))


def _fetched(entry: Entry, address: str | None) -> Path:
    folder = cache_folder().joinpath(*entry.name.split("/"))
    if entry.hub is not None and not folder.is_dir():
        fetch_benchmark(entry.hub, folder, lambda made: size_problem(BeirFolder(made), entry), address)
    return folder


def _locate_in(data: Path, name: str) -> Path:
    if BeirFolder.is_one(data) and (name in BENCHMARKS or name == data.resolve().name):
        return data
    family, _, part = name.partition("/")
    if name in BENCHMARKS and part and data.resolve().name == family and BeirFolder.is_one(data / part):
        return data / part
    if ".." in Path(name).parts or Path(name).is_absolute() or not BeirFolder.is_one(data / name):
        raise InputError(f"{data / name}: not {LAYOUT}")
    return data / name


def _existing(data: str | Path) -> Path:
    folder = Path(data)
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder; expected {LAYOUT}, or a folder of such folders")
    return folder


def _part(archive: Path, entry: Entry) -> Path:
    return archive.joinpath(*entry.name.split("/")[1:])


def _archive_problem(unpacked: Path, entry: Entry) -> str | None:
    folder = BeirFolder(_part(unpacked, entry))
    if not BeirFolder.is_one(folder.path):
        return f"{entry.name} in it is not {LAYOUT}"
    try:
        return size_problem(folder, entry)
    except InputError as error:
        return str(error)


def _choose_split(folder: BeirFolder, entry: Entry | None, split: str | None) -> str:
    splits = folder.splits
    if split is not None:
        return split
    for candidate in (entry.split if entry else "test", "test"):
        if candidate in splits:
            return candidate
    if len(splits) == 1:
        return splits[0]
    if not splits:
        raise InputError(f"{folder.path}: no judgements; expected qrels/<split>.tsv in it")
    raise InputError(f"{folder.path}: name a split with --split; there: {', '.join(splits)}")
