"""nDCG@10 of models by mteb's evaluator and by ours, on collections in BEIR's layout; they must agree to 1e-4.

    pip install "modernir[mteb]"
    python benchmarks/mteb_bridge.py --model all-MiniLM-L6-v2 FOLDER [FOLDER ...]

Both search exactly, with uncompressed vectors. The exit code is 1 where one differs.
"""

import argparse
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import mteb

from modernir import load_encoder
from modernir.eval.beir import evaluate_beir
from modernir.eval.loading import load_local
from modernir.eval.mteb import EXACT, MtebEncoder, MtebSearcher
from modernir.eval.mteb_task import beir_task
from modernir.retrieval.encoder import kind_of

SAME = 1e-4


def by_mteb(model: object, folder: Path) -> float:
    """Return nDCG@10 by mteb, on the default split of a folder."""
    task = beir_task(load_local(folder))
    results = mteb.evaluate(model, [task], cache=None, co2_tracker=False, show_progress_bar=False)
    return float(next(iter(results.task_results[0].scores.values()))[0]["ndcg_at_10"])


def compared(name: str, folder: Path) -> Iterator[tuple[str, float, float]]:
    """Yield the protocol of mteb, its score and ours."""
    encoder = load_encoder(name, precision="fp32")
    kind = kind_of(encoder)
    with tempfile.TemporaryDirectory() as output:
        way, data = EXACT[kind], [load_local(folder)]
        ours = evaluate_beir(encoder, data, output=Path(output), way=way, measures=["nDCG@10"])[0].metrics["nDCG@10"]
    if kind == "dense":
        yield "EncoderProtocol", by_mteb(MtebEncoder(encoder), folder), ours
    yield "SearchProtocol", by_mteb(MtebSearcher(encoder), folder), ours


def main() -> None:
    """Print a line for each model, folder and protocol."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="+", type=Path)
    parser.add_argument("--model", action="append", required=True)
    given = parser.parse_args()
    agree = True
    for model in given.model:
        for folder in given.folders:
            for protocol, theirs, ours in compared(model, folder):
                agree &= abs(theirs - ours) <= SAME
                place = f"{Path(model).name}  {folder.resolve().name}  {protocol}"
                sys.stdout.write(f"{place}: mteb {theirs:.5f}, here {ours:.5f}, difference {theirs - ours:+.1e}\n")
    sys.exit(0 if agree else 1)


if __name__ == "__main__":
    main()
