"""torch's scaled dot-product attention on rows of equal length: any device, any type, differentiable.

The last resort, for what has no kernel for texts end to end (Apple's MPS, XPU, an old torch). Texts of about the same
length share a batch of rows, so that little is padded; rows of one length need no mask but the window's. The window's
mask costs memory in the square of the length.
"""

from dataclasses import dataclass

import torch
from torch.nn import functional as F

from ...stream import Stream
from .backend import Attend, Backend

SLACK = 1.25
"""Texts share a batch of rows while the longest has at most so many times the tokens of the shortest."""
ALONE = 1024
"""Texts longer than this are not padded at all: only those of one length share a batch."""


@dataclass(frozen=True)
class _Rows:
    """Texts in rows of equal length.

    Attributes:
        places: (texts, longest) int64, where in the stream each row's tokens are; padding repeats the text's first.
        valid: (texts, longest) bool, False on padding.
        mask: What broadcasts to (texts, 1, longest, longest) bool, True where a query sees a key; None if everywhere.
    """

    places: torch.Tensor
    valid: torch.Tensor
    mask: torch.Tensor | None


def _prepare(stream: Stream, window: int | None) -> Attend:
    if len(set(stream.lengths)) == 1:
        return _one_length(len(stream.lengths), stream.longest, _band(stream.longest, window, stream.ids.device))
    batches = [_rows(stream, group, window) for group in _groups(stream.lengths)]
    places = torch.cat([rows.places.flatten() for rows in batches])
    valid = torch.cat([rows.valid.flatten() for rows in batches])
    # Where each token of the stream is among the rows laid end to end.
    back = torch.empty_like(stream.positions)
    back[places[valid]] = valid.nonzero()[:, 0]

    def attend(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
        mixed = [_attend(query[at.places], key[at.places], value[at.places], at.mask).flatten(0, 1) for at in batches]
        return torch.cat(mixed)[back]

    return attend


def _one_length(texts: int, length: int, mask: torch.Tensor | None) -> Attend:
    def attend(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
        query, key, value = (x.unflatten(0, (texts, length)) for x in (query, key, value))
        return _attend(query, key, value, mask).flatten(0, 1)

    return attend


def _attend(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
    """Map three (texts, length, heads, head width) to one."""
    query, key, value = (x.transpose(1, 2) for x in (query, key, value))
    return F.scaled_dot_product_attention(query, key, value, attn_mask=mask).transpose(1, 2)


def _groups(lengths: tuple[int, ...]) -> list[list[int]]:
    """Sort texts into groups of about the same length, each a list of their numbers."""
    groups: list[list[int]] = []
    limit = 0
    for text in sorted(range(len(lengths)), key=lengths.__getitem__):
        if lengths[text] > limit:
            groups.append([])
            limit = lengths[text] if lengths[text] > ALONE else min(int(lengths[text] * SLACK), ALONE)
        groups[-1].append(text)
    return groups


def _rows(stream: Stream, group: list[int], window: int | None) -> _Rows:
    numbers = torch.tensor(group, device=stream.ids.device)
    starts, sizes = stream.offsets[numbers].long(), stream.sizes[numbers]
    longest = max(stream.lengths[text] for text in group)
    columns = torch.arange(longest, device=starts.device)
    valid = columns < sizes[:, None]
    places = starts[:, None] + torch.where(valid, columns, 0)
    band = _band(longest, window, starts.device)
    if min(stream.lengths[text] for text in group) == longest:
        return _Rows(places, valid, band)
    if band is None:
        return _Rows(places, valid, valid[:, None, None, :])
    # Padding sees padding: a query that sees nothing would give gradients that are no numbers.
    return _Rows(places, valid, (band & (valid[:, :, None] == valid[:, None, :]))[:, None])


def _band(length: int, window: int | None, device: torch.device) -> torch.Tensor | None:
    if window is None or window >= length - 1:
        return None
    place = torch.arange(length, device=device)
    return (place[:, None] - place).abs() <= window


PADDED = Backend("padded", lambda device, dtype: None, _prepare)
