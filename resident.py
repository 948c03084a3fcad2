"""The memory of this process that lies in RAM, its resident set, and the most that it has been.

The kernel keeps the high-water mark; Linux lets a process itself set it back. Elsewhere there is no such figure.
"""

import ctypes
import gc
import sys
from contextlib import suppress
from pathlib import Path

STATUS = Path("/proc/self/status")
RESET = Path("/proc/self/clear_refs")
RESET_HIGH_WATER_MARK = "5"

KEEPS_PEAK = RESET.exists()
"""Whether the mark can be set back here."""


def resident_bytes(peak: bool = False) -> int | None:
    """Return the bytes of the resident set, or the most since `forget_peak`; None where the system does not tell."""
    if not STATUS.is_file():
        return None
    field = "VmHWM:" if peak else "VmRSS:"
    lines = [line for line in STATUS.read_text().splitlines() if line.startswith(field)]
    return int(lines[0].split()[1]) * 1024 if lines else None


def forget_peak() -> None:
    """Set the high-water mark back to what is resident, once what is free has been given back."""
    give_back()
    with suppress(OSError):
        RESET.write_text(RESET_HIGH_WATER_MARK)


def give_back() -> None:
    """Return memory that is free to the system: what malloc keeps would hide what comes next."""
    gc.collect()
    if sys.platform == "linux":
        with suppress(OSError, AttributeError):
            ctypes.CDLL("libc.so.6").malloc_trim(0)
