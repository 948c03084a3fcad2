"""Markdown's headings and the sections under them, streamed."""

import re
from collections.abc import Iterable, Iterator
from typing import NamedTuple

HEADING = re.compile(r"(#{1,6})[ \t]+(.*?)[ \t]*#*[ \t]*$")
FENCE = re.compile(r"[ \t]{0,3}(```|~~~)")
LONGEST_FENCE = 1000
"""Lines after which a fenced block is taken for one that nobody closed; else it would swallow what follows."""


class Section(NamedTuple):
    """A heading's level from 1, its words, and the lines up to the next heading; level 0 is what comes before any."""

    level: int
    heading: str
    lines: list[str]


def sections(lines: Iterable[str]) -> Iterator[Section]:
    """Part lines at headings of whatever level; a line in a fenced block of code is none.

    Args:
        lines: Without their ends.
    """
    section = Section(0, "", [])
    fence, left = "", 0
    for line in lines:
        left -= 1
        if left < 0:
            fence = ""
        mark = FENCE.match(line)
        if mark and fence in ("", mark[1]):
            fence, left = ("", 0) if fence else (mark[1], LONGEST_FENCE)
        heading = None if fence else HEADING.match(line)
        if heading is None:
            section.lines.append(line)
            continue
        if section.level or section.lines:
            yield section
        section = Section(len(heading[1]), heading[2], [])
    yield section
