"""Exact late-interaction scores, ours beside others': searching with one query, and a training step of the scores.

    python benchmarks/maxsim.py search --cache FOLDER [--queries 40] [--peers FOLDER] [--only modernir] [--json FILE]
    python benchmarks/maxsim.py train [--queries 64] [--candidates 8] [--tokens 180] [--shortest 180] [--rounds 5]

`search` scores all documents of the folder that `late_interaction.py` fills, with one query at a time: real queries,
and queries of 32 tokens, each several real ones joined and cut. "Of peak" divides the operations that the query's
tokens need by the rate of a large float32 matrix product, measured in between. `pip install --no-deps --target PEERS
maxsim-cpu==0.1.0`, then `--peers PEERS`, brings maxsim-cpu in.

`train` takes queries of 32 tokens and for each some candidates, scores all queries with all candidates, and ends with
the gradients of the cross-entropy of the scores. Documents have from `--shortest` to `--tokens` tokens, padded for
sentence-transformers. "Over loaded" is the peak of resident memory over the level before the step, gradients included.

Each variant is a process of its own with one thread, asked in turn. Times are the process's own on the processor, so
that other work on the machine does not count, apart from the caches that it takes.
"""

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from command import exit_code, matching, positive
from late.cached import SIZES, document_files, load_tokens

from modernir.bench.report import table
from modernir.bench.worker import Sample, Worker, WorkerError
from modernir.errors import InputError, ModernirError

Scorer = Callable[[np.ndarray], np.ndarray]
Timed = Callable[[np.ndarray], tuple[float, np.ndarray]]
Step = Callable[[object], dict[str, float]]
QUERY_TOKENS = 32
DIM = 128
SCALE = 5.0


def load_timed(variant: str, cache: str, peers: str) -> Timed:
    """Load documents in a worker and return what scores them, with its seconds."""
    score = load_scorer(variant, cache, peers)

    def timed(query: np.ndarray) -> tuple[float, np.ndarray]:
        started = time.process_time()
        scores = score(query)
        return time.process_time() - started, scores

    return timed


def load_scorer(variant: str, cache: str, peers: str) -> Scorer:
    """Load documents and return what scores them all with one query, or measures the peak."""
    documents = load_tokens(Path(cache), *document_files(SIZES["1m"]))
    offsets = np.asarray(documents.offsets)
    if variant == "peak":
        return _peak
    if variant == "modernir float16, mapped":
        return _ours(documents.values, offsets)
    values = documents.values.astype(np.float32)
    if variant == "modernir float32":
        return _ours(values, offsets)
    if variant == "NumPy":
        return lambda query: np.add.reduce(np.maximum.reduceat(query @ values.T, offsets[:-1], axis=1), axis=0)
    rows = [values[first:last] for first, last in pairwise(offsets)]
    if variant == "maxsim-cpu":
        sys.path.append(peers)
        import maxsim_cpu

        return lambda query: np.asarray(maxsim_cpu.maxsim_scores_variable(query, rows))
    import torch
    from sentence_transformers.util.similarity import maxsim

    tensors = [torch.from_numpy(row) for row in rows]
    return lambda query: maxsim(torch.from_numpy(query)[None], tensors)[0].numpy()


def _ours(values: np.ndarray, offsets: np.ndarray) -> Scorer:
    from modernir.maxsim.scores import maxsim

    return lambda query: maxsim((query, np.array([0, len(query)])), (values, offsets), threads=1)[0]


def _peak(query: np.ndarray) -> np.ndarray:
    """Return GFLOP/s of a large product."""
    import torch

    matrix = torch.ones(1024, 1024)
    rates = []
    for _ in range(5):
        started = time.process_time()
        matrix @ matrix
        rates.append(2 * 1024**3 / (time.process_time() - started) / 1e9)
    return np.array([max(rates)])


SEARCHES = (
    "NumPy",
    "sentence-transformers maxsim",
    "maxsim-cpu",
    "modernir float32",
    "modernir float16, mapped",
)
TRAININGS = ("sentence-transformers colbert_scores", "modernir", "modernir, torch's operations")


def load_step(variant: str, queries: int, candidates: int, tokens: int, shortest: int) -> Step:
    """Make the batch in a worker and return the step, which gives loss and gradient norms."""
    import torch
    from torch.nn.functional import cross_entropy, normalize

    chance = torch.Generator().manual_seed(0)
    own = normalize(torch.randn(queries, QUERY_TOKENS, DIM, generator=chance), dim=-1)
    lengths = torch.randint(shortest, tokens + 1, (queries, candidates), generator=chance)
    others = normalize(torch.randn(queries, candidates, tokens, DIM, generator=chance), dim=-1)
    mask = torch.arange(tokens) < lengths[..., None]
    labels = torch.arange(queries) * candidates
    own_mask = torch.ones(queries, QUERY_TOKENS, dtype=torch.bool)
    if variant == TRAININGS[0]:
        from sentence_transformers.multi_vector_encoder.scoring import colbert_scores

        sides = own.requires_grad_(), others.requires_grad_()
        score = lambda: colbert_scores(*sides, own_mask, mask)  # noqa: E731
    else:
        from modernir.maxsim.torch import MEMORY, _scores, ragged

        (own, own_offsets), (others, offsets) = ragged(own, own_mask), ragged(others.flatten(0, 1), mask.flatten(0, 1))
        sides = own.requires_grad_(), others.requires_grad_()
        compiled = variant == "modernir"
        score = lambda: _scores(own, own_offsets, others, offsets, None, MEMORY, compiled)  # noqa: E731

    def step(_: object) -> dict[str, float]:
        started = time.process_time()
        scores = score()
        forward = time.process_time() - started
        loss = cross_entropy(scores * SCALE, labels)
        gradients = torch.autograd.grad(loss, sides)
        seconds = time.process_time() - started
        norms = [gradient.norm().item() for gradient in gradients]
        return {
            "loss": loss.item(),
            "queries": norms[0],
            "documents": norms[1],
            "forward": forward,
            "seconds": seconds,
        }

    return step


def search(options: argparse.Namespace) -> None:
    """Measure searches and print a table for each kind of query.

    Raises:
        InputError: There are no vectors in the cache.
    """
    cache = Path(options.cache)
    if not (cache / "query_tokens.npy").exists():
        raise InputError(f"{cache}: no token vectors; benchmarks/late_interaction.py --cache {cache} makes them")
    stored = load_tokens(cache, "query_tokens.npy", "query_offsets.npy")
    count = min(options.queries, len(stored) // 10)
    offsets = stored.offsets
    joined = [np.array(stored.values[offsets[8 * row] :][:QUERY_TOKENS]) for row in range(count)]
    kinds = {"real queries": [np.array(stored[row]) for row in range(count)], "queries of 32 tokens": joined}
    tokens = int(load_tokens(cache, *document_files(SIZES["1m"])).offsets[-1])
    names = [name for name in matching(SEARCHES, options.only) if options.peers or name != "maxsim-cpu"]
    found: dict[str, Any] = {}
    with ExitStack() as stack:
        workers = _started(stack, load_timed, {name: (name, str(cache), options.peers) for name in [*names, "peak"]})
        for kind, queries in kinds.items():
            for worker in workers.values():
                worker.warm_up(queries[0])
            samples = _in_turn(workers, queries)
            peak = statistics.median(float(sample.value[1][0]) for sample in samples.pop("peak"))
            found[kind] = {"peak_gflops": peak, "rows": _search_rows(samples, queries, tokens, peak)}
    for kind, result in found.items():
        head = (
            "ms, median (range)",
            "ratio",
            "GFLOP/s",
            f"of peak ({result['peak_gflops']:.0f})",
            "largest difference",
        )
        cells = [(kind, *head), *(tuple(row.values()) for row in result["rows"])]
        sys.stdout.write("\n".join([*table(cells), "", ""]))
    _write(options.json, found)


def _search_rows(
    samples: dict[str, list[Sample]], queries: list[np.ndarray], tokens: int, peak: float
) -> list[dict[str, str]]:
    first = [sample.value for sample in next(iter(samples.values()))]
    work = [2 * len(query) * DIM * tokens for query in queries]
    rows = []
    for name, own in samples.items():
        seconds = [sample.value[0] for sample in own]
        rate = statistics.median(flops / second / 1e9 for flops, second in zip(work, seconds, strict=True))
        ratio = statistics.median(theirs[0] / mine for theirs, mine in zip(first, seconds, strict=True))
        apart = max(float(np.abs(mine.value[1] - theirs[1]).max()) for mine, theirs in zip(own, first, strict=True))
        rows.append(
            {
                "variant": name,
                "ms": _spread([1e3 * second for second in seconds], 0),
                "ratio": f"{ratio:.2f}",
                "rate": f"{rate:.0f}",
                "share": f"{100 * rate / peak:.0f}%",
                "apart": f"{apart:.1g}",
            }
        )
    return rows


def train(options: argparse.Namespace) -> None:
    """Measure training steps and print a table.

    Raises:
        InputError: The shortest document is longer than the longest.
    """
    if options.shortest > options.tokens:
        raise InputError(f"--shortest {options.shortest}: more than --tokens {options.tokens}")
    shape = (options.queries, options.candidates, options.tokens, options.shortest)
    with ExitStack() as stack:
        workers = _started(stack, load_step, {name: (name, *shape) for name in matching(TRAININGS, options.only)})
        for worker in workers.values():
            worker.warm_up(None)
        samples = _in_turn(workers, [None] * options.rounds)
    first = next(iter(samples.values()))
    head = ("seconds, median (range)", "of it forward", "ratio", "over loaded, MB", "loss", "gradient norms")
    cells = [(f"{options.queries} x {options.candidates}", *head)]
    for name, own in samples.items():
        seconds = [sample.value["seconds"] for sample in own]
        ratio = statistics.median(theirs.value["seconds"] / mine for theirs, mine in zip(first, seconds, strict=True))
        last, growth = own[-1].value, [sample.growth for sample in own if sample.growth is not None]
        cells.append(
            (
                name,
                _spread(seconds, 2),
                f"{statistics.median(sample.value['forward'] for sample in own):.2f}",
                f"{ratio:.2f}",
                f"{max(growth) / 1e6:,.0f}" if growth else "-",
                f"{last['loss']:.5f}",
                f"{last['queries']:.5f}, {last['documents']:.5f}",
            )
        )
    sys.stdout.write("\n".join([*table(cells), ""]))
    _write(options.json, {name: [vars(sample) for sample in own] for name, own in samples.items()})


def _spread(values: list[float], digits: int) -> str:
    return f"{statistics.median(values):,.{digits}f} ({min(values):,.{digits}f}-{max(values):,.{digits}f})"


def _started(stack: ExitStack, load: Callable[..., Any], arguments: dict[str, tuple]) -> dict[str, Worker]:
    workers = {}
    for name, given in arguments.items():
        try:
            workers[name] = stack.enter_context(Worker(load, *given, threads=1))
        except WorkerError as error:
            sys.stderr.write(f"{name}: left out, {error}\n")
    if not workers:
        raise ModernirError("nothing could be loaded")
    return workers


def _in_turn(workers: dict[str, Worker], requests: list[Any]) -> dict[str, list[Sample]]:
    samples: dict[str, list[Sample]] = {name: [] for name in workers}
    for request in requests:
        for name, worker in workers.items():
            samples[name].append(worker.run(request))
    return samples


def _write(file: str, found: object) -> None:
    if file:
        Path(file).write_text(json.dumps(found, indent=1))


def main(arguments: list[str] | None = None) -> int:
    """Run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parts = parser.add_subparsers(required=True)
    searching = parts.add_parser("search")
    searching.add_argument("--cache", required=True, help="folder of token vectors")
    searching.add_argument("--queries", type=positive, default=30)
    searching.add_argument("--peers", default="", help="folder that maxsim_cpu is installed in")
    searching.set_defaults(action=search)
    training = parts.add_parser("train")
    training.add_argument("--queries", type=positive, default=64)
    training.add_argument("--candidates", type=positive, default=8)
    training.add_argument("--tokens", type=positive, default=180)
    training.add_argument("--shortest", type=positive, default=180)
    training.add_argument("--rounds", type=positive, default=5)
    training.set_defaults(action=train)
    for part in (searching, training):
        part.add_argument("--only", default="", help="parts of names of variants, with commas")
        part.add_argument("--json", default="")
    options = parser.parse_args(arguments)
    return exit_code(options.action, options)


if __name__ == "__main__":
    sys.exit(main())
