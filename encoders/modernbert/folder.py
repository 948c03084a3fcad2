"""Hugging Face folders of a ModernBERT: read with every tensor checked, and written so that transformers reads them.

What a file lacks or has wrongly is an error that names file and tensor, never a weight left at random. Heads that the
caller does not ask for are passed over.
"""

import os
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TypeVar

import torch

from ...errors import InputError
from ...files import new_folder, read_json, write_json
from ..weights import CONFIG, INDEX, SINGLE, Weights, check_tensor, read_weights, write_weights
from .config import ModernBertConfig
from .network import MaskedLanguageModel, ModernBert

BACKBONE = ("embeddings.", "layers.", "final_norm.")
"""How the tensors of the encoder begin, where they have no prefix."""
HEADS = ("head.", "decoder.")
PREFIX = "model."
TABLE = "model.embeddings.tok_embeddings.weight"
DECODER = "decoder.weight"
SHARD_BYTES = 5_000_000_000
"""Largest file that is written, as in transformers."""

Network = TypeVar("Network", ModernBert, MaskedLanguageModel)


def read_config(folder: Path) -> ModernBertConfig:
    """Read a folder's `config.json`.

    Raises:
        InputError: See `ModernBertConfig.from_fields`.
    """
    return ModernBertConfig.from_fields(read_json(folder / CONFIG), folder / CONFIG)


def read_network(folder: Path, dtype: torch.dtype | None = None) -> ModernBert:
    """Read the encoder of a checkpoint, whatever head it has.

    Args:
        folder: A Hugging Face folder.
        dtype: Type of the weights; None keeps the stored one, or the widest where they differ.

    Returns:
        The network on the CPU, in evaluation mode; weights of the stored type stay mapped from the file.

    Raises:
        InputError: The configuration is not supported, a file is missing or damaged, or a tensor is missing, not
            known, of another shape or type than the configuration says, or not finite.
    """
    return _read(folder, ModernBert, BACKBONE, dtype)


def read_masked_language_model(folder: Path, dtype: torch.dtype | None = None) -> MaskedLanguageModel:
    """Read a checkpoint with its masked-language-model head; see `read_network`."""
    return _read(folder, MaskedLanguageModel, (*(PREFIX + part for part in BACKBONE), *HEADS), dtype)


def save(network: ModernBert | MaskedLanguageModel, folder: Path, shard_bytes: int = SHARD_BYTES) -> None:
    """Write weights and `config.json`; other files that the folder holds stay.

    The folder changes at once or not at all.

    Args:
        network: What to write, in the dtype that it has.
        folder: Made if need be.
        shard_bytes: Weights beyond this go into several files.
    """
    tensors = {name: tensor.detach() for name, tensor in network.state_dict().items()}
    if network.config.tied:
        tensors.pop(DECODER, None)
    head = "Model" if isinstance(network, ModernBert) else "ForMaskedLM"
    dtype = str(next(iter(tensors.values())).dtype).removeprefix("torch.")
    with new_folder(folder) as fresh:
        if folder.exists():
            _keep_others(folder, fresh)
        _write_weights(tensors, fresh, shard_bytes)
        fields = {"architectures": [f"ModernBert{head}"], "torch_dtype": dtype, **network.config.to_fields()}
        write_json(fresh / CONFIG, fields)


def _read(folder: Path, kind: type[Network], known: tuple[str, ...], dtype: torch.dtype | None) -> Network:
    config = read_config(folder)
    weights = _renamed(read_weights(folder), known)
    with torch.device("meta"):
        network = kind(config)
    expected = network.state_dict()
    if config.tied:
        expected.pop(DECODER, None)
    _check_names(weights, expected, known, config)
    for name, tensor in expected.items():
        check_tensor(weights, name, tensor.shape)
    tensors = {name: weights.tensors[name] for name in expected}
    dtype = dtype or _widest(tensors.values())
    network.load_state_dict({name: tensor.to(dtype) for name, tensor in tensors.items()}, strict=False, assign=True)
    if isinstance(network, MaskedLanguageModel):
        network.tie()
    return network.eval()


def _renamed(weights: Weights, known: tuple[str, ...]) -> Weights:
    """Spell the encoder's tensors as the network to be read does: with a prefix under a head, else without."""
    names = {name: _wanted(name, known) for name in weights.tensors}
    return Weights(
        weights.folder,
        {names[name]: tensor for name, tensor in weights.tensors.items()},
        {names[name]: file for name, file in weights.files.items()},
    )


def _wanted(name: str, known: tuple[str, ...]) -> str:
    bare = name.removeprefix(PREFIX)
    if not bare.startswith(BACKBONE):
        return name
    return bare if bare.startswith(known) else PREFIX + bare


def _check_names(
    weights: Weights, expected: Mapping[str, torch.Tensor], known: tuple[str, ...], config: ModernBertConfig
) -> None:
    missing = [name for name in expected if name not in weights.tensors]
    if missing:
        others = f" and {len(missing) - 1} others" if len(missing) > 1 else ""
        raise InputError(
            f"{weights.folder}: the weights lack the tensor {missing[0]!r}{others}, which {CONFIG} asks for"
        )
    if config.tied and DECODER.startswith(known) and DECODER in weights.tensors:
        _check_tied(weights)
    ours = (name for name in weights.tensors if name.startswith(known) and name != DECODER)
    stray = next((name for name in ours if name not in expected), None)
    if stray:
        raise InputError(f"{weights.files[stray]}: unexpected tensor {stray!r}, which {CONFIG} has no place for")


def _check_tied(weights: Weights) -> None:
    if not torch.equal(weights.tensors[DECODER], weights.tensors[TABLE]):
        raise InputError(
            f"{weights.files[DECODER]}: {DECODER!r} differs from the embeddings, though {CONFIG} has "
            "tie_word_embeddings true; set it to false"
        )


def _widest(tensors: Iterable[torch.Tensor]) -> torch.dtype:
    found = {tensor.dtype for tensor in tensors}
    return found.pop() if len(found) == 1 else torch.float32


def _keep_others(source: Path, target: Path) -> None:
    """Link, or else copy, what is in a folder besides configuration and weights."""

    def replaced(folder: str, names: list[str]) -> list[str]:
        return [name for name in names if Path(folder) == source and _is_ours(name)]

    shutil.copytree(source, target, ignore=replaced, copy_function=_link, symlinks=True, dirs_exist_ok=True)


def _is_ours(name: str) -> bool:
    return name in (CONFIG, SINGLE, INDEX) or (name.startswith("model-") and name.endswith(".safetensors"))


def _link(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:  # some file systems have no links
        shutil.copy2(source, target)


def _write_weights(tensors: Mapping[str, torch.Tensor], folder: Path, shard_bytes: int) -> None:
    shards = _shards(tensors, shard_bytes)
    if len(shards) == 1:
        _write_file(shards[0], folder / SINGLE)
        return
    files = [f"model-{number:05}-of-{len(shards):05}.safetensors" for number in range(1, len(shards) + 1)]
    for shard, file in zip(shards, files, strict=True):
        _write_file(shard, folder / file)
    places = {name: file for shard, file in zip(shards, files, strict=True) for name in shard}
    total = sum(tensor.nbytes for tensor in tensors.values())
    write_json(folder / INDEX, {"metadata": {"total_size": total}, "weight_map": places})


def _shards(tensors: Mapping[str, torch.Tensor], shard_bytes: int) -> list[dict[str, torch.Tensor]]:
    shards: list[dict[str, torch.Tensor]] = [{}]
    held = 0
    for name, tensor in tensors.items():
        if shards[-1] and held + tensor.nbytes > shard_bytes:
            shards.append({})
            held = 0
        shards[-1][name] = tensor.contiguous()
        held += tensor.nbytes
    return shards


def _write_file(tensors: dict[str, torch.Tensor], file: Path) -> None:
    write_weights(file, tensors)
    with file.open("rb") as stream:
        os.fsync(stream.fileno())
