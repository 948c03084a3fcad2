"""The most memory that a piece of work needs over what was in use before it.

On a CUDA device torch's own counters tell. On the CPU the kernel keeps the high-water mark of a process's resident set,
which Linux lets the process itself set back; elsewhere there is no such figure, and none is given.
"""

from ..resident import KEEPS_PEAK, forget_peak, give_back, resident_bytes


class HostMemory:
    """Resident set of this process."""

    def __init__(self) -> None:
        self._before: int | None = None

    def settle(self) -> None:
        """Take what is in use now as the level to measure from."""
        give_back()
        self._before = resident_bytes()

    def reset(self) -> None:
        """Forget the peak so far."""
        forget_peak()

    def peak(self) -> tuple[int, int] | None:
        """Return the peak since `reset` in bytes, whole and over the level of `settle`; None where nobody knows."""
        peak = resident_bytes(peak=True)
        if peak is None or self._before is None or not KEEPS_PEAK:
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
