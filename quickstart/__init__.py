"""The first five minutes: index a real collection, search it, measure it, with what ships in the package.

SciFact lies beside this file (see its ATTRIBUTION.md); the encoder is `modernir-mini-colbert`, in `models`.
Each step says the command that does the same, and what is done is not done again.
"""

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from ..encoders.bundled import OWN
from ..eval.shipped import SHIPPED

if TYPE_CHECKING:
    from rich.console import Console

    from ..retrieval.retriever import Retriever

SCIFACT = SHIPPED["scifact"]
MODEL = "modernir-mini-colbert"
QUERIES = (
    "vitamin D deficiency and the risk of heart disease",
    "how do bacteria become resistant to antibiotics?",
    "0-dimensional biomaterials lack inductive properties.",
)


def run(output: Path, model: str | None = None, device: str | None = None, precision: str | None = None) -> None:
    """Index SciFact in `output`, show three searches and the evaluation, and print what to try next.

    Args:
        output: Folder for the index and the report; finished ones of this encoder are used as they are.
        model: Another encoder than the one that ships.
        device: See `load_encoder`.
        precision: See `load_encoder`.

    Raises:
        InputError: The encoder is not to be had.
    """
    from rich.console import Console

    from ..encoders.loading import load_encoder
    from ..eval.beir import evaluate_beir
    from ..eval.report import show_reports
    from ..retrieval.build import build_index

    console = Console(file=sys.stdout, highlight=False)
    name = model or MODEL
    encoder = load_encoder(name, device, precision)
    index = output / SCIFACT.name / "index"
    _say_step("1. Index", "5,183 abstracts of SciFact", f"index corpus {SCIFACT} --model {name} --index {index}")
    with build_index(SCIFACT, encoder, index, overwrite=True, reuse=True) as retriever:
        _say_step("2. Search", f"{len(QUERIES)} queries", f'search "{QUERIES[0]}" --index {index} -k 3')
        _show_searches(retriever, console)
    _say_step("3. Evaluate", "300 test claims", f"eval beir --model {name} --data {SCIFACT} --output {output}")
    show_reports(evaluate_beir(encoder, [SCIFACT], output=output), console)
    if name in OWN:
        console.print(f"In-domain: {name} learnt from the claims of SciFact's train split.", soft_wrap=True)
    console.print(_next_steps(output, index, name, encoder.kind), markup=False, soft_wrap=True)


def _say_step(step: str, what: str, command: str) -> None:
    sys.stderr.write(f"{step}: {what}\n   the same as: modernir {command}\n\n")


def _show_searches(retriever: "Retriever", console: "Console") -> None:
    for query, hits in zip(QUERIES, retriever.search(QUERIES, k=3), strict=True):
        console.print(f"[bold]{query}[/]")
        for rank, hit in enumerate(hits, 1):
            line = f"  {rank}  {hit.score:.3f}  {hit.id:>9}  {hit.document.title}"
            console.print(line, markup=False, overflow="ellipsis", no_wrap=True)
        console.print()


def _next_steps(output: Path, index: Path, model: str, kind: str) -> str:
    train = "train-colbert" if kind == "late" else "train-dense"
    return f"""
Report, TREC run and per-query scores: {output / SCIFACT.name}

What to try next:
  modernir search "your own question" --index {index}
  modernir index corpus YOUR.jsonl --model {model} --index my-index
  modernir eval beir --model {model} --dataset nfcorpus
  modernir {train} --model {model} --data YOUR-PAIRS.jsonl --output my-model
  modernir doctor"""
