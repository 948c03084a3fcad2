"""Compilation of the kernels, kept for the next process where there is a place to keep it."""

from collections.abc import Callable
from typing import Any, TypeVar

from numba import njit

Kernel = TypeVar("Kernel", bound=Callable[..., Any])


def compiled(**options: Any) -> Callable[[Kernel], Kernel]:  # noqa: ANN401 - numba's
    """Return a decorator that compiles a kernel on first use, without Python's lock and with NumPy's rules for floats.

    What was compiled is kept beside the code, or else in numba's folder of the user (`NUMBA_CACHE_DIR`), or else, as in
    a container whose files cannot be written, not at all.
    """
    options = {"nogil": True, "error_model": "numpy", **options}

    def decorate(kernel: Kernel) -> Kernel:
        try:
            found: Kernel = njit(cache=True, **options)(kernel)
        except RuntimeError:  # numba has no place for its cache
            found = njit(**options)(kernel)
        return found

    return decorate
