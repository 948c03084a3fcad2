"""The output folder of an evaluated set: `report.json`, `run.trec` and `per_query.tsv`.

The report is written last and removed first, so that its presence means that the set is finished; `finished` gives
it back where it answers the same question, and the set is not run again.
"""

from pathlib import Path
from typing import Any

from ..errors import InputError
from ..files import read_json, write_json, write_text
from ..retrieval.readers.lines import numbered_lines
from .evaluate import Report
from .loading import Benchmark
from .measures import PerQuery
from .runs import write_run

REPORT, RUN, PER_QUERY = "report.json", "run.trec", "per_query.tsv"
WAY_MARK = "@"
"""Begins the name of a folder with the results of another way to search than the default."""


def set_folder(output: Path, name: str) -> Path:
    """Return the folder of one set, `cqadupstack/android` being nested."""
    return output.joinpath(*name.split("/"))


def way_folder(output: Path, benchmark: Benchmark, way: str) -> Path:
    """Return the folder that results of one way to search, and of one split, go to.

    Args:
        output: The model's results folder, which holds those of the default way on the set's usual split.
        benchmark: Says the split.
        way: See `Way.label`.
    """
    split = [] if benchmark.split == _usual_split(benchmark) else [f"split={benchmark.split}"]
    label = ",".join([*split, *filter(None, [way])])
    return output / f"{WAY_MARK}{label}" if label else output


def _usual_split(benchmark: Benchmark) -> str | None:
    splits = benchmark.folder.splits
    if len(splits) == 1:
        return splits[0]
    preferred = (benchmark.entry.split, "test") if benchmark.entry else ("test",)
    return next((split for split in preferred if split in splits), None)


def save(report: Report, output: Path) -> Path:
    """Write a report with its run and its per-query scores, and return their folder.

    Raises:
        InputError: An id cannot be written to a run file.
        OSError: The folder cannot be written; no report is then in it.
    """
    folder = set_folder(output, report.benchmark)
    discard(output, report.benchmark)
    write_run(folder / RUN, report.run, Path(report.model).name)
    names = list(report.metrics)
    rows = [[query, *(repr(values[name]) for name in names)] for query, values in report.per_query.items()]
    write_text(folder / PER_QUERY, "".join("\t".join(row) + "\n" for row in [["query", *names], *rows]))
    write_json(folder / REPORT, report.to_json())
    return folder


def discard(output: Path, name: str) -> None:
    """Mark a set as not finished."""
    (set_folder(output, name) / REPORT).unlink(missing_ok=True)


def load(folder: Path) -> Report:
    """Read a saved report with its per-query scores; the run stays on disk.

    Raises:
        InputError: A file is missing or damaged.
    """
    fields = read_json(folder / REPORT)
    try:
        return Report(**fields, per_query=_read_per_query(folder / PER_QUERY))
    except TypeError as error:
        raise InputError(f"{folder / REPORT}: not a report of this version ({error}); evaluate again") from error


def saved_sets(output: Path) -> list[Path]:
    """Return the folders of the finished sets in a results folder, or that folder itself where it is a set's.

    Other ways to search than the default, `@...`, have results folders of their own inside, which are passed over; a
    folder that holds nothing but one such way stands for it.

    Raises:
        InputError: There is no such folder, no report in it, or only those of several ways to search.
    """
    if not output.is_dir():
        raise InputError(f"{output}: no such folder; expected what `modernir eval beir` writes")
    if (output / REPORT).is_file():
        return [output]
    ways: dict[str, list[Path]] = {}
    for report in sorted(output.rglob(REPORT)):
        first = report.relative_to(output).parts[0]
        ways.setdefault(first if first.startswith(WAY_MARK) else "", []).append(report.parent)
    if not ways:
        raise InputError(f"{output}: no {REPORT} in this folder; expected what `modernir eval beir` writes")
    if "" not in ways and len(ways) > 1:
        raise InputError(f"{output}: holds {len(ways)} ways to search; name one: {', '.join(ways)}")
    return ways.get("", next(iter(ways.values())))


def load_system(output: Path) -> list[tuple[Path, Report]]:
    """Read all finished sets of a results folder, which is one system's, each with its folder.

    Raises:
        InputError: There are none, one is damaged, a set comes twice, or they are several systems'.
    """
    saved = [(folder, load(folder)) for folder in saved_sets(output)]
    systems = {(report.system, report.fingerprint) for _, report in saved}
    if len(systems) > 1 or len({report.benchmark for _, report in saved}) < len(saved):
        several = ", ".join(sorted({system for system, _ in systems}))
        raise InputError(f"{output}: holds results of several systems ({several}); name the folder of one")
    return saved


def run_file(source: Path) -> Path:
    """Return the run file that `source` is, or that the results of one set hold.

    Raises:
        InputError: The results are of several sets.
    """
    if not source.is_dir():
        return source
    found = saved_sets(source)
    if len(found) > 1:
        raise InputError(
            f"{source}: results of {len(found)} sets, where those of one were expected, such as {found[0]}"
        )
    return found[0] / RUN


def run_name(source: Path) -> str:
    """Return the name of a system that only its run file tells: the file's, less the endings of its format."""
    name = source.name.removesuffix(".gz").removesuffix(".zst")
    return name.rsplit(".", 1)[0] or name


def finished(output: Path, benchmark: Benchmark, fingerprint: str, settings: dict[str, Any]) -> Report | None:
    """Return the saved report of the same data, split, model and settings, or None where there is none."""
    folder = set_folder(output, benchmark.name)
    try:
        report = load(folder)
    except InputError:
        return None
    expected = (benchmark.name, benchmark.split, fingerprint, settings)
    same = (report.benchmark, report.split, report.fingerprint, report.settings) == expected
    return report if same and report.per_query and (folder / RUN).is_file() else None


def _read_per_query(path: Path) -> PerQuery:
    lines = numbered_lines(path)
    header = next(lines, (0, ""))[1].rstrip("\n").split("\t")
    scores: PerQuery = {}
    for number, line in lines:
        query, *values = line.rstrip("\n").split("\t")
        try:
            scores[query] = dict(zip(header[1:], map(float, values), strict=True))
        except ValueError as error:
            raise InputError(f"{path}:{number}: expected {len(header)} columns, numbers but the first") from error
    return scores
