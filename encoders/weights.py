"""The tensors of a checkpoint folder: safetensors, one file or shards, mapped into memory and not copied.

Pickled weights are never read, since reading a pickle runs whatever code it holds.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file

from ..errors import InputError
from ..files import read_json

SINGLE = "model.safetensors"
INDEX = "model.safetensors.index.json"
CONFIG = "config.json"
FLOATS = (torch.float32, torch.bfloat16, torch.float16)


@dataclass(frozen=True)
class Weights:
    """Named tensors and where they are from.

    Attributes:
        folder: The checkpoint.
        tensors: On the CPU, mapped from their files; writing to one does not change its file.
        files: The file of each tensor.
    """

    folder: Path
    tensors: Mapping[str, torch.Tensor]
    files: Mapping[str, Path]


def read_weights(folder: Path) -> Weights:
    """Map the weights of a checkpoint into memory.

    Args:
        folder: Holds `model.safetensors`, or shards and `model.safetensors.index.json`.

    Raises:
        InputError: There are no such files, or one is missing, damaged or not what the index says.
    """
    if (folder / SINGLE).exists():
        tensors = _read_file(folder / SINGLE)
        return Weights(folder, tensors, dict.fromkeys(tensors, folder / SINGLE))
    if not (folder / INDEX).exists():
        raise InputError(
            f"{folder}: found neither {SINGLE} nor {INDEX}; pickled weights are not read, save the model as safetensors"
        )
    files = _read_index(folder / INDEX)
    shards = {file: _read_file(file) for file in sorted(set(files.values()))}
    for name, file in files.items():
        if name not in shards[file]:
            raise InputError(f"{file}: lacks the tensor {name!r}, which {INDEX} says is there")
    tensors = {name: tensor for shard in shards.values() for name, tensor in shard.items()}
    return Weights(folder, tensors, {name: file for file, shard in shards.items() for name in shard})


def check_tensor(weights: Weights, name: str, shape: Sequence[int]) -> torch.Tensor:
    """Return a tensor of the shape that the configuration asks for.

    Raises:
        InputError: It is not there, of another shape or type, or holds numbers that are not finite.
    """
    if name not in weights.tensors:
        raise InputError(f"{weights.folder}: the weights lack the tensor {name!r}, which {CONFIG} asks for")
    tensor, file = weights.tensors[name], weights.files[name]
    if tensor.shape != tuple(shape):
        raise InputError(f"{file}: {name!r} has shape {tuple(tensor.shape)}, but {CONFIG} asks for {tuple(shape)}")
    if tensor.dtype not in FLOATS:
        raise InputError(f"{file}: {name!r} is stored as {tensor.dtype}; expected float32, bfloat16 or float16")
    # a sum is finite unless a weight is not, or the sum overflows: one pass without a second array
    if not tensor.sum(dtype=torch.float32).isfinite() and not tensor.isfinite().all():
        raise InputError(f"{file}: {name!r} holds weights that are NaN or infinite; the checkpoint is damaged")
    return tensor


def write_weights(file: Path, tensors: Mapping[str, torch.Tensor], metadata: Mapping[str, str] | None = None) -> None:
    """Write a safetensors file that everyone may read, as any other file; the library's own are their owner's alone.

    Args:
        file: In a folder that exists.
        tensors: Name to tensor.
        metadata: Default: that they are PyTorch's, which transformers asks for.
    """
    contiguous = {name: tensor.contiguous() for name, tensor in tensors.items()}
    save_file(contiguous, file, metadata=dict(metadata or {"format": "pt"}))
    file.chmod(0o644)


def _read_file(file: Path) -> dict[str, torch.Tensor]:
    try:
        with safe_open(file, framework="pt") as weights:
            return {name: weights.get_tensor(name) for name in weights.keys()}  # noqa: SIM118 - no mapping
    except FileNotFoundError as error:
        raise InputError(f"{file}: no such file, but {INDEX} names it; the checkpoint is incomplete") from error
    except Exception as error:  # safetensors raises its own kind
        raise InputError(f"{file}: damaged or not a safetensors file ({error})") from error


def _read_index(index: Path) -> dict[str, Path]:
    fields = read_json(index)
    shards = fields.get("weight_map") if isinstance(fields, dict) else None
    if not isinstance(shards, dict) or not shards:
        raise InputError(f"{index}: expected a 'weight_map' from tensors to files")
    strays = [shard for shard in shards.values() if not isinstance(shard, str) or Path(shard).name != shard]
    if strays:
        raise InputError(f"{index}: {strays[0]!r} is not the name of a file beside it")
    return {name: index.parent / shard for name, shard in shards.items()}
