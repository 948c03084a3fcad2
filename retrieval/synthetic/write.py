"""Pairs written to a file, streamed: of fit length, and no query and no text twice."""

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from itertools import islice
from pathlib import Path
from random import Random
from typing import BinaryIO

import xxhash

from ...errors import InputError
from ...files import atomic_write
from ...progress import progress
from ..readers.packing import packing_of
from ..readers.rows import RowOptions
from .methods import METHODS, Pair
from .texts import Text, read_texts

WORD = re.compile(r"\S+")


@dataclass(frozen=True)
class PairOptions:
    """How pairs are made and which are kept.

    Attributes:
        method: A name of `METHODS`.
        min_query: Words that a query has at least.
        max_query: Words that a query has at most.
        min_text: Words that a text has at least.
        max_text: Words after which a text is cut.
        max_pairs: Stop after so many; None makes all.
        seed: Of what a method draws at random; a text gives the same whatever stands before it.
    """

    method: str
    min_query: int = 2
    max_query: int = 64
    min_text: int = 10
    max_text: int = 1000
    max_pairs: int | None = None
    seed: int = 12

    def __post_init__(self) -> None:
        if self.method not in METHODS:
            raise InputError(f"method: expected one of {', '.join(METHODS)}, found {self.method!r}")
        for name in (field.name for field in fields(self) if field.name.startswith(("min", "max"))):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise InputError(f"{name}: expected at least 1, found {value}")
        for what in ("query", "text"):
            least, most = getattr(self, f"min_{what}"), getattr(self, f"max_{what}")
            if least > most:
                raise InputError(f"min_{what} is {least}, more than max_{what}, which is {most}")


@dataclass
class Summary:
    """What was written and what was left out.

    Attributes:
        texts: Texts read.
        pairs: Pairs written.
        queries: Pairs left out for the length of their query.
        short: Those whose text was too short.
        repeated: Those whose query or text had come before.
    """

    texts: int = 0
    pairs: int = 0
    queries: int = 0
    short: int = 0
    repeated: int = 0

    def __str__(self) -> str:
        return (
            f"{self.pairs:,} pairs from {self.texts:,} texts; left out {self.queries:,} for the length of their query, "
            f"{self.short:,} for a short text, {self.repeated:,} for a query or text that had come before"
        )


def write_pairs(sources: Sequence[str], output: Path, options: PairOptions, rows: RowOptions) -> Summary:
    """Write pairs made from documents as JSON Lines with the fields query and positive.

    The same sources and options give the same bytes. Some 150 bytes of memory a pair tell which came before.

    Args:
        sources: See `read_texts`.
        output: A new file, .jsonl, .jsonl.gz or .jsonl.zst; it appears when it is complete.
        options: See `PairOptions`.
        rows: How to read rows.

    Raises:
        InputError: The output is there already or has another ending, a source cannot be read, or there is no pair.
        OSError: The disk is full; nothing is left behind.
    """
    packing = packing_of(output)
    if output.exists():
        raise InputError(f"{output}: is there already; remove it or name another file with --output")
    summary = Summary()

    def write(stream: BinaryIO) -> None:
        with packing(stream) as packed, progress("making pairs", options.max_pairs, "pairs") as report:
            for pair in pairs(sources, options, rows, summary):
                packed.write(json.dumps(pair._asdict(), ensure_ascii=False).encode() + b"\n")
                report(summary.pairs)
        if not summary.pairs:
            raise InputError(f"{', '.join(sources)}: {_why_none(summary, options)}")

    atomic_write(output, write)
    return summary


def pairs(sources: Sequence[str], options: PairOptions, rows: RowOptions, summary: Summary) -> Iterator[Pair]:
    """Stream the pairs that are kept, and count them and the others in the summary."""
    return islice(_kept(sources, options, rows, summary), options.max_pairs)


def _kept(sources: Sequence[str], options: PairOptions, rows: RowOptions, summary: Summary) -> Iterator[Pair]:
    seen: tuple[set[int], set[int]] = (set(), set())
    for pair in _made(sources, options, rows, summary):
        query, positive = " ".join(pair.query.split()), _cut(pair.positive, options.max_text)
        if not options.min_query <= len(query.split()) <= options.max_query:
            summary.queries += 1
        elif len(positive.split()) < options.min_text:
            summary.short += 1
        else:
            marks = [xxhash.xxh3_64_intdigest(text.encode()) for text in (query, positive)]
            if any(mark in known for mark, known in zip(marks, seen, strict=True)):
                summary.repeated += 1
                continue
            for mark, known in zip(marks, seen, strict=True):
                known.add(mark)
            summary.pairs += 1
            yield Pair(query, positive)


def _made(sources: Sequence[str], options: PairOptions, rows: RowOptions, summary: Summary) -> Iterator[Pair]:
    method = METHODS[options.method]
    for source in sources:
        for text in read_texts(source, rows, method.at_headings):
            summary.texts += 1
            yield from method.make(text, _draw(text, options.seed))


def _draw(text: Text, seed: int) -> Random:
    return Random(xxhash.xxh3_64_intdigest(text.body.encode(), seed=seed))


def _cut(text: str, words: int) -> str:
    """Return a text without blank lines and spaces around it, up to the end of its last word that is kept."""
    ends = [word.end() for word in islice(WORD.finditer(text), words)]
    lines = text[: ends[-1]] if ends else ""
    return re.sub(r"\A(?:[ \t]*\n)+", "", lines)


def _why_none(summary: Summary, options: PairOptions) -> str:
    if summary.queries + summary.short:
        return f"no pair is long enough, or short enough: {summary}; see --min-query and the other limits"
    return f"no pair to make: of {summary.texts:,} texts none has {METHODS[options.method].needs}"
