"""One evaluation: search a benchmark's queries, or take a finished run, and score it query by query.

`evaluate` is the public call. It keeps the run and the per-query scores with the means, so that everything that is
reported can be computed again. It writes nothing; `results` does.
"""

import platform
import sys
import time
from collections.abc import Mapping, Sequence, Sized
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Protocol

from .. import __version__
from ..errors import InputError
from ..progress import progress
from ..retrieval.document_options import document_options
from .benchmarks import SOURCES
from .intervals import mean_intervals
from .loading import Benchmark, load_benchmark
from .measures import DEFAULT_MEASURES, Measure, PerQuery, means, parse_measures, score_run
from .runs import Results, Run, ranked, read_run, to_run
from .ways import Way

DEFAULT_DEPTH = 100
QUERIES_AT_ONCE = 1000

LIBRARIES = ("torch", "transformers", "sentence-transformers", "faiss-cpu", "numpy", "pytrec-eval-terrier")
"""Distributions whose version matters to a score; those in use are recorded."""

_MODULES = {"faiss-cpu": "faiss", "pytrec-eval-terrier": "pytrec_eval"}


class Encoding(Protocol):
    """What an evaluation records of an encoder."""

    @property
    def name(self) -> str: ...  # noqa: D102 - the names say it
    @property
    def fingerprint(self) -> str: ...  # noqa: D102
    @property
    def precision(self) -> str: ...  # noqa: D102


class Searchable(Protocol):
    """What an evaluation needs of a retriever: `modernir.Retriever` is one."""

    @property
    def encoder(self) -> Encoding: ...  # noqa: D102
    @property
    def index(self) -> Sized: ...  # noqa: D102

    def search_ids(self, queries: Sequence[str], k: int, **way: Any) -> list[list[tuple[str, float]]]:  # noqa: ANN401
        """Return the ids and scores of each query's k best documents, best first; `way` is `Way.arguments`."""
        ...


@dataclass(frozen=True)
class Report:
    """What came out of one evaluation.

    Attributes:
        benchmark: Its name.
        split: Whose judgements.
        folder: Where the benchmark's parts were.
        model: Name of the encoder, or of the run.
        fingerprint: The encoder's, or empty for a run.
        settings: What the figures depend on besides: precision, depth, measures, checksums of the data, and the
            settings of the search and of the index.
        metrics: Measure's name to mean over all judged queries.
        intervals: Measure's name to the ends of its mean's 95 % bootstrap interval.
        counts: Judged queries, those of them without text or without results, judgements, documents.
        seconds: How long the steps took.
        versions: Of this package, Python and the libraries in use.
        published: Published figures: system, measure, value and source.
        per_query: Query id to measure's name to value.
        run: Query id to document id to score; empty in a report that was read from disk.
        way: How it was searched, where not by default: `Way.label`.
        costs: Throughput, latency, memory and bytes, see `costs`; of one machine and run.
    """

    benchmark: str
    split: str
    folder: str
    model: str
    fingerprint: str
    settings: dict[str, Any]
    metrics: dict[str, float]
    intervals: dict[str, list[float]]
    counts: dict[str, int]
    seconds: dict[str, float]
    versions: dict[str, str]
    published: list[dict[str, Any]]
    per_query: PerQuery = field(repr=False)
    run: Run = field(repr=False, default_factory=dict)
    way: str = ""
    costs: dict[str, Any] = field(default_factory=dict)

    @property
    def system(self) -> str:
        """What tables call it: the model, without the folders before it, and the way."""
        return " ".join(filter(None, [Path(self.model).name, self.way]))

    def to_json(self) -> dict[str, Any]:
        """Return the report as JSON values, without the scores and results of single queries."""
        return {name: value for name, value in vars(self).items() if name not in ("per_query", "run")}


def evaluate(
    retriever_or_run: Searchable | Results | str | Path,
    benchmark: Benchmark | str | Path,
    measures: Sequence[Measure | str] = DEFAULT_MEASURES,
    depth: int = DEFAULT_DEPTH,
    way: Way | None = None,
) -> Report:
    """Score a retriever or a run on a benchmark.

    Args:
        retriever_or_run: A retriever whose index holds the benchmark's corpus, a run, or the path of a TREC run file.
        benchmark: A loaded benchmark, or what `load_benchmark` takes.
        measures: Values or names, such as `nDCG@10`.
        depth: Number of results to search for; at least the measures' largest cut-off is taken.
        way: How the retriever is to search; None leaves it to the retriever, and out of the report.

    Raises:
        InputError: The benchmark, a measure or the run is not what it should be.
    """
    measures = parse_measures(measures)
    if not isinstance(benchmark, Benchmark):
        benchmark = load_benchmark(benchmark)
    if isinstance(retriever_or_run, str | Path | Mapping):
        model, run = _given_run(retriever_or_run)
        given = {"measures": [str(measure) for measure in measures], **_data_settings(benchmark)}
        return _report(benchmark, measures, _clean(run, benchmark), model=model, fingerprint="", settings=given)
    encoder = retriever_or_run.encoder
    settings = search_settings(encoder, benchmark, measures, depth, way)
    started = time.perf_counter()
    found = _search(retriever_or_run, benchmark, settings["depth"], way or Way())
    run = _clean(found, benchmark, settings["depth"])
    return _report(
        benchmark,
        measures,
        run,
        model=encoder.name,
        fingerprint=encoder.fingerprint,
        settings=settings,
        documents=len(retriever_or_run.index),
        seconds={"search": round(time.perf_counter() - started, 3)},
        way="" if way is None else way.label(_kind(encoder) if way.needs_encoder else "lexical"),  # as "BM25" says
    )


def search_settings(
    encoder: Encoding,
    benchmark: Benchmark,
    measures: Sequence[Measure],
    depth: int,
    way: Way | None = None,
) -> dict[str, Any]:
    """Return the settings of an evaluation, which with the fingerprint decide whether it need be run again.

    Raises:
        InputError: The depth is not positive, or `way` reranks fewer documents than are scored.
    """
    if depth < 1:
        raise InputError(f"depth {depth}: expected at least 1 result a query")
    depth = max(depth, *(measure.cutoff for measure in measures))
    if way is not None and way.rerank is not None and way.rerank < depth:
        raise InputError(
            f"rerank {way.rerank}: fewer documents than the {depth} that are scored; rerank at least as many, or "
            "choose a smaller depth and measures of smaller cut-offs"
        )
    return {
        "precision": encoder.precision,
        "depth": depth,
        "measures": [str(measure) for measure in measures],
        **_data_settings(benchmark),
        **document_options(encoder),
        **({} if way is None else way.settings(_kind(encoder))),
    }


def _kind(encoder: Encoding) -> str:
    return getattr(encoder, "kind", "dense")


def _data_settings(benchmark: Benchmark) -> dict[str, Any]:
    return {"data": benchmark.checksum, "corpus": benchmark.corpus_checksum}


def _given_run(source: Results | str | Path) -> tuple[str, Run]:
    if isinstance(source, str | Path):
        return Path(source).name, read_run(Path(source))
    return "run", to_run(source)


def _search(retriever: Searchable, benchmark: Benchmark, depth: int, way: Way) -> Run:
    more = int(benchmark.identical_ids)  # one result, where one may be dropped
    texts = list(benchmark.queries.values())
    found: list[list[tuple[str, float]]] = []
    with progress("searching", len(texts), "queries", quiet=len(texts) <= QUERIES_AT_ONCE) as report:
        for start in range(0, len(texts), QUERIES_AT_ONCE):
            block = texts[start : start + QUERIES_AT_ONCE]
            found += retriever.search_ids(block, depth + more, **way.arguments(more))
            report(len(found))
    return to_run(dict(zip(benchmark.queries, found, strict=True)))


def _clean(run: Run, benchmark: Benchmark, depth: int | None = None) -> Run:
    """Drop each query's own document where the benchmark says so, then everything below `depth`."""
    if not benchmark.identical_ids:
        return run
    others = {query: {doc: score for doc, score in docs.items() if doc != query} for query, docs in run.items()}
    return {query: {doc: docs[doc] for doc in ranked(docs)[:depth]} for query, docs in others.items()}


def _report(
    benchmark: Benchmark,
    measures: Sequence[Measure],
    run: Run,
    *,
    model: str,
    fingerprint: str,
    settings: dict[str, Any],
    documents: int | None = None,
    seconds: dict[str, float] | None = None,
    way: str = "",
) -> Report:
    per_query = score_run(run, benchmark.qrels, measures)
    counts = {
        "queries": len(benchmark.qrels),
        "queries_without_text": len(benchmark.qrels) - len(benchmark.queries),
        "queries_without_results": sum(not run.get(query) for query in benchmark.qrels),
        "judgements": sum(map(len, benchmark.qrels.values())),
    }
    if documents is not None:
        counts["documents"] = documents
    return Report(
        benchmark=benchmark.name,
        split=benchmark.split,
        folder=str(benchmark.folder.path.resolve()),
        model=model,
        fingerprint=fingerprint,
        settings=settings,
        metrics=means(per_query, measures),
        intervals=mean_intervals(per_query, [str(measure) for measure in measures]),
        counts=counts,
        seconds=seconds or {},
        versions=_versions(),
        published=_published(benchmark),
        per_query=per_query,
        run=run,
        way=way,
    )


def _published(benchmark: Benchmark) -> list[dict[str, Any]]:
    entry = benchmark.entry
    if entry is None or benchmark.split != entry.split:
        return []
    return [
        {"system": system, "measure": entry.measure, "value": value, "source": SOURCES[system]}
        for system, value in entry.published.items()
    ]


def _versions() -> dict[str, str]:
    versions = {"modernir": __version__, "python": platform.python_version()}
    for library in LIBRARIES:
        if _MODULES.get(library, library.replace("-", "_")) in sys.modules:
            try:
                versions[library] = version(library)
            except PackageNotFoundError:  # faiss may have come as another distribution
                continue
    return versions
