"""Settings of a run that leaves a folder: read from a TOML file, from flags or from both, and written to repeat it.

What is set is the fields of a frozen dataclass below this one; nothing heavy is imported.
"""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, ClassVar, Self

from ...errors import InputError
from ...files import write_text
from .values import check_values, read_toml, to_toml

SETTINGS_FILE = "training.toml"
NOT_WRITTEN = ("output", "resume")
"""Where a run goes and whether it goes on are not part of what reproduces it."""
MADE = ("output", "teacher_cache")
"""Settings that name a folder which a run makes."""
FOUND = ("data", "model", "dev", "tokenizer", "tile_from", "embeddings_from", "teacher")
"""Settings whose values are paths where there is such a path, and else names; so is `init` where it is a file."""
BROUGHT = ("tokenizer", "tile_from", "embeddings_from")
"""Settings of a new network: one that is there has what they would give it."""
STACK = ("modernir", "torch", "transformers", "sentence-transformers", "tokenizers")


@dataclass(frozen=True)
class RunSettings:
    """What the settings of all runs have in common.

    Attributes:
        output: Folder of the run and, at the end, of the model.
        resume: Go on from the newest checkpoint in `output`.
    """

    command: ClassVar[str]
    """What repeats a run of this kind on the command line."""

    output: str
    resume: bool = False

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
        check_values(values, cls, str(config))
        return values

    def with_full_paths(self) -> Self:
        """Return the settings with every path that exists here made absolute, so that they hold in any folder."""
        given = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        full: dict[str, Any] = {name: str(Path(given[name]).absolute()) for name in MADE if given.get(name)}
        full |= {name: _full_paths(given[name]) for name in FOUND if given.get(name)}
        if (given.get("init") or "").endswith(".json"):
            full["init"] = _full_path(given["init"])
        return dataclasses.replace(self, **full)

    def write(self, folder: Path) -> None:
        """Write what reproduces the run as `training.toml` into `folder`; settings that are None are left out."""
        kept = {name: value for name, value in dataclasses.asdict(self).items() if name not in NOT_WRITTEN}
        lines = [f"{name} = {to_toml(value)}" for name, value in kept.items() if value is not None]
        command = f"# modernir {self.command} --config {SETTINGS_FILE} --output NEW_FOLDER"
        write_text(folder / SETTINGS_FILE, "\n".join([command, f"# {_versions()}", *lines]) + "\n")

    def differences(self, other: "RunSettings") -> list[str]:
        """Name the settings, but for output and resume, in which `other` differs."""
        names = [field.name for field in dataclasses.fields(self) if field.name not in NOT_WRITTEN]
        return [name for name in names if getattr(self, name) != getattr(other, name)]


def check_ranges(settings: RunSettings, lowest: Mapping[str, float], ranges: Mapping[str, tuple[float, float]]) -> None:
    """Refuse values out of range.

    Args:
        settings: What was given.
        lowest: The least value of a setting that may be None, or that not all kinds of runs have.
        ranges: The least and the greatest value of the others.

    Raises:
        InputError: A value is out of its range.
    """
    for name, least in lowest.items():
        value = getattr(settings, name, None)
        if value is not None and not value >= least:
            raise InputError(f"{name}: expected at least {least}, found {value}")
    for name, (least, most) in ranges.items():
        if not least <= getattr(settings, name) <= most:
            raise InputError(f"{name}: expected {least:g} to {most:g}, found {getattr(settings, name)}")


def check_start(settings: Any, purpose: str) -> None:  # noqa: ANN401 - settings with a model or init
    """Refuse settings that do not begin with a network that is there or a new one, or mix the two.

    Args:
        settings: With the fields `model` and `init`.
        purpose: What a model is named for, as the message says it.

    Raises:
        InputError: Both are given, or neither, or a `model` and a setting of new ones.
    """
    if bool(settings.model) == bool(settings.init):
        found = "both" if settings.model else "neither"
        raise InputError(f"expected either a model to {purpose} (--model) or a size (--init), found {found}")
    foreign = [name for name in BROUGHT if getattr(settings, name, None)] if settings.model else []
    if foreign:
        raise InputError(f"{foreign[0]} goes with --init; a --model brings its own tokenizer and weights")


def _full_paths(value: Any) -> Any:  # noqa: ANN401 - a name or several
    return _full_path(value) if isinstance(value, str) else tuple(map(_full_path, value))


def _full_path(name: str) -> str:
    """Return the absolute path of what exists here, and any other name as it is."""
    return str(Path(name).absolute()) if Path(name).exists() else name


def _versions() -> str:
    found = []
    for package in STACK:
        try:
            found.append(f"{package} {version(package)}")
        except PackageNotFoundError:
            continue
    return "made with " + ", ".join(found)
