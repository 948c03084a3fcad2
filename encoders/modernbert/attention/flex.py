"""FlexAttention over the stream as one long row, with a mask of documents and windows.

For CUDA where no flash kernel runs (fp32, older devices). The blocks of keys that a block of queries sees are computed
from the offsets, not by looking at every pair of tokens; blocks that nothing sees are skipped. Token counts are rounded
up to a few sizes, and what fills up is a document of its own. On the CPU, where it runs on request only, it is not
compiled, keeps all scores in memory and has no gradients: a check of the masks, not a way to be fast.
"""

from collections.abc import Callable
from functools import cache
from typing import Any

import torch
from torch.nn import functional as F

from ...stream import Stream
from .backend import Attend, Backend
from .gpu import installed

INSTALL = "pip install triton"
BLOCK = 128
"""Queries, and keys, of a block of the mask; FlexAttention's own default."""


def _why_not(device: torch.device, dtype: torch.dtype) -> str | None:
    if not installed("torch.nn.attention.flex_attention"):
        return "this torch has no FlexAttention"
    if device.type == "cpu":
        return None
    if device.type != "cuda":
        return "needs a CUDA device"
    if not torch.cuda.is_available():
        return "torch sees no CUDA device"
    return None if installed("triton") else f"the package triton is not installed: {INSTALL}"


@cache
def _flex(compiled: bool) -> Any:  # noqa: ANN401 - torch types it as a set of overloads
    from torch.nn.attention.flex_attention import flex_attention

    return torch.compile(flex_attention, dynamic=True) if compiled else flex_attention


def rounded(tokens: int) -> int:
    """Round a token count up to one of two sizes an octave, all multiples of a block and at least two blocks.

    One block alone would be compiled once more, since a dimension of size 1 is a special case to torch.compile.
    """
    octave = max(2 * BLOCK, 1 << (tokens - 1).bit_length())
    smaller = octave * 3 // 4
    return smaller if tokens <= smaller and smaller % BLOCK == 0 else octave


def _prepare(stream: Stream, window: int | None) -> Attend:
    tokens, device = len(stream.ids), stream.ids.device
    total = rounded(tokens)
    offsets = F.pad(stream.offsets, (0, 1), value=total) if total > tokens else stream.offsets
    mask = _block_mask(offsets, total, window)
    flex = _flex(device.type != "cpu")

    def attend(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
        rows = (F.pad(x, (0, 0, 0, 0, 0, total - tokens)).transpose(0, 1)[None] for x in (query, key, value))
        output: torch.Tensor = flex(*rows, block_mask=mask)
        return output[0].transpose(0, 1)[:tokens]

    return attend


def _block_mask(offsets: torch.Tensor, total: int, window: int | None) -> Any:  # noqa: ANN401 - torch's BlockMask
    from torch.nn.attention.flex_attention import BlockMask

    place = torch.arange(total, device=offsets.device, dtype=torch.int32)
    document = torch.searchsorted(offsets[1:].contiguous(), place, right=True, out_int32=True)
    # A block of queries sees one run of keys: from the start of its first text to the end of its last, or the window.
    first, last = place[::BLOCK], place[BLOCK - 1 :: BLOCK]
    begin, end = offsets[document[first].long()], offsets[document[last].long() + 1] - 1
    if window is not None:
        begin, end = torch.maximum(begin, first - window), torch.minimum(end, last + window)
    begin, end = begin // BLOCK, end // BLOCK
    run = begin[:, None] + torch.arange(total // BLOCK, device=offsets.device, dtype=torch.int32)
    return BlockMask.from_kv_blocks(
        (end - begin + 1).int()[None, None],
        run.clamp(max=total // BLOCK - 1).int()[None, None],
        BLOCK_SIZE=BLOCK,
        mask_mod=_same_document(document) if window is None else _in_window(document, window),
    )


def _same_document(document: torch.Tensor) -> Callable[..., torch.Tensor]:
    def sees(batch: torch.Tensor, head: torch.Tensor, query: torch.Tensor, key: torch.Tensor) -> torch.Tensor:
        return document[query] == document[key]

    return sees


def _in_window(document: torch.Tensor, window: int) -> Callable[..., torch.Tensor]:
    def sees(batch: torch.Tensor, head: torch.Tensor, query: torch.Tensor, key: torch.Tensor) -> torch.Tensor:
        return (document[query] == document[key]) & ((query - key).abs() <= window)

    return sees


FLEX = Backend("flex", _why_not, _prepare, remedy=INSTALL)
