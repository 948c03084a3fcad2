"""One contrastive training step (InfoNCE over query-passage pairs, forward and backward), padded and unpadded.

    python benchmarks/train.py [--model FOLDER | --size base] [--data PAIRS] [--length 128] [--pairs 16,32] [--rounds 3]
        [--threads 1] [--only fp32] [--device cpu] [--json FILE]

sentence-transformers as it is (transformers' network, padded to the longest text of the batch) beside the same model
after `modernir.accelerate`, in float32, with bfloat16 weights, and in mixed precision, as both libraries' trainers do
it. Queries and passages are in random order, as a training loader brings them, or `--data` names real ones, drawn at
random; each side goes through the model in one batch. The step ends with the gradients: no optimiser. `--size` is the
name of a size or a JSON configuration; its weights are random, and with `--data` its tokenizer is learnt from it.
Each variant is a process of its own, asked in turn; put `taskset --cpu-list 1` before the command for steady figures
of one core. Peak is the resident set at its highest, weights included (on CUDA: what torch's allocator hands out);
"over loaded" is its excess over the level after loading and a step with two short pairs. Loss and gradient norm are
compared with the first variant's.
"""

import argparse
import json
import statistics
import sys
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path

import numpy as np
from command import exit_code, matching, positive, positives

from modernir.bench.report import environment, table
from modernir.bench.synthetic import save_random_model
from modernir.bench.texts import TextMaker
from modernir.bench.worker import Sample, Worker, WorkerError
from modernir.bench.workloads import passages, queries
from modernir.encoders.checkpoint import open_checkpoint
from modernir.encoders.modernbert.fresh import new_model
from modernir.encoders.modernbert.presets import config_for
from modernir.encoders.modernbert.tokenizer import train_tokenizer
from modernir.encoders.precision import resolve_device, torch_dtype
from modernir.errors import InputError, ModernirError
from modernir.retrieval.readers.examples import read_examples

TEMPERATURE = 0.05
SEED = 0
VARIANTS = {
    "sentence-transformers fp32": ("fp32", False, False),
    "sentence-transformers mixed bf16": ("fp32", True, False),
    "sentence-transformers bf16 weights": ("bf16", False, False),
    "modernir.accelerate fp32": ("fp32", False, True),
    "modernir.accelerate mixed bf16": ("fp32", True, True),
    "modernir.accelerate bf16 weights": ("bf16", False, True),
}
"""Name to precision of the weights, whether matrix products are of bfloat16, and whether the model is accelerated."""
SAMPLE = 20_000
"""Pairs of the data from which a tokenizer is learnt and batches are drawn."""
SHORT = (["one", "two"], ["three", "four"])
Pairs = tuple[list[str], list[str]]
Step = Callable[[Pairs], dict[str, float]]
Draw = Callable[[int], Pairs]


@dataclass(frozen=True)
class Row:
    """One variant at one batch size; `ratio`s are the first variant's figure by this one's, of the same round."""

    pairs: int
    variant: str
    seconds: list[float]
    ratio: float
    peak: int | None
    growth: int | None
    loss: float
    gradient_norm: float
    tokens: int


def load_step(model: str, device: str, length: int | None, precision: str, mixed: bool, accelerated: bool) -> Step:
    """Load a model in a worker and return the step, from (queries, passages) to loss, gradient norm and tokens."""
    import torch
    from sentence_transformers import SentenceTransformer
    from transformers.utils import logging

    logging.disable_progress_bar()
    network = SentenceTransformer(model, device=device, model_kwargs={"dtype": torch_dtype(precision)}).train()
    if length:
        network.max_seq_length = length
    if accelerated:
        from modernir import accelerate

        accelerate(network)

    def features(texts: list[str]) -> dict[str, torch.Tensor]:
        return {name: value.to(device) for name, value in network.preprocess(texts).items() if _is_tensor(value)}

    def step(pairs: Pairs) -> dict[str, float]:
        inputs = list(map(features, pairs))
        tokens = sum(int(sides["attention_mask"].sum()) for sides in inputs)
        with torch.autocast(torch.device(device).type, torch.bfloat16, enabled=mixed):
            asked, found = (network(sides)["sentence_embedding"].float() for sides in inputs)
        scores = asked @ found.T / TEMPERATURE
        loss = torch.nn.functional.cross_entropy(scores, torch.arange(len(scores), device=device))
        loss.backward()
        gradients = [weight.grad for weight in network.parameters() if weight.grad is not None]
        norm = torch.stack([gradient.float().norm() for gradient in gradients]).norm()
        result = {"loss": loss.item(), "gradient_norm": norm.item(), "tokens": tokens}
        network.zero_grad(set_to_none=True)
        return result

    return step


def _is_tensor(value: object) -> bool:
    return hasattr(value, "to") and hasattr(value, "shape")


def measure(options: argparse.Namespace, model: str, names: list[str]) -> tuple[list[Row], list[tuple[str, str]]]:
    """Return the rows of these variants, and (variant, reason) of those that did not run.

    Raises:
        InputError: The model is not to be had.
        ModernirError: No variant ran.
    """
    checkpoint = open_checkpoint(model)
    draw = drawer(options.data) if options.data else made(TextMaker(checkpoint, SEED), checkpoint.max_length)
    failed: list[tuple[str, str]] = []
    rows: list[Row] = []
    with ExitStack() as stack:
        workers = {}
        for name in names:
            try:
                arguments = (model, options.device, options.length, *VARIANTS[name])
                worker = Worker(load_step, *arguments, threads=options.threads, device=options.device)
                workers[name] = stack.enter_context(worker)
                worker.warm_up(SHORT)
            except WorkerError as error:
                workers.pop(name, None)
                failed.append((name, str(error)))
        for size in options.pairs:
            samples = run_rounds(workers, draw(size), options.rounds, failed)
            rows += rows_of(samples, size)
    if not rows:
        raise ModernirError("nothing was measured; {}: {}".format(*failed[0]))
    return rows, failed


def made(maker: TextMaker, longest: int) -> Draw:
    """Return what makes as many queries and passages, in random order."""

    def draw(size: int) -> Pairs:
        random = np.random.default_rng(SEED + size)
        asked = maker.make(queries(random, size, longest).tolist(), "query")
        return asked, maker.make(passages(random, size, longest).tolist(), "document")

    return draw


def drawer(data: str) -> Draw:
    """Return what draws as many pairs of a file or data set, at random."""
    pairs = read_pairs(data)

    def draw(size: int) -> Pairs:
        if size > len(pairs):
            raise InputError(f"{data}: {len(pairs)} pairs, fewer than a batch of {size}")
        places = np.random.default_rng(SEED + size).choice(len(pairs), size, replace=False)
        asked, found = zip(*(pairs[place] for place in places), strict=True)
        return list(asked), list(found)

    return draw


def read_pairs(data: str) -> list[tuple[str, str]]:
    """Return the first pairs of a file or data set."""
    return [(example.query, example.positive) for example in islice(read_examples(data), SAMPLE)]


def save_model(size: str, data: str | None, folder: str) -> None:
    """Save a model of random weights, with a tokenizer for the data where there is any."""
    if data is None:
        save_random_model(Path(folder), size)
        return
    config = config_for(size)
    texts = (text for pair in read_pairs(data) for text in pair)
    new_model(size, train_tokenizer(texts, config.vocabulary), config.positions, SEED).save(folder)


def run_rounds(
    workers: dict[str, Worker], batch: Pairs, rounds: int, failed: list[tuple[str, str]]
) -> dict[str, list[Sample]]:
    """Ask every worker in turn, `rounds` times over; one that fails is dropped."""
    samples: dict[str, list[Sample]] = {name: [] for name in workers}
    for number in range(rounds):
        for name in list(samples):
            try:
                samples[name].append(workers[name].run(batch))
                sys.stderr.write(f"round {number + 1}, {name}: {samples[name][-1].seconds:.1f} s\n")
            except WorkerError as error:
                failed.append((name, str(error)))
                del samples[name]
    return samples


def rows_of(samples: dict[str, list[Sample]], pairs: int) -> list[Row]:
    """Sum up the rounds of one batch size."""
    first = next(iter(samples.values()), [])
    return [
        Row(
            pairs,
            name,
            [sample.seconds for sample in own],
            statistics.median(theirs.seconds / ours.seconds for theirs, ours in zip(first, own, strict=True)),
            max((sample.peak for sample in own if sample.peak is not None), default=None),
            max((sample.growth for sample in own if sample.growth is not None), default=None),
            **own[-1].value,
        )
        for name, own in samples.items()
    ]


def report(rows: list[Row]) -> list[str]:
    """Return the lines of the Markdown table."""
    head = ("pairs", "variant", "seconds (range)", "ratio", "real tokens/s", "peak, GB", "of first")
    cells = [(*head, "over loaded, GB", "of first", "loss", "gradient norm")]
    firsts: dict[int, Row] = {}
    for row in rows:
        first = firsts.setdefault(row.pairs, row)
        median = statistics.median(row.seconds)
        cells.append(
            (
                str(row.pairs),
                row.variant,
                f"{median:.2f} ({min(row.seconds):.2f}-{max(row.seconds):.2f})",
                f"{row.ratio:.2f}",
                f"{row.tokens / median:,.0f}",
                *_memory(row.peak, first.peak),
                *_memory(row.growth, first.growth),
                f"{row.loss:.6f}",
                f"{row.gradient_norm:.6g}",
            )
        )
    return table(cells)


def _memory(size: int | None, first: int | None) -> tuple[str, str]:
    if size is None or not first:
        return "-", "-"
    return f"{size / 1e9:.2f}", f"{size / first:.2f}"


def run(options: argparse.Namespace) -> None:
    """Measure, print the table, and write the JSON.

    Raises:
        InputError: The model, the size, the device or a variant is not to be had.
        ModernirError: No variant ran.
    """
    names = matching(list(VARIANTS), options.only)
    resolve_device(options.device)
    with tempfile.TemporaryDirectory() as folder:
        if options.model:
            model = str(open_checkpoint(options.model).folder)
        else:
            model = f"{folder}/{Path(options.size).stem}"
            save_model(options.size, options.data, model)
        rows, failed = measure(options, model, names)
    name = options.model or f"ModernBERT-{Path(options.size).stem}, random weights"
    about = environment(name, options.device, options.threads)
    if options.json:
        found = about | {"rows": [asdict(row) for row in rows], "failed": failed}
        options.json.write_text(json.dumps(found, indent=2) + "\n")
    lines = [f"{about['model']} on {about['device']} ({about['processor']}), threads: {about['threads']}", ""]
    lines += report(rows) + [f"\nnot measured: {variant}: {reason}" for variant, reason in failed]
    sys.stdout.write("\n".join(lines) + "\n")


def main() -> int:
    """Read the command line and run; return the process's exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", help="folder or name of a checkpoint, in place of random weights")
    parser.add_argument("--size", default="base", help="of the random weights: tiny, mini, base, large, a JSON file")
    parser.add_argument("--data", help="file or data set of pairs, in place of made ones")
    parser.add_argument("--length", type=positive, help="tokens read of a text")
    parser.add_argument("--pairs", type=positives(","), default="16,32")
    parser.add_argument("--rounds", type=positive, default=3)
    parser.add_argument("--threads", type=positive, default=1)
    parser.add_argument("--only", default="", help="parts of the names of variants, with commas")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--json", type=Path, help="file for all figures")
    return exit_code(run, parser.parse_args())


if __name__ == "__main__":
    sys.exit(main())
