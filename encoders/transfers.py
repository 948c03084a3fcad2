"""Copies between host and device that the host does not wait for, through pinned memory."""

import torch

from .stream import Stream


def send(stream: Stream, device: torch.device) -> Stream:
    """Return a stream on a device; all of it travels in one copy, which the host does not wait for."""
    if stream.ids.device.type == device.type:
        return stream
    parts = [stream.ids, stream.positions, stream.offsets.long()]
    numbers = torch.cat(parts)
    place = torch.empty_like(numbers, device=device)
    copy_over(numbers, place)
    ids, positions, offsets = place.split([len(part) for part in parts])
    return Stream(ids, positions, offsets.int(), stream.lengths)


def copy_over(x: torch.Tensor, place: torch.Tensor) -> None:
    """Copy a tensor, on the host or a device, into one on a device; the host goes on at once."""
    place.copy_(x.pin_memory() if place.is_cuda and not x.is_cuda else x, non_blocking=True)


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
