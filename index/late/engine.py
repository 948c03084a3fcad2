"""The engine of token vectors: late interaction, where a document is as near as its tokens are to those of the query.

Small collections are kept and searched uncompressed. A codec is trained once there are tokens enough to train it on;
from then on what is written is coded, and what was written before is coded by the next compaction.
"""

from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from ..engine import Found
from ..masks import Mask
from . import searching
from .calibration import TUNED, Calibration, calibrated, pseudo_queries
from .codec import Codec
from .encode import Encoder
from .sampling import Source, sampled
from .segment import (
    CODED,
    PLAIN,
    AnySegment,
    CodedSegment,
    Part,
    PlainSegment,
    read_segment,
    write_coded,
    write_plain,
)
from .settings import LateSettings, checked_options
from .tokens import Tokens, checked
from .training import TRAIN_TOKENS, Recipe, enlarged, grown, sample_size, trained

SPOOL_TOKENS = 1 << 22
"""Tokens that are kept uncompressed while a collection is built, so that the codec is trained on more of it."""
_SPOOL_SHARE = 256  # bytes of memory wanted for each token kept
_FLOAT16_MAX = float(np.finfo(np.float16).max)
_SAMPLE_SHARE = 4  # of memory may be taken by a sample: one part in so many


class LateEngine:
    """Checks, writes, opens, merges and searches token vectors.

    Attributes:
        folder: Of the index.
        dim: Dimensions of a token.
        unit: Whether tokens are brought to length 1 (metric "cosine").
        settings: How tokens are stored.
        memory: Bytes that building may take.
        shared: Name of the codec's file in the folder, None until there is one.
    """

    def __init__(
        self, folder: Path, dim: int, metric: str, settings: Mapping[str, Any], memory: int, shared: str | None
    ) -> None:
        self.folder = folder
        self.dim = dim
        self.metric = metric
        self.unit = metric == "cosine"
        self.settings = LateSettings(**settings)
        self.memory = memory
        self.shared = shared
        self.codec = None if shared is None else Codec.read(folder / shared)
        self._searcher = searching.Searcher(self.codec, memory)

    def accept(self, vectors: Any) -> Tokens:  # noqa: ANN401 - a pair, or what has values and offsets
        """Check documents; one without tokens is kept and never found. The caller may change the array afterwards.

        Raises:
            InputError: A shape, an offset or a value is wrong; the message says which.
        """
        largest = _FLOAT16_MAX if self.settings.nbits == 16 else np.inf
        return checked(vectors, self.dim, self.unit, "document", largest).apart_from(vectors)

    def queries(self, vectors: Any) -> Tokens:  # noqa: ANN401 - as above
        """Check queries; one without tokens finds nothing.

        Raises:
            InputError: A shape, an offset or a value is wrong; the message says which.
        """
        return checked(vectors, self.dim, self.unit, "query")

    def adapted(
        self, name: str, batches: Sequence[Tokens], segments: Sequence[AnySegment], building: bool
    ) -> "LateEngine":
        """Return the engine to write with: itself, or one whose codec is new or has grown.

        Args:
            name: Stem of the codec's file, in case there is to be another.
            batches: What is to be written; none at a compaction, when a collection that many small additions made
                too large for its centroids gets more of them.
            segments: All open segments; where the engine returned is another, they must be opened again with it.
            building: More is to come before the next compaction.
        """
        if not self.settings.coded:
            return self
        plain = [segment for segment in segments if isinstance(segment, PlainSegment)]
        waiting = [PlainSegment(batch.values, batch.offsets) for batch in batches] + plain
        added = sum(part.tokens for part in waiting)
        if self.codec is None:
            wait = max(TRAIN_TOKENS, min(SPOOL_TOKENS, self.memory // _SPOOL_SHARE)) if building else TRAIN_TOKENS
            codec = self._trained(waiting, added) if added >= wait else None
        else:
            tokens = added + sum(segment.tokens for segment in segments if isinstance(segment, CodedSegment))
            codec = self._grown(self.codec, waiting, added, tokens)
            if codec is self.codec and not batches:
                codec = self._enlarged(codec, segments, tokens)
        if codec is self.codec or codec is None:
            return self
        shared = f"{name}.codec"
        codec.write(self.folder / shared)
        settings = vars(self.settings)
        return LateEngine(self.folder, self.dim, self.metric, settings, self.memory, shared)

    def write(self, stem: str, batches: Sequence[Tokens]) -> list[str]:
        """Write batches as one segment, flushed to disk; return the names of its files."""
        return self._written(stem, [Part(PlainSegment(batch.values, batch.offsets)) for batch in batches])

    def open(self, files: Sequence[Path]) -> AnySegment:
        """Open a segment.

        Raises:
            ModernirError: A file is missing, cut or damaged in its header.
        """
        main = next(path for path in files if path.suffix in (CODED, PLAIN))
        segment = read_segment(main)
        if isinstance(segment, PlainSegment) and self.settings.coded:
            segment.settled = self.codec is None and segment.tokens < TRAIN_TOKENS
        for path in files:
            if path.suffix == TUNED and isinstance(segment, CodedSegment):
                segment.calibration = Calibration.read(path)
        return segment

    def merge(self, stem: str, segments: Sequence[AnySegment], kept: Sequence[Mask | None]) -> list[str]:
        """Write the kept rows of segments, in order, as one segment, coded if there is a codec."""
        rows = [None if mask is None else mask.rows for mask in kept]
        files = self._written(stem, [Part(*pair) for pair in zip(segments, rows, strict=True)])
        merged = self.open([self.folder / name for name in files])
        if self.settings.target_recall is None or not isinstance(merged, CodedSegment) or not merged.tokens:
            return files
        self._calibrated(merged, self.settings.target_recall).write(self.folder / f"{stem}{TUNED}")
        return [*files, f"{stem}{TUNED}"]

    def search(
        self,
        segments: Sequence[AnySegment],
        masks: Sequence[Mask | None],
        queries: Tokens,
        k: int,
        options: Mapping[str, Any],
    ) -> Found:
        """Return the best k rows of each query over all segments.

        Args:
            segments: Open segments.
            masks: One a segment; None lets all its rows be found.
            queries: What `queries` returned.
            k: Rows a query, at least 1.
            options: `exact`, `nprobe`, `candidates`, `threads`, `device`: see `SearchOptions`.

        Raises:
            InputError: An option is unknown or out of range.
        """
        return self._searcher.search(segments, masks, queries, k, checked_options(options))

    def score(
        self, segments: Sequence[AnySegment], queries: Tokens, positions: Sequence[np.ndarray]
    ) -> list[np.ndarray]:
        """Return the exact score of each query with given rows, (n,) float32 each; −inf for rows without tokens."""
        return self._searcher.score(segments, queries, positions)

    def vectors(self, segment: AnySegment, start: int, stop: int) -> tuple[np.ndarray, np.ndarray]:
        """Return the tokens of rows start … stop − 1, decoded, as the pair (values, offsets)."""
        offsets = segment.offsets[start : stop + 1]
        return self._searcher.decode(segment)(slice(int(offsets[0]), int(offsets[-1]))), offsets - offsets[0]

    def describe(self, segments: Sequence[AnySegment]) -> dict[str, Any]:
        """Return the numbers of tokens and centroids, the bits, the bytes of a token and the codec's version."""
        stored = sum(segment.nbytes for segment in segments) + (0 if self.codec is None else self.codec.nbytes)
        tokens = sum(segment.tokens for segment in segments)
        return {
            "tokens": tokens,
            "uncompressed_tokens": sum(part.tokens for part in segments if isinstance(part, PlainSegment)),
            "nbits": self.settings.nbits,
            "bytes_per_token": round(stored / tokens, 1) if tokens else 0.0,
            "centroids": 0 if self.codec is None else len(self.codec.centroids),
            "codec_version": 0 if self.codec is None else self.codec.version,
            **self._searcher.describe(segments),
        }

    @cached_property
    def _encoder(self) -> Encoder | None:
        return None if self.codec is None else Encoder(self.codec, self.unit)

    @property
    def _recipe(self) -> Recipe:
        return Recipe(self.settings.nbits, self.unit, self.settings.seed, self.settings.centroids)

    def _sample(self, sources: Sequence[Source], size: int) -> np.ndarray:
        fitting = self.memory // (_SAMPLE_SHARE * 4 * self.dim)
        return sampled(sources, max(1, min(size, fitting)), self.settings.seed)

    def _trained(self, waiting: Sequence[PlainSegment], tokens: int) -> Codec:
        size = sample_size(self._recipe.count(tokens))
        return trained(self._recipe, self._sample(_sources(waiting), size), tokens)

    def _grown(self, codec: Codec, waiting: Sequence[PlainSegment], added: int, tokens: int) -> Codec:
        if not added:
            return codec
        return grown(codec, self._recipe, lambda size: self._sample(_sources(waiting), size), added, tokens)

    def _enlarged(self, codec: Codec, segments: Sequence[AnySegment], tokens: int) -> Codec:
        sources = [Source(segment.offsets, self._searcher.decode(segment)) for segment in segments]
        return enlarged(codec, self._recipe, lambda size: self._sample(sources, size), tokens)

    def _written(self, stem: str, parts: Sequence[Part]) -> list[str]:
        if self._encoder is not None:
            write_coded(self.folder / f"{stem}{CODED}", parts, self._encoder, self.memory)
            return [f"{stem}{CODED}"]
        kind = np.float16 if self.settings.nbits == 16 else np.float32
        write_plain(self.folder / f"{stem}{PLAIN}", parts, self.dim, kind, self.memory)
        return [f"{stem}{PLAIN}"]

    def _calibrated(self, segment: CodedSegment, target: float) -> Calibration:
        decode = self._searcher.decode(segment)
        queries = pseudo_queries(segment.offsets, decode, self.settings.seed)

        def found(k: int, **options: Any) -> Found:  # noqa: ANN401 - the search's own
            return self._searcher.search([segment], [None], queries, k, checked_options(options))

        return calibrated(target, segment.rows, found)


def _sources(segments: Sequence[PlainSegment]) -> list[Source]:
    return [Source(segment.offsets, segment.decoded) for segment in segments]
