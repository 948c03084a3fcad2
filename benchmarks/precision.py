"""What a precision costs in retrieval quality, measured with a ModernBERT that is trained here, in minutes, on a CPU.

    pip install -e ".[test]"
    python benchmarks/precision.py train --data FOLDER --output STUDENT [--minutes 10] [--threads 2] [--seed 0]
    python benchmarks/precision.py measure --data FOLDER --model STUDENT [--sets scifact docstring_python]
        [--precisions fp32 bf16 int8] [--outliers 30] [--threads 2] [--json FILE]

`train` makes a ModernBERT of preset `mini` learn the embeddings of the bundled all-MiniLM-L6-v2: 1 - cosine on single
texts, mean pooling, the teacher's tokenizer and word embeddings to start with. Its texts are SciFact's corpus and train
queries, the corpus of docstring_python and a sample of CodeSearchNet's training pairs; test queries are left out. The
learning rate falls with the clock, so that another machine gives another student.

`measure` encodes each set in each precision and searches it exhaustively. Differences are to fp32; beside them is the
standard error of the mean difference of a query. `--outliers N` measures int8 once more on the same function written
with activations that have channels N times as large, as large pretrained transformers have them: four channels of every
norm before a matrix and of every gated MLP are scaled up, and the matrix after them down.

FOLDER holds sets in BEIR's layout, in itself or one folder deeper, and likewise `code_docstring.jsonl.gz` with lines of
{"query", "positive"}.
"""

import argparse
import copy
import gzip
import json
import random
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from itertools import cycle
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional as F

from modernir import evaluate, load_encoder
from modernir.bench.report import environment, table
from modernir.encoders.batching import token_budget_batches
from modernir.encoders.checkpoint import open_checkpoint
from modernir.encoders.modernbert.folder import read_network, save
from modernir.encoders.modernbert.fresh import new_model
from modernir.encoders.modernbert.network import ModernBert
from modernir.encoders.modernbert.tokenizer import load_tokenizer
from modernir.encoders.networks import Network, find_kind
from modernir.encoders.pooling import pool
from modernir.encoders.stream import Stream
from modernir.encoders.weights import read_weights
from modernir.errors import InputError
from modernir.eval.loading import Benchmark, load_benchmark

TEACHER = "all-MiniLM-L6-v2"
TEACHER_TABLE = "embeddings.word_embeddings.weight"
PAIRS_FILE = "code_docstring.jsonl.gz"
PRESET = "mini"
LENGTH = 128
"""Tokens of a text that teacher and student read."""
BATCH_TOKENS = 2048
HELD_OUT = 400
WARM_UP = 0.05
MEASURE = "nDCG@10"
DEPTH = 100
ALLOWED = 0.002
OUTLIER_CHANNELS = 4
CPU = torch.device("cpu")


@dataclass(frozen=True)
class Row:
    """One precision on one set, beside fp32; `error` is the standard error of `difference`."""

    set: str
    precision: str
    ndcg: float
    difference: float
    error: float
    mean_cosine: float
    smallest_cosine: float
    seconds: float


@dataclass(frozen=True)
class Encoded:
    """A set's embeddings, and what a search with them finds: query id to nDCG@10."""

    documents: np.ndarray
    scores: dict[str, float]
    seconds: float


def find(data: Path, name: str) -> Path:
    """Return the file or folder of this name in `data` or one folder deeper.

    Raises:
        InputError: It is not there.
    """
    found = next((path for path in (data / name, *sorted(data.glob(f"*/{name}"))) if path.exists()), None)
    if found is None:
        raise InputError(f"{data}: no {name} here or one folder deeper; see --help for what the folder holds")
    return found


def training_texts(data: Path, pairs: int, seed: int) -> list[str]:
    """Return the texts to learn from, shuffled, each once; no query of a test split is among them."""
    texts: list[str] = []
    tested: set[str] = set()
    for name in ("scifact", "docstring_python"):
        benchmark = load_benchmark(find(data, name))
        texts += [document.content for document, _ in benchmark.folder.documents()]
        tested |= set(benchmark.queries.values())
    texts += load_benchmark(find(data, "scifact"), "train").queries.values()
    generator = random.Random(seed)
    with gzip.open(find(data, PAIRS_FILE), "rt", encoding="utf-8") as lines:
        for line in generator.sample(list(lines), pairs):
            pair = json.loads(line)
            texts += [pair["query"], pair["positive"]]
    chosen = [text for text in dict.fromkeys(texts) if text.strip() and text not in tested]
    generator.shuffle(chosen)
    return chosen


def batches(ids: list[list[int]], tokens: int) -> list[np.ndarray]:
    """Return the numbers of texts of like length that go together."""
    return list(token_budget_batches([len(text) for text in ids], tokens, padded=False))


def stream_of(ids: list[list[int]], batch: np.ndarray) -> Stream:
    """Lay the texts of a batch end to end."""
    return Stream.of([ids[number] for number in batch], CPU)


@torch.no_grad()
def embed(network: Network | ModernBert, ids: list[list[int]]) -> torch.Tensor:
    """Return normalised means of hidden states, (texts, width) float32."""
    vectors: torch.Tensor | None = None
    for batch in batches(ids, BATCH_TOKENS):
        stream = stream_of(ids, batch)
        found = F.normalize(pool(network(stream), stream.sizes, "mean"), dim=-1)
        vectors = torch.empty(len(ids), found.shape[1]) if vectors is None else vectors
        vectors[torch.from_numpy(batch)] = found
    assert vectors is not None
    return vectors


def teach(student: ModernBert, ids: list[list[int]], wanted: torch.Tensor, seconds: float, peak: float) -> int:
    """Train for a time on batches in random order; return the number of steps."""
    optimiser = torch.optim.AdamW(student.parameters(), lr=peak, weight_decay=0.01, fused=True)
    started, losses, shown = time.perf_counter(), [], 0.0
    student.train()
    for step, batch in enumerate(_endless(batches(ids, BATCH_TOKENS))):
        passed = time.perf_counter() - started
        if passed >= seconds:
            return step
        done = passed / seconds
        for group in optimiser.param_groups:
            group["lr"] = peak * min((done + 1e-3) / WARM_UP, (1 - done) / (1 - WARM_UP))
        stream = stream_of(ids, batch)
        with torch.autocast("cpu", torch.bfloat16):
            hidden = student(stream)
        cosines = F.cosine_similarity(pool(hidden, stream.sizes, "mean"), wanted[torch.from_numpy(batch)])
        loss = (1 - cosines).mean()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(student.parameters(), 1.0)
        optimiser.step()
        optimiser.zero_grad()
        losses.append(loss.item())
        if passed - shown > 15:
            shown = passed
            sys.stderr.write(f"{passed:.0f} s, step {step}: 1 - cosine {statistics.mean(losses[-40:]):.3f}\n")
    raise AssertionError("the batches never end")


def _endless(all_batches: list[np.ndarray]) -> Iterator[np.ndarray]:
    generator = random.Random(0)
    for _ in cycle([None]):
        generator.shuffle(all_batches)
        yield from all_batches


def train(options: argparse.Namespace) -> None:
    """Make the student and print what it has learnt."""
    started = time.perf_counter()
    checkpoint = open_checkpoint(TEACHER)
    kind = find_kind(checkpoint.config)
    assert kind is not None
    teacher = kind.load(checkpoint, CPU, "bf16", None)
    tokenizer = load_tokenizer(str(checkpoint.network_folder))
    texts = training_texts(options.data, options.pairs, options.seed)
    ids: list[list[int]] = tokenizer(texts, truncation=True, max_length=LENGTH)["input_ids"]
    sys.stderr.write(f"{len(ids):,} texts, {sum(map(len, ids)):,} tokens; the teacher reads them\n")
    wanted = embed(teacher, ids)

    new_model(PRESET, tokenizer, LENGTH, options.seed).save_pretrained(str(options.output))
    student = read_network(options.output, torch.float32)
    words = read_weights(checkpoint.network_folder).tensors[TEACHER_TABLE]
    with torch.no_grad():
        student.embeddings.tok_embeddings.weight[: len(words)] = words.float()
    left = 60 * options.minutes - (time.perf_counter() - started)
    sys.stderr.write(f"after {time.perf_counter() - started:.0f} s the student learns for {left:.0f} s\n")
    steps = teach(student, ids[HELD_OUT:], wanted[HELD_OUT:], left, options.rate)
    save(student.eval(), options.output)
    cosines = F.cosine_similarity(embed(student, ids[:HELD_OUT]), wanted[:HELD_OUT])
    sys.stdout.write(
        f"{options.output}: {steps} steps in {time.perf_counter() - started:.0f} s; cosine to the teacher on "
        f"{HELD_OUT} texts held out: mean {cosines.mean():.3f}, smallest {cosines.min():.3f}\n"
    )


def encode(model: Path, precision: str, benchmark: Benchmark, documents: dict[str, str]) -> Encoded:
    """Encode a set, search it exhaustively and score it."""
    encoder = load_encoder(model, device="cpu", precision=precision)
    encoder.encode_documents(list(documents.values())[:8])  # kernels are compiled on first use
    started = time.perf_counter()
    vectors = encoder.encode_documents(list(documents.values()))
    seconds = time.perf_counter() - started
    scores = encoder.encode_queries(list(benchmark.queries.values())) @ vectors.T
    names = list(documents)
    best = np.argsort(-scores, axis=1, kind="stable")[:, :DEPTH]
    run = {
        query: [(names[place], float(row[place])) for place in places]
        for query, row, places in zip(benchmark.queries, scores, best, strict=True)
    }
    report = evaluate(run, benchmark, [MEASURE])
    return Encoded(vectors, {query: found[MEASURE] for query, found in report.per_query.items()}, seconds)


def compare(name: str, precision: str, found: Encoded, reference: Encoded) -> Row:
    """Sum up one precision on one set."""
    cosines = (found.documents * reference.documents).sum(1)
    differences = np.array([found.scores[query] - score for query, score in reference.scores.items()])
    return Row(
        set=name,
        precision=precision,
        ndcg=statistics.mean(found.scores.values()),
        difference=float(differences.mean()),
        error=float(differences.std(ddof=1) / np.sqrt(len(differences))),
        mean_cosine=float(cosines.mean()),
        smallest_cosine=float(cosines.min()),
        seconds=found.seconds,
    )


@torch.no_grad()
def add_outliers(network: ModernBert, factor: float, seed: int) -> ModernBert:
    """Return a network of the same function whose activations have channels `factor` times as large."""
    result = copy.deepcopy(network)
    generator = torch.Generator().manual_seed(seed)
    for number, layer in enumerate(result.layers):
        chosen = torch.randperm(result.config.width, generator=generator)[:OUTLIER_CHANNELS]
        if number:  # the first layer has no norm before its attention
            layer.attn_norm.weight[chosen] *= factor
            layer.attn.Wqkv.weight[:, chosen] /= factor
        layer.mlp_norm.weight[chosen] *= factor
        layer.mlp.Wi.weight[:, chosen] /= factor
        inner = torch.randperm(result.config.intermediate, generator=generator)[:OUTLIER_CHANNELS]
        layer.mlp.Wi.weight[result.config.intermediate + inner] *= factor  # the linear half of the gate
        layer.mlp.Wo.weight[:, inner] /= factor
    return result


def measure_set(data: Path, name: str, models: list[tuple[str, Path, str]]) -> list[Row]:
    """Measure (label, folder, precision) on a set, all beside the first."""
    benchmark = load_benchmark(find(data, name))
    documents = {document.id: document.content for document, _ in benchmark.folder.documents()}
    rows: list[Row] = []
    reference: Encoded | None = None
    for label, folder, precision in models:
        found = encode(folder, precision, benchmark, documents)
        reference = reference or found
        rows.append(compare(name, label, found, reference))
        sys.stderr.write(f"{', '.join(cells(rows[-1]))}\n")
    return rows


def measure(options: argparse.Namespace) -> None:
    """Measure all precisions on all sets and print the table."""
    models = [(name, options.model, name) for name in ("fp32", *(p for p in options.precisions if p != "fp32"))]
    with tempfile.TemporaryDirectory() as parent:
        if options.outliers:
            folder = Path(parent) / "outliers"
            shutil.copytree(options.model, folder)
            save(add_outliers(read_network(options.model, torch.float32), options.outliers, options.seed), folder)
            suffix = f", outliers {options.outliers:g} x"
            models += [(precision + suffix, folder, precision) for precision in ("fp32", "int8")]
        rows = [row for name in options.sets for row in measure_set(options.data, name, models)]
    about = environment(options.model.name, "cpu", torch.get_num_threads())
    if options.json:
        options.json.write_text(json.dumps(about | {"rows": [asdict(row) for row in rows]}, indent=2) + "\n")
    head = ("set", "precision", MEASURE, "difference to fp32", "within 0.002", "mean cosine", "smallest", "seconds")
    lines = table([head, *map(cells, rows)])
    title = f"{about['model']} on {about['processor']}, threads: {about['threads']}"
    sys.stdout.write("\n".join([title, "", *lines]) + "\n")


def cells(row: Row) -> tuple[str, ...]:
    """Return a row of the table."""
    return (
        row.set,
        row.precision,
        f"{row.ndcg:.4f}",
        f"{row.difference:+.4f} ± {row.error:.4f}",
        "yes" if abs(row.difference) <= ALLOWED else "no",
        f"{row.mean_cosine:.5f}",
        f"{row.smallest_cosine:.5f}",
        f"{row.seconds:.1f}",
    )


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parts = parser.add_subparsers(required=True)
    shared = argparse.ArgumentParser(add_help=False)
    shared.add_argument("--data", type=Path, required=True, help="folder of sets in BEIR's layout")
    shared.add_argument("--threads", type=int, default=2)
    shared.add_argument("--seed", type=int, default=0)
    training = parts.add_parser("train", parents=[shared], help="make the student")
    training.add_argument("--output", type=Path, required=True, help="folder for the checkpoint")
    training.add_argument("--minutes", type=float, default=10, help="for all, the teacher's reading included")
    training.add_argument("--pairs", type=int, default=4000, help="pairs of code and doc comment")
    training.add_argument("--rate", type=float, default=1e-3, help="highest learning rate")
    training.set_defaults(action=train)
    measuring = parts.add_parser("measure", parents=[shared], help="compare precisions")
    measuring.add_argument("--model", type=Path, required=True, help="folder of a ModernBERT checkpoint")
    measuring.add_argument("--sets", nargs="+", default=["scifact", "docstring_python"])
    measuring.add_argument("--precisions", nargs="+", default=["fp32", "bf16", "int8"])
    measuring.add_argument("--outliers", type=float, help="how much larger the outlying channels are")
    measuring.add_argument("--json", type=Path, help="file for all figures")
    measuring.set_defaults(action=measure)
    return parser.parse_args()


def main() -> int:
    """Run the part that was asked for; return the process's exit code."""
    options = parse()
    torch.set_num_threads(options.threads)
    try:
        options.action(options)
    except InputError as error:
        sys.stderr.write(f"error: {error}\n")
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
