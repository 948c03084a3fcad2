"""What is compared: saved results and run files, read into each query's score by one measure.

A saved report answers from its scores where it has the measure. Otherwise, and for run files, the run is scored again
with judgements that are named or that lie where the report found them, and whose checksum is the report's.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ...errors import InputError
from ...retrieval.readers.beir import QUERY_FILES, BeirFolder, Qrels, read_qrels
from ..evaluate import Report, evaluate
from ..loading import Benchmark, data_checksum, judged_queries, load_benchmark
from ..measures import Measure, score_run
from ..results import RUN, load_system, run_file, run_name
from ..runs import read_run


@dataclass(frozen=True)
class SetScores:
    """One system's scores on one set.

    Attributes:
        split: Whose judgements.
        data: Checksum of the data; empty where all systems are scored with one file of judgements.
        corpus: Checksum of the corpus alone.
        folder: Where the benchmark's parts were, for the queries' texts.
        values: Query id to score, of all judged queries.
        without_results: Judged queries for which the run has no document; they score 0.
    """

    split: str
    data: str
    corpus: str
    folder: Path
    values: dict[str, float]
    without_results: int


@dataclass(frozen=True)
class System:
    """What is compared.

    Attributes:
        name: What tables call it.
        source: Where its results were read.
        sets: Set's name to scores.
    """

    name: str
    source: Path
    sets: dict[str, SetScores]


class Reader:
    """Reads systems by one measure.

    Args:
        measure: What scores are wanted; a value, or a name such as `nDCG@10`.
        qrels: A file of judgements that every run is scored with, in place of what reports hold.
        data: A folder in BEIR's layout, or one of such folders, for measures that a report lacks, for run files and for
            the queries' texts.
        datasets: Names of the only sets to look at; all if none.
        split: Of run files that are scored on `data`; reports know theirs.
    """

    def __init__(
        self,
        measure: Measure | str,
        qrels: Path | None = None,
        data: Path | None = None,
        datasets: Sequence[str] = (),
        split: str | None = None,
    ) -> None:
        if qrels is not None and (data is not None or datasets or split):
            raise InputError(f"{qrels}: give judgements with --qrels or a benchmark with --data, not both")
        self.measure = measure if isinstance(measure, Measure) else Measure.parse(measure)
        self._qrels_file = qrels
        self._qrels: Qrels = read_qrels(qrels) if qrels is not None else {}
        self._data = data
        self._datasets = tuple(datasets)
        self._split = split
        self._loaded: dict[tuple[str | Path, str | None, Path | None], Benchmark] = {}

    def read(self, source: Path) -> System:
        """Read one system, under the name of its model or file.

        Raises:
            InputError: The source is not what was expected, or its scores by the measure cannot be had.
        """
        if self._qrels_file is not None:
            return System(_short(source), source, {_benchmark_of(self._qrels_file).name: self._by_qrels(source)})
        if not source.is_dir():
            benchmark = self._benchmark_of_runs(source)
            report = evaluate(source, benchmark, [self.measure])
            return System(_short(source), source, {benchmark.name: self._scores(report)})
        saved = load_system(source)
        folders = {report.benchmark: (folder, report) for folder, report in saved}
        wanted = self._datasets or tuple(folders)
        for name in wanted:
            if name not in folders:
                raise InputError(f"{source}: no results of {name}; there: {', '.join(folders)}")
        sets = {name: self._saved(*folders[name]) for name in wanted}
        return System(saved[0][1].system, source, sets)

    def texts(self, name: str, scores: SetScores) -> dict[str, str]:
        """Return the texts of a set's queries: of `data`, else of where the report found them, if they are there still.

        Raises:
            InputError: `data` is given and does not hold that set, or holds another state of it.
        """
        if self._qrels_file is not None:
            return BeirFolder(scores.folder).queries() if _has_queries(scores.folder) else {}
        if self._data is not None:
            return self._benchmark(name, scores.split, scores.folder, scores.data).queries
        try:  # without reading the corpus, which may take minutes
            folder = BeirFolder(scores.folder)
            qrels = folder.qrels(scores.split)
            queries = judged_queries(folder, qrels)
        except InputError:
            return {}
        return queries if data_checksum(scores.corpus, queries, qrels) == scores.data else {}

    def _saved(self, folder: Path, report: Report) -> SetScores:
        if str(self.measure) not in next(iter(report.per_query.values()), {}):
            report = self._score_again(folder, report)
        return self._scores(report)

    def _score_again(self, folder: Path, report: Report) -> Report:
        depth = report.settings.get("depth", self.measure.cutoff)
        if self.measure.cutoff > depth:
            raise InputError(f"{folder}: has no {self.measure}, and its run stops at rank {depth}; evaluate it again")
        try:
            data = report.settings.get("data", "")
            benchmark = self._benchmark(report.benchmark, report.split, Path(report.folder), data)
        except InputError as error:
            lacks = f"has no {self.measure} (but {', '.join(report.metrics)})"
            raise InputError(f"{folder}: {lacks}, and no data to score it: {error}") from error
        return evaluate(folder / RUN, benchmark, [self.measure])

    def _scores(self, report: Report) -> SetScores:
        values = {query: scores[str(self.measure)] for query, scores in report.per_query.items()}
        missing = report.counts["queries_without_results"]
        data, corpus = report.settings.get("data", ""), report.settings.get("corpus", "")
        return SetScores(report.split, data, corpus, Path(report.folder), values, missing)

    def _by_qrels(self, source: Path) -> SetScores:
        assert self._qrels_file is not None
        run = read_run(run_file(source))
        scores = score_run(run, self._qrels, [self.measure])
        values = {query: of_query[str(self.measure)] for query, of_query in scores.items()}
        missing = sum(not run.get(query) for query in self._qrels)
        place = _benchmark_of(self._qrels_file)
        return SetScores(self._qrels_file.name.split(".")[0], "", "", place, values, missing)

    def _benchmark_of_runs(self, source: Path) -> Benchmark:
        if not source.exists():
            raise InputError(f"{source}: no such file or folder; expected a results folder or a TREC run file")
        if self._data is None or len(self._datasets) > 1:
            raise InputError(f"{source}: a run file needs judgements: --qrels FILE, or --data FOLDER of one benchmark")
        if self._datasets:
            return self._load(self._datasets[0], self._split, self._data)
        return self._load(self._data, self._split, None)

    def _benchmark(self, name: str, split: str, folder: Path, checksum: str) -> Benchmark:
        """Load the benchmark that results are of, and see that it still is what they were computed on."""
        benchmark = self._load(folder, split, None) if self._data is None else self._load(name, split, self._data)
        if benchmark.checksum != checksum:
            raise InputError(f"{benchmark.folder.path}: not the {name} ({split}) that the results were computed on")
        return benchmark

    def _load(self, name: str | Path, split: str | None, data: Path | None) -> Benchmark:
        key = (name, split, data)
        if key not in self._loaded:
            self._loaded[key] = load_benchmark(name, split, data)
        return self._loaded[key]


def named(systems: Sequence[System], names: Sequence[str] = ()) -> list[System]:
    """Return the systems under the given names, or under their own, with their places where two are called the same.

    Raises:
        InputError: There are not as many names as systems, or one comes twice.
    """
    if names and len(names) != len(systems):
        raise InputError(f"{len(names)} names for {len(systems)} systems; give one for each, in their order")
    own = [system.name for system in systems]
    unique = [name if own.count(name) == 1 else str(system.source) for name, system in zip(own, systems, strict=True)]
    chosen = list(names) or unique
    for name in chosen:
        if chosen.count(name) > 1:
            raise InputError(f"two systems are called {name!r}; name them apart with --name, once for each")
    return [System(name, system.source, system.sets) for name, system in zip(chosen, systems, strict=True)]


def _short(source: Path) -> str:
    return source.resolve().name if source.is_dir() else run_name(source)


def _benchmark_of(qrels: Path) -> Path:
    """Return the folder that `qrels/<split>.tsv` lies in, else the file."""
    place = qrels.resolve()
    return place.parent.parent if place.parent.name == "qrels" else place


def _has_queries(folder: Path) -> bool:
    return any((folder / name).is_file() for name in QUERY_FILES)
