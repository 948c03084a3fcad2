"""Commands that train a retriever."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from .root import app

Config = Annotated[Path | None, typer.Option("--config", "-c", help="TOML file of settings; flags win.")]
Output = Annotated[str | None, typer.Option("--output", "-o", help="Folder of the run and the model.")]
Init = Annotated[str | None, typer.Option(help="New model: tiny, mini, base, large or a JSON config.")]
Tokenizer = Annotated[str | None, typer.Option(help="Of a new model. Default: learnt from the data.")]
Split = Annotated[str | None, typer.Option(help="Split of the data sets.")]
Subset = Annotated[str | None, typer.Option(help="Configuration of the data sets on a hub.")]
BatchSize = Annotated[int | None, typer.Option(help="Examples a batch. Default 256.")]
Accumulation = Annotated[int | None, typer.Option(help="Batches a step of the optimiser. Default 1.")]
Epochs = Annotated[float | None, typer.Option(help="Passes over the data. Default 1.")]
MaxSteps = Annotated[int | None, typer.Option(help="Stop after so many steps.")]
LearningRate = Annotated[float | None, typer.Option(help="Default 5e-5; some 1e-3 for --init.")]
Warmup = Annotated[float | None, typer.Option(help="Share of the steps. Default 0.05.")]
Holdout = Annotated[float | None, typer.Option(help="Queries to measure on: number or share. Default 0.01.")]
Precision = Annotated[str | None, typer.Option(help="fp32 (default), bf16 or fp16.")]
Seed = Annotated[int | None, typer.Option(help="Default 12.")]
LogEvery = Annotated[int | None, typer.Option(help="Steps. Default 10.")]
EvalEvery = Annotated[int | None, typer.Option(help="Steps. Default: ten times a run.")]
SaveEvery = Annotated[int | None, typer.Option(help="Steps. Default: ten times a run.")]
Resume = Annotated[bool, typer.Option("--resume", help="Go on from the newest checkpoint in --output.")]


@app.command("train-dense")
def train_dense(
    config: Config = None,
    output: Output = None,
    data: Annotated[list[str] | None, typer.Option(help="Training pairs or triplets; repeatable.")] = None,
    model: Annotated[str | None, typer.Option("--model", "-m", help="Model to start from, folder or hub name.")] = None,
    init: Init = None,
    tokenizer: Tokenizer = None,
    split: Split = None,
    subset: Subset = None,
    batch_size: BatchSize = None,
    mini_batch_size: Annotated[int | None, typer.Option(help="Examples in memory at once. Default 32.")] = None,
    accumulation: Accumulation = None,
    epochs: Epochs = None,
    max_steps: MaxSteps = None,
    learning_rate: LearningRate = None,
    warmup: Warmup = None,
    temperature: Annotated[float | None, typer.Option(help="Of the contrastive loss. Default 0.05.")] = None,
    query_length: Annotated[int | None, typer.Option(help="Tokens. Default: the checkpoint's; 512.")] = None,
    document_length: Annotated[int | None, typer.Option(help="Tokens. Default: the checkpoint's; 512.")] = None,
    query_prompt: Annotated[str | None, typer.Option(help="Put before every query, kept in the model.")] = None,
    document_prompt: Annotated[str | None, typer.Option(help="Put before every document, kept in the model.")] = None,
    two_towers: Annotated[
        bool | None, typer.Option("--two-towers", help="An encoder each for queries and documents.")
    ] = None,
    negatives: Annotated[int | None, typer.Option(min=0, help="Negatives an example. Default: 1 if any.")] = None,
    holdout: Holdout = None,
    precision: Precision = None,
    seed: Seed = None,
    log_every: LogEvery = None,
    eval_every: EvalEvery = None,
    save_every: SaveEvery = None,
    resume: Resume = False,
) -> None:
    """Train a dense retriever on pairs or triplets; what comes out loads in plain sentence-transformers."""
    given = dict(locals())  # every parameter is called as its setting

    from ..retrieval.training.dense import train_dense as train
    from ..retrieval.training.settings import DenseTraining

    sys.stdout.write(f"{train(DenseTraining.from_sources(**given))}\n")


@app.command("train-colbert")
def train_colbert(
    config: Config = None,
    output: Output = None,
    data: Annotated[list[str] | None, typer.Option(help="Pairs, triplets or scored lists; repeatable.")] = None,
    model: Annotated[str | None, typer.Option("--model", "-m", help="A ColBERT, or a network to put one on.")] = None,
    init: Init = None,
    tokenizer: Tokenizer = None,
    split: Split = None,
    subset: Subset = None,
    loss: Annotated[str | None, typer.Option(help="contrastive (default), or by a teacher: kl, margin-mse.")] = None,
    dim: Annotated[
        int | None, typer.Option(help="Numbers of a token's vector. Default: the checkpoint's; 128.")
    ] = None,
    batch_size: BatchSize = None,
    mini_batch_size: Annotated[int | None, typer.Option(help="Texts in memory at once. Default 32.")] = None,
    accumulation: Accumulation = None,
    epochs: Epochs = None,
    max_steps: MaxSteps = None,
    learning_rate: LearningRate = None,
    warmup: Warmup = None,
    temperature: Annotated[float | None, typer.Option(help="What scores are divided by. Default 1.")] = None,
    mean_scores: Annotated[
        bool | None,
        typer.Option("--mean-scores/--sum-scores", help="Divide scores by the query's tokens. Default: no."),
    ] = None,
    query_length: Annotated[int | None, typer.Option(help="Tokens. Default: the checkpoint's; 32.")] = None,
    document_length: Annotated[int | None, typer.Option(help="Tokens. Default: the checkpoint's; 180.")] = None,
    expansion: Annotated[str | None, typer.Option(help="Of queries: fixed, min or none. Default: fixed.")] = None,
    attend_to_expansion: Annotated[
        bool | None, typer.Option(help="Whether a query's tokens see those it is filled up with. Default: no.")
    ] = None,
    skiplist: Annotated[
        list[str] | None, typer.Option(help="Tokens without vectors in documents: punctuation, none, or each in turn.")
    ] = None,
    query_prompt: Annotated[
        str | None, typer.Option(help="Before every query. Default: the checkpoint's; '[Q] '.")
    ] = None,
    document_prompt: Annotated[str | None, typer.Option(help="Before every document. Likewise; '[D] '.")] = None,
    negatives: Annotated[
        int | None, typer.Option(min=0, help="An example. Default: 1 if any; with scores, what keeps most.")
    ] = None,
    holdout: Holdout = None,
    precision: Precision = None,
    seed: Seed = None,
    log_every: LogEvery = None,
    eval_every: EvalEvery = None,
    save_every: SaveEvery = None,
    resume: Resume = False,
) -> None:
    """Train a ColBERT (one vector a token) on pairs, triplets or a teacher's scores, for sentence-transformers too."""
    given = dict(locals())  # every parameter is called as its setting

    from ..retrieval.training.colbert import train_colbert as train
    from ..retrieval.training.settings import ColbertTraining

    sys.stdout.write(f"{train(ColbertTraining.from_sources(**given))}\n")
