"""How full `modernir.encoders.packing.pack` fills rows for pre-training, on real corpora, and how long it takes.

    pip install -e ".[test]"
    python benchmarks/packing.py CORPUS... [--capacity 1024 8192] [--lengths 10000000] [--seed 0]

A corpus is a BEIR folder or a file of documents. Texts are tokenised with all-MiniLM-L6-v2's tokenizer and cut at the
row's length. The last row of the table packs as many lengths as --lengths says, drawn log-normal with a median of 150.
"""

import argparse
import sys
import time
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from command import exit_code, positive

from modernir.bench.report import table
from modernir.encoders.checkpoint import open_checkpoint
from modernir.encoders.packing import fullness, pack
from modernir.encoders.reading import open_tokenizer
from modernir.retrieval.readers.documents import read_documents
from modernir.retrieval.readers.rows import blocks

TOKENIZER = "all-MiniLM-L6-v2"
BLOCK = 4096


def lengths_of(corpora: Iterable[str]) -> dict[str, np.ndarray]:
    """Return the tokens of each document of each corpus, and of all of them."""
    tokenizer = open_tokenizer(open_checkpoint(TOKENIZER))
    tokenizer.no_padding()
    tokenizer.no_truncation()
    found = {}
    for corpus in corpora:
        counts = []
        for block in blocks((document for document, _ in read_documents(corpus, empty="skip")), BLOCK):
            counts += [len(encoding) for encoding in tokenizer.encode_batch([document.content for document in block])]
        found[Path(corpus).name] = np.array(counts)
    return found | {"all": np.concatenate(list(found.values()))}


def run(options: argparse.Namespace) -> None:
    """Print the table."""
    sources = lengths_of(options.corpora)
    drawn = np.random.default_rng(options.seed).lognormal(np.log(150), 0.8, options.lengths)
    sources["drawn"] = drawn.astype(np.int64).clip(1)
    rows = [("corpus", "texts", "row", "longer than it", "full", "seconds")]
    for name, lengths in sources.items():
        for capacity in options.capacity:
            cut = np.minimum(lengths, capacity)
            started = time.perf_counter()
            packs = pack(cut, capacity)
            seconds = time.perf_counter() - started
            longer = (lengths > capacity).mean()
            full = fullness(packs, cut, capacity)
            rows.append((name, f"{len(cut):,}", f"{capacity:,}", f"{longer:.1%}", f"{full:.2%}", f"{seconds:.2f}"))
    sys.stdout.write("\n".join(table(rows)) + "\n")


def main() -> int:
    """Read the options and run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("corpora", nargs="+")
    parser.add_argument("--capacity", nargs="+", type=positive, default=[1024, 8192])
    parser.add_argument("--lengths", type=positive, default=10_000_000)
    parser.add_argument("--seed", type=int, default=0)
    return exit_code(run, parser.parse_args())


if __name__ == "__main__":
    sys.exit(main())
