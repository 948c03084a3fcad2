"""One system in a process of its own, which may have another interpreter: `python -m late.worker`.

Reads one JSON command a line from standard input and answers each with one JSON line. NumPy and the standard library
only, besides the system's own library.
"""

import json
import os
import sys
import time
from collections.abc import Callable, Iterable
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from .cached import SIZES, TOP, Tokens, document_files, load_tokens, noisy
from .system import System

ADDED = 100
"""Documents of one add or delete."""


class Worker:
    """Carries out commands on a system.

    Args:
        system: Not prepared yet.
        collection: The folder that `cached` reads.
        size: Name of the collection.
    """

    def __init__(self, system: System, collection: Path, size: str) -> None:
        self.system, self.collection, self.size = system, collection, size
        queries = load_tokens(collection, "query_tokens.npy", "query_offsets.npy")
        self.queries = Tokens(np.array(queries.values), queries.offsets)
        self.next = 0

    def prepare(self) -> dict[str, Any]:
        """Import the library."""
        return timed(self.system.prepare) | memory()

    def build(self) -> dict[str, Any]:
        """Build from the mapped vectors."""
        documents = self._documents()
        forget_peak()
        found = timed(lambda: self.system.build(documents))
        return found | {"bytes": folder_bytes(self.system.folder)} | memory()

    def open(self) -> dict[str, Any]:
        """Open, then search with one query."""
        found: dict[str, Any] = timed(lambda: self.system.open(self.size))
        found |= {"first": timed(lambda: self.search({}, [0]))} | memory()
        forget_peak()
        return found

    def search(self, setting: dict[str, Any], rows: Iterable[int], warm_up: int = 0) -> dict[str, Any]:
        """Search with one query after the other.

        Args:
            setting: See `System.search`.
            rows: The queries.
            warm_up: Searches before, not measured, with queries from the end.

        Returns:
            Of each query, wall seconds, processor seconds, and the positions that it found.
        """
        for row in range(len(self.queries) - warm_up, len(self.queries)):
            self.system.search(self.queries[row], TOP, setting)
        seconds, processor, found = [], [], []
        for row in rows:
            query = self.queries[row]
            started, worked = time.perf_counter(), time.process_time()
            positions = self.system.search(query, TOP, setting)
            seconds.append(time.perf_counter() - started)
            processor.append(time.process_time() - worked)
            found.append([int(position) for position in positions])
        return {"seconds": seconds, "processor": processor, "found": found}

    def batch(self, setting: dict[str, Any], count: int) -> dict[str, Any]:
        """Search with many queries in one call."""
        queries = self.queries.part(0, count)
        return timed(lambda: self.system.search_all(queries, TOP, setting))

    def memory(self) -> dict[str, Any]:
        """Return what is in use."""
        return memory()

    def add(self, round_: int) -> dict[str, Any]:
        """Add noisy copies of some documents."""
        documents = self._documents()
        if not self.next:
            self.next = len(documents)
        added = noisy(documents.part(round_ * ADDED, (round_ + 1) * ADDED), np.random.default_rng(1000 + round_))
        found = timed(lambda: self.system.add(self.next, added))
        self.next += len(added)
        return found | {"tokens": len(added.values)}

    def delete(self, round_: int) -> dict[str, Any]:
        """Delete documents from all over the collection, other ones in every round."""
        step = len(self._documents()) // ADDED
        return timed(lambda: self.system.delete([row * step + round_ for row in range(ADDED)]))

    def size_on_disk(self) -> dict[str, Any]:
        """Return the bytes of the system's folder."""
        return {"bytes": folder_bytes(self.system.folder)}

    def _documents(self) -> Tokens:
        return load_tokens(self.collection, *document_files(SIZES[self.size]))


def timed(action: Callable[[], object]) -> dict[str, float]:
    """Return the wall seconds of a call, and those that this process spent on processors meanwhile."""
    started, worked = time.perf_counter(), time.process_time()
    action()
    return {"seconds": time.perf_counter() - started, "processor": time.process_time() - worked}


def memory() -> dict[str, int]:
    """Return bytes of this process: the peak, what is resident, and how much of that is not a mapped file."""
    fields = {"VmHWM": "peak", "VmRSS": "resident", "RssAnon": "anonymous"}
    lines = [line.split() for line in Path("/proc/self/status").read_text().splitlines()]
    return {fields[line[0][:-1]]: int(line[1]) * 1024 for line in lines if line and line[0][:-1] in fields}


def forget_peak() -> None:
    """Let the peak begin anew."""
    Path("/proc/self/clear_refs").write_text("5")


def folder_bytes(folder: Path) -> int:
    """Return the bytes of all files in a folder."""
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


def limit_processors(threads: int) -> None:
    """Keep this process on as many processors as it may have threads, so that no library takes more."""
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[-threads:])


def serve(worker: Worker, answers: int) -> None:
    """Carry out commands until the input ends."""
    with os.fdopen(answers, "w") as stream:
        for line in sys.stdin:
            command = json.loads(line)
            try:
                answer = getattr(worker, command.pop("do"))(**command)
            except Exception as error:  # whatever a library raises is a finding
                answer = {"error": f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"}
            stream.write(json.dumps(answer) + "\n")
            stream.flush()


def main(module: str, name: str, folder: str, collection: str, size: str, threads: str) -> None:
    """Serve a system, given as its module in this package and its class."""
    answers = os.dup(1)
    os.dup2(2, 1)  # what libraries print must not mix with the answers
    limit_processors(int(threads))
    system = getattr(import_module(f"late.{module}"), name)(Path(folder), Path(collection), int(threads))
    serve(Worker(system, Path(collection), size), answers)


if __name__ == "__main__":
    main(*sys.argv[1:])
