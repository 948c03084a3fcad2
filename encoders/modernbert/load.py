"""A ModernBERT on the engine that its device has, for encoding only."""

import torch

from ...errors import InputError
from ..checkpoint import Checkpoint
from ..networks import Network
from ..precision import torch_dtype
from ..stream import Stream
from ..transfers import send
from .config import ModernBertConfig
from .folder import read_network
from .network import ModernBert


def load_network(checkpoint: Checkpoint, device: torch.device, precision: str, attention: str | None = None) -> Network:
    """Read a checkpoint's network and make it ready to encode.

    Args:
        checkpoint: Holds a ModernBERT; see `read_network`.
        device: Where to run.
        precision: "fp32", "bf16", "fp16" or, on a CPU, "int8".
        attention: Name of an attention back-end; None takes the best there is.

    Raises:
        InputError: The configuration is not supported, the weights are damaged or not finite, or the device does not
            run the precision or the back-end.
    """
    network = read_network(checkpoint.network_folder)
    if has_engine(device, network.config, precision, attention):
        from .cpu import CpuNetwork

        return CpuNetwork(network, network.config, precision)
    if precision == "int8":
        reason = why_no_engine(network.config, precision) or f"it does not go with the attention back-end {attention!r}"
        raise InputError(f"{checkpoint.name}: int8 is not to be had, since {reason}; choose fp32 or bf16")
    if device.type == "cuda":
        from .cuda import CudaNetwork

        return CudaNetwork(network, precision, device, attention)
    return PlainNetwork(network, device, torch_dtype(precision), attention)


def has_engine(device: torch.device, config: ModernBertConfig, precision: str, attention: str | None) -> bool:
    """Say whether the engine for CPUs is to run a network; one that asks for an attention back-end is not."""
    return device.type == "cpu" and attention is None and why_no_engine(config, precision) is None


def why_no_engine(config: ModernBertConfig, precision: str) -> str | None:
    """Say why the engine for CPUs cannot run a network of these sizes in a precision here, or None if it can."""
    from .cpu.engine import why_not

    return why_not(config, precision)


class PlainNetwork:
    """A network as its modules have it, on devices without an engine or with an attention back-end of one's choice.

    Attributes:
        device: Where it runs.
        width: Width of a hidden state.

    Raises:
        InputError: The attention back-end is unknown or does not run here.
    """

    def __init__(self, network: ModernBert, device: torch.device, dtype: torch.dtype, attention: str | None) -> None:
        from .attention.choose import choose

        self._backend = choose(device, dtype, attention)
        self._network = network.eval().to(device, dtype)
        self.device = device
        self.width = network.config.width

    @torch.inference_mode()
    def __call__(self, stream: Stream) -> torch.Tensor:
        """Return the last hidden states, (tokens, width) in the network's dtype."""
        hidden: torch.Tensor = self._network(send(stream, self.device), self._backend)
        return hidden
