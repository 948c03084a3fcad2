"""Lines of text files, plain or compressed, streamed, with their numbers.

Lines are decoded one by one, so that the line that is not UTF-8 is the line that is named. What is cut is an error:
the end of a compressed file that was not copied whole must not pass for the end of the data.
"""

import gzip
import zlib
from collections.abc import Generator, Iterator
from contextlib import closing
from pathlib import Path
from typing import BinaryIO

from ...errors import InputError

COMPRESSED = (".gz", ".zst")
ZSTD_CHUNK_BYTES = 1 << 10  # of much the same text they become 10 MB
BYTE_ORDER_MARK = b"\xef\xbb\xbf"


def ending_of(path: Path) -> str:
    """Return the ending that says what is in a file, such as ".jsonl", whether compressed or not; empty for none."""
    return next((ending for ending in reversed(path.suffixes) if ending not in COMPRESSED), "")


def numbered_lines(path: Path) -> Iterator[tuple[int, str]]:
    """Yield (line number from 1, line) of a UTF-8 text file, decompressing as it goes (.gz, .zst).

    Raises:
        InputError: The file is missing, not UTF-8 or a damaged archive.
    """
    number = 0
    try:
        with closing(_lines(path)) as lines:
            for number, line in enumerate(lines, 1):
                yield number, (line.removeprefix(BYTE_ORDER_MARK) if number == 1 else line).decode()
    except UnicodeDecodeError as error:
        raise InputError(f"{path}:{number}: not UTF-8 ({error.reason} at byte {error.start} of the line)") from error
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such file") from error
    except IsADirectoryError as error:
        raise InputError(f"{path}: a folder, where a file was expected") from error
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise InputError(f"{path}:{number + 1}: damaged or cut compressed file ({error})") from error


def _lines(path: Path) -> Generator[bytes]:
    if path.suffix == ".gz":
        with gzip.open(path) as stream:
            yield from stream
    elif path.suffix == ".zst":
        with path.open("rb") as stream:
            yield from _split(_expand(stream))
    else:
        with path.open("rb") as stream:
            yield from stream


def _expand(stream: BinaryIO) -> Iterator[bytes]:
    """Decompress Zstandard frames, as many as there are; the library's own reader takes a cut frame for a whole one."""
    import zstandard

    decoder = None
    while chunk := stream.read(ZSTD_CHUNK_BYTES):
        while chunk:
            decoder = decoder or zstandard.ZstdDecompressor(max_window_size=1 << 31).decompressobj()
            try:
                yield decoder.decompress(chunk)
            except zstandard.ZstdError as error:
                raise EOFError(str(error)) from error
            chunk = decoder.unused_data if decoder.eof else b""
            decoder = None if decoder.eof else decoder
    if decoder is not None:
        raise EOFError("it ends in the middle of a frame")


def _split(chunks: Iterator[bytes]) -> Iterator[bytes]:
    rest: list[bytes] = []
    for chunk in chunks:
        first, *others = chunk.split(b"\n")
        rest.append(first)
        for line in others:
            yield b"".join(rest) + b"\n"
            rest = [line]
    if last := b"".join(rest):
        yield last
