"""The network and the tokenizer of a ColBERT, brought into the folder of another format with every weight as it was.

No network is made: names of files and tensors are all that matters, so that any encoder of transformers will do. Where
neither a name nor the embedding table changes, the files of the weights are copied as they are.
"""

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from ....errors import InputError
from ....files import write_json
from ...checkpoint import READING, SETTINGS, STANFORD_ARCHITECTURE, TOKENIZER_CONFIG, read_object
from ...reading import TOKENIZER
from ...weights import CONFIG, INDEX, SINGLE, Weights, read_weights, write_weights
from ..head import LINEAR
from .source import Marker, Source

COPIED = {".json", ".txt", ".model", ".jinja", ".py"}
"""Endings of the files beside the weights that belong to a network or its tokenizer."""
LEFT = {CONFIG, INDEX, TOKENIZER, TOKENIZER_CONFIG, READING, SETTINGS, "modules.json"}
"""Files that are written anew, or belong to the format that the checkpoint was in."""
LICENSES = ("LICENSE", "LICENCE", "NOTICE")
TABLES = ("word_embeddings.weight", "tok_embeddings.weight", "embed_tokens.weight", "shared.weight", "wte.weight")
"""How the names of embedding tables end."""
SPECIAL = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
"""How a tokenizer finds a marker: as it is written, before texts are normalised."""


@dataclass(frozen=True)
class Architecture:
    """What transformers calls a network.

    Attributes:
        name: Its class, such as "BertModel".
        prefix: What the names of its tensors begin with under a head, such as "bert".
    """

    name: str
    prefix: str


def write_network(source: Source, folder: Path, linear: torch.Tensor | None = None) -> None:
    """Write weights, configuration, tokenizer and what else belongs to the network into a folder.

    Args:
        source: Whose.
        folder: Exists; nothing in it has the same name.
        linear: Projection that goes among the weights, as in Stanford's format, whose names and configuration are then
            written; None for the other formats.

    Raises:
        InputError: The weights are damaged, or the format needs to know the architecture, or its embedding table, and
            transformers or this package does not.
    """
    checkpoint = source.checkpoint
    weights = read_weights(checkpoint.network_folder)
    config = dict(checkpoint.config)
    if linear is None and not checkpoint.is_stanford and not source.added:
        index = checkpoint.network_folder / INDEX
        parts = set(weights.files.values())
        for file in parts if checkpoint.network_folder / SINGLE in parts else {*parts, index}:
            shutil.copyfile(file, folder / file.name)
    else:
        tensors, config = _renamed(source, weights, linear)
        tensors, config = _with_rows(source, tensors, config)
        write_weights(folder / SINGLE, tensors)
    write_json(folder / CONFIG, config)
    _copy_others(checkpoint.network_folder, folder)


def write_tokenizer(source: Source, folder: Path, markers: Mapping[str, Marker], restore_padding: bool = False) -> None:
    """Write the tokenizer, with markers that it finds in texts as one token each.

    Args:
        source: Whose.
        folder: Exists.
        markers: Of each task, those that the format needs to be found.
        restore_padding: Pad with the network's token again, where PyLate has put the mask in its place.
    """
    file = source.checkpoint.network_folder / TOKENIZER
    saved = read_object(file)
    found = {token["content"]: token for token in saved.get("added_tokens") or []}
    for marker in markers.values():
        found[marker.token] = {"id": marker.id, "content": marker.token, **SPECIAL}
    saved["added_tokens"] = sorted(found.values(), key=lambda token: int(token["id"]))
    if markers:
        write_json(folder / TOKENIZER, saved)
    else:
        shutil.copyfile(file, folder / TOKENIZER)
    config = dict(source.checkpoint.tokenizer_config)
    padding = source.checkpoint.config.get("pad_token_id")
    original = source.tokenizer.id_to_token(padding) if type(padding) is int and padding >= 0 else None
    if restore_padding and original is not None and config.get("pad_token") == config.get("mask_token"):
        config["pad_token"] = original
    decoder = config.get("added_tokens_decoder")
    if markers and isinstance(decoder, dict):  # what transformers 4 puts over the tokenizer's own file
        own = {str(marker.id): {"content": marker.token, **SPECIAL} for marker in markers.values()}
        config["added_tokens_decoder"] = decoder | own
    if config:
        write_json(folder / TOKENIZER_CONFIG, config)


def _copy_others(network: Path, folder: Path) -> None:
    for file in sorted(network.iterdir()):
        wanted = file.suffix in COPIED or file.name.startswith(LICENSES)
        if wanted and file.is_file() and file.name not in LEFT:
            shutil.copyfile(file, folder / file.name)


def _renamed(
    source: Source, weights: Weights, linear: torch.Tensor | None
) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """Name tensors and architecture as under Stanford's head where there is a projection, else as without a head."""
    tensors = {name: tensor for name, tensor in weights.tensors.items() if name != LINEAR}
    config = dict(source.checkpoint.config)
    if linear is None and not source.checkpoint.is_stanford:
        return tensors, config
    known = _architecture(str(config.get("model_type")))
    if linear is None:
        config.pop("architectures", None)
        if known is None:  # transformers finds the weights with the prefix too
            return tensors, config
        stripped = {name.removeprefix(f"{known.prefix}."): tensor for name, tensor in tensors.items()}
        return stripped, {"architectures": [known.name], **config}
    if known is None:
        raise InputError(
            f"{source.checkpoint.network_folder / CONFIG}: model_type is {config.get('model_type')!r}, none of "
            "transformers' own, whose names of weights the format stanford needs; choose another"
        )
    if not any(name.startswith(f"{known.prefix}.") for name in tensors):
        tensors = {f"{known.prefix}.{name}": tensor for name, tensor in tensors.items()}
    return {**tensors, LINEAR: linear}, config | {"architectures": [STANFORD_ARCHITECTURE]}


def _architecture(model_type: str) -> Architecture | None:
    import transformers
    from transformers.models.auto.modeling_auto import MODEL_MAPPING_NAMES

    name = MODEL_MAPPING_NAMES.get(model_type)
    if not isinstance(name, str):
        return None
    prefix = getattr(getattr(transformers, name), "base_model_prefix", "")
    return Architecture(name, prefix) if prefix else None


def _with_rows(
    source: Source, tensors: dict[str, torch.Tensor], config: dict[str, Any]
) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """Give markers that the tokenizer gets the embeddings of the tokens that marked texts so far."""
    if not source.added:
        return tensors, config
    rows = config.get("vocab_size")
    names = [name for name, tensor in tensors.items() if name.endswith(TABLES) and tensor.ndim == 2]
    if len(names) != 1 or len(tensors[names[0]]) != rows:
        raise InputError(
            f"{source.checkpoint.network_folder}: expected one embedding table with vocab_size {rows} rows, to which "
            f"the marker {source.added[0].token!r} is added; found {names or 'none'}; choose the format "
            "sentence-transformers, which keeps the prompt as it is"
        )
    table = tensors[names[0]]
    size = max(len(table), 1 + max(marker.id for marker in source.added))
    longer = torch.cat([table, table.new_zeros(size - len(table), table.shape[1])])
    for marker in source.added:
        assert marker.copied is not None
        longer[marker.id] = table[marker.copied]
    return {**tensors, names[0]: longer}, config | {"vocab_size": size}
