"""Plain text for pre-training: streams without marks of where a document ends, and rows with a text of their own.

What is yielded are blocks, the lines up to a blank one with the blank lines after them, so that blocks laid end to end
are the text again. A block of a stream may be joined with the next; the first block of a row begins something else.
"""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from ...errors import InputError
from .documents import TEXT_NAMES
from .lines import ending_of, numbered_lines
from .rows import RowOptions, read_rows

PLAIN = (".txt",)
LARGEST_BLOCK = 1 << 15
"""Characters of a block, beyond which it ends at the next line, and a line is cut."""


class Block(NamedTuple):
    """Some lines of a text, and whether something else than the block before begins with it."""

    text: str
    begins: bool


def read_blocks(source: str | Path, options: RowOptions | None = None) -> Iterator[Block]:
    """Stream the blocks of a text file (.txt, plain or .gz/.zst), or of the texts of rows.

    Args:
        source: A text file, or whatever `read_rows` takes, with a field `text` (or another of `TEXT_NAMES`).
        options: See `RowOptions`.

    Raises:
        InputError: The source cannot be read, or a row has no text; its place is named.
    """
    path = Path(source)
    if ending_of(path) in PLAIN and not path.is_dir():
        yield from _marked(blocks_of(line for _, line in numbered_lines(path)))
        return
    for row in read_rows(source, options):
        name = next((name for name in TEXT_NAMES if isinstance(row.fields.get(name), str)), None)
        if name is None:
            found = ", ".join(map(repr, row.fields)) or "nothing"
            raise InputError(f"{row.where}: expected a text under 'text', found {found}")
        yield from _marked(blocks_of(row.fields[name].splitlines(keepends=True)))


def blocks_of(lines: Iterable[str]) -> Iterator[str]:
    """Join lines up to a blank one, and the blank ones after them, to blocks; blank lines alone are none."""
    held: list[str] = []
    size, ended = 0, False
    for line in lines:
        blank = not line.strip()
        if held and not blank and (ended or size > LARGEST_BLOCK):
            yield "".join(held)
            held, size, ended = [], 0, False
        if blank and not held:
            continue
        for start in range(0, len(line), LARGEST_BLOCK):
            held.append(line[start : start + LARGEST_BLOCK])
            size += len(held[-1])
            if start + LARGEST_BLOCK < len(line):
                yield "".join(held)
                held, size = [], 0
        ended = blank
    if held:
        yield "".join(held)


def _marked(blocks: Iterable[str]) -> Iterator[Block]:
    for number, text in enumerate(blocks):
        yield Block(text, number == 0)
