"""torch's own variable-length attention: the flash kernels that come with torch, on the stream as it is.

By itself it runs FlashAttention 2, which is compiled into torch. With the packages of FlashAttention 3 or 4 there are
two more ways, only on request. "varlen-fa3" puts their kernels in the place of torch's own for the whole process, which
every other user of torch's attention there then gets too, and leaves them in place, since the backward pass has to find
what the forward pass used; `torch.nn.attention.restore_flash_attention_impl()` takes them out again.
"varlen-fa3-global" calls the package for global layers only, leaves local layers to torch, and changes nothing else.
Some releases of FlashAttention 4 have no backward pass for texts end to end on compute capability 9: encode with them.
"""

import importlib
import inspect
from collections.abc import Callable
from typing import Any

import torch

from ...stream import Stream
from .backend import Attend, Backend
from .gpu import installed, why_no_half_kernel

PACKAGES = {"FA3": "flash_attn_interface", "FA4": "flash_attn.cute"}
MAJORS = {"FA3": (9,), "FA4": (9, 10)}
"""First numbers of the compute capabilities that torch accepts for each."""
UPGRADE = "pip install --upgrade torch"


def _why_not(device: torch.device, dtype: torch.dtype) -> str | None:
    return why_no_half_kernel(device, dtype) or _why_no_function()


def _why_no_function() -> str | None:
    try:
        varlen_attn = _varlen_attn()
    except ImportError:
        return f"this torch has no varlen_attn: {UPGRADE}"
    windowed = "window_size" in inspect.signature(varlen_attn).parameters
    return None if windowed else f"varlen_attn of this torch has no sliding window: {UPGRADE}"


def _varlen_attn() -> Callable[..., Any]:
    from torch.nn.attention.varlen import varlen_attn

    return varlen_attn


def _prepare(stream: Stream, window: int | None) -> Attend:
    varlen_attn, offsets, longest = _varlen_attn(), stream.offsets, stream.longest
    sides = (-1, -1) if window is None else (window, window)

    def attend(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
        output: torch.Tensor = varlen_attn(query, key, value, offsets, offsets, longest, longest, window_size=sides)
        return output

    return attend


def _needs(kernels: str, activated: bool) -> Callable[[torch.device, torch.dtype], str | None]:
    def why_not(device: torch.device, dtype: torch.dtype) -> str | None:
        if reason := why_no_half_kernel(device, dtype, MAJORS[kernels]) or _why_no_function():
            return reason
        if not installed(PACKAGES[kernels]):
            return f"the module {PACKAGES[kernels]} is not installed"
        known: list[str] = getattr(torch.nn.attention, "list_flash_attention_impls", list)()
        return f"this torch cannot activate {kernels}" if activated and kernels not in known else None

    return why_not


def _activated(kernels: str) -> Callable[[Stream, int | None], Attend]:
    def prepare(stream: Stream, window: int | None) -> Attend:
        if torch.nn.attention.current_flash_attention_impl() != kernels:
            torch.nn.attention.activate_flash_attention_impl(kernels)
        return _prepare(stream, window)

    return prepare


def _for_global(kernels: str) -> Callable[[Stream, int | None], Attend]:
    def prepare(stream: Stream, window: int | None) -> Attend:
        if window is not None:
            return _prepare(stream, window)
        function = importlib.import_module(PACKAGES[kernels]).flash_attn_varlen_func
        shape: dict[str, Any] = {"cu_seqlens_q": stream.offsets, "cu_seqlens_k": stream.offsets}
        shape |= {"max_seqlen_q": stream.longest, "max_seqlen_k": stream.longest}

        def attend(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
            found = function(query, key, value, **shape)
            # Some releases return the log-sum-exp of the scores beside the output.
            output: torch.Tensor = found[0] if isinstance(found, tuple) else found
            return output

        return attend

    return prepare


VARLEN = Backend("varlen", _why_not, _prepare, replays=True, remedy=UPGRADE)
VARLEN_FA3 = Backend("varlen-fa3", _needs("FA3", True), _activated("FA3"), only_by_name=True, replays=True)
VARLEN_FA4 = Backend("varlen-fa4", _needs("FA4", True), _activated("FA4"), only_by_name=True, replays=True)
FA3_GLOBAL = Backend("varlen-fa3-global", _needs("FA3", False), _for_global("FA3"), only_by_name=True, replays=True)
FA4_GLOBAL = Backend("varlen-fa4-global", _needs("FA4", False), _for_global("FA4"), only_by_name=True, replays=True)
