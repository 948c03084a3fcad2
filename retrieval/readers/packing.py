"""How files of JSON Lines are compressed, by the ending of their name, as they are written."""

import gzip
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any, BinaryIO

from ...errors import InputError


def packing_of(output: Path) -> Callable[[BinaryIO], "closing[Any]"]:
    """Return what compresses into a stream as the name of a file says.

    Args:
        output: Ends in .jsonl, .jsonl.gz or .jsonl.zst.

    Returns:
        Given a stream, a context whose value has `write`; the stream holds whole members or frames when the context
        ends, and stays open. Several may follow one another in a file. The same bytes give the same bytes.

    Raises:
        InputError: The name has another ending, or is nothing but one.
    """
    ending = next((one for one in PACKINGS if output.name.endswith(one)), None)
    if ending is None or output.name == ending:
        raise InputError(f"{output}: expected a file name that ends in {', '.join(PACKINGS)}")
    pack = PACKINGS[ending]
    return lambda stream: closing(pack(stream))


class _Plain:
    """The stream itself, which is not closed here."""

    def __init__(self, stream: BinaryIO) -> None:
        self.write = stream.write

    def close(self) -> None:
        """Leave the stream open."""


def _zstd(stream: BinaryIO) -> Any:  # noqa: ANN401 - a writer
    import zstandard

    return zstandard.ZstdCompressor().stream_writer(stream, closefd=False)


PACKINGS: dict[str, Callable[[BinaryIO], Any]] = {
    ".jsonl": _Plain,
    ".jsonl.gz": lambda stream: gzip.GzipFile("", "wb", fileobj=stream, mtime=0),
    ".jsonl.zst": _zstd,
}
