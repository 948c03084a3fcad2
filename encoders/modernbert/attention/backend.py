"""What an attention back-end is: a name, a test of whether it runs here, and a way to attend within each text."""

from collections.abc import Callable
from dataclasses import dataclass

import torch

from ...stream import Stream

Attend = Callable[[torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor]
"""Maps queries, keys and values, each (tokens, heads, head width) with any strides whose last is 1, to
(tokens, heads, head width): softmax(query · key / √(head width)) · value, within each text."""


@dataclass(frozen=True)
class Backend:
    """One way to compute attention.

    Attributes:
        name: How it is asked for and listed.
        why_not: Given the device and the type of the states, why it cannot run here, or None if it can. Cheap, and it
            never raises.
        prepare: Given a stream and a half window, the function that every layer with this window calls. What depends
            on the stream alone (masks, rows, windows) is computed here, once a batch. A token sees what is at most
            `window` tokens away on either side, both ends included; None sees the whole text.
    """

    name: str
    why_not: Callable[[torch.device, torch.dtype], str | None]
    prepare: Callable[[Stream, int | None], Attend]
