"""What the back-ends with CUDA kernels ask of a machine before they say that they run there."""

import importlib.util

import torch

HALVES = (torch.float16, torch.bfloat16)


def why_no_half_kernel(device: torch.device, dtype: torch.dtype, majors: tuple[int, ...] | None = None) -> str | None:
    """Say why a flash attention kernel cannot run on this device with states of this type, or None if it can.

    Args:
        device: Where the states are.
        dtype: Their type.
        majors: First numbers of the compute capabilities that the kernel is made for; None for 8 and above.
    """
    if device.type != "cuda":
        return "needs a CUDA device"
    if dtype not in HALVES:
        return "computes in bf16 and fp16 only"
    if not torch.cuda.is_available():
        return "torch sees no CUDA device"
    major, minor = torch.cuda.get_device_capability(device)
    if major < 8 or (majors and major not in majors):
        wanted = " or ".join(f"{number}.x" for number in majors) if majors else "8.0 or higher"
        return f"needs compute capability {wanted}, this device has {major}.{minor}"
    return None


def installed(module: str) -> bool:
    """Say whether a module, which may be inside a package, can be found; nothing but its parents is imported."""
    try:
        return importlib.util.find_spec(module) is not None
    except Exception:  # the parent is missing, or breaks in its own way when imported
        return False
