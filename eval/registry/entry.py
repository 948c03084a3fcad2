"""One benchmark of the registry, as data: names, sizes, licence, published figures, and where its parts are."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from .layouts import Layout

BEIR_URL = "https://public.ukp.informatik.tu-darmstadt.de/thakur/BEIR/datasets/"


@dataclass(frozen=True)
class HubFiles:
    """The files of a data set on a hub that a benchmark is made of.

    Attributes:
        repository: The data set's name on the hub.
        revision: Commit that the known sizes belong to.
        layout: What the rows mean.
        corpus: Path of the corpus in the repository, which may hold `*`, since data sets come in shards.
        queries: Paths of the queries.
        qrels: Split to the path of its judgements.
        only: Fields and values of the rows that belong to the benchmark, where a file holds several.
    """

    repository: str
    revision: str
    layout: Layout
    corpus: str
    queries: tuple[str, ...]
    qrels: Mapping[str, str]
    only: Mapping[str, Any] = field(default_factory=dict)

    @property
    def patterns(self) -> list[str]:
        """All paths, each once."""
        return list(dict.fromkeys((*self.qrels.values(), *self.queries, self.corpus)))


@dataclass(frozen=True)
class Entry:
    """What is known of a benchmark before it is read.

    Attributes:
        name: What people call it; `family/part` where a family has several.
        documents: Size of the corpus; None where no source tells it.
        queries: Number of judged queries in the default split, likewise.
        licence: Of the data, as its authors state it.
        splits: Splits that have judgements.
        split: The one that results are published for.
        identical_ids: Queries are documents of the corpus: the one with the query's own id is ignored.
        published: System, see `SOURCES`, to `measure` on the default split.
        measure: What results are published in.
        languages: Of its texts: ISO 639-1 codes, or names of programming languages.
        hub: The files on a hub; without them it is one of BEIR's ZIP files.
        obtain: How to come by it where it cannot be downloaded ready for use.
    """

    name: str
    documents: int | None
    queries: int | None
    licence: str
    splits: tuple[str, ...] = ("test",)
    split: str = "test"
    identical_ids: bool = False
    published: Mapping[str, float] = field(default_factory=dict)
    measure: str = "nDCG@10"
    languages: tuple[str, ...] = ("en",)
    hub: HubFiles | None = None
    obtain: str = ""

    @property
    def archive(self) -> str:
        """Name of the ZIP file that holds it, without its ending."""
        return self.name.split("/")[0]

    def url(self, base: str | None = None) -> str:
        """Where the ZIP file is; `base` replaces BEIR's own server."""
        return f"{(base or BEIR_URL).rstrip('/')}/{self.archive}.zip"
