"""How many cores this process may use."""

import os


def cores() -> int:
    """Return how many cores this process may use; fewer than the machine has where it is bound to some."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
