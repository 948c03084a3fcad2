"""All variants over all workloads, in interleaved rounds.

Each workload begins with a round that is not timed: it warms up whatever adapts to shapes, and gives the embeddings
that are compared. After that the variants are asked in turn, round after round, so that whatever else the machine does
hits them alike; ratios are taken within a round, and their median counts.
"""

import statistics
import sys
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ..encoders.gemm import load_gemm
from ..errors import ModernirError
from ..progress import progress
from .variants import Request, Variant
from .worker import Sample, Worker, WorkerError

if TYPE_CHECKING:
    import numpy as np

    from ..encoders.cost import Cost


@dataclass(frozen=True)
class Task:
    """A workload's texts.

    Attributes:
        name: Of the workload.
        task: "query" or "document".
        texts: What to encode.
        lengths: Real tokens of each text.
        batch: Texts a call; None hands them over in one.
    """

    name: str
    task: str
    texts: list[str]
    lengths: list[int]
    batch: int | None = None

    @property
    def requests(self) -> list[Request]:
        """What a variant is asked, call by call."""
        size = self.batch or len(self.texts)
        return [(self.task, self.texts[start : start + size]) for start in range(0, len(self.texts), size)]


@dataclass(frozen=True)
class Result:
    """One variant on one workload.

    Attributes:
        workload, variant, precision: Which.
        texts, tokens: How many were encoded in a round; tokens are real ones.
        seconds: Of each round.
        ratio: Median over the rounds of the reference's seconds by this one's.
        memory: Most bytes in use over the level after loading and warming up, or None.
        cosine: Smallest between its embeddings and the reference's.
        peak_share: Needed operations a second, at the median, by the measured GEMM peak of the precision, or None.
        reference: The variant that `ratio` and `cosine` refer to: the first that ran.
    """

    workload: str
    variant: str
    precision: str
    texts: int
    tokens: int
    seconds: tuple[float, ...]
    ratio: float
    memory: int | None
    cosine: float
    peak_share: float | None
    reference: str

    @property
    def median(self) -> float:
        """Median seconds of a round."""
        return statistics.median(self.seconds)


@dataclass
class Outcome:
    """Everything that was found.

    Attributes:
        gemm: Precision to the best measured GFLOP/s at the model's shapes.
        results: In the order of workloads and variants.
        skipped: (what, why) of that which could not be measured.
        intended_reference: The first variant that was asked for; results refer to another where it did not run.
    """

    gemm: dict[str, float] = field(default_factory=dict)
    results: list[Result] = field(default_factory=list)
    skipped: list[tuple[str, str]] = field(default_factory=list)
    intended_reference: str | None = None

    def require(self, library: str = "") -> None:
        """Make sure that something was measured.

        Args:
            library: How the names of the variants begin of which one must be among the results; empty for any.

        Raises:
            ModernirError: There is none; the message gives the first reason.
        """
        if any(result.variant.startswith(library) for result in self.results):
            return
        reasons = [f"{what}: {why}" for what, why in self.skipped]
        own = [reason for reason in reasons if reason.startswith(library)]
        missing = f"{library} was not measured" if library else "nothing was measured"
        raise ModernirError(f"{missing}; {next(iter(own or reasons), 'no workload')}")


def announce(message: str, quiet: bool = False) -> None:
    """Say on stderr what is being done now."""
    if not quiet:
        sys.stderr.write(f"bench: {message}\n")


@dataclass
class _Track:
    """What one variant did on one workload."""

    vectors: list["np.ndarray"]
    samples: list[Sample] = field(default_factory=list)


def run_rounds(
    variants: Sequence[Variant],
    tasks: Sequence[Task],
    warm_up: list[str],
    cost: "Cost | None",
    *,
    rounds: int = 3,
    threads: int | None = None,
    device: str = "cpu",
    quiet: bool = False,
) -> Outcome:
    """Measure.

    Args:
        variants: Ratios and cosines refer to the first of them that runs.
        tasks: The workloads.
        warm_up: Short texts that every variant encodes first.
        cost: Shape of the network, for the share of the GEMM peak; None leaves that out.
        rounds: Timed rounds of each workload.
        threads: Threads of each variant; None leaves the libraries' choice.
        device: Where the variants run.
        quiet: Show no progress.
    """
    outcome = Outcome(intended_reference=variants[0].name if variants else None)
    with ExitStack() as stack, progress("bench", len(tasks) * (rounds + 1), "rounds", quiet=quiet) as report:
        gemm = _Gemm(stack, cost, {variant.precision for variant in variants}, threads, device, outcome.gemm)
        workers = _start(stack, variants, warm_up, threads, device, outcome, quiet)
        for number, task in enumerate(tasks if workers else ()):
            announce(f"{task.name}: {len(task.texts):,} texts, {sum(task.lengths):,} tokens a round", quiet)
            gemm.measure()
            tracks = {variant: _Track(sample.value) for variant, sample in _ask(workers, task, outcome).items()}
            report(number * (rounds + 1) + 1)
            for turn in range(rounds):
                asked = {variant: worker for variant, worker in workers.items() if variant in tracks}
                for variant, sample in _ask(asked, task, outcome).items():
                    tracks[variant].samples.append(sample)
                report(number * (rounds + 1) + turn + 2)
            whole = {variant: track for variant, track in tracks.items() if len(track.samples) == rounds}
            outcome.results += _results(whole, task, cost, outcome.gemm)
        if workers:
            gemm.measure()
    return outcome


class _Gemm:
    """Measures GEMM rates now and then, and keeps the best."""

    def __init__(
        self,
        stack: ExitStack,
        cost: "Cost | None",
        precisions: set[str],
        threads: int | None,
        device: str,
        best: dict[str, float],
    ) -> None:
        self._worker = None
        self._precisions = sorted(precisions)
        self._best = best
        if cost is not None and device != "mps":
            self._worker = stack.enter_context(Worker(load_gemm, cost.linears, device, threads=threads, device=device))

    def measure(self) -> None:
        for precision in self._precisions if self._worker else ():
            rate = self._worker.run(precision).value if self._worker else None
            if rate is not None:
                self._best[precision] = max(rate, self._best.get(precision, 0.0))


def _start(
    stack: ExitStack,
    variants: Sequence[Variant],
    warm_up: list[str],
    threads: int | None,
    device: str,
    outcome: Outcome,
    quiet: bool,
) -> dict[Variant, Worker]:
    workers = {}
    # one by one, since some runtimes keep the memory of their largest batch
    requests = [("document", [text]) for text in warm_up]
    for variant in variants:
        reason = variant.missing
        if reason is None:
            announce(f"loading {variant.name}", quiet)
            try:
                worker = stack.enter_context(Worker(variant.load, *variant.arguments, threads=threads, device=device))
                worker.warm_up(*requests)
                workers[variant] = worker
                continue
            except WorkerError as error:
                reason = str(error)
        outcome.skipped.append((variant.name, reason))
        announce(f"not measured: {variant.name}: {reason}", quiet)
    return workers


def _ask(workers: Mapping[Variant, Worker], task: Task, outcome: Outcome) -> dict[Variant, Sample]:
    samples = {}
    for variant, worker in workers.items():
        try:
            samples[variant] = worker.run_all(task.requests)
        except WorkerError as error:
            reason = (f"{variant.name}, {task.name}", str(error))
            if reason not in outcome.skipped:
                outcome.skipped.append(reason)
    return samples


def _results(
    tracks: Mapping[Variant, _Track], task: Task, cost: "Cost | None", gemm: Mapping[str, float]
) -> list[Result]:
    import numpy as np

    if not tracks:
        return []
    reference, first = next((variant.name, track) for variant, track in tracks.items())
    flops = cost.flops(task.lengths) if cost else 0
    results = []
    for variant, track in tracks.items():
        seconds = [sample.seconds for sample in track.samples]
        growth = [sample.growth for sample in track.samples if sample.growth is not None]
        peak = gemm.get(variant.precision)
        pairs = zip(first.samples, track.samples, strict=True)
        results.append(
            Result(
                workload=task.name,
                variant=variant.name,
                precision=variant.precision,
                texts=len(task.texts),
                tokens=sum(task.lengths),
                seconds=tuple(seconds),
                ratio=statistics.median(theirs.seconds / ours.seconds for theirs, ours in pairs),
                memory=max(growth, default=None),
                cosine=smallest_cosine(np.concatenate(track.vectors), np.concatenate(first.vectors)),
                peak_share=flops / statistics.median(seconds) / (peak * 1e9) if flops and peak else None,
                reference=reference,
            )
        )
    return results


def smallest_cosine(vectors: "np.ndarray", reference: "np.ndarray") -> float:
    """Return the smallest cosine between rows of like number, (n, dim) each."""
    import numpy as np

    a, b = vectors.astype(np.float64), reference.astype(np.float64)
    norms = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    return float(((a * b).sum(axis=1) / norms).min())
