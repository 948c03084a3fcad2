"""Encoding and cold search with all-MiniLM-L6-v2, ours beside sentence-transformers, in interleaved rounds.

    python benchmarks/dense_path.py --data FOLDER_OF_SCIFACT [--texts 512] [--rounds 3] [--json]

Encoding: documents per second over the same texts, in memory, models loaded before. Cold search: wall seconds of a
whole new process that loads the model, embeds one query and searches an index of the same texts; for
sentence-transformers, a script that does no more than that over a saved matrix. The files are in the page cache.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from itertools import islice
from pathlib import Path

import numpy as np
from sentence_transformers import SentenceTransformer

from modernir import load_encoder
from modernir.encoders.bundled import bundled_folder
from modernir.files import write_text
from modernir.retrieval.build import build_index
from modernir.retrieval.readers.documents import read_documents

QUERY = "vitamin D deficiency and heart disease"
PEER = """
import sys, numpy, faiss
from sentence_transformers import SentenceTransformer
model = SentenceTransformer(sys.argv[1], device="cpu")
index = faiss.read_index(sys.argv[2])
print(index.search(model.encode_query([sys.argv[3]]), 10)[1][0])
"""
STAGES = """
import time
started = time.perf_counter()
def lap(name):
    global started
    now = time.perf_counter(); print(name, now - started); started = now
import sys
from modernir import cli; lap("import of the command line")
import torch; lap("import of torch")
import faiss; lap("import of faiss")
from modernir.retrieval.results import open_for_search; lap("import of modernir")
from pathlib import Path
retriever = open_for_search(Path(sys.argv[1])); lap("model and index")
retriever.search([sys.argv[2]], 10); lap("query")
"""


def rounds_of(jobs: Mapping[str, Callable[[], object]], rounds: int) -> dict[str, list[float]]:
    """Run all jobs in turn, `rounds` times over, and return each one's seconds."""
    seconds: dict[str, list[float]] = {name: [] for name in jobs}
    for _ in range(rounds):
        for name, job in jobs.items():
            started = time.perf_counter()
            job()
            seconds[name].append(time.perf_counter() - started)
    return seconds


def encoding_jobs(texts: list[str], model: str) -> tuple[dict[str, Callable[[], np.ndarray]], dict[str, float]]:
    """Return the encoding jobs and each one's smallest cosine to sentence-transformers in fp32."""
    plain = SentenceTransformer(model, device="cpu")
    half = SentenceTransformer(model, device="cpu", model_kwargs={"dtype": "bfloat16"})
    jobs: dict[str, Callable[[], np.ndarray]] = {
        "sentence-transformers fp32": lambda: plain.encode(texts),
        "sentence-transformers bf16": lambda: half.encode(texts),
    }
    for precision in ("fp32", "bf16"):
        encoder = load_encoder(model, "cpu", precision)
        jobs[f"modernir {precision}"] = lambda encoder=encoder: encoder.encode_documents(texts)
    reference = plain.encode(texts)
    return jobs, {name: smallest_cosine(job(), reference) for name, job in jobs.items()}


def smallest_cosine(vectors: np.ndarray, reference: np.ndarray) -> float:
    """Return the smallest cosine between rows of like number."""
    norms = np.linalg.norm(vectors, axis=1) * np.linalg.norm(reference, axis=1)
    return float(((vectors * reference).sum(axis=1) / norms).min())


def run_quietly(command: list[str]) -> str:
    """Run a command to its end and return its standard output."""
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True, help="SciFact in BEIR layout")
    parser.add_argument("--texts", type=int, default=512)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    model = str(bundled_folder("all-MiniLM-L6-v2"))
    documents = [document for document, _ in islice(read_documents(options.data), options.texts)]
    texts = [document.content for document in documents]

    jobs, cosines = encoding_jobs(texts, model)
    encoding = rounds_of(jobs, options.rounds)
    with tempfile.TemporaryDirectory() as folder:
        corpus = Path(folder) / "corpus.jsonl"
        lines = [json.dumps({"_id": document.id, "text": document.content}) for document in documents]
        write_text(corpus, "\n".join(lines))
        build_index(corpus, load_encoder(model), Path(folder) / "index", quiet=True).close()
        segment = str(next((Path(folder) / "index").glob("*.faiss")))
        ours = [sys.executable, "-m", "modernir", "search", QUERY, "--index", f"{folder}/index"]
        cold = rounds_of(
            {
                "modernir search": lambda: run_quietly(ours),
                "sentence-transformers script": lambda: run_quietly(
                    [sys.executable, "-c", PEER, model, segment, QUERY]
                ),
                "modernir --help": lambda: run_quietly([sys.executable, "-m", "modernir", "--help"]),
            },
            options.rounds,
        )
        stages = run_quietly([sys.executable, "-c", STAGES, f"{folder}/index", QUERY])
    report(options, encoding, cosines, cold, stages)


def report(
    options: argparse.Namespace,
    encoding: dict[str, list[float]],
    cosines: dict[str, float],
    cold: dict[str, list[float]],
    stages: str,
) -> None:
    """Print medians and ratios."""
    medians = {name: statistics.median(seconds) for name, seconds in (encoding | cold).items()}
    if options.json:
        found = {"texts": options.texts, "seconds": encoding | cold, "median": medians, "min_cosine": cosines}
        sys.stdout.write(json.dumps(found | {"stages": stages.strip().split("\n")}, indent=2) + "\n")
        return
    base = medians["sentence-transformers fp32"]
    rows = [f"| encoding {options.texts} documents | docs/s | ratio | smallest cosine |", "|---|---|---|---|"]
    for name in encoding:
        rate, ratio = options.texts / medians[name], base / medians[name]
        rows.append(f"| {name} | {rate:.1f} | {ratio:.2f} | {cosines[name]:.5f} |")
    rows += ["", "| new process | seconds |", "|---|---|"]
    rows += [f"| {name} | {medians[name]:.2f} ({min(cold[name]):.2f}-{max(cold[name]):.2f}) |" for name in cold]
    rows += ["", "| modernir search, where the time goes | seconds |", "|---|---|"]
    rows += ["| {} | {:.2f} |".format(*_split(line)) for line in stages.strip().split("\n")]
    sys.stdout.write("\n".join(rows) + "\n")


def _split(line: str) -> tuple[str, float]:
    name, seconds = line.rsplit(" ", 1)
    return name, float(seconds)


if __name__ == "__main__":
    main()
