"""Which attention back-end runs: a table in order of preference, and the first of it that this machine can run."""

import logging
from functools import cache

import torch

from ....errors import InputError
from ...stream import Stream
from .backend import Backend
from .blockwise import BLOCKWISE
from .flash import FLASH
from .flex import FLEX
from .padded import PADDED
from .plain import PLAIN
from .varlen import FA3_GLOBAL, FA4_GLOBAL, VARLEN, VARLEN_FA3, VARLEN_FA4

BACKENDS = (
    VARLEN,
    FLASH,
    BLOCKWISE,
    FLEX,
    PADDED,
    PLAIN,
    VARLEN_FA3,
    VARLEN_FA4,
    FA3_GLOBAL,
    FA4_GLOBAL,
)
"""All back-ends, the one to prefer first."""
TOLERANCE = 2e-2
"""Largest difference from the plain back-end that rounding in bf16 explains, for standard normal states."""

logger = logging.getLogger(__name__)


@cache
def choose(device: torch.device, dtype: torch.dtype, name: str | None = None) -> Backend:
    """Return the back-end to use.

    On CUDA a back-end is compared with the plain one on two short texts before it is trusted; one that fails is passed
    over with a warning.

    Args:
        device: Where the network runs.
        dtype: The type of its states.
        name: Take this one and no other.

    Raises:
        InputError: No back-end has this name, or it does not run here.
    """
    if name is not None:
        return _named(device, dtype, name)
    for backend in BACKENDS:
        if backend.only_by_name or backend.why_not(device, dtype):
            continue
        if (fault := _fault(backend, device, dtype)) is None:
            return backend
        logger.warning("attention back-end %s is passed over on %s: %s", backend.name, device, fault)
    return PLAIN


def _named(device: torch.device, dtype: torch.dtype, name: str) -> Backend:
    backend = next((backend for backend in BACKENDS if backend.name == name), None)
    if backend is None:
        known = ", ".join(backend.name for backend in BACKENDS)
        raise InputError(f"unknown attention back-end {name!r}; expected one of {known}")
    reason = backend.why_not(device, dtype)
    if reason is None and (reason := _fault(backend, device, dtype)) and backend in (VARLEN_FA3, VARLEN_FA4):
        torch.nn.attention.restore_flash_attention_impl()
    if reason:
        precision = str(dtype).removeprefix("torch.")
        raise InputError(f"attention back-end {name!r} cannot run on {device} in {precision}: {reason}")
    return backend


@torch.no_grad()
def _fault(backend: Backend, device: torch.device, dtype: torch.dtype) -> str | None:
    """Say what is wrong with what a back-end computes, or None; only CUDA kernels are looked at."""
    if device.type != "cuda" or backend is PLAIN:
        return None
    lengths = (70, 130)
    stream = Stream.of_ids(torch.zeros(sum(lengths), dtype=torch.int64), lengths, device)
    generator = torch.Generator().manual_seed(0)
    states = torch.randn(3, sum(lengths), 2, 64, generator=generator).to(device, dtype)
    try:
        return _difference(backend, stream, states)
    except Exception as error:  # a kernel that was built for another torch or device fails in its own way
        return f"it fails ({str(error).splitlines()[0] if str(error) else type(error).__name__})"


def _difference(backend: Backend, stream: Stream, states: torch.Tensor) -> str | None:
    for window in (None, 64):
        found, expected = (one.prepare(stream, window)(*states).float() for one in (backend, PLAIN))
        worst = (found - expected).abs().max().item()
        if not worst <= TOLERANCE:
            return f"it differs from the plain back-end by {worst:.2g}"
    return None
