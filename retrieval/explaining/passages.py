"""The stretches of a text that are worth showing: those around what was matched."""

from collections.abc import Sequence

MARGIN = 40
"""Characters to show on either side of a word."""
SNAP = 16
"""Characters that a stretch may grow by to end at a blank."""

GAP = 24
"""Characters between two stretches that are shown rather than left out."""


def around(text: str, start: int, end: int, margin: int = MARGIN) -> tuple[int, int]:
    """Return the stretch with some `margin` characters on either side, more or fewer so that no word is cut."""
    left, right = max(0, start - margin), min(len(text), end + margin)
    outward = [*range(left, max(0, left - SNAP) - 1, -1), *range(left, start + 1)]
    onward = [*range(right, min(len(text), right + SNAP) + 1), *range(right, end - 1, -1)]
    return (
        next((place for place in outward if _begins(text, place)), left),
        next((place for place in onward if _ends(text, place)), right),
    )


def _begins(text: str, place: int) -> bool:
    """Whether a word begins here; at the end of the text nothing does, but there is nothing to cut either."""
    return place in (0, len(text)) or (text[place - 1].isspace() and not text[place].isspace())


def _ends(text: str, place: int) -> bool:
    return place in (0, len(text)) or (text[place].isspace() and not text[place - 1].isspace())


def passages(
    text: str, marks: Sequence[tuple[int, int, float]], limit: int, margin: int = MARGIN
) -> list[tuple[int, int]]:
    """Choose stretches of a text that show its marks, the weightiest first until there is no more room.

    Args:
        text: The text.
        marks: (start, end, weight) each.
        limit: Characters that may be shown; one stretch is shown whatever its length.
        margin: Characters to show on either side of a mark.

    Returns:
        (start, end) of stretches with more than a few characters between them, in order; the whole text where it is no
        longer than the limit, its beginning where there is no mark.
    """
    if len(text) <= limit:
        return [(0, len(text))]
    if not marks:
        return [around(text, 0, 0, limit)]
    chosen: list[tuple[int, int]] = []
    for start, end, _ in sorted(marks, key=lambda mark: -mark[2]):
        wider = _united([*chosen, around(text, start, end, margin)])
        if chosen and sum(stop - begin for begin, stop in wider) > limit:
            continue
        chosen = wider
    return chosen


def _united(stretches: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    united: list[tuple[int, int]] = []
    for start, end in sorted(stretches):
        if united and start <= united[-1][1] + GAP:
            united[-1] = (united[-1][0], max(end, united[-1][1]))
        else:
            united.append((start, end))
    return united
