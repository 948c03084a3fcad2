"""Dense embedders that run on this package's own networks: tokenizer, stream, pooling, projection, normalisation.

Imports torch, tokenizers and safetensors and nothing heavier, since a search from a shell waits for every import.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors import safe_open
from tokenizers import Tokenizer

from ..errors import InputError
from ..files import read_json
from . import bert
from .batching import token_budget_batches
from .checkpoint import Checkpoint, read_optional
from .dense import DenseEncoder
from .pooling import pool, pooling_mode
from .precision import torch_dtype
from .stream import Stream

TOKENS_PER_BATCH = {"cpu": 4096, "cuda": 65536}
TEXTS_PER_BLOCK = 4096
NOT_READ_HERE = ("do_lower_case", "processing_kwargs", "query_expansion")
"""Settings of how texts are read that only sentence-transformers follows."""
DENSE_ACTIVATIONS: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "torch.nn.modules.linear.Identity": lambda x: x,
    "torch.nn.modules.activation.Tanh": torch.tanh,
}
DENSE_SHAPE = ("in_features", "out_features", "bias", "activation_function")
PLAIN: dict[str, tuple[object, ...]] = {
    "module_input_name": ("sentence_embedding",),
    "module_output_name": ("sentence_embedding", None),
    "use_residual": (False,),
}
"""The other settings of the modules after pooling, and their values that run here."""
TOKENIZER_OVERRIDES: dict[str, tuple[str, object]] = {
    "do_lower_case": ("lowercase", True),
    "strip_accents": ("strip_accents", None),
    "tokenize_chinese_chars": ("handle_chinese_chars", True),
}
"""Keys of `tokenizer_config.json`, with their defaults, that transformers puts over fields of `tokenizer.json`."""


@dataclass(frozen=True)
class Head:
    """What follows the network: pooling, then projections and normalisation in the checkpoint's order."""

    pooling: str
    steps: tuple[Callable[[torch.Tensor], torch.Tensor], ...]
    dim: int | None


class PackedEncoder(DenseEncoder):
    """A dense encoder on one stream of tokens; see `DenseEncoder`."""

    def __init__(self, checkpoint: Checkpoint, head: Head, device: torch.device, precision: str) -> None:
        weights = load_weights(checkpoint.network_folder)
        self._network = bert.BertNetwork(checkpoint.config, weights, device, torch_dtype(precision))
        self._head = head
        self._tokenizers = _load_tokenizers(checkpoint)
        dim = head.dim or self._network.width
        super().__init__(checkpoint, dim, checkpoint.max_length, str(device), precision)

    def _encode(self, texts: Sequence[str], prompt: str, task: str) -> np.ndarray:
        vectors = np.empty((len(texts), self.dim), dtype=np.float32)
        budget = TOKENS_PER_BATCH.get(self._network.device.type, TOKENS_PER_BATCH["cpu"])
        for start in range(0, len(texts), TEXTS_PER_BLOCK):
            block = [prompt + text for text in texts[start : start + TEXTS_PER_BLOCK]]
            ids = [encoding.ids for encoding in self._tokenizers[task].encode_batch(block)]
            for batch in token_budget_batches([len(tokens) for tokens in ids], budget):
                vectors[start + batch] = self._embed([ids[number] for number in batch])
        return vectors

    @torch.inference_mode()
    def _embed(self, ids: list[list[int]]) -> np.ndarray:
        stream = Stream.of(ids, self._network.device)
        x = pool(self._network(stream), stream.sizes, self._head.pooling)
        for step in self._head.steps:
            x = step(x)
        return x.cpu().numpy()


def load_packed(checkpoint: Checkpoint, device: torch.device, precision: str) -> DenseEncoder | None:
    """Return an encoder on our own network, or None where the checkpoint holds something that it does not cover."""
    if not bert.is_supported(checkpoint.config) or not (checkpoint.network_folder / "tokenizer.json").is_file():
        return None
    if any(checkpoint.reading.get(name) for name in NOT_READ_HERE) or not _tokenizes_as_saved(checkpoint):
        return None
    head = read_head(checkpoint, device)
    return PackedEncoder(checkpoint, head, device, precision) if head else None


def _tokenizes_as_saved(checkpoint: Checkpoint) -> bool:
    config = checkpoint.tokenizer_config
    normalizer = read_json(checkpoint.network_folder / "tokenizer.json").get("normalizer") or {}
    overridden = any(
        field in normalizer and normalizer[field] != config.get(key, default)
        for key, (field, default) in TOKENIZER_OVERRIDES.items()
    )
    return not overridden and config.get("truncation_side", "right") == "right"


def read_head(checkpoint: Checkpoint, device: torch.device) -> Head | None:
    """Read pooling and what follows it, or return None where a module of another kind is among them.

    A bare network gets mean pooling and nothing else, as in sentence-transformers.
    """
    if not checkpoint.modules:
        return Head("mean", (), None)
    names = [name for name, _ in checkpoint.modules]
    if names[:2] != ["Transformer", "Pooling"]:
        return None
    mode = pooling_mode(read_optional(checkpoint.modules[1][1] / "config.json"))
    steps: list[Callable[[torch.Tensor], torch.Tensor]] = []
    dim = None
    for name, folder in checkpoint.modules[2:]:
        config = read_optional(folder / "config.json")
        activation = DENSE_ACTIVATIONS.get(str(config.get("activation_function")))
        if not all(key in DENSE_SHAPE or value in PLAIN.get(key, ()) for key, value in config.items()):
            return None
        if name == "Normalize":
            steps.append(_normalize)
        elif name == "Dense" and activation:
            steps.append(_dense_step(folder, activation, device))
            dim = int(config["out_features"])
        else:
            return None
    if checkpoint.truncate_dim:
        steps.append(lambda x: x[:, : checkpoint.truncate_dim])
        dim = int(checkpoint.truncate_dim)
    return Head(mode, tuple(steps), dim) if mode else None


def _normalize(x: torch.Tensor) -> torch.Tensor:
    return torch.nn.functional.normalize(x, dim=-1)


def _dense_step(
    folder: Path, activation: Callable[[torch.Tensor], torch.Tensor], device: torch.device
) -> Callable[[torch.Tensor], torch.Tensor]:
    weights = load_weights(folder)
    weight, bias = weights.get("linear.weight"), weights.get("linear.bias")
    if weight is None:
        raise InputError(f"{folder}: expected the tensor 'linear.weight' in a .safetensors file there")
    weight = weight.to(device).float()
    bias = None if bias is None else bias.to(device).float()
    return lambda x: activation(torch.nn.functional.linear(x, weight, bias))


def load_weights(folder: Path) -> Mapping[str, torch.Tensor]:
    """Map a folder's safetensors, one file or shards, into memory.

    Raises:
        InputError: A file is damaged.
    """
    tensors: dict[str, torch.Tensor] = {}
    for file in sorted(folder.glob("*.safetensors")):
        try:
            with safe_open(file, framework="pt") as weights:
                tensors |= {name: weights.get_tensor(name) for name in weights.keys()}  # noqa: SIM118 - no mapping
        except Exception as error:  # safetensors raises its own kind
            raise InputError(f"{file}: damaged or not a safetensors file ({error})") from error
    return tensors


def _load_tokenizers(checkpoint: Checkpoint) -> dict[str, Tokenizer]:
    lengths = {task: checkpoint.length_of(task) for task in ("query", "document")}
    by_length = {length: _load_tokenizer(checkpoint, length) for length in set(lengths.values())}
    return {task: by_length[length] for task, length in lengths.items()}


def _load_tokenizer(checkpoint: Checkpoint, max_length: int) -> Tokenizer:
    file = checkpoint.network_folder / "tokenizer.json"
    try:
        tokenizer: Tokenizer = Tokenizer.from_file(str(file))
    except Exception as error:  # tokenizers raises plain exceptions
        raise InputError(f"{file}: not a tokenizer that this version of tokenizers reads ({error})") from error
    tokenizer.no_padding()
    tokenizer.enable_truncation(max_length)
    return tokenizer
