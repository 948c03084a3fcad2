"""The options that every command shares which evaluates models on benchmarks, and what they do.

A command takes them as one value: `@evaluation_command` gives it the options of `Evaluation` beside its own.
"""

import inspect
from collections.abc import Callable, Iterable
from dataclasses import dataclass, fields
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_type_hints

import typer

from .options import (
    AsJson,
    Attention,
    Device,
    DocumentLength,
    Overlap,
    PoolFactor,
    Precision,
    RemoteCode,
    print_json,
    tell,
)
from .searching import Mode

if TYPE_CHECKING:
    from ..encoders.encoder import TextEncoder
    from ..eval.loading import Benchmark
    from ..eval.ways import Way


@dataclass(frozen=True)
class Evaluation:
    """What to evaluate and how, as it was given; each field is an option."""

    model: Annotated[
        list[str] | None,
        typer.Option("--model", "-m", help="Model folder or hub name; repeatable. None for --mode lexical."),
    ] = None
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="Results folder; several models, one in it each. Default: modernir-eval."),
    ] = None
    measure: Annotated[
        list[str] | None,
        typer.Option(help="Such as nDCG@10; repeatable. Default: nDCG@10, Recall@100, MAP@100, MRR@10."),
    ] = None
    depth: Annotated[int, typer.Option(min=1, help="Results to search for; at least the largest cut-off.")] = 100
    mode: Annotated[
        Mode | None, typer.Option(help="By vectors (dense or late, as the model), words (lexical) or both (hybrid).")
    ] = None
    rerank: Annotated[
        int | None, typer.Option(min=1, help="Order so many results by their exact scores with the model's vectors.")
    ] = None
    bm25: Annotated[
        str | None, typer.Option(help="How words score, such as k1=0.9,b=0.4,identifiers=no. Default: k1=1.5,b=0.75.")
    ] = None
    exact: Annotated[bool, typer.Option("--exact", help="Compare with every document.")] = False
    nprobe: Annotated[int | None, typer.Option(min=1, help="Centroids or lists to look into.")] = None
    candidates: Annotated[int | None, typer.Option(min=1, help="Of a late index: documents to score exactly.")] = None
    structure: Annotated[
        str | None,
        typer.Option(help="Of a dense index: auto, flat, pq, ivfpq, hnsw, int8, binary or a FAISS factory string."),
    ] = None
    nbits: Annotated[
        int | None, typer.Option(help="Of a late index: bits a dimension, 2, 4, 8; 16 or 32 keep all. Default 4.")
    ] = None
    target_recall: Annotated[
        float | None, typer.Option(help="Share of the exact 10 best that a search is to find, such as 0.97.")
    ] = None
    index_folder: Annotated[
        Path | None, typer.Option(help="Folder for indexes of all models and sets. Default: beside the results.")
    ] = None
    cache: Annotated[
        Path | None, typer.Option(help="Folder that keeps vectors of texts for all sets and settings. Default: none.")
    ] = None
    device: Device = None
    precision: Precision = None
    attention: Attention = None
    pool_factor: PoolFactor = None
    document_length: DocumentLength = None
    overlap: Overlap = None
    trust_remote_code: RemoteCode = False
    as_json: AsJson = False
    force: Annotated[bool, typer.Option("--force", help="Run finished sets again, from the encoding on.")] = False

    def run(self, datasets: "Iterable[Benchmark | str | Path]", **where: Any) -> None:  # noqa: ANN401
        """Evaluate on benchmarks and print the table, or JSON.

        Args:
            datasets: Loaded benchmarks, names or folders.
            where: `data`, `split` and `source_url` of `evaluate_models`, for those that are not loaded.

        Raises:
            InputError: A value is not one of those that there are, or they contradict each other.
        """
        from rich.console import Console

        from ..eval.measures import DEFAULT_MEASURES, parse_measures
        from ..eval.models import evaluate_models
        from ..eval.report import show_reports

        reports = evaluate_models(
            self.model or [],
            self._load,
            datasets,
            output=self.output,
            way=self._way(),
            on_message=tell,
            measures=parse_measures(self.measure) if self.measure else DEFAULT_MEASURES,
            depth=self.depth,
            index_folder=self.index_folder,
            cache=self.cache,
            force=self.force,
            **where,
        )
        if self.as_json:
            print_json([report.to_json() for report in reports])
        else:
            show_reports(reports, Console())

    def _way(self) -> "Way":
        from ..eval.ways import Way
        from ..index.bm25 import BM25, DEFAULT

        return Way(
            self.mode.value if self.mode else None,
            self.rerank,
            _given(exact=self.exact or None, nprobe=self.nprobe, candidates=self.candidates),
            _given(structure=self.structure, nbits=self.nbits, target_recall=self.target_recall),
            _given(precision=self.precision, **self._reading),
            DEFAULT if self.bm25 is None else BM25.parse(self.bm25),
        )

    @property
    def _reading(self) -> dict[str, Any]:
        return {
            "pool_factor": self.pool_factor,
            "document_length": self.document_length,
            "overlap": self.overlap,
        }

    def _load(self, model: str) -> "TextEncoder[Any]":
        from ..encoders import loading

        how = (self.device, self.precision, self.trust_remote_code, self.attention)
        return loading.load_encoder(model, *how, **self._reading)


def evaluation_command(function: Callable[..., None]) -> Callable[..., None]:
    """Give a command the options of `Evaluation`, after which come its own.

    Args:
        function: Takes an `Evaluation` first, then its own options by name.
    """
    shared = {field.name for field in fields(Evaluation)}
    hints = get_type_hints(Evaluation, include_extras=True)
    own_hints = get_type_hints(function, include_extras=True)
    _, *own = inspect.signature(function).parameters.values()
    common = [_option(field.name, field.default, hints[field.name]) for field in fields(Evaluation)]
    options = [*common[:1], *(_option(one.name, one.default, own_hints[one.name]) for one in own), *common[1:]]

    @wraps(function)
    def command(**values: Any) -> None:  # noqa: ANN401 - as typer parsed them
        evaluation = Evaluation(**{name: values.pop(name) for name in shared})
        function(evaluation, **values)

    command.__signature__ = inspect.Signature(options)  # type: ignore[attr-defined]
    command.__annotations__ = {option.name: option.annotation for option in options}
    return command


def _option(name: str, default: Any, annotation: Any) -> inspect.Parameter:  # noqa: ANN401
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)


def _given(**values: Any) -> dict[str, Any]:  # noqa: ANN401 - of options
    return {name: value for name, value in values.items() if value is not None}
