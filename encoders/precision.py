"""Which device an encoder runs on and how many bits its numbers have."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ..errors import InputError

if TYPE_CHECKING:
    import torch

PRECISIONS = {"fp32": "float32", "bf16": "bfloat16", "fp16": "float16", "int8": "float32"}
"""Names of precisions, and torch's name for the type of the states between matrix products."""
CPU_FEATURES = {
    "fp32": (),
    "bf16": ("avx512_bf16", "amx_bf16"),
    "int8": ("avx512_vnni", "avx_vnni", "amx_int8"),
}
"""Precisions that encoding on a CPU can have, and the instructions of which one must be there for it to be fast."""


def resolve_device(device: str | None) -> "torch.device":
    """Return the asked-for device, or the best that the machine has: CUDA, then Apple's MPS, then the CPU.

    Raises:
        InputError: The device is unknown or not there.
    """
    import torch

    if device is None:
        device = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        torch.zeros(1, device=device)
        return torch.device(device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = str(error).split("\n")[0]
        raise InputError(f"device {device!r} is not usable here ({reason}); see: modernir doctor") from error


def resolve_precision(
    precision: str | None, device: "torch.device", fastest_first: Sequence[str] = ("bf16", "fp32")
) -> str:
    """Return the asked-for precision, or the first of `fastest_first` that the device multiplies quickly.

    Args:
        precision: What was asked for, or None.
        device: Where to run.
        fastest_first: Precisions that keep retrieval quality with the network at hand, by what was measured with
            models at hand here (`benchmarks/README.md`): all-MiniLM-L6-v2 in bf16, a small ModernBERT in int8.

    Raises:
        InputError: The precision is unknown, or the device does not compute in it.
    """
    if precision is None:
        return next((name for name in fastest_first if multiplies(name, device)), "fp32")
    if precision not in PRECISIONS:
        raise InputError(f"unknown precision {precision!r}; expected one of {', '.join(PRECISIONS)}")
    if precision == "fp16" and device.type == "cpu":
        raise InputError("fp16 is for GPUs; on a CPU choose fp32, bf16 or int8")
    if precision == "int8" and device.type != "cpu":
        raise InputError(f"int8 is for CPUs, not for {device}; choose fp32, bf16 or fp16")
    return precision


def multiplies(precision: str, device: "torch.device") -> bool:
    """Say whether a device has instructions of its own for matrix products in a precision."""
    import torch

    if device.type == "cuda":
        return precision != "int8" and (precision != "bf16" or torch.cuda.get_device_capability(device)[0] >= 8)
    if device.type != "cpu":
        return precision in ("fp32", "fp16")
    if precision not in CPU_FEATURES:
        return False
    # Older releases of torch do not tell; fp32 is right everywhere.
    features: dict[str, bool] = getattr(torch.cpu, "get_capabilities", dict)()
    needed = CPU_FEATURES[precision]
    return not needed or any(features.get(name) for name in needed)


def torch_dtype(precision: str) -> "torch.dtype":
    """Return torch's type for a precision name."""
    import torch

    dtype: torch.dtype = getattr(torch, PRECISIONS[precision])
    return dtype
