"""How fast the mini models encode, beside all-MiniLM-L6-v2 in sentence-transformers, on the same texts in one run.

    OMP_NUM_THREADS=1 python benchmarks/mini/speed.py [--data FOLDER] [--texts 128] [--rounds 3]

Documents a second, each library with its own batching, models loaded and warmed up before, medians of interleaved
rounds. The texts are SciFact's abstracts, of which all-MiniLM reads the first 256 tokens and the mini models 512.
"""

import argparse
import statistics
import sys
from collections.abc import Callable
from itertools import islice
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from command import exit_code, positive
from dense_path import rounds_of

import modernir
from modernir.bench.report import table
from modernir.encoders.checkpoint import open_checkpoint
from modernir.encoders.loading import load_encoder
from modernir.retrieval.readers.documents import read_documents

PEER = "all-MiniLM-L6-v2"
OURS = (PEER, "modernir-mini-dense", "modernir-mini-colbert")
TEXTS = Path(modernir.__file__).parent / "quickstart" / "scifact"


def jobs(texts: list[str]) -> dict[str, Callable[[], object]]:
    """Return what is timed, by name; the first is what the others are compared with."""
    from sentence_transformers import SentenceTransformer

    found: dict[str, Callable[[], object]] = {}
    folder = str(open_checkpoint(PEER).folder)
    for precision, dtype in (("fp32", "float32"), ("bf16", "bfloat16")):
        peer = SentenceTransformer(folder, device="cpu", model_kwargs={"dtype": dtype})
        found[f"{PEER}, sentence-transformers {precision}"] = lambda peer=peer: peer.encode(texts)
    for name in OURS:
        for precision in ("fp32", "bf16"):
            encoder = load_encoder(name, "cpu", precision)
            found[f"{name}, modernir {precision}"] = lambda encoder=encoder: encoder.encode_documents(texts)
    return found


def measure(options: argparse.Namespace) -> None:
    """Measure and print."""
    texts = [document.content for document, _ in islice(read_documents(options.data, empty="skip"), options.texts)]
    timed = jobs(texts)
    rounds_of(timed, 1)  # warms up
    seconds = rounds_of(timed, options.rounds)
    medians = {name: statistics.median(times) for name, times in seconds.items()}
    base = next(iter(medians.values()))
    rows = [(name, f"{len(texts) / took:.1f}", f"{base / took:.2f}") for name, took in medians.items()]
    sys.stdout.write("\n".join(table([("", "documents/s", "ratio"), *rows])) + "\n")


def main() -> int:
    """Read the command line and run; return the process's exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=TEXTS, help="a corpus to take the texts from")
    parser.add_argument("--texts", type=positive, default=128)
    parser.add_argument("--rounds", type=positive, default=3)
    return exit_code(measure, parser.parse_args())


if __name__ == "__main__":
    sys.exit(main())
