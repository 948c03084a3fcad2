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
        only_by_name: Whether it runs only where it is asked for by name.
        replays: Whether it reads nothing of a stream on the host but `longest`, and allows texts without a token at
            the end: a CUDA graph of it then serves every stream of as many tokens and texts.
        remedy: The command that adds what may be missing, or empty. Where it would help, `why_not` ends with it.
    """

    name: str
    why_not: Callable[[torch.device, torch.dtype], str | None]
    prepare: Callable[[Stream, int | None], Attend]
    only_by_name: bool = False
    replays: bool = False
    remedy: str = ""
