"""The loop over benchmarks: load all, then index, search, score and save one after the other.

All are loaded first, so that a wrong name costs no encoding. A finished set is skipped, an interrupted one goes on
where its index stopped. One index serves all ways to search it and all splits; each way has results of its own.
"""

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import InputError
from ..resident import forget_peak
from ..retrieval.encoder import kind_of
from ..retrieval.words import ENGINE, Words
from .caching.encoder import CachedEncoder
from .costs import exact_recall, index_costs, latency, peak_memory, reset_device_peak
from .counts import missing_relevant
from .evaluate import DEFAULT_DEPTH, Report, evaluate, search_settings
from .loading import Benchmark, load_benchmark
from .measures import DEFAULT_MEASURES, Measure, parse_measures
from .results import discard, finished, save, set_folder, way_folder
from .ways import Way

if TYPE_CHECKING:
    from ..retrieval.encoder import Encoder

DEFAULT_WAY = Way()


def evaluate_beir(
    encoder: "Encoder | None",
    datasets: Iterable[Benchmark | str | Path],
    *,
    output: Path,
    way: Way = DEFAULT_WAY,
    data: str | Path | None = None,
    split: str | None = None,
    source_url: str | None = None,
    measures: Sequence[Measure | str] = DEFAULT_MEASURES,
    depth: int = DEFAULT_DEPTH,
    index_folder: Path | None = None,
    cache: Path | None = None,
    force: bool = False,
    on_message: Callable[[str], object] = lambda message: None,
) -> list[Report]:
    """Evaluate an encoder on one or many benchmarks, each with its own folder in `output`.

    Args:
        encoder: What `load_encoder` returns; None for a lexical search, which is evaluated as "BM25".
        datasets: Loaded benchmarks, or names or folders, see `load_benchmark`.
        output: Folder for the results: `<output>/<set>/report.json`, `run.trec`, `per_query.tsv`; of another way than
            the default, or another split, `<output>/@<way>/<set>`.
        way: How to search.
        data: Folder to look in instead of downloading.
        split: Which judgements; None takes each set's default.
        source_url: Address that holds the ZIP files, in place of BEIR's server.
        measures: Values or names, such as `nDCG@10`.
        depth: Number of results to search for.
        index_folder: Folder for the indexes of any number of models and sets; by default each index lies in
            `<output>/<set>`. One of another encoder, precision or state of the corpus is replaced.
        cache: Folder that keeps the vectors of texts, see `caching.encoder`; None keeps none.
        force: Encode and evaluate again what is already finished.
        on_message: Is told what is skipped and what begins.

    Raises:
        InputError: A set is named twice or cannot be loaded, or the encoder cannot do what `way` asks for.
    """
    measures = parse_measures(measures)
    searcher = _searcher(encoder, way, cache)
    benchmarks = load_benchmarks(datasets, split, data, source_url)
    settings = [search_settings(searcher, benchmark, measures, depth, way) for benchmark in benchmarks]
    label = way.label(kind_of(searcher))
    places = [way_folder(output, benchmark, label) for benchmark in benchmarks]
    if force:
        for benchmark, place in zip(benchmarks, places, strict=True):
            discard(place, benchmark.name)  # now, so that a forced one that is interrupted goes on without --force
    reports = []
    for benchmark, place, setting in zip(benchmarks, places, settings, strict=True):
        report = finished(place, benchmark, searcher.fingerprint, setting)
        if report is None:
            on_message(_beginning(benchmark))
            index = _index_place(benchmark, searcher, way, output, index_folder)
            report = _evaluate_one(searcher, benchmark, index, way, measures, depth, force)
            save(report, place)
            if missing := report.counts["relevant_documents_missing"]:
                on_message(f"{benchmark.name}: {missing:,} documents judged relevant are not in the corpus")
        else:
            on_message(
                f"{benchmark.name}: finished before, see {set_folder(place, benchmark.name)}; --force runs it again"
            )
        reports.append(report)
    if isinstance(searcher, CachedEncoder) and searcher.size:
        on_message(searcher.summary())
    return reports


def load_benchmarks(
    datasets: Iterable[Benchmark | str | Path],
    split: str | None = None,
    data: str | Path | None = None,
    source_url: str | None = None,
) -> list[Benchmark]:
    """Load those benchmarks that are not loaded yet; see `load_benchmark`.

    Raises:
        InputError: One cannot be loaded, or comes twice.
    """
    benchmarks = [
        one if isinstance(one, Benchmark) else load_benchmark(one, split, data, source_url) for one in datasets
    ]
    names = [benchmark.name for benchmark in benchmarks]
    for name in names:
        if names.count(name) > 1:
            raise InputError(f"data set {name!r} is named twice; its results would go to one folder")
    return benchmarks


def _searcher(encoder: "Encoder | None", way: Way, cache: Path | None) -> "Encoder":
    if encoder is None:
        if way.needs_encoder:
            raise InputError("no model given; only a lexical search does without one")
        if cache is not None:
            raise InputError("a lexical search encodes nothing; leave out the cache")
        return Words()
    if not way.needs_encoder:
        raise InputError(
            f"{encoder.name}: a lexical search goes by words alone; leave the encoder out, or rerank with it"
        )
    way.check(encoder)
    return encoder if cache is None else CachedEncoder(encoder, cache)


def _index_place(benchmark: Benchmark, encoder: "Encoder", way: Way, output: Path, index_folder: Path | None) -> Path:
    name = f"index@{way.index_label}" if way.index_label else "index"
    if index_folder is None:
        return set_folder(output, benchmark.name) / name
    model = f"{Path(encoder.name).name}-{encoder.fingerprint[:8]}"
    return set_folder(index_folder / model, benchmark.name) / name


def _evaluate_one(
    encoder: "Encoder",
    benchmark: Benchmark,
    index: Path,
    way: Way,
    measures: Sequence[Measure],
    depth: int,
    force: bool,
) -> Report:
    from ..retrieval.build import build_index
    from ..retrieval.retriever import Retriever

    device = str(getattr(encoder, "device", "cpu"))
    forget_peak()
    reset_device_peak(device)
    started = time.perf_counter()
    engine = way.engine if way.needs_encoder else ENGINE
    source = benchmark.folder.path
    # the index is a part of the results: it goes with the encoder and the corpus that they are of
    with build_index(source, encoder, index, empty="keep", overwrite=True, reuse=not force, engine=engine) as built:
        seconds = {"index": round(time.perf_counter() - started, 3)}
        missing = missing_relevant(built.index, benchmark.qrels)
        report = evaluate(built, benchmark, measures, depth, way)
        k, arguments = report.settings["depth"], way.arguments()
        uncached, cache = built, {}
        if isinstance(encoder, CachedEncoder):  # a query takes as long as its encoding does
            uncached, cache = Retriever(encoder.inner, built.index), {"cache_bytes": encoder.size}
        queries = list(benchmark.queries.values())
        costs = {
            **index_costs(built.index, way.needs_encoder),
            **latency(lambda texts: uncached.search_ids(texts, k, **arguments), queries),
            **({} if way.mode == "lexical" else exact_recall(built.index, encoder, queries, way.options)),
            **peak_memory(device),
            **cache,
        }
    counts = report.counts | {"relevant_documents_missing": missing}
    return replace(report, seconds={**seconds, **report.seconds}, counts=counts, costs=costs)


def _beginning(benchmark: Benchmark) -> str:
    message = f"{benchmark.name}: {len(benchmark.queries)} queries of split {benchmark.split}"
    lost = len(benchmark.qrels) - len(benchmark.queries)
    return message + (f"; {lost} judged queries have no text and count as zero" if lost else "")
