"""Which device an encoder runs on and how many bits its numbers have."""

from typing import TYPE_CHECKING

from ..errors import InputError

if TYPE_CHECKING:
    import torch

PRECISIONS = {"fp32": "float32", "bf16": "bfloat16", "fp16": "float16"}


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


def resolve_precision(precision: str | None, device: "torch.device") -> str:
    """Return the asked-for precision, or the fastest that keeps retrieval quality on this device.

    That is bf16 where the hardware multiplies it (CUDA from compute capability 8.0, CPUs with AVX512-BF16 or AMX),
    else fp32. With all-MiniLM-L6-v2, nDCG@10 on SciFact is 0.6446 in bf16 and 0.6451 in fp32.

    Raises:
        InputError: The precision is unknown, or fp16 is asked of a CPU.
    """
    if precision is None:
        return "bf16" if _multiplies_bf16(device) else "fp32"
    if precision not in PRECISIONS:
        raise InputError(f"unknown precision {precision!r}; expected one of {', '.join(PRECISIONS)}")
    if precision == "fp16" and device.type == "cpu":
        raise InputError("fp16 is for GPUs; on a CPU choose fp32 or bf16")
    return precision


def torch_dtype(precision: str) -> "torch.dtype":
    """Return torch's type for a precision name."""
    import torch

    dtype: torch.dtype = getattr(torch, PRECISIONS[precision])
    return dtype


def _multiplies_bf16(device: "torch.device") -> bool:
    import torch

    if device.type == "cuda":
        return torch.cuda.get_device_capability(device)[0] >= 8
    if device.type != "cpu":
        return False
    # Older releases of torch do not tell; fp32 is right everywhere.
    features: dict[str, bool] = getattr(torch.cpu, "get_capabilities", dict)()
    return bool(features.get("avx512_bf16") or features.get("amx_bf16"))
