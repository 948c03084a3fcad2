"""Everything that decides how a training run goes, in one frozen object, from a TOML file, from flags, or from both.

The names in the file, the flags (`batch_size` is `--batch-size`) and the fields are the same, so a field added here is
everywhere. Nothing heavy is imported: a wrong setting is reported before torch is loaded.
"""

import dataclasses
import difflib
import json
import tomllib
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from types import UnionType
from typing import Any, Literal, get_args, get_origin, get_type_hints

from ...errors import InputError
from ...files import write_text

Precision = Literal["fp32", "bf16", "fp16"]
SETTINGS_FILE = "training.toml"
NOT_WRITTEN = ("output", "resume")
"""Where a run goes and whether it goes on are not part of what reproduces it."""
STACK = ("modernir", "torch", "transformers", "sentence-transformers", "tokenizers")


@dataclass(frozen=True, slots=True)
class TrainingSettings:
    """What to train, on what, and how.

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
        temperature: What cosines are divided by in the loss.
        query_length: Tokens read of a query; None as the checkpoint says, 512 for a new model.
        document_length: Tokens read of a document; None as the checkpoint says, 512 for a new model.
        query_prompt: Put before every query, and kept in the model; None as the checkpoint says.
        document_prompt: Put before every document, and kept in the model; None as the checkpoint says.
        negatives: Negatives used an example; None one where the first example has any, else none.
        holdout: Queries kept out of training to measure retrieval on: a number, or below 1 a share.
        precision: Number format of the matrix products; weights and optimiser stay fp32.
        seed: Of weights, held-out part, order of the examples.
        log_every: Steps between two lines of the log.
        eval_every: Steps between two measurements on the held-out part; None ten times a run.
        save_every: Steps between two checkpoints; None ten times a run.
        resume: Go on from the newest checkpoint in `output`.
    """

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
        for name in NOT_BELOW_ONE:
            value = getattr(self, name)
            if value is not None and value < 1:
                raise InputError(f"{name}: expected at least 1, found {value}")
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
    def from_sources(cls, config: Path | None = None, **flags: Any) -> "TrainingSettings":  # noqa: ANN401 - checked
        """Join a TOML file and flags; a flag that is given, not None and no empty list, wins.

        A run that resumes reads the file in its own folder.

        Raises:
            InputError: The file is missing, broken or has an unknown key, or a value has the wrong type or range.
        """
        values = {name: value for name, value in flags.items() if value is not None and value != []}
        check_values(values, "the flags")
        if config is None and values.get("resume") and "output" in values:
            config = Path(values["output"]) / SETTINGS_FILE
            if not config.is_file():
                raise InputError(f"{values['output']}: no run to resume; start one without --resume")
        where = f"{config}: " if config else ""
        values = (read_settings(config) if config else {}) | values
        if "output" not in values:
            raise InputError(f"{where}no output folder; name one with --output")
        values["data"] = tuple(values.get("data", ()))
        return cls(**values)

    def with_full_paths(self) -> "TrainingSettings":
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
        lines = [f"{name} = {_toml(value)}" for name, value in kept.items() if value is not None]
        command = f"# modernir train-dense --config {SETTINGS_FILE} --output NEW_FOLDER"
        write_text(folder / SETTINGS_FILE, "\n".join([command, f"# {_versions()}", *lines]) + "\n")

    def differences(self, other: "TrainingSettings") -> list[str]:
        """Name the settings, but for output and resume, in which `other` differs."""
        names = [field.name for field in dataclasses.fields(self) if field.name not in NOT_WRITTEN]
        return [name for name in names if getattr(self, name) != getattr(other, name)]


NOT_BELOW_ONE = (
    "mini_batch_size",
    "accumulation",
    "max_steps",
    "query_length",
    "document_length",
    "log_every",
    "eval_every",
    "save_every",
)
RANGES: dict[str, tuple[float, float]] = {
    "batch_size": (2, 1 << 20),
    "epochs": (1e-6, 1e6),
    "learning_rate": (1e-12, 10),
    "warmup": (0, 0.99),
    "temperature": (1e-4, 100),
    "holdout": (0, 1e7),
    "seed": (0, 2**32 - 1),
}


def read_settings(path: Path) -> dict[str, Any]:
    """Read a TOML file as settings by name, each of the right type.

    Raises:
        InputError: The file is missing or not TOML, a key is unknown (the nearest known ones are named), or a value
            has the wrong type.
    """
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such file") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: not valid TOML ({error})") from error
    check_values(values, str(path))
    return values


def check_values(values: dict[str, Any], where: str) -> None:
    """Raise InputError where a name is no setting or a value has not its type; `where` begins the message."""
    hints = get_type_hints(TrainingSettings)
    for name, value in values.items():
        if name not in hints:
            near = difflib.get_close_matches(name, hints, n=3) or sorted(hints)
            raise InputError(f"{where}: unknown setting {name!r}; did you mean {', '.join(near)}?")
        if not _fits(value, hints[name]):
            raise InputError(f"{where}: {name}: expected {_words(hints[name])}, found {value!r}")


def _fits(value: Any, hint: Any) -> bool:  # noqa: ANN401 - any value, any annotation of the settings
    if isinstance(hint, UnionType):
        return any(_fits(value, option) for option in get_args(hint))
    if get_origin(hint) is Literal:
        return value in get_args(hint)
    if get_origin(hint) is tuple:
        return isinstance(value, list | tuple) and all(isinstance(item, str) for item in value)
    if hint is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    return type(value) is hint


def _words(hint: Any) -> str:  # noqa: ANN401 - any annotation of the settings
    if isinstance(hint, UnionType):
        return _words(get_args(hint)[0])
    if get_origin(hint) is Literal:
        return f"one of {', '.join(get_args(hint))}"
    if get_origin(hint) is tuple:
        return "a list of texts"
    return {str: "a text", int: "a whole number", float: "a number", bool: "true or false"}[hint]


def _toml(value: Any) -> str:  # noqa: ANN401 - a value of the settings
    # JSON's texts, numbers, lists and booleans are TOML's, but for the one control character that JSON leaves bare
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


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
