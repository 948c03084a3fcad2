"""A process of its own that loads one variant, keeps it, and runs it whenever it is asked.

Each variant has its own threads, allocator and libraries, so that none disturbs another's time, and the growth of
its memory is its own. The parent asks the workers in turn, which interleaves the rounds.
"""

import os
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from multiprocessing import get_context
from multiprocessing.connection import Connection
from types import TracebackType
from typing import Any, Self

from ..errors import ModernirError
from .memory import memory_of

THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "RAYON_NUM_THREADS")
GRACE_SECONDS = 5.0
Job = Callable[[Any], Any]
"""What a variant does with one request."""


class WorkerError(ModernirError):
    """The variant could not be loaded or run; the message is the reason."""


@dataclass(frozen=True)
class Sample:
    """One run.

    Attributes:
        seconds: Wall time.
        value: What the job returned.
        peak: Bytes in use at the peak, or None where nobody knows.
        growth: The peak's excess over the level after loading and warming up, or None.
    """

    seconds: float
    value: Any
    peak: int | None
    growth: int | None


class Worker:
    """One variant in its process; a context manager, whose end ends the process.

    Args:
        load: Called in the process with `arguments`; returns the job. Like the arguments, it must be picklable.
        arguments: For `load`.
        threads: Threads for the libraries in the process; None leaves their choice.
        device: "cpu" or a CUDA device, whose memory is watched.

    Raises:
        WorkerError: `load` failed.
    """

    def __init__(
        self, load: Callable[..., Job], *arguments: object, threads: int | None = None, device: str = "cpu"
    ) -> None:
        context = get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs, load, arguments, threads, device))
        with _thread_environment(threads):
            self._process.start()
        theirs.close()
        try:
            self._answer()
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def warm_up(self, *requests: object) -> None:
        """Run the job on each request, unmeasured, and take the memory in use then as the level to measure from.

        Raises:
            WorkerError: The job failed.
        """
        self._ask(("warm up", requests))

    def run(self, request: object) -> Sample:
        """Run the job once.

        Raises:
            WorkerError: The job failed, or its process is gone.
        """
        sample = self.run_all([request])
        return replace(sample, value=sample.value[0])

    def run_all(self, requests: Sequence[object]) -> Sample:
        """Run the job on one request after the other; the value is the list of what it returned.

        Raises:
            WorkerError: The job failed, or its process is gone.
        """
        sample: Sample = self._ask(("run", requests))
        return sample

    def close(self) -> None:
        """End the process."""
        self._pipe.close()  # an idle process ends by itself
        self._process.join(GRACE_SECONDS)
        if self._process.is_alive():
            self._process.terminate()
            self._process.join()

    def _ask(self, question: tuple[str, object]) -> Any:  # noqa: ANN401 - whatever the job returns
        try:
            self._pipe.send(question)
        except OSError as error:
            raise WorkerError("its process is gone") from error
        return self._answer()

    def _answer(self) -> Any:  # noqa: ANN401 - whatever the job returns
        try:
            good, value = self._pipe.recv()
        except (EOFError, OSError) as error:
            self._process.join()
            code = self._process.exitcode
            killed = "; the system may have run out of memory" if code == -signal.SIGKILL else ""
            raise WorkerError(f"its process ended with code {code}{killed}") from error
        if not good:
            raise WorkerError(value)
        return value


@contextmanager
def _thread_environment(threads: int | None) -> Iterator[None]:
    # libraries read these when they are loaded, which is before any code of ours runs in the process
    wanted = {name: str(threads) for name in THREAD_VARIABLES} if threads else {}
    before = {name: os.environ.get(name) for name in wanted}
    os.environ.update(wanted)
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value


def _serve(
    pipe: Connection, load: Callable[..., Job], arguments: tuple[Any, ...], threads: int | None, device: str
) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent hears it and ends this process
    sys.stdout = sys.stderr  # what libraries print must not mix with the results
    try:
        job = _load(load, arguments, threads)
    except Exception as error:
        pipe.send((False, _reason(error)))
        return
    pipe.send((True, None))
    memory = memory_of(device)
    while True:
        try:
            kind, requests = pipe.recv()
        except EOFError:
            return
        try:
            if kind == "run":  # looks at every object that Python holds, so not without need
                memory.reset()
            started = time.perf_counter()
            value = [job(request) for request in requests]
            seconds = time.perf_counter() - started
            peak, growth = memory.peak() or (None, None)
        except Exception as error:
            pipe.send((False, _reason(error)))
            continue
        if kind == "warm up":
            memory.settle()
        pipe.send((True, Sample(seconds, value, peak, growth)))


def _load(load: Callable[..., Job], arguments: tuple[Any, ...], threads: int | None) -> Job:
    if threads:
        import torch

        torch.set_num_threads(threads)
    return load(*arguments)


def _reason(error: Exception) -> str:
    text = " ".join(str(error).split()) or type(error).__name__
    return text if isinstance(error, ModernirError) else f"{type(error).__name__}: {text[:300]}"
