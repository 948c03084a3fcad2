"""The command line: one Typer app, each command a few lines that call a part of the package.

Results go to stdout, progress and messages to stderr. Exit codes: 0 done, 1 failed, 2 bad input, 130 interrupted.
"""

import gc
import json
import os
import sqlite3
import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from .errors import ModernirError, explain

if TYPE_CHECKING:
    from .retrieval.readers.rows import RowOptions


class InterruptError(ModernirError):
    """Ctrl-C, with what is kept; the exit code is the shell's for it."""

    exit_code = 130


class CommandGroup(typer.core.TyperGroup):
    """Commands whose Ctrl-C keeps its message, which Typer would drop."""

    def invoke(self, ctx: Any) -> Any:  # noqa: ANN401 - click's, which some releases of Typer bring themselves
        """Run the chosen command.

        Raises:
            InterruptError: In place of KeyboardInterrupt.
        """
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt as interrupt:
            raise InterruptError(str(interrupt)) from interrupt


app = typer.Typer(
    name="modernir",
    cls=CommandGroup,
    help="Train, index, search and evaluate text retrievers.",
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
)


def _print_version(wanted: bool) -> None:
    if wanted:
        from . import __version__

        sys.stdout.write(f"modernir {__version__}\n")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Train, index, search and evaluate text retrievers."""


index_app = typer.Typer(help="Build and look after indexes.", no_args_is_help=True)
app.add_typer(index_app, name="index")
eval_app = typer.Typer(help="Measure retrievers on benchmarks.", no_args_is_help=True)
app.add_typer(eval_app, name="eval")
bench_app = typer.Typer(help="Measure speed and memory on this machine.", no_args_is_help=True)
app.add_typer(bench_app, name="bench")


class Empty(StrEnum):
    """What to do with a document whose title and text are both empty."""

    error = "error"
    skip = "skip"
    keep = "keep"


class Against(StrEnum):
    """What an encoder is measured against."""

    sentence_transformers = "sentence-transformers"
    nothing = "nothing"


Model = Annotated[str, typer.Option("--model", "-m", help="Model folder or hub name.")]
Device = Annotated[str | None, typer.Option(help="cpu, cuda, cuda:1, mps; by default the best there is.")]
Precision = Annotated[
    str | None,
    typer.Option(help="fp32, bf16, fp16 or int8 (ModernBERT on a CPU); by default the fastest that keeps quality."),
]
Attention = Annotated[
    str | None,
    typer.Option(help="Attention back-end of a ModernBERT, see doctor; on a CPU it takes the place of the engine."),
]
RemoteCode = Annotated[bool, typer.Option("--trust-remote-code", help="Run Python code that the checkpoint brings.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]


def _print_json(value: Any) -> None:  # noqa: ANN401 - whatever JSON can hold
    sys.stdout.write(json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def _tell(message: str) -> None:
    sys.stderr.write(f"{message}\n")


def _row_options(columns: str | None, split: str | None, config: str | None) -> "RowOptions":
    from .retrieval.readers.rows import RowOptions

    names = tuple(name.strip() for name in columns.split(",")) if columns else None
    return RowOptions(names, split, config)


@app.command("train-dense")
def train_dense(
    config: Annotated[Path | None, typer.Option("--config", "-c", help="TOML file of settings; flags win.")] = None,
    output: Annotated[str | None, typer.Option("--output", "-o", help="Folder of the run and the model.")] = None,
    data: Annotated[list[str] | None, typer.Option(help="Training pairs or triplets; repeatable.")] = None,
    model: Annotated[str | None, typer.Option("--model", "-m", help="Model to start from, folder or hub name.")] = None,
    init: Annotated[str | None, typer.Option(help="New model: tiny, mini, base, large or a JSON config.")] = None,
    tokenizer: Annotated[str | None, typer.Option(help="Of a new model. Default: learnt from the data.")] = None,
    split: Annotated[str | None, typer.Option(help="Split of the data sets.")] = None,
    subset: Annotated[str | None, typer.Option(help="Configuration of the data sets on a hub.")] = None,
    batch_size: Annotated[int | None, typer.Option(help="Examples a batch. Default 256.")] = None,
    mini_batch_size: Annotated[int | None, typer.Option(help="Examples in memory at once. Default 32.")] = None,
    accumulation: Annotated[int | None, typer.Option(help="Batches a step of the optimiser. Default 1.")] = None,
    epochs: Annotated[float | None, typer.Option(help="Passes over the data. Default 1.")] = None,
    max_steps: Annotated[int | None, typer.Option(help="Stop after so many steps.")] = None,
    learning_rate: Annotated[float | None, typer.Option(help="Default 5e-5; some 1e-3 for --init.")] = None,
    warmup: Annotated[float | None, typer.Option(help="Share of the steps. Default 0.05.")] = None,
    temperature: Annotated[float | None, typer.Option(help="Of the contrastive loss. Default 0.05.")] = None,
    query_length: Annotated[int | None, typer.Option(help="Tokens. Default: the checkpoint's; 512.")] = None,
    document_length: Annotated[int | None, typer.Option(help="Tokens. Default: the checkpoint's; 512.")] = None,
    query_prompt: Annotated[str | None, typer.Option(help="Put before every query, kept in the model.")] = None,
    document_prompt: Annotated[str | None, typer.Option(help="Put before every document, kept in the model.")] = None,
    negatives: Annotated[int | None, typer.Option(min=0, help="Negatives an example. Default: 1 if any.")] = None,
    holdout: Annotated[float | None, typer.Option(help="Queries to measure on: number or share. Default 0.01.")] = None,
    precision: Annotated[str | None, typer.Option(help="fp32 (default), bf16 or fp16.")] = None,
    seed: Annotated[int | None, typer.Option(help="Default 12.")] = None,
    log_every: Annotated[int | None, typer.Option(help="Steps. Default 10.")] = None,
    eval_every: Annotated[int | None, typer.Option(help="Steps. Default: ten times a run.")] = None,
    save_every: Annotated[int | None, typer.Option(help="Steps. Default: ten times a run.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the newest checkpoint in --output.")] = False,
) -> None:
    """Train a dense retriever on pairs or triplets; what comes out loads in plain sentence-transformers."""
    given = dict(locals())  # every parameter is called as its setting

    from .retrieval.training.dense import train_dense as train
    from .retrieval.training.settings import TrainingSettings

    sys.stdout.write(f"{train(TrainingSettings.from_sources(**given))}\n")


@index_app.command("corpus")
def index_corpus(
    source: Annotated[str, typer.Argument(help="JSONL, TSV, CSV (.gz, .zst), Parquet, BEIR folder or data set.")],
    model: Model,
    index: Annotated[Path, typer.Option("--index", "-i", help="Folder of the new index.")],
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace an index that is there, once the new one is whole.")
    ] = False,
    empty: Annotated[Empty, typer.Option(help="What to do with a document without text.")] = Empty.error,
    columns: Annotated[str | None, typer.Option(help="Column names of a file without a header: id,text")] = None,
    split: Annotated[str | None, typer.Option(help="Split of a data set.")] = None,
    config: Annotated[str | None, typer.Option(help="Configuration of a data set on the hub.")] = None,
    device: Device = None,
    precision: Precision = None,
    attention: Attention = None,
    trust_remote_code: RemoteCode = False,
    as_json: AsJson = False,
) -> None:
    """Encode a corpus and write an index; after an interruption, the same command goes on where it stopped."""
    from .encoders.loading import load_encoder
    from .retrieval.build import build_index, check_target

    check_target(index, overwrite)
    encoder = load_encoder(model, device, precision, trust_remote_code, attention)
    options = _row_options(columns, split, config)
    with build_index(source, encoder, index, options=options, empty=empty.value, overwrite=overwrite) as retriever:
        _print_index(retriever.index.info(), as_json)


@index_app.command("info")
def index_info(
    index: Annotated[Path, typer.Option("--index", "-i", help="Index folder.")],
    as_json: AsJson = False,
) -> None:
    """Say what an index holds and which encoder built it."""
    from .index.index import Index

    with Index.open(index) as opened:
        _print_index(opened.info(), as_json)


@index_app.command("verify")
def index_verify(
    index: Annotated[Path, typer.Option("--index", "-i", help="Index folder.")],
    as_json: AsJson = False,
) -> None:
    """Read every file of an index again and compare checksums and counts with the catalog."""
    from .index.index import Index

    with Index.open(index) as opened:
        faults, documents = opened.verify(), len(opened)
    if as_json:
        _print_json({"path": str(index), "documents": documents, "faults": faults})
    if faults:
        raise ModernirError("; ".join(faults))
    if not as_json:
        sys.stdout.write(f"{index}: {documents:,} documents, sound\n")


def _print_index(info: dict[str, Any], as_json: bool) -> None:
    if as_json:
        _print_json(info)
        return
    encoder = info["encoder"] or {"name": "unknown", "fingerprint": "unknown"}
    sys.stdout.write(
        f"{info['path']}: {info['documents']:,} documents, {info['dim']} dimensions, {info['metric']}, "
        f"{info['bytes'] / 1e6:,.1f} MB\nencoder: {encoder['name']} ({encoder['fingerprint'][:12]})\n"
    )


@app.command()
def search(
    query: Annotated[str | None, typer.Argument(help="The query; without one, queries come from stdin.")] = None,
    index: Annotated[Path, typer.Option("--index", "-i", help="Index folder.")] = Path("index"),
    k: Annotated[int, typer.Option("-k", min=1, help="Documents a query.")] = 10,
    queries: Annotated[
        Path | None, typer.Option("--queries", "-q", help="One a line, or by its ending JSONL, TSV, CSV; - is stdin.")
    ] = None,
    model: Annotated[
        str | None, typer.Option("--model", "-m", help="Encoder; by default the one that built the index.")
    ] = None,
    any_encoder: Annotated[bool, typer.Option("--any-encoder", help="Take another encoder than the index's.")] = False,
    device: Device = None,
    precision: Precision = None,
    attention: Attention = None,
    trust_remote_code: RemoteCode = False,
    as_json: AsJson = False,
) -> None:
    """Search an index with one query, or with many from a file or stdin."""
    from .retrieval.readers.queries import gather_queries

    asked = gather_queries(query, queries, sys.stdin)
    from .retrieval.results import open_for_search, print_hits, to_json

    retriever = open_for_search(index, model, device, precision, any_encoder, trust_remote_code, attention)
    with retriever:
        hits = retriever.search([text for _, text in asked], k)
    if as_json:
        _print_json(to_json(asked, hits))
    else:
        print_hits(asked, hits)


@eval_app.command("beir")
def eval_beir(
    model: Model,
    data: Annotated[
        Path | None, typer.Option(help="A BEIR folder, or a folder of them, in place of downloading.")
    ] = None,
    dataset: Annotated[
        list[str] | None, typer.Option(help="Data set, such as scifact; repeatable. Default: all in --data.")
    ] = None,
    split: Annotated[str | None, typer.Option(help="Whose judgements. Default: the published one, else test.")] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Results folder. Default: modernir-eval/<model>.")
    ] = None,
    measure: Annotated[
        list[str] | None,
        typer.Option(help="Such as nDCG@10; repeatable. Default: nDCG@10, Recall@100, MAP@100, MRR@10."),
    ] = None,
    depth: Annotated[int, typer.Option(min=1, help="Results to search for; at least the largest cut-off.")] = 100,
    device: Device = None,
    precision: Precision = None,
    attention: Attention = None,
    source: Annotated[str | None, typer.Option(help="Address that holds the ZIP files of the data sets.")] = None,
    trust_remote_code: RemoteCode = False,
    as_json: AsJson = False,
    force: Annotated[bool, typer.Option("--force", help="Run finished sets again, from the encoding on.")] = False,
) -> None:
    """Evaluate a model on BEIR data sets, or on any folder in BEIR's layout."""
    from rich.console import Console

    from .encoders.loading import load_encoder
    from .eval.beir import evaluate_beir
    from .eval.loading import choose_datasets
    from .eval.measures import DEFAULT_MEASURES, parse_measures
    from .eval.report import show_reports

    measures = parse_measures(measure) if measure else DEFAULT_MEASURES
    datasets = choose_datasets(dataset or [], data)
    reports = evaluate_beir(
        load_encoder(model, device, precision, trust_remote_code, attention),
        datasets,
        output=output or Path("modernir-eval") / Path(model).resolve().name,
        data=data,
        split=split,
        source_url=source,
        measures=measures,
        depth=depth,
        force=force,
        on_message=_tell,
    )
    if as_json:
        _print_json([report.to_json() for report in reports])
    else:
        show_reports(reports, Console())


@bench_app.command("encode")
def bench_encode(
    model: Annotated[
        str | None, typer.Option("--model", "-m", help="Folder or hub name. Default: random weights of --init's size.")
    ] = None,
    init: Annotated[str, typer.Option(help="Size without --model: tiny, mini, base or large.")] = "base",
    precision: Annotated[
        str | None, typer.Option(help="Such as fp32,bf16,int8. Default: all that model and device have.")
    ] = None,
    workload: Annotated[
        str,
        typer.Option(
            help="With commas, of queries, single, calls32, passages, bulk, long, fixed512, fixed8192, variable256, "
            "variable4096."
        ),
    ] = "queries,passages,bulk,long",
    against: Annotated[Against, typer.Option(help="Measured beside it.")] = Against.sentence_transformers,
    threads: Annotated[int | None, typer.Option(min=1, help="Threads a variant. Default: the libraries'.")] = None,
    rounds: Annotated[int, typer.Option(min=1, help="Timed rounds.")] = 3,
    scale: Annotated[float, typer.Option(min=0.01, help="Times as many texts.")] = 1.0,
    device: Device = None,
    attention: Attention = None,
    trust_remote_code: RemoteCode = False,
    as_json: AsJson = False,
) -> None:
    """Measure tokens/s, memory and parity of an encoder here, in interleaved rounds with sentence-transformers."""
    from .bench.encode import Settings
    from .bench.encode import bench_encode as measure
    from .bench.report import print_outcome, to_json
    from .bench.variants import OURS

    settings = Settings.parse(
        precisions=precision,
        workloads=workload,
        size=init,
        with_peer=against is not Against.nothing,
        device=device,
        attention=attention,
        threads=threads,
        rounds=rounds,
        scale=scale,
        trust_remote_code=trust_remote_code,
    )
    outcome, about = measure(model, settings)
    if as_json:
        _print_json(to_json(outcome, about))
    else:
        print_outcome(outcome, about)
    outcome.require(OURS)


@app.command()
def doctor(as_json: AsJson = False) -> None:
    """Say what this machine has for modernir, what is missing, and the command that adds it."""
    from .doctor import examine, print_findings

    findings = examine()
    if as_json:
        _print_json([finding.to_json() for finding in findings])
    else:
        print_findings(findings)


@app.command()
def quickstart(
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for the index and the report.")] = Path(
        "modernir-quickstart"
    ),
    model: Annotated[str | None, typer.Option("--model", "-m", help="Another encoder than the demo's.")] = None,
    device: Device = None,
    precision: Precision = None,
) -> None:
    """Index SciFact, search it and evaluate, with a model that ships; no network needed."""
    from .quickstart import run

    run(output, model, device, precision)


def main() -> None:
    """Run the command line and turn failures that a user can mend into one line and an exit code."""
    try:
        try:
            app()
        finally:
            sys.stdout.flush()  # here, where what cannot be written has a message
            gc.freeze()  # spares Python the half second in which it looks for cycles in torch when it ends
    except InterruptError as interrupt:
        sys.stderr.write(f"interrupted{f': {interrupt}' if str(interrupt) else ''}\n")
        sys.exit(interrupt.exit_code)
    except ModernirError as error:
        _fail(error)
    except BrokenPipeError:  # who reads the results has seen enough
        _drop_output()
        sys.exit(1)
    except (OSError, sqlite3.Error) as error:
        failure = explain(error)
        if failure is None:
            raise
        _drop_output()
        _fail(failure)


def _drop_output() -> None:
    """Forget results that could not be written, or Python would try once more when it ends."""
    sys.stdout = Path(os.devnull).open("w")  # noqa: SIM115 - open until the end


def _fail(error: ModernirError) -> NoReturn:
    sys.stderr.write(f"error: {error}\n")
    sys.exit(error.exit_code)
