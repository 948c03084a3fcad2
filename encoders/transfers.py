"""Copies between host and device that the host does not wait for, through pinned memory."""

from collections import deque
from collections.abc import Iterable, Iterator
from typing import TypeVar

import torch

from .stream import Stream

T = TypeVar("T")
UNDER_WAY = 4
"""Batches whose results travel while the next ones are computed."""


def send(stream: Stream, device: torch.device) -> Stream:
    """Return a stream on a device; all of it travels in one copy, which the host does not wait for."""
    if _is_on(stream.ids, device):
        return stream
    parts = [stream.ids, stream.positions, stream.offsets.long()]
    numbers = torch.cat(parts)
    ids, positions, offsets = sent(numbers, device).split([len(part) for part in parts])
    return Stream(ids, positions, offsets.int(), stream.lengths, stream.attended)


def copy_over(x: torch.Tensor, place: torch.Tensor) -> None:
    """Copy a tensor, on the host or a device, into one on a device; the host goes on at once."""
    place.copy_(x.pin_memory() if place.is_cuda and not x.is_cuda else x, non_blocking=place.is_cuda)


def sent(x: torch.Tensor, device: torch.device) -> torch.Tensor:
    """Return a tensor on a device, without waiting for it."""
    if _is_on(x, device):
        return x
    place = torch.empty_like(x, device=device)
    copy_over(x, place)
    return place


def _is_on(x: torch.Tensor, device: torch.device) -> bool:
    return x.device.type == device.type and device.index in (None, x.device.index)


class Fetched:
    """A tensor on its way to the host; meanwhile the host can prepare the next batch.

    Args:
        x: On any device. It may be freed at once.
    """

    def __init__(self, x: torch.Tensor) -> None:
        self._arrived: torch.cuda.Event | None = None
        if x.device.type != "cuda":
            self._host = x.cpu()
            return
        self._host = torch.empty(x.shape, dtype=x.dtype, pin_memory=True).copy_(x, non_blocking=True)
        self._arrived = torch.cuda.Event()
        self._arrived.record(torch.cuda.current_stream(x.device))

    def result(self) -> torch.Tensor:
        """Wait until it is there, and return it."""
        if self._arrived is not None:
            self._arrived.synchronize()
        return self._host


def in_flight(batches: Iterable[T], depth: int = UNDER_WAY) -> Iterator[T]:
    """Yield every batch once `depth` more have begun, so that a device stays busy and memory holds only these."""
    begun: deque[T] = deque()
    for batch in batches:
        begun.append(batch)
        if len(begun) > depth:
            yield begun.popleft()
    yield from begun
