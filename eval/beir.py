"""The loop over benchmarks: load all, then index, search, score and save one after the other.

All are loaded first, so that a wrong name costs no encoding. A finished set is skipped, an interrupted one goes on
where its index stopped.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import InputError
from .evaluate import DEFAULT_DEPTH, Report, evaluate, search_settings
from .loading import Benchmark, load_benchmark
from .measures import DEFAULT_MEASURES, Measure, parse_measures
from .results import discard, finished, save, set_folder

if TYPE_CHECKING:
    from ..retrieval.encoder import Encoder


def evaluate_beir(
    encoder: "Encoder",
    datasets: Sequence[str | Path],
    *,
    output: Path,
    data: str | Path | None = None,
    split: str | None = None,
    source_url: str | None = None,
    measures: Sequence[Measure | str] = DEFAULT_MEASURES,
    depth: int = DEFAULT_DEPTH,
    index: Path | None = None,
    force: bool = False,
    on_message: Callable[[str], object] = lambda message: None,
) -> list[Report]:
    """Evaluate an encoder on one or many benchmarks, each with its own folder in `output`.

    Args:
        encoder: What `load_encoder` returns.
        datasets: Names or folders, see `load_benchmark`.
        output: Folder for the results: `<output>/<set>/report.json`, `run.trec`, `per_query.tsv`.
        data: Folder to look in instead of downloading.
        split: Which judgements; None takes each set's default.
        source_url: Address that holds the ZIP files, in place of BEIR's server.
        measures: Values or names, such as `nDCG@10`.
        depth: Number of results to search for.
        index: Folder for the indexes, one a set; by default each lies beside its results. One of another encoder,
            precision or state of the corpus is replaced.
        force: Encode and evaluate again what is already finished.
        on_message: Is told what is skipped and what begins.

    Raises:
        InputError: A set is named twice or cannot be loaded.
    """
    measures = parse_measures(measures)
    benchmarks = [load_benchmark(name, split, data, source_url) for name in datasets]
    names = [benchmark.name for benchmark in benchmarks]
    for name in names:
        if names.count(name) > 1:
            raise InputError(f"data set {name!r} is named twice; its results would go to one folder")
    settings = [search_settings(encoder, benchmark, measures, depth) for benchmark in benchmarks]
    if force:
        for name in names:  # now, so that a forced evaluation that is interrupted goes on without --force
            discard(output, name)
    reports = []
    for benchmark, setting in zip(benchmarks, settings, strict=True):
        report = finished(output, benchmark, encoder.fingerprint, setting)
        folder = set_folder(output, benchmark.name)
        if report is None:
            on_message(_beginning(benchmark))
            place = folder / "index" if index is None else set_folder(index, benchmark.name)
            report = _evaluate_one(encoder, benchmark, place, measures, depth, force)
            save(report, output)
        else:
            on_message(f"{benchmark.name}: finished before, see {folder}; --force runs it again")
        reports.append(report)
    return reports


def _evaluate_one(
    encoder: "Encoder", benchmark: Benchmark, index: Path, measures: Sequence[Measure], depth: int, force: bool
) -> Report:
    from ..retrieval.build import build_index

    started = time.perf_counter()
    # the index is a part of the results: it goes with the encoder and the corpus that they are of
    with build_index(benchmark.folder.path, encoder, index, empty="keep", overwrite=True, reuse=not force) as built:
        seconds = time.perf_counter() - started
        report = evaluate(built, benchmark, measures, depth)
    return replace(report, seconds={"index": round(seconds, 3), **report.seconds})


def _beginning(benchmark: Benchmark) -> str:
    message = f"{benchmark.name}: {len(benchmark.queries)} queries of split {benchmark.split}"
    lost = len(benchmark.qrels) - len(benchmark.queries)
    return message + (f"; {lost} judged queries have no text and count as zero" if lost else "")
