"""Segments of token vectors on disk: coded ones, and uncompressed ones.

A file each, mapped into memory and never read whole. A segment is written from parts, which are batches in memory or
rows of other segments, in blocks.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ...errors import ModernirError
from ..arrays import Blocks, read_arrays, write_arrays
from .calibration import Calibration
from .encode import Encoder
from .postings import Postings
from .ragged import pieces

CODED, PLAIN = ".late", ".tokens"
_BLOCK = 1 << 16  # tokens that are coded or copied at once, fewer if memory is small
_CODING = 24  # bytes that coding takes for each dimension of a token of a block
_LEAST = 256  # tokens of a block, however small memory is


class _Counted:
    """How much a segment holds, by its offsets."""

    offsets: np.ndarray

    @property
    def rows(self) -> int:
        """Documents in it."""
        return len(self.offsets) - 1

    @property
    def tokens(self) -> int:
        """Tokens in it."""
        return int(self.offsets[-1])


@dataclass
class PlainSegment(_Counted):
    """Uncompressed tokens.

    Attributes:
        values: (tokens, dim) float16 or float32.
        offsets: (rows + 1,) int64.
        settled: Whether it may stay uncompressed.
    """

    values: np.ndarray
    offsets: np.ndarray
    settled: bool = True

    @property
    def nbytes(self) -> int:
        """Bytes of its arrays."""
        return int(self.offsets.nbytes + self.values.nbytes)

    def decoded(self, tokens: slice | np.ndarray) -> np.ndarray:
        """Return tokens (n, dim) as float32."""
        return np.asarray(self.values[tokens], dtype=np.float32)


@dataclass
class CodedSegment(_Counted):
    """Coded tokens.

    Attributes:
        offsets: (rows + 1,) int64.
        codes: (tokens,) uint16 or uint32, numbers of centroids.
        residuals: (tokens, width) uint8, packed levels.
        scales: (tokens,) uint8, or None where the codec has none.
        posting_offsets: (centroids + 1,) int64, of the codec's version that it was written with.
        posting_rows: uint16, or uint32 where there are more rows than that counts; the rows of each centroid,
            ascending, every one once.
        settled: Always so.
        calibration: Settings of search that were found for it.
    """

    offsets: np.ndarray
    codes: np.ndarray
    residuals: np.ndarray
    scales: np.ndarray | None
    posting_offsets: np.ndarray
    posting_rows: np.ndarray
    settled: bool = True
    calibration: Calibration | None = None

    @property
    def nbytes(self) -> int:
        """Bytes of its arrays."""
        arrays = (self.offsets, self.codes, self.residuals, self.scales, self.posting_offsets, self.posting_rows)
        return sum(array.nbytes for array in arrays if array is not None)


AnySegment = PlainSegment | CodedSegment


@dataclass(frozen=True)
class Part:
    """Rows to be written.

    Attributes:
        source: Where they are.
        rows: Which of them, ascending; None for all.
    """

    source: AnySegment
    rows: np.ndarray | None = None

    @property
    def lengths(self) -> np.ndarray:
        """Tokens of each row, int64."""
        lengths = np.diff(self.source.offsets)
        return lengths if self.rows is None else lengths[self.rows]


def read_segment(path: Path) -> AnySegment:
    """Open a segment.

    Raises:
        ModernirError: The file is missing, cut or damaged in its header.
    """
    arrays, _ = read_arrays(path)
    try:
        if path.name.endswith(PLAIN):
            return PlainSegment(arrays["values"], arrays["offsets"])
        return CodedSegment(
            arrays["offsets"],
            arrays["codes"],
            arrays["residuals"],
            arrays.get("scales"),
            arrays["posting_offsets"],
            arrays["posting_rows"],
        )
    except KeyError as error:
        raise ModernirError(f"{path}: damaged ({error} is missing); rebuild the index or restore the file") from error


def write_plain(path: Path, parts: Sequence[Part], dim: int, dtype: type[np.floating], memory: int) -> None:
    """Write parts, all of them uncompressed, as an uncompressed segment of float16 or float32."""
    offsets = _offsets(parts)
    limit = max(_LEAST, min(_BLOCK, memory // (8 * dim)))

    def blocks() -> Iterator[np.ndarray]:
        for part in parts:
            for piece in pieces(part.source.offsets, part.rows, limit):
                yield part.source.values[piece.tokens].astype(dtype)  # type: ignore[union-attr]

    write_arrays(path, {"offsets": offsets, "values": Blocks(dtype, (int(offsets[-1]), dim), blocks())}, {})


def write_coded(path: Path, parts: Sequence[Part], encoder: Encoder, memory: int) -> None:
    """Write parts as a coded segment; coded parts keep their codes.

    Args:
        path: The file.
        parts: Their rows follow each other in the segment.
        encoder: Of a codec that is that of the coded parts, or a later version of it.
        memory: Bytes that this may take, beside the codes of uncompressed parts.
    """
    _Writing(parts, encoder, memory).write(path)


class _Writing:
    def __init__(self, parts: Sequence[Part], encoder: Encoder, memory: int) -> None:
        self.parts = parts
        self.encoder = encoder
        self.codec = encoder.codec
        self.memory = memory
        self.limit = max(_LEAST, min(_BLOCK, memory // (_CODING * self.codec.padded)))
        self.offsets = _offsets(parts)
        self.coded = [self._assigned(part) for part in parts]
        self.new_scales: list[np.ndarray] = []

    def write(self, path: Path) -> None:
        tokens = int(self.offsets[-1])
        postings = Postings(self._codes_and_rows, len(self.codec.centroids), self.memory)
        kind, width, entries = self.codec.code_type, self.codec.width, int(postings.counts.sum())
        codes = (codes for codes, _ in self._codes_and_rows())
        row_type = np.uint16 if len(self.offsets) - 1 <= 1 << 16 else np.uint32
        arrays: dict[str, np.ndarray | Blocks] = {
            "offsets": self.offsets,
            "posting_offsets": postings.offsets,
            "posting_rows": Blocks(row_type, (entries,), postings.rows()),
            "codes": Blocks(kind, (tokens,), codes),
            "residuals": Blocks(np.uint8, (tokens, width), self._residuals()),
        }
        if self.codec.scaled:
            arrays["scales"] = Blocks(np.uint8, (tokens,), self._scales())
        write_arrays(path, arrays, {"codec": str(self.codec.version)})

    def _assigned(self, part: Part) -> np.ndarray:
        """Return the codes of all tokens of the part's source, those of rows that are not wanted unset."""
        if isinstance(part.source, CodedSegment):
            return part.source.codes
        codes = np.zeros(part.source.tokens, self.codec.code_type)
        for piece in pieces(part.source.offsets, part.rows, self.limit):
            codes[piece.tokens] = self.encoder.assign(part.source.decoded(piece.tokens))
        return codes

    def _codes_and_rows(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        first = 0
        for part, codes in zip(self.parts, self.coded, strict=True):
            for piece in pieces(part.source.offsets, part.rows, self.limit):
                block = codes[piece.tokens]
                counts = np.diff(piece.starts, append=len(block))
                yield block, np.repeat(piece.rows + first, counts)
            first += len(part.lengths)

    def _residuals(self) -> Iterator[np.ndarray]:
        for part, codes in zip(self.parts, self.coded, strict=True):
            source = part.source
            for piece in pieces(source.offsets, part.rows, self.limit):
                if isinstance(source, CodedSegment):
                    yield source.residuals[piece.tokens]
                    continue
                residuals, scales = self.encoder.pack(source.decoded(piece.tokens), codes[piece.tokens])
                if scales is not None:
                    self.new_scales.append(scales)
                yield residuals

    def _scales(self) -> Iterator[np.ndarray]:
        """Yield all scales; those of tokens coded here are known once their residuals are written, which is before."""
        known = iter(self.new_scales)
        for part in self.parts:
            source = part.source
            for piece in pieces(source.offsets, part.rows, self.limit):
                if isinstance(source, CodedSegment) and source.scales is not None:
                    yield source.scales[piece.tokens]
                else:
                    yield next(known)


def _offsets(parts: Sequence[Part]) -> np.ndarray:
    lengths = np.concatenate([np.zeros(1, np.int64), *(part.lengths for part in parts)])
    return np.cumsum(lengths)
