"""Where the overlapping windows of a long text lie, and which tokens are taken from each."""

from typing import NamedTuple


class Window(NamedTuple):
    """One window of a text, in numbers of its tokens.

    Attributes:
        start, stop: The tokens that are read are start … stop − 1.
        keep_from, keep_to: Of these, the rows of keep_from … keep_to − 1 are taken.
    """

    start: int
    stop: int
    keep_from: int
    keep_to: int


def windows(count: int, room: int, overlap: int) -> list[Window]:
    """Cover a text with windows, and give each token to the window in whose middle it lies most.

    Every window but the only one holds `room` tokens: the last begins earlier than the others would have it, so that it
    is as long. Neighbours share at least `overlap` tokens, of which each takes the half that is nearer to its middle.

    Args:
        count: Tokens of the text.
        room: Tokens of a window, at least 1.
        overlap: Tokens that neighbours share, at least 0 and less than `room`.

    Returns:
        Windows in order; what they keep is every token once, in order. A text that fits is one window.

    Raises:
        ValueError: `room` or `overlap` is out of range.
    """
    if not 0 <= overlap < room:
        raise ValueError(f"windows of {room} tokens cannot share {overlap}")
    last = max(0, count - room)
    starts = [*range(0, last, room - overlap), last]
    stops = [min(start + room, count) for start in starts]
    bounds = [(start + stop) // 2 for start, stop in zip(starts[1:], stops, strict=False)]
    return [Window(*window) for window in zip(starts, stops, [0, *bounds], [*bounds, count], strict=True)]
