"""The texts of a run as token ids on disk, tokenised once and mapped into memory after.

    ids.bin         all texts end to end, special tokens included, uint16 or uint32
    offsets.npy     (texts + 1,) int64, where each text starts
    corpus.json     what they are; the folder appears at once, with all of it

A text is at most the network's context. Blocks of a document (`read_blocks`) are joined while they fit and cut where
they are longer; a block is tokenised on its own, so a text is cut where a blank line is wherever it can be. Some texts
end early: a stream without ends of documents would else give texts of nearly the same length only, which no packing
fits together (97 to 99 % full in place of more than 99), and a network that never saw a short text.
"""

import random
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ...errors import InputError
from ...files import new_folder, read_json, sync_files, write_json
from ...progress import progress
from ..readers.plain import Block, read_blocks
from ..readers.rows import RowOptions, blocks

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

IDS, OFFSETS, ABOUT = "ids.bin", "offsets.npy", "corpus.json"
BLOCKS_AT_ONCE = 1024
EARLY = 1 / 8
"""Share of the texts that take no further block beyond a length drawn between none and all of the context."""


@dataclass(frozen=True)
class Corpus:
    """Tokenised texts.

    Attributes:
        ids: (tokens,) uint16 or uint32, all texts end to end.
        offsets: (texts + 1,) int64, where each starts and the last one ends.
    """

    ids: np.ndarray
    offsets: np.ndarray

    @classmethod
    def open(cls, folder: Path) -> "Corpus":
        """Map what `write_corpus` wrote."""
        about = read_json(folder / ABOUT)
        ids = np.memmap(folder / IDS, dtype=np.dtype(about["type"]), mode="r")
        return cls(ids, np.load(folder / OFFSETS, allow_pickle=False))

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @property
    def lengths(self) -> np.ndarray:
        """(texts,) int64, tokens of each text."""
        return np.diff(self.offsets)

    def lengths_of(self, texts: np.ndarray) -> np.ndarray:
        """Return the tokens of each of these texts, (n,) int64, without those of all others."""
        lengths: np.ndarray = self.offsets[texts + 1] - self.offsets[texts]
        return lengths

    def gather(self, texts: Sequence[int] | np.ndarray) -> np.ndarray:
        """Return the ids of these texts end to end."""
        spans = [(int(self.offsets[text]), int(self.offsets[text + 1])) for text in texts]
        return np.concatenate([self.ids[start:end] for start, end in spans])


def write_corpus(
    sources: Sequence[str],
    options: RowOptions,
    tokenizer: "PreTrainedTokenizerBase",
    longest: int,
    folder: Path,
    seed: int = 0,
) -> None:
    """Tokenise the texts of some sources into a folder, which is there at the end or not at all.

    Args:
        sources: See `read_blocks`.
        options: See `RowOptions`.
        tokenizer: With a start and an end token.
        longest: Tokens of a text, special ones included.
        folder: Made, or replaced.
        seed: Draws the texts that end early.

    Raises:
        InputError: A source cannot be read, or all of them hold no text.
    """
    kind = np.uint16 if len(tokenizer) <= 1 << 16 else np.uint32
    first, last = int(tokenizer.cls_token_id), int(tokenizer.sep_token_id)
    lengths: list[int] = []
    with new_folder(folder) as fresh:
        with (fresh / IDS).open("wb") as stream, progress("tokenising", None, "tokens") as report:
            tokens = 0
            for ids in _texts(sources, options, tokenizer, longest - 2, random.Random(seed)):
                stream.write(np.array([first, *ids, last], dtype=kind).tobytes())
                lengths.append(len(ids) + 2)
                tokens += lengths[-1]
                report(tokens)
        if not lengths:
            raise InputError(f"{', '.join(sources)}: no text to train on")
        np.save(fresh / OFFSETS, np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64))
        write_json(fresh / ABOUT, {"type": np.dtype(kind).name, "texts": len(lengths), "tokens": tokens})
        sync_files(fresh)


def _texts(
    sources: Sequence[str], options: RowOptions, tokenizer: "PreTrainedTokenizerBase", room: int, draw: random.Random
) -> Iterator[list[int]]:
    for source in sources:
        yield from joined(_tokenised(read_blocks(source, options), tokenizer), room, draw)


def _tokenised(found: Iterator[Block], tokenizer: "PreTrainedTokenizerBase") -> Iterator[tuple[list[int], bool]]:
    for batch in blocks(found, BLOCKS_AT_ONCE):
        encoded = tokenizer(
            [block.text for block in batch], add_special_tokens=False, return_attention_mask=False, verbose=False
        )
        yield from zip(encoded["input_ids"], (block.begins for block in batch), strict=True)


def joined(found: Iterable[tuple[list[int], bool]], room: int, draw: random.Random) -> Iterator[list[int]]:
    """Join tokenised blocks to texts of at most `room` tokens; a block that begins a document begins a text.

    Args:
        found: Ids of a block, and whether a document begins with it.
        room: Tokens of a text. A longer block is cut, and its rest may be joined with the next.
        draw: Says which texts end early, and where.
    """
    held: list[int] = []
    limit = _limit(room, draw)
    for ids, begins in found:
        if held and (begins or len(held) + len(ids) > limit):
            yield held
            held, limit = [], _limit(room, draw)
        for start in range(0, len(ids), room):
            part = ids[start : start + room]
            if held and len(held) + len(part) > room:
                yield held
                held = []
            held += part
    if held:
        yield held


def _limit(room: int, draw: random.Random) -> int:
    return draw.randint(1, room) if draw.random() < EARLY else room
