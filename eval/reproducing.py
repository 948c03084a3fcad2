"""Published and recorded scores as data, `reproductions/*.toml`: which command should reach which score, how nearly.

A file holds `[[reproduction]]` tables; what stands before the first of them holds for all of the file. Running one is
the same command that a person would type, so that nothing but the command has to be trusted.
"""

import sqlite3
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from ..encoders.bundled import bundled_folder
from ..errors import InputError, ModernirError, explain
from ..retrieval.readers.beir import BeirFolder
from .benchmarks import BENCHMARKS
from .download import cache_folder
from .results import load, saved_sets
from .shipped import SHIPPED

FOLDER = Path(__file__).parent / "reproductions"


@dataclass(frozen=True)
class Reproduction:
    """A score that a command should reach.

    Attributes:
        name: What to call it.
        expected: Measure's name to score.
        tolerance: How far off each score may be.
        source: Where the expected scores come from.
        options: Options of `modernir eval beir` or `modernir eval local`.
        dataset: Name of a public set, or empty where the folder is the only copy that the scores hold for.
        folder: Where the set lies below `--data`.
        documents: Size of the corpus that the scores hold for; None checks nothing.
        split: Whose judgements; None takes the default.
        model: What to evaluate, or empty for a lexical search.
    """

    name: str
    expected: Mapping[str, float]
    tolerance: float
    source: str
    options: Sequence[str] = ()
    dataset: str = ""
    folder: str = ""
    documents: int | None = None
    split: str | None = None
    model: str = ""

    def __post_init__(self) -> None:
        if not (self.dataset or self.folder):
            raise InputError("names neither a dataset nor a folder")
        if self.dataset and self.dataset not in BENCHMARKS:
            raise InputError(f"no data set is called {self.dataset!r}; leave it out where there is only a folder")

    def place(self, data: Path | None) -> Path | None:
        """Return the folder of its data, below `data`, as shipped or as downloaded; None where none is here."""
        below = [data / name for name in (self.folder, self.dataset) if name] if data else []
        known = [SHIPPED.get(self.dataset), cache_folder() / self.dataset] if self.dataset else []
        return next((folder for folder in (*below, *known) if folder and BeirFolder.is_one(folder)), None)

    def obstacle(self, data: Path | None) -> str | None:
        """Say what it lacks to run here without a download, or return None."""
        if self.place(data) is None:
            wanted = self.folder or self.dataset
            return f"no {wanted} in {data}" if data else f"needs {wanted} in --data"
        if self.model and bundled_folder(self.model) is None:
            return f"the model {self.model} is not installed"
        return None

    def command(self, data: Path | None, output: Path) -> list[str]:
        """Return the arguments of `modernir` that run it, results going to `output`.

        Raises:
            InputError: Its data are not here and have no public name either.
        """
        place = self.place(data)
        if place is None and not self.dataset:
            raise InputError(f"{self.name}: {self.obstacle(data)}")
        found = ["--data", str(place)] if place else []
        what = ["beir", "--dataset", self.dataset, *found] if self.dataset else ["local", str(place)]
        split = ["--split", self.split] if self.split else []
        model = ["--model", self.model] if self.model else []
        measures = [word for measure in self.expected for word in ("--measure", measure)]
        return ["eval", *what, *split, *model, *self.options, *measures, "--output", str(output)]


@dataclass(frozen=True)
class Outcome:
    """What became of a reproduction.

    Attributes:
        reproduction: Which one.
        command: Arguments of `modernir`.
        found: Measure's name to the score that came out; empty where it did not run.
        problem: Why it did not run, or that the data are others; None where the scores say all.
        failed: Whether it was run and ended with an error, which `problem` tells.
    """

    reproduction: Reproduction
    command: Sequence[str] = ()
    found: Mapping[str, float] = field(default_factory=dict)
    problem: str | None = None
    failed: bool = False

    @property
    def ran(self) -> bool:
        """Whether there are scores."""
        return bool(self.found)

    @property
    def passed(self) -> bool:
        """Whether it ran on the right data and every score is as near as it should be."""
        one = self.reproduction
        near = (abs(self.found[name] - value) <= one.tolerance for name, value in one.expected.items() if self.ran)
        return self.ran and self.problem is None and all(near)

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON values."""
        one = self.reproduction
        return {
            "name": one.name,
            "command": ["modernir", *self.command] if self.command else None,
            "expected": dict(one.expected),
            "tolerance": one.tolerance,
            "source": one.source,
            "found": dict(self.found),
            "passed": self.passed if self.ran or self.failed else None,
            "problem": self.problem,
        }


def read_reproductions(folder: Path = FOLDER) -> dict[str, Reproduction]:
    """Return all reproductions by name, in the order of the files.

    Raises:
        InputError: A file is no TOML, a table lacks a field or has an unknown one, or two have one name.
    """
    found: dict[str, Reproduction] = {}
    for file in sorted(folder.glob("*.toml")):
        try:
            shared = tomllib.loads(file.read_text(encoding="utf-8"))
        except ValueError as error:
            raise InputError(f"{file}: not valid TOML ({error})") from error
        for table in shared.pop("reproduction", []):
            one = _reproduction(file, shared | table)
            if one.name in found:
                raise InputError(f"{file}: two reproductions are called {one.name!r}")
            found[one.name] = one
    return found


def _reproduction(file: Path, values: dict[str, Any]) -> Reproduction:
    named = f"{file}: {values.get('name', 'a reproduction without a name')}"
    unknown = sorted(set(values) - {field.name for field in fields(Reproduction)})
    if unknown:
        raise InputError(f"{named}: unknown field {unknown[0]!r}")
    lacking = [name for name in ("name", "expected", "tolerance", "source") if name not in values]
    if lacking:
        raise InputError(f"{named}: lacks {', '.join(lacking)}")
    try:
        return Reproduction(**values)
    except InputError as error:
        raise InputError(f"{named}: {error}") from error


def choose_reproductions(names: Sequence[str], known: Mapping[str, Reproduction]) -> list[Reproduction]:
    """Return the named reproductions, or all.

    Raises:
        InputError: There is none of that name.
    """
    for name in names:
        if name not in known:
            raise InputError(f"no reproduction is called {name!r}; there: {', '.join(known)}")
    return [known[name] for name in names] or list(known.values())


def reproduce(
    reproduction: Reproduction, data: Path | None, output: Path, run: Callable[[Sequence[str]], object]
) -> Outcome:
    """Run a reproduction and compare the scores of its report with the expected ones.

    Args:
        reproduction: Which one.
        data: Folder with collections, or None.
        output: Folder for results; those of this one go to `<output>/<name>`.
        run: Runs `modernir` with arguments.

    Returns:
        The scores; of a command that ended with an error, such as one of a full disk, the error as a problem.

    Raises:
        InputError: Its data are not here and have no public name either.
    """
    place = output / reproduction.name
    command = reproduction.command(data, place)
    try:
        run(command)
        report = load(saved_sets(place)[0])
    except Exception as error:  # whatever is wrong with one, the others are to run
        return Outcome(reproduction, command, problem=_in_a_line(error), failed=True)
    expected, documents = reproduction.documents, report.counts.get("documents")
    other = expected is not None and documents != expected
    problem = f"another state of the data: {documents:,} documents, expected {expected:,}" if other else None
    return Outcome(reproduction, command, {name: report.metrics[name] for name in reproduction.expected}, problem)


def _in_a_line(error: Exception) -> str:
    known = explain(error) if isinstance(error, OSError | sqlite3.Error) else None
    said = " ".join(str(known or error).split())
    return said if isinstance(known or error, ModernirError) else f"{type(error).__name__}: {said}"
