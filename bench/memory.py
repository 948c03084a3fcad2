"""The most memory that a piece of work needs over what was in use before it.

On a CUDA device torch's own counters tell. On the CPU the kernel keeps the high-water mark of a process's resident set,
which Linux lets the process itself set back; elsewhere there is no such figure, and none is given.
"""

import ctypes
import gc
import sys
from contextlib import suppress
from pathlib import Path

STATUS = Path("/proc/self/status")
RESET = Path("/proc/self/clear_refs")
RESET_HIGH_WATER_MARK = "5"


class HostMemory:
    """Resident set of this process."""

    def __init__(self) -> None:
        self._before: int | None = None

    def settle(self) -> None:
        """Take what is in use now as the level to measure from."""
        _give_back()
        self._before = _status("VmRSS")

    def reset(self) -> None:
        """Forget the peak so far."""
        _give_back()
        with suppress(OSError):
            RESET.write_text(RESET_HIGH_WATER_MARK)

    def peak(self) -> tuple[int, int] | None:
        """Return the peak since `reset` in bytes, whole and over the level of `settle`; None where nobody knows."""
        peak = _status("VmHWM")
        if peak is None or self._before is None or not RESET.exists():
            return None
        return peak, max(0, peak - self._before)


class CudaMemory:
    """Memory that torch's allocator hands out on one CUDA device; see `HostMemory`."""

    def __init__(self, device: str) -> None:
        self._device = device
        self._before = 0

    def settle(self) -> None:
        """Take what is in use now as the level to measure from."""
        import torch

        self._before = torch.cuda.memory_allocated(self._device)

    def reset(self) -> None:
        """Forget the peak so far."""
        import torch

        torch.cuda.reset_peak_memory_stats(self._device)

    def peak(self) -> tuple[int, int] | None:
        """Return the peak since `reset` in bytes, whole and over the level of `settle`."""
        import torch

        peak = torch.cuda.max_memory_allocated(self._device)
        return peak, max(0, peak - self._before)


def memory_of(device: str) -> HostMemory | CudaMemory:
    """Return the meter for "cpu", "cuda" or "cuda:1"."""
    return CudaMemory(device) if device.startswith("cuda") else HostMemory()


def _status(field: str) -> int | None:
    if not STATUS.is_file():
        return None
    lines = [line for line in STATUS.read_text().splitlines() if line.startswith(f"{field}:")]
    return int(lines[0].split()[1]) * 1024 if lines else None


def _give_back() -> None:
    # what malloc keeps of earlier work would hide under the mark what the next work needs
    gc.collect()
    if sys.platform == "linux":
        with suppress(OSError, AttributeError):
            ctypes.CDLL("libc.so.6").malloc_trim(0)
