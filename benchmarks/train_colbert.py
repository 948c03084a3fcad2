"""One training step of a ColBERT, forward and backward: memory and time beside sentence-transformers on the same batch.

    python benchmarks/train_colbert.py [--size tiny] [--queries 64] [--candidates 8] [--tokens 180] [--dim 128]
        [--mini-batch 32] [--rounds 1] [--threads 1] [--only kl] [--json FILE]

A batch is queries of 32 tokens, each with some candidate documents of about `--tokens` tokens. `contrastive` tells each
query's first candidate from all documents of the batch, with cached gradients in both libraries, and the same loss and
gradients come out. `kl` distils a teacher's scores of each query's own candidates; the two bring scores to a common
scale in different ways, so that their losses differ. sentence-transformers has no cached gradients for it, and embeds
in mini-batches only. Each variant is a process of its own, asked in turn; "over loaded" is the peak of resident memory
over the level before the step, gradients included.
"""

import argparse
import json
import statistics
import sys
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
from command import exit_code, matching, positive

from modernir.bench.report import environment, table
from modernir.bench.synthetic import save_random_colbert
from modernir.bench.texts import TextMaker
from modernir.bench.worker import Sample, Worker, WorkerError
from modernir.encoders.checkpoint import open_checkpoint
from modernir.errors import ModernirError

SEED = 0
QUERY_TOKENS = 32
VARIANTS = {
    "contrastive, sentence-transformers": ("contrastive", False),
    "contrastive, modernir": ("contrastive", True),
    "kl, sentence-transformers": ("kl", False),
    "kl, modernir": ("kl", True),
}
"""Name to loss, and whether it is this package's, on the accelerated model."""
Batch = tuple[list[list[str]], np.ndarray]
"""Queries and each column of documents, and the teacher's (queries, candidates) scores."""
Step = Callable[[Batch], dict[str, float]]


def load_step(folder: str, loss: str, own: bool, mini_batch: int) -> Step:
    """Load the model in a worker and return the step, which maps a batch to loss and gradient norm."""
    import torch
    from sentence_transformers import MultiVectorEncoder
    from transformers.utils import logging

    logging.disable_progress_bar()
    model = MultiVectorEncoder(folder, device="cpu").train()
    if own:
        from modernir import accelerate

        accelerate(model)
    objective = _own_loss(model, loss, mini_batch) if own else _their_loss(model, loss, mini_batch)

    def step(batch: Batch) -> dict[str, float]:
        columns, teacher = batch
        tasks = ["query"] + ["document"] * (len(columns) - 1)
        features = [model.preprocess(texts, task=task) for texts, task in zip(columns, tasks, strict=True)]
        value = objective(features, torch.from_numpy(teacher))
        value.backward()
        gradients = [weight.grad for weight in model.parameters() if weight.grad is not None]
        norm = torch.stack([gradient.norm() for gradient in gradients]).norm().item()
        model.zero_grad(set_to_none=True)
        return {"loss": value.item(), "gradient_norm": norm}

    return step


def _own_loss(model: Any, loss: str, mini_batch: int) -> Callable[..., Any]:  # noqa: ANN401 - of sentence-transformers
    from modernir.retrieval.training.colbert_trainer import make_loss
    from modernir.retrieval.training.settings import ColbertTraining

    return make_loss(
        ColbertTraining(output="-", data=("-",), init="tiny", loss=loss, mini_batch_size=mini_batch), model
    )


def _their_loss(model: Any, loss: str, mini_batch: int) -> Callable[..., Any]:  # noqa: ANN401 - as above
    from sentence_transformers.multi_vector_encoder import losses

    if loss == "kl":
        return losses.MultiVectorDistillKLDivLoss(model, mini_batch_size=mini_batch)
    contrastive = losses.CachedMultiVectorMultipleNegativesRankingLoss(model, mini_batch_size=mini_batch)
    return lambda features, _: contrastive(features)


def draw_batch(maker: TextMaker, queries: int, candidates: int, tokens: int) -> Batch:
    """Return queries with their candidates, whose lengths are half to all of `tokens`."""
    random = np.random.default_rng(SEED)
    columns = [maker.make([QUERY_TOKENS] * queries, "query")]
    for _ in range(candidates):
        columns.append(maker.make(random.integers(tokens // 2, tokens, queries, endpoint=True).tolist(), "document"))
    return columns, random.random((queries, candidates), dtype=np.float32)


def measure(
    options: argparse.Namespace, folder: str, names: list[str]
) -> tuple[dict[str, list[Sample]], list[tuple[str, str]]]:
    """Ask every variant in turn; return what they did, and (variant, reason) of those that failed."""
    maker = TextMaker(open_checkpoint(folder), SEED)
    batch = draw_batch(maker, options.queries, options.candidates, options.tokens)
    short = draw_batch(maker, 2, options.candidates, 8)
    samples: dict[str, list[Sample]] = {}
    failed: list[tuple[str, str]] = []
    with ExitStack() as stack:
        workers = {}
        for name in names:
            worker = Worker(load_step, folder, *VARIANTS[name], options.mini_batch, threads=options.threads)
            workers[name] = stack.enter_context(worker)
            worker.warm_up(short)
        for number in range(options.rounds):
            for name in list(workers):
                try:
                    samples.setdefault(name, []).append(workers[name].run(batch))
                    sys.stderr.write(f"round {number + 1}, {name}: {samples[name][-1].seconds:.1f} s\n")
                except WorkerError as error:
                    failed.append((name, str(error)))
                    del workers[name]
    return {name: own for name, own in samples.items() if own}, failed


def report(samples: dict[str, list[Sample]]) -> list[str]:
    """Return the lines of the Markdown table."""
    cells = [("variant", "seconds (range)", "peak, GB", "over loaded, GB", "loss", "gradient norm")]
    for name, own in samples.items():
        seconds = [sample.seconds for sample in own]
        cells.append(
            (
                name,
                f"{statistics.median(seconds):.1f} ({min(seconds):.1f}-{max(seconds):.1f})",
                _gigabytes(sample.peak for sample in own),
                _gigabytes(sample.growth for sample in own),
                f"{own[-1].value['loss']:.6f}",
                f"{own[-1].value['gradient_norm']:.6g}",
            )
        )
    return table(cells)


def _gigabytes(sizes: Any) -> str:  # noqa: ANN401 - sizes in bytes, or None
    known = [size for size in sizes if size is not None]
    return f"{max(known) / 1e9:.2f}" if known else "-"


def run(options: argparse.Namespace) -> None:
    """Measure, print the table, and write the JSON.

    Raises:
        InputError: The size or a variant is not to be had.
        ModernirError: No variant ran.
    """
    names = matching(list(VARIANTS), options.only)
    with tempfile.TemporaryDirectory() as folder:
        save_random_colbert(Path(folder) / "model", options.size, options.dim)
        samples, failed = measure(options, f"{folder}/model", names)
    if not samples:
        raise ModernirError("nothing was measured; {}: {}".format(*failed[0]))
    about = environment(f"ModernBERT-{options.size}, random weights", "cpu", options.threads)
    if options.json:
        figures = {name: [vars(sample) for sample in own] for name, own in samples.items()}
        options.json.write_text(json.dumps(about | {"variants": figures, "failed": failed}, indent=2) + "\n")
    size = f"{options.queries} queries x {options.candidates} candidates of up to {options.tokens} tokens"
    lines = [f"{about['model']} on {about['processor']}, threads: {about['threads']}; {size}", ""]
    lines += report(samples) + [f"\nnot measured: {variant}: {reason}" for variant, reason in failed]
    sys.stdout.write("\n".join(lines) + "\n")


def main() -> int:
    """Read the command line and run; return the process's exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", default="tiny", help="of the random weights: tiny, mini, base, large")
    parser.add_argument("--queries", type=positive, default=64)
    parser.add_argument("--candidates", type=positive, default=8)
    parser.add_argument("--tokens", type=positive, default=180, help="of the longest document")
    parser.add_argument("--dim", type=positive, default=128)
    parser.add_argument("--mini-batch", type=positive, default=32)
    parser.add_argument("--rounds", type=positive, default=1)
    parser.add_argument("--threads", type=positive, default=1)
    parser.add_argument("--only", default="", help="parts of the names of variants, with commas")
    parser.add_argument("--json", type=Path, help="file for all figures")
    return exit_code(run, parser.parse_args())


if __name__ == "__main__":
    sys.exit(main())
