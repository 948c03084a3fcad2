"""The command that pre-trains a network on plain text."""

import sys
from typing import Annotated

import typer

from .root import app
from .runs import (
    Config,
    EmbeddingsFrom,
    EvalEvery,
    Init,
    LogEvery,
    Output,
    Resume,
    SaveEvery,
    Seed,
    Smoke,
    Split,
    Subset,
)


@app.command("pretrain")
def pretrain(
    config: Config = None,
    output: Output = None,
    data: Annotated[
        list[str] | None, typer.Option(help="Text: .txt (or .gz, .zst), or rows with a text; repeatable.")
    ] = None,
    model: Annotated[str | None, typer.Option("--model", "-m", help="Masked language model to train further.")] = None,
    init: Init = None,
    tokenizer: Annotated[str | None, typer.Option(help="Of a new model: folder or hub name.")] = None,
    tile_from: Annotated[
        str | None, typer.Option(help="Smaller model whose tokenizer and repeated weights a new one begins with.")
    ] = None,
    embeddings_from: EmbeddingsFrom = None,
    split: Split = None,
    subset: Subset = None,
    positions: Annotated[int | None, typer.Option(help="Context in tokens. Default: the model's.")] = None,
    global_theta: Annotated[
        float | None, typer.Option(help="RoPE base of the global layers. Default: the model's.")
    ] = None,
    masked: Annotated[float | None, typer.Option(help="Share of the tokens to predict. Default 0.3.")] = None,
    masking: Annotated[str | None, typer.Option(help="80-10-10 (default) or plain.")] = None,
    pack_tokens: Annotated[
        int | None, typer.Option(help="Tokens in memory at once. Default: 8,192, or the context.")
    ] = None,
    batch_size: Annotated[int | None, typer.Option(help="Packs a step. Default 8.")] = None,
    first_batch_size: Annotated[int | None, typer.Option(help="Packs of the first step. Default: as all.")] = None,
    batch_warmup: Annotated[float | None, typer.Option(help="Share of the steps in which batches grow.")] = None,
    epochs: Annotated[float | None, typer.Option(help="Passes over the data. Default 1.")] = None,
    max_steps: Annotated[int | None, typer.Option(help="Steps of the run, whatever --epochs says.")] = None,
    learning_rate: Annotated[float | None, typer.Option(help="Highest. Default 8e-4.")] = None,
    warmup: Annotated[float | None, typer.Option(help="Share of the steps. Default 0.05.")] = None,
    decay: Annotated[float | None, typer.Option(help="Share of the steps, the last. Default 0.1.")] = None,
    weight_decay: Annotated[float | None, typer.Option(help="Of matrices. Default 0.01.")] = None,
    holdout: Annotated[float | None, typer.Option(help="Texts to measure on: number or share. Default 0.01.")] = None,
    precision: Annotated[str | None, typer.Option(help="fp32 (default) or bf16.")] = None,
    compile: Annotated[bool | None, typer.Option("--compile", help="Use torch.compile; on CUDA only.")] = None,
    gradient_checkpointing: Annotated[
        bool | None, typer.Option("--gradient-checkpointing", help="Less memory, slower.")
    ] = None,
    seed: Seed = None,
    log_every: LogEvery = None,
    eval_every: EvalEvery = None,
    save_every: SaveEvery = None,
    resume: Resume = False,
    smoke: Smoke = False,
) -> None:
    """Pre-train a ModernBERT on plain text: masked-language modelling, packed and unpadded."""
    given = {name: value for name, value in locals().items() if name != "smoke"}  # called as the settings

    from ..retrieval.pretraining.run import pretrain as train
    from ..retrieval.pretraining.settings import Pretraining
    from ..retrieval.training.smoke import small_pretraining, substituted

    with substituted(Pretraining.from_sources(**given), smoke, small_pretraining) as settings:
        sys.stdout.write(f"{train(settings)}\n")
