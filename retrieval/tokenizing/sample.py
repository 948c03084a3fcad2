"""A sample of a source, bounded in bytes and the same for the same seed, in the memory of what it keeps.

Texts are taken by seeded hashes of their content: every text has the same chance, whatever the order of the source,
and a text that comes twice is in the sample twice or not at all. The last part of the sample, by the same hashes, is
held out: nothing is learnt from it.
"""

import heapq
from collections.abc import Iterable
from dataclasses import dataclass

import xxhash

from ...progress import Progress
from .texts import FieldText

HELD_OUT = 0.05
"""Share of the sample's bytes that is held out."""
MOST_HELD_OUT = 2_000_000
"""Bytes, enough to measure on."""
LONGEST_TEXT = 1 << 16
"""Characters that are taken of a text."""


@dataclass(frozen=True)
class Sample:
    """Some texts of a source.

    Attributes:
        learnt: What to learn from, in the order of the source.
        held_out: What to measure on.
    """

    learnt: tuple[FieldText, ...]
    held_out: tuple[FieldText, ...]


def draw_sample(
    texts: Iterable[FieldText], size: int, seed: int, report: Progress, held_out: float = HELD_OUT
) -> Sample:
    """Draw some texts.

    Args:
        texts: Read to the end, once.
        size: Most bytes (UTF-8) of the sample.
        seed: The same seed draws the same texts.
        report: Is told how many bytes were read.
        held_out: Share of its bytes to hold out, up to `MOST_HELD_OUT`.
    """
    kept: list[tuple[int, int, FieldText, int]] = []  # the largest hash first
    total = read = 0
    limit = 1 << 64  # a text beyond one that did not fit is not let in where that one had its place
    for place, (field, text) in enumerate(texts):
        part = text[:LONGEST_TEXT]
        encoded = part.encode()
        read += len(encoded)
        report(read)
        key = xxhash.xxh3_64_intdigest(encoded, seed=seed)
        if key >= limit:
            continue
        heapq.heappush(kept, (-key, place, FieldText(field, part), len(encoded)))
        total += len(encoded)
        while total > size:
            limit = -kept[0][0]
            total -= _drop_largest(kept)
    border = _border(kept, min(held_out * total, MOST_HELD_OUT))
    in_order = sorted(kept, key=lambda entry: entry[1])
    learnt = (text for key, _, text, _ in in_order if -key < border)
    return Sample(tuple(learnt), tuple(text for key, _, text, _ in in_order if -key >= border))


def _drop_largest(kept: list[tuple[int, int, FieldText, int]]) -> int:
    """Remove every copy of the text with the largest hash and return their bytes."""
    largest, dropped = kept[0][0], 0
    while kept and kept[0][0] == largest:
        dropped += heapq.heappop(kept)[3]
    return dropped


def _border(kept: list[tuple[int, int, FieldText, int]], size: float) -> int:
    """Return the hash from which on texts are held out: at most so many bytes, from the largest hash downwards."""
    border, held = 1 << 64, 0
    for key, _, _, length in sorted(kept):
        held += length
        if held > size:
            break
        border = -key
    return border
