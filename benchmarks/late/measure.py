"""The program of measurements: build each system, search with all in turn, then add and delete on a copy.

Systems take turns of some queries, so that whatever else the machine does hits them alike. One that fails, or does not
end within the limit, is reported with the reason, and the others go on.
"""

import shutil
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from modernir.files import read_json, write_json

from .process import Process, WorkerError
from .system import Setting
from .systems import Entry

TURN = 10
"""Queries of a turn."""
FIRST_WARM_UP = 5
LATER_WARM_UP = 2
CHANGES = 3
"""Adds, and deletes, of which the median counts."""
BATCH = 100


@dataclass(frozen=True)
class Plan:
    """What is the same for all systems.

    Attributes:
        collection: The folder that `cached` reads.
        indexes: Where the indexes are made; one that is there is used again.
        python: Interpreter for the peers; None leaves them out.
        limit: Seconds that a build, or any other command, may take.
        seconds: Time of searching after which a setting gets no more queries.
        queries: Queries of a collection at most.
    """

    collection: Path
    indexes: Path
    python: str | None
    limit: float
    seconds: float
    queries: int

    def folder(self, entry: Entry, size: str) -> Path:
        """Return where an index is."""
        return self.indexes / f"{entry.system}-{size}"

    def process(self, entry: Entry, size: str, threads: int, folder: Path | None = None) -> Process:
        """Start a system; the library is imported with `prepare`."""
        python = self.python if entry.peer and self.python else sys.executable
        return Process(entry, python, folder or self.folder(entry, size), self.collection, size, threads, self.limit)


@dataclass
class Track:
    """One system with one setting.

    Attributes:
        system, size, threads, setting: Which.
        seconds: Wall time of each query.
        processor: Time of each that its process spent on processors.
        found: Positions that each found, best first.
        batch: Queries a second of one call with the first `BATCH` queries, or None.
    """

    system: str
    size: str
    threads: int
    setting: Setting
    seconds: list[float] = field(default_factory=list)
    processor: list[float] = field(default_factory=list)
    found: list[list[int]] = field(default_factory=list)
    batch: float | None = None


@dataclass
class Outcome:
    """Everything that was found.

    Attributes:
        tracks: Of all settings.
        facts: What else was measured, see `build`, `search` and `change`.
        failures: (what, why).
    """

    tracks: list[Track] = field(default_factory=list)
    facts: list[dict[str, Any]] = field(default_factory=list)
    failures: list[tuple[str, str]] = field(default_factory=list)

    def fail(self, entry: Entry, size: str, error: WorkerError) -> None:
        """Note a failure."""
        self.failures.append((f"{entry.name}, {size}", str(error)))
        announce(f"{entry.name}, {size}: {error}")


def measure(entries: Sequence[Entry], size: str, threads: Sequence[int], plan: Plan, outcome: Outcome) -> None:
    """Measure the systems on one collection."""
    here = [entry for entry in entries if size in entry.sizes and build(entry, size, plan, outcome)]
    for count in threads:
        search(here, size, count, plan, outcome)
    for entry in here:
        change(entry, size, plan, outcome)


def build(entry: Entry, size: str, plan: Plan, outcome: Outcome) -> bool:
    """Build with one thread in a process of its own, unless it is there; say whether there is an index now."""
    folder = plan.folder(entry, size)
    record = folder.with_name(f"{folder.name}.json")
    if not record.is_file():
        announce(f"building {entry.name}, {size}")
        shutil.rmtree(folder, ignore_errors=True)
        plan.indexes.mkdir(parents=True, exist_ok=True)
        try:
            with plan.process(entry, size, 1) as process:
                before = process.ask("prepare")
                write_json(record, process.ask("build") | {"before": before})
        except WorkerError as error:
            outcome.fail(entry, size, error)
            return False
    outcome.facts.append({"system": entry.name, "size": size, "build": read_json(record)})
    return True


@dataclass
class Opened:
    """A system that is ready to be searched."""

    entry: Entry
    process: Process
    tracks: list[Track]


def search(entries: Sequence[Entry], size: str, threads: int, plan: Plan, outcome: Outcome) -> None:
    """Search with all systems in turn."""
    with ExitStack() as stack:
        opened = [found for entry in entries if (found := open_one(entry, size, threads, plan, outcome, stack))]
        for first in range(0, plan.queries, TURN):
            announce(f"{size}, {threads} threads: queries from {first}")
            rows = list(range(first, min(first + TURN, plan.queries)))
            for system in list(opened):
                try:
                    turn(system, rows, plan.seconds)
                except WorkerError as error:
                    outcome.fail(system.entry, size, error)
                    opened.remove(system)
        for system in opened:
            fact = {"system": system.entry.name, "size": size, "threads": threads}
            try:
                outcome.facts.append(fact | {"searching": system.process.ask("memory")})
                batch(system, plan)
            except WorkerError as error:
                outcome.fail(system.entry, size, error)


def open_one(entry: Entry, size: str, threads: int, plan: Plan, outcome: Outcome, stack: ExitStack) -> Opened | None:
    """Start a process and open an index in it; None where that fails."""
    try:
        process = stack.enter_context(plan.process(entry, size, threads))
        found = {"import": process.ask("prepare"), "open": process.ask("open")}
    except WorkerError as error:
        outcome.fail(entry, size, error)
        return None
    outcome.facts.append({"system": entry.name, "size": size, "threads": threads} | found)
    tracks = [Track(entry.name, size, threads, setting) for setting in entry.settings]
    outcome.tracks += tracks
    return Opened(entry, process, tracks)


def turn(system: Opened, rows: list[int], seconds: float) -> None:
    """Give each setting that has time left its queries."""
    for track in system.tracks:
        if sum(track.seconds) > seconds:
            continue
        warm_up = LATER_WARM_UP if track.seconds else FIRST_WARM_UP
        found = system.process.ask("search", setting=track.setting, rows=rows, warm_up=warm_up)
        track.seconds += found["seconds"]
        track.processor += found["processor"]
        track.found += found["found"]


def batch(system: Opened, plan: Plan) -> None:
    """Search with many queries in one call, where that fits into the time of a setting."""
    count = min(BATCH, plan.queries)
    for track in system.tracks:
        if count * sum(track.seconds) / len(track.seconds) <= plan.seconds:
            track.batch = count / system.process.ask("batch", setting=track.setting, count=count)["seconds"]


def change(entry: Entry, size: str, plan: Plan, outcome: Outcome) -> None:
    """Add and delete documents in a copy of the index, with one thread."""
    folder = plan.folder(entry, size)
    copy = folder.with_name(f"{folder.name}-changed")
    announce(f"adding and deleting, {entry.name}, {size}")
    try:
        shutil.copytree(folder, copy)
        with plan.process(entry, size, 1, copy) as process:
            process.ask("prepare")
            process.ask("open")
            found = {do: [process.ask(do, round_=number) for number in range(CHANGES)] for do in ("add", "delete")}
            outcome.facts.append({"system": entry.name, "size": size} | found | process.ask("size_on_disk"))
    except WorkerError as error:
        if "keeps no index" not in str(error):
            outcome.fail(entry, size, error)
    finally:
        shutil.rmtree(copy, ignore_errors=True)


def announce(message: str) -> None:
    """Say on stderr what is being done now."""
    sys.stderr.write(f"late_interaction: {message}\n")
