"""The average of the weights of checkpoints of one architecture, as a folder that loads like the first of them.

Wortsman, Ilharco, Gadre, Roelofs, Gontijo-Lopes, Morcos, Namkoong, Farhadi, Carmon, Kornblith and Schmidt, "Model
soups" (2022), arXiv 2203.05482: models trained from the same start, averaged, are often better than the best of them,
and cost no more to run. What is no weight is the first one's; what would make the average senseless is refused by name.
"""

import math
import shutil
from collections.abc import Iterable, Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import InputError
from ..files import check_vacant, new_folder, read_json, resolved_target, sync_files, write_json
from .checkpoint import VOLATILE, Checkpoint, open_checkpoint

if TYPE_CHECKING:
    import torch

    from .weights import Weights

DTYPES = {"bf16": "bfloat16", "fp32": "float32"}
LEFT_OUT = (
    *("checkpoints", "examples", "corpus", "tensorboard", "training.toml", "training_log.jsonl"),
    *("trainer_state.json", "optimizer.safetensors", "*.bin", "*.pt", "*.pth", "*.pkl", "onnx", "openvino", ".*"),
)
"""Patterns of what does not go into an average: what a training run keeps beside its model, pickles, and other forms of
the first one's weights."""
WEIGHTS = "*.safetensors"
ADAPTER = "adapter_config.json"
VOCABULARIES = ("vocab.txt", "merges.txt", "*.model")
CHANGING = VOLATILE | {"__version__", "truncation", "padding", "_commit_hash"}
"""Keys of JSON files that do not matter: of place and library, and what a tokenizer was last asked for."""


def average(
    models: Sequence[str | Path],
    output: str | Path,
    weights: Sequence[float] | None = None,
    dtype: str | None = None,
) -> Path:
    """Average the weights of checkpoints, or store those of one in another precision.

    Computed in float32. Whatever it is stored in, `config.json` then names float32 where `dtype` is given, so that
    transformers and sentence-transformers compute in that.

    Args:
        models: Folders or hub names of one architecture, one configuration and one tokenizer: finished models, or
            `checkpoint-N` folders of a run.
        output: A folder that does not exist or is empty; it appears whole or not at all.
        weights: One for each model, at least 0; only their shares count. None weighs all alike.
        dtype: "bf16" or "fp32"; None keeps each tensor's type in the first model.

    Returns:
        The folder.

    Raises:
        InputError: A checkpoint cannot be read, one is not like the first in what the message names, the weights make
            no sense or are not finite, or the folder holds something.
    """
    if dtype is not None and dtype not in DTYPES:
        raise InputError(f"dtype: no {dtype!r}; expected one of {', '.join(DTYPES)}")
    if len(models) < 2 and dtype is None:
        raise InputError("one model is its own average; name two or more, or a --dtype to store it in")
    shares = shares_of(weights, len(models))
    folder = Path(output).expanduser()
    check_vacant(folder)
    checkpoints = [_open(model) for model in models]
    first = checkpoints[0]
    if resolved_target(folder).is_relative_to(first.folder.resolve()):
        raise InputError(f"{folder}: lies within the model {first.folder}; name a folder outside of it")
    for other in checkpoints[1:]:
        _check_alike(first, other)
    with new_folder(folder) as fresh:
        shutil.copytree(
            first.folder,
            fresh,
            ignore=shutil.ignore_patterns(*LEFT_OUT),
            copy_function=shutil.copyfile,
            dirs_exist_ok=True,
        )
        for place in _places(first.folder):
            _write_average([checkpoint.folder / place for checkpoint in checkpoints], fresh / place, shares, dtype)
        if dtype is not None:
            _compute_in_float32(fresh)
        sync_files(fresh)
    return folder


def _places(folder: Path) -> list[Path]:
    """Return the folders of a model that hold weights, relative to it."""
    files = (file.relative_to(folder) for file in folder.rglob(WEIGHTS))
    return sorted({file.parent for file in files if not _matches(file.parts, LEFT_OUT)})


def parse_weights(text: str) -> list[float]:
    """Read weights with commas between them.

    Raises:
        InputError: One is no number.
    """
    try:
        return [float(part) for part in text.split(",")]
    except ValueError as error:
        raise InputError(
            f"weights: expected numbers with commas between them, such as 2,1,1; found {text!r}"
        ) from error


def shares_of(weights: Sequence[float] | None, count: int) -> list[float]:
    """Return weights that add up to 1.

    Raises:
        InputError: There are not `count`, one is negative or not finite, or all are 0.
    """
    given = [1.0] * count if weights is None else list(weights)
    if len(given) != count:
        raise InputError(f"weights: {len(given)} for {count} models; give one for each")
    if not all(math.isfinite(weight) and weight >= 0 for weight in given) or not sum(given):
        raise InputError(f"weights: expected finite numbers of at least 0, not all of them 0; found {given}")
    return [weight / sum(given) for weight in given]


def _open(model: str | Path) -> Checkpoint:
    folder = Path(model).expanduser()
    adapter = next((file for file in (folder / ADAPTER, *folder.glob(f"*/{ADAPTER}")) if file.is_file()), None)
    if adapter is not None:
        raise InputError(f"{adapter}: an adapter, whose factors have no average; merge it into its model first")
    return open_checkpoint(model)


def _check_alike(first: Checkpoint, other: Checkpoint) -> None:
    """Refuse a checkpoint that computes something else with its weights, or reads texts otherwise."""
    expected, found = _settings(first.folder), _settings(other.folder)
    for file in sorted(expected.keys() | found.keys()):
        before, after = expected.get(file), found.get(file)
        if before == after:
            continue
        differ = f"{other.name}: {file} differs from {first.name}'s"
        if isinstance(before, dict) and isinstance(after, dict):
            key = next(key for key in (*before, *after) if before.get(key) != after.get(key))
            differ += f" in {key} ({_short(after.get(key))}, where that has {_short(before.get(key))})"
        elif before is None or after is None:
            differ = f"{other.name}: {'has' if before is None else 'lacks'} {file}, unlike {first.name}"
        raise InputError(f"{differ}; only models that are alike have an average")


def _settings(folder: Path) -> dict[str, Any]:
    """Return the content of all files of a model that say what it computes, by their names."""
    found: dict[str, Any] = {}
    for file in filter(Path.is_file, folder.rglob("*")):
        place = file.relative_to(folder)
        if _matches(place.parts, LEFT_OUT):
            continue
        if file.suffix == ".json" and not file.name.endswith(".index.json"):
            content = read_json(file)
            found[place.as_posix()] = _lasting(content) if isinstance(content, dict) else content
        elif _matches([file.name], VOCABULARIES):
            found[place.as_posix()] = file.read_bytes()
    return found


def _matches(names: Iterable[str], patterns: Iterable[str]) -> bool:
    return any(fnmatchcase(name, pattern) for name in names for pattern in patterns)


def _lasting(fields: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if name not in CHANGING}


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 80 else "other content" if text.startswith(("{", "[", "b'")) else f"{text[:77]}…"


def _write_average(sources: Sequence[Path], target: Path, shares: Sequence[float], dtype: str | None) -> None:
    """Write the safetensors files of one folder, cut into files as the first model's."""
    from safetensors import safe_open

    from .weights import INDEX, read_weights, write_weights

    found = [read_weights(source) for source in sources]
    names = found[0].tensors.keys()
    for weights in found[1:]:
        if stray := sorted(names ^ weights.tensors.keys()):
            raise InputError(f"{weights.folder}: {stray[0]!r} is not among the tensors of both it and {sources[0]}")
    size = 0
    for file in sorted(set(found[0].files.values())):
        inside = [name for name in names if found[0].files[name] == file]
        tensors = {name: _mean(found, shares, dtype, name) for name in inside}
        with safe_open(file, framework="pt") as opened:
            metadata = opened.metadata()
        write_weights(target / file.name, tensors, metadata)
        size += sum(tensor.nbytes for tensor in tensors.values())
    if (target / INDEX).is_file():
        index = read_json(target / INDEX)
        write_json(target / INDEX, index | {"metadata": {**index.get("metadata", {}), "total_size": size}})


def _mean(found: Sequence["Weights"], shares: Sequence[float], dtype: str | None, name: str) -> "torch.Tensor":
    import torch

    first = found[0].tensors[name]
    for weights in found:
        tensor, file = weights.tensors[name], weights.files[name]
        if tensor.shape != first.shape:
            raise InputError(
                f"{file}: {name!r} has shape {tuple(tensor.shape)}, the first model's {tuple(first.shape)}"
            )
        if not first.is_floating_point() and not torch.equal(tensor, first):
            raise InputError(f"{file}: {name!r} holds whole numbers that differ from the first model's; no average")
        if not tensor.isfinite().all():
            raise InputError(f"{file}: {name!r} holds weights that are not finite; leave this model out")
    if not first.is_floating_point():
        return first.contiguous()
    total = torch.zeros(first.shape)
    for share, weights in zip(shares, found, strict=True):
        total.add_(weights.tensors[name].float(), alpha=share)
    return total.to(getattr(torch, DTYPES[dtype]) if dtype else first.dtype)


def _compute_in_float32(folder: Path) -> None:
    """Say in each `config.json` of a network what to compute in; where it is not said, that is what is stored."""
    for file in folder.rglob("config.json"):
        fields = read_json(file)
        if isinstance(fields, dict) and "model_type" in fields:
            named = [name for name in ("dtype", "torch_dtype") if name in fields] or ["dtype"]
            write_json(file, fields | dict.fromkeys(named, "float32"))
