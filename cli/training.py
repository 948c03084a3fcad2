"""Commands that train a retriever."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from .options import whole_numbers
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

Tokenizer = Annotated[str | None, typer.Option(help="Of a new model. Default: learnt from the data.")]
BatchSize = Annotated[int | None, typer.Option(help="Examples a batch, of all processes. Default 256.")]
Accumulation = Annotated[int | None, typer.Option(help="Batches a step of the optimiser. Default 1.")]
Epochs = Annotated[float | None, typer.Option(help="Passes over the data. Default 1.")]
MaxSteps = Annotated[int | None, typer.Option(help="Stop after so many steps.")]
LearningRate = Annotated[float | None, typer.Option(help="Default 5e-5; some 1e-3 for --init.")]
Warmup = Annotated[float | None, typer.Option(help="Share of the steps. Default 0.05.")]
Mixing = Annotated[
    float | None, typer.Option(help="Temperature; each batch from one data set. Default: all in one pool.")
]
AllowDuplicates = Annotated[
    bool | None, typer.Option("--allow-duplicates", help="A text may come twice in a batch, once as a false negative.")
]
FalseNegativeRatio = Annotated[
    float | None, typer.Option(help="Drop negatives scored above this share of the positive, such as 0.95.")
]
FalseNegativeMargin = Annotated[
    float | None, typer.Option(help="Drop negatives scored less than so much below the positive.")
]
Loss = Annotated[str | None, typer.Option(help="contrastive (default), or by scores in the data: kl, margin-mse.")]
Teacher = Annotated[str | None, typer.Option(help="A dense model to follow: folder, hub or bundled name.")]
TeacherCache = Annotated[str | None, typer.Option(help="Folder for its embeddings. Default: in the run's, for it.")]
ContrastiveWeight = Annotated[float | None, typer.Option(help="With a teacher: what --loss counts. Default 1.")]
ScoreWeight = Annotated[
    float | None, typer.Option(help="With a teacher: what following its scores within a batch counts. Default 1.")
]
TeacherTemperature = Annotated[float | None, typer.Option(help="What both sides' scores are divided by. Default 0.05.")]
Scheduler = Annotated[str | None, typer.Option(help="Of the learning rate: linear (default), cosine or wsd.")]
Decay = Annotated[float | None, typer.Option(help="With wsd: share of the steps in which it falls. Default 0.2.")]
WeightDecay = Annotated[float | None, typer.Option(help="Default 0.")]
GradClip = Annotated[float | None, typer.Option(help="Norm that gradients are cut to; 0 for none. Default 1.")]
Dev = Annotated[str | None, typer.Option(help="Folder in BEIR's layout to measure on, in place of --holdout.")]
DevSplit = Annotated[str | None, typer.Option(help="Split of its judgements. Default: dev.")]
Metric = Annotated[str | None, typer.Option(help="What decides: nDCG@10 (default), MRR@10, Recall@10 or Recall@100.")]
EarlyStopping = Annotated[int | None, typer.Option(help="Stop after so many measurements without a new best one.")]
KeepBest = Annotated[
    bool | None,
    typer.Option(
        "--keep-best/--keep-last", help="Which measurement's model is left. Default: last; best if stopped early."
    ),
]
LoraRank = Annotated[int | None, typer.Option(help="Train adapters of this rank, and merge them in the end.")]
LoraAlpha = Annotated[int | None, typer.Option(help="Their scale, times the rank. Default: twice the rank.")]
LoraDropout = Annotated[float | None, typer.Option(help="Default 0.")]
LoraTargets = Annotated[
    list[str] | None, typer.Option(help="Matrices that get one; repeatable. Default: attention and MLP.")
]
KeepAdapter = Annotated[bool | None, typer.Option("--keep-adapter", help="Leave the adapter beside the model too.")]
Holdout = Annotated[float | None, typer.Option(help="Queries to measure on: number or share. Default 0.01.")]
Precision = Annotated[str | None, typer.Option(help="fp32 (default), bf16 or fp16.")]


@app.command("train-dense")
def train_dense(
    config: Config = None,
    output: Output = None,
    data: Annotated[list[str] | None, typer.Option(help="Training pairs or triplets; repeatable.")] = None,
    model: Annotated[str | None, typer.Option("--model", "-m", help="Model to start from, folder or hub name.")] = None,
    init: Init = None,
    tokenizer: Tokenizer = None,
    embeddings_from: EmbeddingsFrom = None,
    split: Split = None,
    subset: Subset = None,
    batch_size: BatchSize = None,
    mini_batch_size: Annotated[int | None, typer.Option(help="Examples in memory at once. Default 32.")] = None,
    accumulation: Accumulation = None,
    epochs: Epochs = None,
    max_steps: MaxSteps = None,
    learning_rate: LearningRate = None,
    warmup: Warmup = None,
    scheduler: Scheduler = None,
    decay: Decay = None,
    weight_decay: WeightDecay = None,
    grad_clip: GradClip = None,
    loss: Loss = None,
    temperature: Annotated[
        float | None, typer.Option(help="What scores are divided by. Default 0.05; for loss kl try 0.5.")
    ] = None,
    matryoshka: Annotated[
        str | None, typer.Option(help="Sizes to cut embeddings to, as 64,128: learnt beside the whole.")
    ] = None,
    teacher: Teacher = None,
    teacher_cache: TeacherCache = None,
    contrastive_weight: ContrastiveWeight = None,
    score_weight: ScoreWeight = None,
    embedding_weight: Annotated[
        float | None, typer.Option(help="With a teacher: what being like its embeddings counts. Default 1.")
    ] = None,
    teacher_temperature: TeacherTemperature = None,
    query_length: Annotated[int | None, typer.Option(help="Tokens. Default: the checkpoint's; 512.")] = None,
    document_length: Annotated[int | None, typer.Option(help="Tokens. Default: the checkpoint's; 512.")] = None,
    query_prompt: Annotated[str | None, typer.Option(help="Put before every query, kept in the model.")] = None,
    document_prompt: Annotated[str | None, typer.Option(help="Put before every document, kept in the model.")] = None,
    two_towers: Annotated[
        bool | None, typer.Option("--two-towers", help="An encoder each for queries and documents.")
    ] = None,
    negatives: Annotated[int | None, typer.Option(min=0, help="Negatives an example. Default: 1 if any.")] = None,
    mixing: Mixing = None,
    allow_duplicates: AllowDuplicates = None,
    false_negative_ratio: FalseNegativeRatio = None,
    false_negative_margin: FalseNegativeMargin = None,
    lora_rank: LoraRank = None,
    lora_alpha: LoraAlpha = None,
    lora_dropout: LoraDropout = None,
    lora_targets: LoraTargets = None,
    keep_adapter: KeepAdapter = None,
    holdout: Holdout = None,
    dev: Dev = None,
    dev_split: DevSplit = None,
    metric: Metric = None,
    early_stopping: EarlyStopping = None,
    keep_best: KeepBest = None,
    precision: Precision = None,
    seed: Seed = None,
    log_every: LogEvery = None,
    eval_every: EvalEvery = None,
    save_every: SaveEvery = None,
    resume: Resume = False,
    smoke: Smoke = False,
) -> None:
    """Train a dense retriever on pairs or triplets; what comes out loads in plain sentence-transformers."""
    given = {name: value for name, value in locals().items() if name != "smoke"}  # called as the settings
    given["matryoshka"] = matryoshka and whole_numbers(matryoshka, "--matryoshka")

    from ..retrieval.training.dense import train_dense as train
    from ..retrieval.training.processes import one_voice
    from ..retrieval.training.settings import DenseTraining
    from ..retrieval.training.smoke import small_training, substituted

    with one_voice(), substituted(DenseTraining.from_sources(**given), smoke, small_training) as settings:
        _say(train(settings))


@app.command("train-colbert")
def train_colbert(
    config: Config = None,
    output: Output = None,
    data: Annotated[list[str] | None, typer.Option(help="Pairs, triplets or scored lists; repeatable.")] = None,
    model: Annotated[str | None, typer.Option("--model", "-m", help="A ColBERT, or a network to put one on.")] = None,
    init: Init = None,
    tokenizer: Tokenizer = None,
    embeddings_from: EmbeddingsFrom = None,
    split: Split = None,
    subset: Subset = None,
    loss: Loss = None,
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
    scheduler: Scheduler = None,
    decay: Decay = None,
    weight_decay: WeightDecay = None,
    grad_clip: GradClip = None,
    temperature: Annotated[float | None, typer.Option(help="What scores are divided by. Default 1.")] = None,
    teacher: Teacher = None,
    teacher_cache: TeacherCache = None,
    contrastive_weight: ContrastiveWeight = None,
    score_weight: ScoreWeight = None,
    teacher_temperature: TeacherTemperature = None,
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
        list[str] | None,
        typer.Option(help="Tokens without vectors in documents: punctuation, signs, none, or each in turn."),
    ] = None,
    query_prompt: Annotated[
        str | None, typer.Option(help="Before every query. Default: the checkpoint's; '[Q] '.")
    ] = None,
    document_prompt: Annotated[str | None, typer.Option(help="Before every document. Likewise; '[D] '.")] = None,
    negatives: Annotated[
        int | None, typer.Option(min=0, help="An example. Default: 1 if any; with scores, what keeps most.")
    ] = None,
    mixing: Mixing = None,
    allow_duplicates: AllowDuplicates = None,
    false_negative_ratio: FalseNegativeRatio = None,
    false_negative_margin: FalseNegativeMargin = None,
    lora_rank: LoraRank = None,
    lora_alpha: LoraAlpha = None,
    lora_dropout: LoraDropout = None,
    lora_targets: LoraTargets = None,
    keep_adapter: KeepAdapter = None,
    holdout: Holdout = None,
    dev: Dev = None,
    dev_split: DevSplit = None,
    metric: Metric = None,
    early_stopping: EarlyStopping = None,
    keep_best: KeepBest = None,
    precision: Precision = None,
    seed: Seed = None,
    log_every: LogEvery = None,
    eval_every: EvalEvery = None,
    save_every: SaveEvery = None,
    resume: Resume = False,
    smoke: Smoke = False,
) -> None:
    """Train a ColBERT (one vector a token) on pairs, triplets or a teacher's scores, for sentence-transformers too."""
    given = {name: value for name, value in locals().items() if name != "smoke"}  # called as the settings

    from ..retrieval.training.colbert import train_colbert as train
    from ..retrieval.training.processes import one_voice
    from ..retrieval.training.settings import ColbertTraining
    from ..retrieval.training.smoke import small_training, substituted

    with one_voice(), substituted(ColbertTraining.from_sources(**given), smoke, small_training) as settings:
        _say(train(settings))


def _say(folder: Path) -> None:
    from ..retrieval.training.processes import is_first

    if is_first():
        sys.stdout.write(f"{folder}\n")
