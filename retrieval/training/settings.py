"""Everything that decides how a training run goes, in one frozen object, from a TOML file, from flags, or from both.

The names in the file, the flags (`batch_size` is `--batch-size`) and the fields are the same, so a field added here is
everywhere. Nothing heavy is imported: a wrong setting is reported before torch is loaded.
"""

import dataclasses
import string
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

from ...errors import InputError
from ...files import write_text
from .values import check_values, hints_of, read_toml, to_toml

Precision = Literal["fp32", "bf16", "fp16"]
Loss = Literal["contrastive", "kl", "margin-mse"]
SETTINGS_FILE = "training.toml"
NOT_WRITTEN = ("output", "resume")
"""Where a run goes and whether it goes on are not part of what reproduces it."""
STACK = ("modernir", "torch", "transformers", "sentence-transformers", "tokenizers")


@dataclass(frozen=True)
class TrainingSettings:
    """What to train, on what, and how, whatever the kind of model; the kinds are below.

    Attributes:
        output: Folder of the run and, at the end, of the model.
        data: Files, folders or data sets with training examples, read in this order.
        model: Checkpoint to start from, a folder or a hub name; or else `init`.
        init: Size (tiny, mini, base, large) or JSON configuration of a new ModernBERT with random weights.
        tokenizer: Tokenizer of a new model, a folder or a hub name; None learns one from the examples.
        split: Split of the data sets, where they have several.
        subset: Configuration of the data sets on a hub, where they have several.
        batch_size: Examples a batch; each query is told from the documents of all of them.
        mini_batch_size: Examples in memory at once (GradCache); changes speed and memory, not the result.
        accumulation: Batches whose gradients are added up before the weights move.
        epochs: Passes over the examples.
        max_steps: Stop after so many steps, whatever `epochs` says.
        learning_rate: Highest learning rate; it falls linearly to zero.
        warmup: Share of the steps in which the learning rate rises to it.
        temperature: What scores are divided by in the loss.
        query_length: Tokens read of a query; None as the checkpoint says.
        document_length: Tokens read of a document; None as the checkpoint says.
        query_prompt: Put before every query, and kept in the model; None as the checkpoint says.
        document_prompt: Put before every document, and kept in the model; None as the checkpoint says.
        negatives: Negatives used an example; None takes one where the first example has any, and, with a teacher's
            scores, as many as keep most documents.
        holdout: Queries kept out of training to measure retrieval on: a number, or below 1 a share.
        precision: Number format of the matrix products; weights and optimiser stay fp32.
        seed: Of weights, held-out part, order of the examples.
        log_every: Steps between two lines of the log.
        eval_every: Steps between two measurements on the held-out part; None ten times a run.
        save_every: Steps between two checkpoints; None ten times a run.
        resume: Go on from the newest checkpoint in `output`.
    """

    command: ClassVar[str]
    """What repeats a run of this kind on the command line."""

    output: str
    data: tuple[str, ...] = ()
    model: str | None = None
    init: str | None = None
    tokenizer: str | None = None
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
    holdout: float = 0.01
    precision: Precision = "fp32"
    seed: int = 12
    log_every: int = 10
    eval_every: int | None = None
    save_every: int | None = None
    resume: bool = False

    def __post_init__(self) -> None:
        for name, least in LOWEST.items():
            value = getattr(self, name, None)
            if value is not None and value < least:
                raise InputError(f"{name}: expected at least {least}, found {value}")
        for name, (lowest, highest) in RANGES.items():
            if not lowest <= getattr(self, name) <= highest:
                raise InputError(f"{name}: expected {lowest:g} to {highest:g}, found {getattr(self, name)}")
        if bool(self.model) == bool(self.init):
            found = "both" if self.model else "neither"
            raise InputError(f"expected either a model to start from (--model) or a size (--init), found {found}")
        if self.tokenizer and self.model:
            raise InputError("a tokenizer goes with --init; a --model brings its own")
        if not self.data:
            raise InputError("no training data; name a file or data set with --data")

    @classmethod
    def from_sources(cls, config: Path | None = None, **flags: Any) -> Self:  # noqa: ANN401 - checked
        """Join a TOML file and flags; a flag that is given, not None and no empty list, wins.

        A run that resumes reads the file in its own folder.

        Raises:
            InputError: The file is missing, broken or has an unknown key, or a value has the wrong type or range.
        """
        values = {name: value for name, value in flags.items() if value is not None and value != []}
        check_values(values, cls, "the flags")
        if config is None and values.get("resume") and "output" in values:
            config = Path(values["output"]) / SETTINGS_FILE
            if not config.is_file():
                raise InputError(f"{values['output']}: no run to resume; start one without --resume")
        where = f"{config}: " if config else ""
        values = (cls._read(config) if config else {}) | values
        if "output" not in values:
            raise InputError(f"{where}no output folder; name one with --output")
        fields: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value for name, value in values.items()
        }
        return cls(**fields)

    @classmethod
    def _read(cls, config: Path) -> dict[str, Any]:
        values = read_toml(config)
        for other in TrainingSettings.__subclasses__():
            foreign = sorted(values.keys() & hints_of(other).keys() - hints_of(cls).keys())
            if foreign:
                raise InputError(f"{config}: {foreign[0]} is a setting of {other.command}, not of {cls.command}")
        check_values(values, cls, str(config))
        return values

    def with_full_paths(self) -> Self:
        """Return the settings with every path that exists here made absolute, so that they hold in any folder."""
        return dataclasses.replace(
            self,
            output=str(Path(self.output).absolute()),
            data=tuple(map(_full_path, self.data)),
            model=self.model and _full_path(self.model),
            init=_full_path(self.init) if self.init and self.init.endswith(".json") else self.init,
            tokenizer=self.tokenizer and _full_path(self.tokenizer),
        )

    def write(self, folder: Path) -> None:
        """Write what reproduces the run as `training.toml` into `folder`; settings that are None are left out."""
        kept = {name: value for name, value in dataclasses.asdict(self).items() if name not in NOT_WRITTEN}
        lines = [f"{name} = {to_toml(value)}" for name, value in kept.items() if value is not None]
        command = f"# modernir {self.command} --config {SETTINGS_FILE} --output NEW_FOLDER"
        write_text(folder / SETTINGS_FILE, "\n".join([command, f"# {_versions()}", *lines]) + "\n")

    def differences(self, other: "TrainingSettings") -> list[str]:
        """Name the settings, but for output and resume, in which `other` differs."""
        names = [field.name for field in dataclasses.fields(self) if field.name not in NOT_WRITTEN]
        return [name for name in names if getattr(self, name) != getattr(other, name)]


@dataclass(frozen=True)
class DenseTraining(TrainingSettings):
    """How to train a model of one vector a text; a new one reads 512 tokens, and scores are cosines.

    Attributes:
        two_towers: Give queries and documents an encoder each, which begin with the same weights.
    """

    command: ClassVar[str] = "train-dense"

    two_towers: bool = False


@dataclass(frozen=True)
class ColbertTraining(TrainingSettings):
    """How to train a model of one vector a token.

    What a checkpoint without a projection, or a new model, takes for None is in brackets.

    Attributes:
        loss: What is learnt: "contrastive", to tell the positive from all other documents of the batch; or a teacher's
            scores of an example's own documents, "kl" by distribution and "margin-mse" by difference.
        mean_scores: Divide MaxSim by the query's tokens, which makes scores of short and long queries alike.
        dim: Length of a token's vector (128).
        expansion: How queries are filled up with masks: to `query_length` tokens, "fixed", to at least so many, "min",
            or not at all, "none" ("fixed").
        attend_to_expansion: Whether a query's own tokens see its masks, and these one another (False).
        skiplist: Tokens that give documents no vectors; "punctuation" and "none" stand for lists ("punctuation").
        query_length: Tokens read of a query (32).
        document_length: Tokens read of a document (180).
        query_prompt: Before every query ("[Q] "); a word in square brackets is made one token.
        document_prompt: Before every document ("[D] "); as above.
    """

    command: ClassVar[str] = "train-colbert"

    temperature: float = 1.0
    loss: Loss = "contrastive"
    mean_scores: bool = False
    dim: int | None = None
    expansion: Literal["fixed", "min", "none"] | None = None
    attend_to_expansion: bool | None = None
    skiplist: str | tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.negatives is not None and self.negatives < self.scored_negatives:
            raise InputError(f"negatives: {NEGATIVES_NEEDED[self.loss]}")
        if self.attend_to_expansion and self.expansion == "none":
            raise InputError("attend_to_expansion: there is no expansion to attend to with expansion none")

    @property
    def scored_negatives(self) -> int:
        """Fewest negatives of an example that the loss compares by a teacher's scores; 0 where it follows none."""
        return FEWEST_NEGATIVES[self.loss]

    @property
    def distils(self) -> bool:
        """Whether the loss follows a teacher's scores."""
        return self.scored_negatives > 0

    @property
    def skipped(self) -> list[str] | None:
        """Words of the skiplist, or None where it is not given."""
        return None if self.skiplist is None else words_of_skiplist(self.skiplist)


def words_of_skiplist(skiplist: str | tuple[str, ...]) -> list[str]:
    """Return the words that a setting of the skiplist stands for."""
    words = [skiplist] if isinstance(skiplist, str) else list(skiplist)
    return NAMED_SKIPLISTS.get(words[0], words) if len(words) == 1 else words


NAMED_SKIPLISTS = {"punctuation": list(string.punctuation), "none": []}
FEWEST_NEGATIVES: dict[Loss, int] = {"contrastive": 0, "kl": 2, "margin-mse": 1}
NEGATIVES_NEEDED = {
    "kl": "loss kl needs at least 2, since it sees the scores of two documents as 0 and 1 whatever they are; use "
    "margin-mse for one",
    "margin-mse": "loss margin-mse compares the documents of an example, and needs at least 1",
}
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


def _full_path(name: str) -> str:
    return str(Path(name).absolute()) if Path(name).exists() else name


def _versions() -> str:
    found = []
    for package in STACK:
        try:
            found.append(f"{package} {version(package)}")
        except PackageNotFoundError:
            continue
    return "made with " + ", ".join(found)
