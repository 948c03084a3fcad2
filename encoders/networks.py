"""The networks of this package as a table: which checkpoints each runs, and how it is loaded and fed."""

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import torch

from ..errors import InputError
from . import bert
from .checkpoint import Checkpoint
from .precision import torch_dtype
from .stream import Stream
from .weights import load_weights

logger = logging.getLogger(__name__)


class Network(Protocol):
    """Maps a stream to the last hidden states, (tokens, width) on its device, for encoding only.

    One that has several streams under way at a time also offers `map(streams)`, an iterator of their hidden states in
    order.
    """

    device: torch.device
    width: int

    def __call__(self, stream: Stream) -> torch.Tensor: ...  # noqa: D102 - see the class


@dataclass(frozen=True)
class Kind:
    """One architecture.

    Attributes:
        supports: Says whether a `config.json` is of it and asks for nothing that does not run here.
        load: Makes the network of a checkpoint, given the device, the precision and the name of an attention back-end
            or None.
        precisions: Given the config, the device and the name of an attention back-end or None, the precisions that keep
            retrieval quality, the fastest first.
        budgets: Device to tokens a batch; a device that is not there takes the CPU's.
        padded: Whether a batch costs as if every text were as long as its longest.
        sends: Whether the network itself brings a stream from the host to its device.
    """

    supports: Callable[[Mapping[str, Any]], bool]
    load: Callable[[Checkpoint, torch.device, str, str | None], Network]
    precisions: Callable[[Mapping[str, Any], torch.device, str | None], tuple[str, ...]]
    budgets: Mapping[str, int]
    padded: bool
    sends: bool

    def budget(self, device: torch.device) -> int:
        """Return the tokens of a batch on a device."""
        return self.budgets.get(device.type, self.budgets["cpu"])


def find_kind(config: Mapping[str, Any]) -> Kind | None:
    """Return the architecture of a config, or None where none of ours runs it."""
    return next((kind for kind in KINDS if kind.supports(config)), None)


def hidden_states(network: Network, streams: Iterable[Stream]) -> Iterator[torch.Tensor]:
    """Yield the hidden states of each stream, in order."""
    mapped: Callable[[Iterable[Stream]], Iterator[torch.Tensor]] | None = getattr(network, "map", None)
    return mapped(streams) if mapped else map(network, streams)


def _load_bert(checkpoint: Checkpoint, device: torch.device, precision: str, attention: str | None) -> Network:
    if precision == "int8":
        raise InputError(f"{checkpoint.name}: int8 is for ModernBERT; choose fp32 or bf16")
    if attention is not None:
        raise InputError(f"{checkpoint.name}: attention back-ends are for ModernBERT; leave {attention!r} out")
    weights = load_weights(checkpoint.network_folder)
    return bert.BertNetwork(checkpoint.config, weights, device, torch_dtype(precision))


def _bert_precisions(config: Mapping[str, Any], device: torch.device, attention: str | None) -> tuple[str, ...]:
    return ("bf16", "fp32")


def _is_modernbert(config: Mapping[str, Any]) -> bool:
    if config.get("model_type") != "modernbert":
        return False

    from .modernbert.config import ModernBertConfig

    try:
        ModernBertConfig.from_fields(config, "config.json")
    except InputError as error:
        logger.info("%s; the model runs through sentence-transformers", error)
        return False
    return True


def _load_modernbert(checkpoint: Checkpoint, device: torch.device, precision: str, attention: str | None) -> Network:
    from .modernbert.load import load_network

    return load_network(checkpoint, device, precision, attention)


def _modernbert_precisions(config: Mapping[str, Any], device: torch.device, attention: str | None) -> tuple[str, ...]:
    if device.type != "cpu":
        return ("bf16", "fp32")

    from .modernbert.config import ModernBertConfig
    from .modernbert.load import has_engine

    fields = ModernBertConfig.from_fields(config, "config.json")
    return ("int8", "bf16", "fp32") if has_engine(device, fields, "int8", attention) else ("bf16", "fp32")


KINDS = (
    Kind(bert.is_supported, _load_bert, _bert_precisions, {"cpu": 4096, "cuda": 65536}, padded=True, sends=False),
    Kind(
        _is_modernbert, _load_modernbert, _modernbert_precisions, {"cpu": 1024, "cuda": 65536}, padded=False, sends=True
    ),
)
