"""The parent's end of a worker: starts it with the wanted interpreter, asks it, and ends it when it takes too long."""

import json
import os
import select
import subprocess
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from .systems import Entry

BENCHMARKS = Path(__file__).resolve().parent.parent
THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "NUMBA_NUM_THREADS",
    "RAYON_NUM_THREADS",
    "LANCE_CPU_THREADS",
    "TOKIO_WORKER_THREADS",
)


class WorkerError(Exception):
    """The system failed or took too long; the message says how."""


class Process:
    """A worker; a context manager, whose end ends it.

    Args:
        entry: The system.
        python: Interpreter to run it with.
        folder: Of its index.
        collection: The folder that `cached` reads.
        size: Name of the collection.
        threads: Threads, and processors, that it gets.
        limit: Seconds that a command may take.
    """

    def __init__(
        self, entry: Entry, python: str, folder: Path, collection: Path, size: str, threads: int, limit: float
    ) -> None:
        self._limit = limit
        arguments = [entry.module, entry.system, str(folder.resolve()), str(collection.resolve()), size, str(threads)]
        variables = dict.fromkeys(THREAD_VARIABLES, str(threads))
        self._child = subprocess.Popen(
            [python, "-m", "late.worker", *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=os.environ | variables,
            cwd=BENCHMARKS,  # puts this package, and nothing of modernir's, on the interpreter's path
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._child.kill()
        self._child.wait()

    def ask(self, do: str, **arguments: object) -> dict[str, Any]:
        """Have a command carried out.

        Raises:
            WorkerError: It failed, did not end in time (the worker is ended then), or the worker is gone.
        """
        assert self._child.stdin is not None and self._child.stdout is not None
        try:
            self._child.stdin.write(json.dumps({"do": do, **arguments}).encode() + b"\n")
            self._child.stdin.flush()
        except OSError as error:
            raise WorkerError(f"{do}: its process is gone") from error
        if not select.select([self._child.stdout], [], [], self._limit)[0]:
            self._child.kill()
            raise WorkerError(f"{do}: not finished in {self._limit:,.0f} s")
        line = self._child.stdout.readline()
        if not line:
            raise WorkerError(f"{do}: its process ended with code {self._child.wait()}")
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            raise WorkerError(f"{do}: {answer['error']}")
        return answer
