"""The networks of this package as a table: which checkpoints each runs, and how it is loaded and fed."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import torch

from ..errors import InputError
from . import bert
from .checkpoint import Checkpoint
from .precision import torch_dtype
from .stream import Stream
from .weights import CONFIG, read_weights

MODERNBERT_PACK = 1024
"""Tokens that the engine for CPUs takes at once."""


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
        supports: Says whether a config is of it and is to run here, given the file that errors name.
        load: Makes the network of a checkpoint, given the device, the precision and the name of an attention back-end
            or None.
        check: Reads the weights of a checkpoint as `load` does, makes nothing of them, and raises what `load` raises.
        precisions: Given the config, the device and the name of an attention back-end or None, the precisions that keep
            retrieval quality, the fastest first.
        rows: Given the config of a network that loads, the rows of its embedding table.
        budgets: Device to tokens a batch; a device that is not there takes the CPU's.
        padded: Whether a batch costs as if every text were as long as its longest.
        sends: Whether the network itself brings a stream from the host to its device.
    """

    supports: Callable[[Mapping[str, Any], object], bool]
    load: Callable[[Checkpoint, torch.device, str, str | None], Network]
    check: Callable[[Checkpoint], object]
    precisions: Callable[[Mapping[str, Any], torch.device, str | None], tuple[str, ...]]
    rows: Callable[[Mapping[str, Any]], int]
    budgets: Mapping[str, int]
    padded: bool
    sends: bool

    def budget(self, device: torch.device) -> int:
        """Return the tokens of a batch on a device."""
        return self.budgets.get(device.type, self.budgets["cpu"])


def find_kind(config: Mapping[str, Any], source: object = CONFIG) -> Kind | None:
    """Return the architecture of a config, or None where none of ours runs it.

    Args:
        config: The fields of a `config.json`.
        source: What errors name, usually the file.

    Raises:
        InputError: A ModernBERT asks for what this package does not run. No other library is tried, since what one of
            them makes of such a checkpoint may be weights left at random.
    """
    return next((kind for kind in KINDS if kind.supports(config, source)), None)


def hidden_states(network: Network, streams: Iterable[Stream]) -> Iterator[torch.Tensor]:
    """Yield the hidden states of each stream, in order."""
    mapped: Callable[[Iterable[Stream]], Iterator[torch.Tensor]] | None = getattr(network, "map", None)
    return mapped(streams) if mapped else map(network, streams)


def _load_bert(checkpoint: Checkpoint, device: torch.device, precision: str, attention: str | None) -> Network:
    if precision == "int8":
        raise InputError(f"{checkpoint.name}: int8 is for ModernBERT; choose fp32 or bf16")
    if attention is not None:
        raise InputError(f"{checkpoint.name}: attention back-ends are for ModernBERT; leave {attention!r} out")
    weights = read_weights(checkpoint.network_folder)
    return bert.BertNetwork(checkpoint.config, weights, device, torch_dtype(precision))


def _is_bert(config: Mapping[str, Any], source: object) -> bool:
    return bert.is_supported(config)


def _check_bert(checkpoint: Checkpoint) -> None:
    _load_bert(checkpoint, torch.device("cpu"), "fp32", None)


def _bert_precisions(config: Mapping[str, Any], device: torch.device, attention: str | None) -> tuple[str, ...]:
    return ("bf16", "fp32")


def _bert_rows(config: Mapping[str, Any]) -> int:
    return int(config.get("vocab_size", bert.VOCABULARY))


def _is_modernbert(config: Mapping[str, Any], source: object) -> bool:
    if config.get("model_type") != "modernbert":
        return False

    from .modernbert.config import ModernBertConfig

    ModernBertConfig.from_fields(config, source)
    return True


def _load_modernbert(checkpoint: Checkpoint, device: torch.device, precision: str, attention: str | None) -> Network:
    from .modernbert.load import load_network

    return load_network(checkpoint, device, precision, attention)


def _check_modernbert(checkpoint: Checkpoint) -> None:
    from .modernbert.folder import read_network

    read_network(checkpoint.network_folder)


def _modernbert_precisions(config: Mapping[str, Any], device: torch.device, attention: str | None) -> tuple[str, ...]:
    if device.type != "cpu":
        return ("bf16", "fp32")

    from .modernbert.config import ModernBertConfig
    from .modernbert.load import has_engine

    fields = ModernBertConfig.from_fields(config, CONFIG)
    return ("int8", "bf16", "fp32") if has_engine(device, fields, "int8", attention) else ("bf16", "fp32")


def _modernbert_rows(config: Mapping[str, Any]) -> int:
    from .modernbert.config import ModernBertConfig

    return ModernBertConfig.from_fields(config, CONFIG).vocabulary


KINDS = (
    Kind(
        supports=_is_bert,
        load=_load_bert,
        check=_check_bert,
        precisions=_bert_precisions,
        rows=_bert_rows,
        budgets={"cpu": 4096, "cuda": 65536},
        padded=True,
        sends=False,
    ),
    Kind(
        supports=_is_modernbert,
        load=_load_modernbert,
        check=_check_modernbert,
        precisions=_modernbert_precisions,
        rows=_modernbert_rows,
        budgets={"cpu": MODERNBERT_PACK, "cuda": 65536},
        padded=False,
        sends=True,
    ),
)
