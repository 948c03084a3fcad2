"""The flash-attn package (FlashAttention 2), for a torch whose own kernels know no sliding window."""

import importlib

import torch

from ...stream import Stream
from .backend import Attend, Backend
from .gpu import installed, why_no_half_kernel

MODULE = "flash_attn.flash_attn_interface"
"""What only FlashAttention 2 has: the package of FlashAttention 4 goes by the same name."""


INSTALL = 'pip install "modernir[gpu]" --no-build-isolation'


def _why_not(device: torch.device, dtype: torch.dtype) -> str | None:
    missing = None if installed(MODULE) else f"the package flash-attn is not installed: {INSTALL}"
    return why_no_half_kernel(device, dtype) or missing


def _prepare(stream: Stream, window: int | None) -> Attend:
    function = importlib.import_module(MODULE).flash_attn_varlen_func
    offsets, longest = stream.offsets, stream.longest
    sides = (-1, -1) if window is None else (window, window)

    def attend(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
        output: torch.Tensor = function(
            query, key, value, offsets, offsets, longest, longest, causal=False, window_size=sides
        )
        return output

    return attend


FLASH = Backend("flash-attn", _why_not, _prepare, replays=True, remedy=INSTALL)
