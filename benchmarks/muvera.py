"""What MUVERA's one vector a document finds of exact MaxSim, alone and as the candidates of an exact rerank.

    python benchmarks/muvera.py --data FOLDER_OF_SCIFACT --cache FOLDER [--repetitions 4,20]

The vectors are those of `late_interaction.py`. An exact rerank of candidates ranks first whatever the exact answer has
of them, so its recall is the share of the exact answer that is among the candidates.
"""

import argparse
import sys
import time
from pathlib import Path

import numpy as np
from command import exit_code, positives
from late.cached import load
from late.prepare import prepare

from modernir.bench.report import table
from modernir.index.late.muvera import Muvera, document_encodings, query_encodings

CANDIDATES = (256, 512)
CUTS = (10, 100)


def recall(found: np.ndarray, exact: np.ndarray) -> float:
    """Return the mean share of each row of `exact` that is in the same row of `found`."""
    return float(np.mean([np.isin(row, other).mean() for row, other in zip(exact, found, strict=True)]))


def run(options: argparse.Namespace) -> None:
    """Prepare the vectors, encode, and print a line for each number of repetitions."""
    prepare(options.data, options.cache, ["1m"])
    collection = load(options.cache, "1m")
    documents, queries = collection.documents, collection.queries
    values = np.asarray(documents.values, np.float32)
    rows = []
    for repetitions in options.repetitions:
        parameters = Muvera(values.shape[1], repetitions=repetitions)
        start = time.perf_counter()
        encodings = document_encodings(values, documents.offsets, parameters)
        seconds = time.perf_counter() - start
        scores = query_encodings(queries.values, queries.offsets, parameters) @ encodings.T
        order = np.argsort(-scores, axis=1, kind="stable")
        depths = [*((k, k) for k in CUTS), *((k, depth) for depth in CANDIDATES for k in CUTS)]
        figures = [f"{recall(order[:, :depth], collection.exact[:, :k]):.3f}" for k, depth in depths]
        rows.append([str(parameters.size), f"{seconds:.1f}", *figures])
    alone = [f"R@{k}" for k in CUTS]
    reranked = [f"R@{k}, {depth} reranked" for depth in CANDIDATES for k in CUTS]
    head = ["dimensions", "encoding s", *alone, *reranked]
    sys.stdout.write("\n".join(table([head, *rows])) + "\n")


def main() -> int:
    """Read the options."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True, help="SciFact in BEIR's layout")
    parser.add_argument("--cache", type=Path, required=True, help="where the vectors are kept")
    parser.add_argument("--repetitions", type=positives(","), default=[4, 20])
    return exit_code(run, parser.parse_args())


if __name__ == "__main__":
    raise SystemExit(main())
