"""The saved evaluations of all systems and sets, read and compared: everything that the tables show.

Comparing is the product's own (`modernir.eval.comparing`); what is here only gathers the folders of a system and sees
that no figure is of another state of a model.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from modernir.errors import InputError
from modernir.eval.comparing import inputs
from modernir.eval.comparing.comparison import Comparison, Difference, Row, compare
from modernir.eval.comparing.saved import compare_saved
from modernir.eval.evaluate import Report
from modernir.eval.results import load, saved_sets

from .systems import TARGETS, System

MEASURES = ("nDCG@10", "Recall@100")


@dataclass(frozen=True)
class Wins:
    """On how many sets a system's mean is above another's, and on how many the test calls it better or worse."""

    above: int
    better: int
    worse: int


@dataclass(frozen=True)
class Table:
    """One measure of all systems on all sets.

    Attributes:
        comparison: With the first system as the baseline; its sets are called `beir/scifact`.
        targets: Names of the target sets among them.
        mean: The row of the targets' mean; None where there are fewer than two.
    """

    comparison: Comparison
    targets: tuple[str, ...]
    mean: Row | None

    @property
    def rows(self) -> Mapping[str, Row]:
        """Set to its figures."""
        return {one.name: row for one, row in zip(self.comparison.sets, self.comparison.rows, strict=False)}

    def difference(self, row: Row, number: int) -> Difference | None:
        """Return how a system differs from the baseline, which has no difference."""
        return row.differences[number - 1] if number else None

    def mark(self, row: Row, number: int) -> str:
        """Return ▲ or ▼ where a system is significantly better or worse than the baseline."""
        one = self.difference(row, number)
        if one is None or not self.comparison.significant(one):
            return ""
        return "▲" if one.mean > 0 else "▼"

    def wins(self, number: int) -> Wins:
        """Count the target sets on which a system is above the baseline."""
        rows = [self.rows[name] for name in self.targets]
        marks = [self.mark(row, number) for row in rows]
        above = sum(row.means[number] > row.means[0] for row in rows)
        return Wins(above, marks.count("▲"), marks.count("▼"))


@dataclass(frozen=True)
class Saved:
    """What was read.

    Attributes:
        systems: Columns, the baseline first.
        sets: Rows.
        reports: System's key and set to report.
        tables: Measure to its table.
    """

    systems: tuple[System, ...]
    sets: tuple[str, ...]
    reports: Mapping[tuple[str, str], Report]
    tables: Mapping[str, Table]


class GroupReader(inputs.Reader):
    """Reads a system whose results lie in a folder for each group of sets, and calls its sets by group and name."""

    def __init__(self, measure: str, sets: Sequence[str]) -> None:
        super().__init__(measure)
        self._groups: dict[str, list[str]] = {}
        for one in sets:
            group, name = one.split("/")
            self._groups.setdefault(group, []).append(name)

    def read(self, source: Path) -> inputs.System:
        """Read one system; see `Reader.read`."""
        found = {}
        for group, names in self._groups.items():
            of_group = inputs.Reader(self.measure, datasets=names).read(source / group)
            found |= {f"{group}/{name}": scores for name, scores in of_group.sets.items()}
        return inputs.System(source.name, source, found)

    def texts(self, name: str, scores: inputs.SetScores) -> dict[str, str]:
        """Return none: no table shows a query."""
        return {}


def read_saved(output: Path, systems: Sequence[System], sets: Sequence[str]) -> Saved:
    """Read what the evaluations of systems on sets left in a folder.

    Raises:
        InputError: There are fewer than two systems, an evaluation is lacking, or two are of different states of a
            model or of the data.
    """
    if len(systems) < 2:
        raise InputError("a table compares at least two systems; name more with --systems, or leave it out")
    reports = {(system.key, one): _report(output, system, one) for system in systems for one in sets}
    lacking = [key for key, report in reports.items() if report is None]
    if lacking:
        raise InputError(
            f"{output}: lacks {len(lacking)} of {len(reports)} evaluations, such as {' on '.join(lacking[0])}; run "
            "the same command without --write, or choose others with --systems and --sets"
        )
    there = {key: report for key, report in reports.items() if report is not None}
    _check_models(systems, there)
    tables = {measure: _table(measure, output, systems, sets) for measure in MEASURES}
    return Saved(tuple(systems), tuple(sets), there, tables)


def _report(output: Path, system: System, one: str) -> Report | None:
    group, name = one.split("/")
    place = output / system.key / group
    if not any(place.rglob("report.json")):
        return None
    folders = {load(folder).benchmark: folder for folder in saved_sets(place)}
    return load(folders[name]) if name in folders else None


def _check_models(systems: Sequence[System], reports: Mapping[tuple[str, str], Report]) -> None:
    models = {system.key: system.model for system in systems}
    seen: dict[str, tuple[str, str, str]] = {}
    for (key, one), report in reports.items():
        first = seen.setdefault(models[key], (report.fingerprint, key, one))
        if first[0] != report.fingerprint:
            raise InputError(
                f"{key} on {one}: of another {models[key]} than {first[1]} on {first[2]} (fingerprints "
                f"{report.fingerprint[:8]} and {first[0][:8]}); evaluate both with the same one"
            )


def _table(measure: str, output: Path, systems: Sequence[System], sets: Sequence[str]) -> Table:
    sources = [output / system.key for system in systems]
    comparison = compare_saved(sources, GroupReader(measure, sets), [system.title for system in systems], top=0)
    chosen = [one for one in comparison.sets if one.name in TARGETS]
    names = tuple(one.name for one in chosen)
    if len(chosen) < 2:
        return Table(comparison, names, None)
    return Table(comparison, names, compare(comparison.measure, comparison.systems, chosen, top=0).rows[-1])
