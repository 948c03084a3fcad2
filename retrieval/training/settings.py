"""Everything that decides how a training run goes, in one frozen object, from a TOML file, from flags, or from both.

The names in the file, the flags (`batch_size` is `--batch-size`) and the fields are the same, so a field added here is
everywhere. Nothing heavy is imported: a wrong setting is reported before torch is loaded.
"""

import string
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

from ...errors import InputError
from .run_settings import check_ranges, check_start
from .steering_settings import SteeringSettings
from .values import hints_of, read_toml

Precision = Literal["fp32", "bf16", "fp16"]


@dataclass(frozen=True)
class TrainingSettings(SteeringSettings):
    """What to train, on what, and how, whatever the kind of model; the kinds are below.

    What is learnt, and how the weights move, is in the classes above.

    Attributes:
        output: Folder of the run and, at the end, of the model.
        data: Files, folders or data sets with training examples, read in this order.
        model: Checkpoint to start from, a folder or a hub name; or else `init`.
        init: Size (tiny, mini, base, large) or JSON configuration of a new ModernBERT with random weights.
        tokenizer: Tokenizer of a new model, a folder or a hub name; None learns one from the examples.
        embeddings_from: Dense encoder whose vectors of the tokens' texts a new model's embeddings begin with; None
            draws them.
        split: Split of the data sets, where they have several.
        subset: Configuration of the data sets on a hub, where they have several.
        batch_size: Examples a batch, of all processes together; each query is told from the documents of all of them.
        mini_batch_size: Examples in memory at once (GradCache); changes speed and memory, not the result.
        accumulation: Batches whose gradients are added up before the weights move.
        epochs: Passes over the examples.
        max_steps: Stop after so many steps, whatever `epochs` says.
        learning_rate: Highest learning rate.
        warmup: Share of the steps in which the learning rate rises to it.
        temperature: What scores are divided by in the loss.
        query_length: Tokens read of a query; None as the checkpoint says.
        document_length: Tokens read of a document; None as the checkpoint says.
        query_prompt: Put before every query, and kept in the model; None as the checkpoint says.
        document_prompt: Put before every document, and kept in the model; None as the checkpoint says.
        negatives: Negatives used an example; None takes one where the first example has any, and, with a teacher's
            scores, as many as keep most documents.
        mixing: Temperature at which the data sets are mixed, each batch from one of them; None makes one pool of all.
        allow_duplicates: Let a text come twice in a batch, where it is a negative of a query that it answers.
        false_negative_ratio: Leave out negatives that a teacher scores above this share of the positive's score.
        false_negative_margin: Leave out negatives that a teacher scores less than so much below the positive.
        holdout: Queries kept out of training to measure retrieval on: a number, or below 1 a share.
        precision: Number format of the matrix products; weights and optimiser stay fp32.
        seed: Of weights, held-out part, order of the examples.
        log_every: Steps between two lines of the log.
        eval_every: Steps between two measurements on the held-out part; None ten times a run.
        save_every: Steps between two checkpoints; None ten times a run.
        resume: Go on from the newest checkpoint in `output`.
    """

    data: tuple[str, ...] = ()
    model: str | None = None
    init: str | None = None
    tokenizer: str | None = None
    embeddings_from: str | None = None
    split: str | None = None
    subset: str | None = None
    batch_size: int = 256
    mini_batch_size: int = 32
    accumulation: int = 1
    epochs: float = 1.0
    max_steps: int | None = None
    learning_rate: float = 5e-5
    warmup: float = 0.05
    temperature: float = 0.05
    query_length: int | None = None
    document_length: int | None = None
    query_prompt: str | None = None
    document_prompt: str | None = None
    negatives: int | None = None
    mixing: float | None = None
    allow_duplicates: bool = False
    false_negative_ratio: float | None = None
    false_negative_margin: float | None = None
    holdout: float = 0.01
    precision: Precision = "fp32"
    seed: int = 12
    log_every: int = 10
    eval_every: int | None = None
    save_every: int | None = None
    resume: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        check_ranges(self, LOWEST, RANGES)
        check_start(self, "start from")
        if not self.data:
            raise InputError("no training data; name a file or data set with --data")

    @classmethod
    def _read(cls, config: Path) -> dict[str, Any]:
        values = read_toml(config)
        for other in TrainingSettings.__subclasses__():
            foreign = sorted(values.keys() & hints_of(other).keys() - hints_of(cls).keys())
            if foreign:
                raise InputError(f"{config}: {foreign[0]} is a setting of {other.command}, not of {cls.command}")
        return super()._read(config)


@dataclass(frozen=True)
class DenseTraining(TrainingSettings):
    """How to train a model of one vector a text; a new one reads 512 tokens, and scores are cosines.

    Attributes:
        two_towers: Give queries and documents an encoder each, which begin with the same weights.
        matryoshka: Sizes to which embeddings may be cut; the loss is learnt on the first so many numbers of each too.
        embedding_weight: With a teacher, what the mean of 1 - cosine between its and the model's embeddings counts.
    """

    command: ClassVar[str] = "train-dense"

    two_towers: bool = False
    matryoshka: tuple[int, ...] = ()
    embedding_weight: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if (least := min(self.matryoshka, default=1)) < 1:
            raise InputError(f"matryoshka: expected sizes of at least 1, found {least}")


@dataclass(frozen=True)
class ColbertTraining(TrainingSettings):
    """How to train a model of one vector a token.

    What a checkpoint without a projection, or a new model, takes for None is in brackets.

    Attributes:
        mean_scores: Divide MaxSim by the query's tokens, which makes scores of short and long queries alike.
        dim: Length of a token's vector (128).
        expansion: How queries are filled up with masks: to `query_length` tokens, "fixed", to at least so many, "min",
            or not at all, "none" ("fixed").
        attend_to_expansion: Whether a query's own tokens see its masks, and these one another (False).
        skiplist: Tokens that give documents no vectors; "punctuation", "none" and "signs", which is all tokens of the
            vocabulary that are ASCII punctuation alone, stand for lists ("punctuation").
        query_length: Tokens read of a query (32).
        document_length: Tokens read of a document (180).
        query_prompt: Before every query ("[Q] "); a word in square brackets is made one token.
        document_prompt: Before every document ("[D] "); as above.
    """

    command: ClassVar[str] = "train-colbert"

    temperature: float = 1.0
    mean_scores: bool = False
    dim: int | None = None
    expansion: Literal["fixed", "min", "none"] | None = None
    attend_to_expansion: bool | None = None
    skiplist: str | tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.attend_to_expansion and self.expansion == "none":
            raise InputError("attend_to_expansion: there is no expansion to attend to with expansion none")

    @property
    def skipped(self) -> list[str] | None:
        """Words of the skiplist, or None where it is not given."""
        return None if self.skiplist is None else words_of_skiplist(self.skiplist)


def words_of_skiplist(skiplist: str | tuple[str, ...]) -> list[str]:
    """Return the words that a setting of the skiplist stands for; SIGNS stands for itself, for want of a tokenizer."""
    words = [skiplist] if isinstance(skiplist, str) else list(skiplist)
    return NAMED_SKIPLISTS.get(words[0], words) if len(words) == 1 else words


SIGNS = "signs"
NAMED_SKIPLISTS = {"punctuation": list(string.punctuation), "none": []}
LOWEST = {
    "mini_batch_size": 1,
    "accumulation": 1,
    "max_steps": 1,
    "query_length": 1,
    "document_length": 1,
    "dim": 1,
    "log_every": 1,
    "eval_every": 1,
    "save_every": 1,
    "negatives": 0,
    "mixing": 0.01,
    "false_negative_ratio": 0,
    "false_negative_margin": 0,
}
RANGES: dict[str, tuple[float, float]] = {
    "batch_size": (2, 1 << 20),
    "epochs": (1e-6, 1e6),
    "learning_rate": (1e-12, 10),
    "warmup": (0, 0.99),
    "temperature": (1e-4, 100),
    "holdout": (0, 1e7),
    "seed": (0, 2**32 - 1),
}
