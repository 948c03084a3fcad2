"""Search over coded and uncompressed segments together, by whatever the machine has for it."""

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np

from ...errors import InputError
from ...maxsim.scores import maxsim
from ..engine import Found
from ..masks import Mask
from .calibration import Calibration
from .codec import Codec
from .segment import AnySegment, CodedSegment, PlainSegment
from .settings import SearchOptions
from .tokens import Tokens
from .uncompressed import Decode, best, query_blocks
from .with_faiss import FaissSearch, decoder


class CodedSearch(Protocol):
    """Search over coded segments alone; positions count those only."""

    def search(
        self,
        values: np.ndarray,
        offsets: np.ndarray,
        k: int,
        masks: Sequence[Mask | None],
        *,
        nprobe: int | None,
        candidates: int | None,
        exact: bool,
        threads: int | None,
    ) -> Found:
        """Return the best rows of each query."""

    def score(self, values: np.ndarray, offsets: np.ndarray, positions: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Return the score of each query with given rows."""


class Searcher:
    """Searches; it keeps what was prepared for the coded segments that were searched last.

    Attributes:
        codec: Of the coded segments, None where there are none.
        memory: Bytes that scores may take.
    """

    def __init__(self, codec: Codec | None, memory: int) -> None:
        self.codec = codec
        self.memory = memory
        self._prepared: tuple[list[CodedSegment], str, CodedSearch] | None = None

    def decode(self, segment: AnySegment) -> Decode:
        """Return the function that gives a segment's tokens as vectors."""
        if isinstance(segment, PlainSegment):
            return segment.decoded
        if self.codec is None:
            raise ValueError("a coded segment without a codec")
        return decoder(self.codec, segment)

    def search(
        self,
        segments: Sequence[AnySegment],
        masks: Sequence[Mask | None],
        queries: Tokens,
        k: int,
        options: SearchOptions,
    ) -> Found:
        """Return the best k rows of each query over all segments."""
        layout = _Layout(segments)
        lists = [
            self._plain(layout.firsts[number], segment, masks[number], queries, k, options.threads)
            for number, segment in enumerate(segments)
            if isinstance(segment, PlainSegment)
        ]
        if layout.coded:
            chosen = [masks[number] for number in layout.numbers]
            scores, positions = self._coded(layout.coded, options.device).search(
                queries.values,
                queries.offsets,
                k,
                chosen,
                exact=options.exact,
                threads=options.threads,
                **self._defaults(layout.coded, k, options),
            )
            lists.append((scores, [layout.outside(found) for found in positions]))
        return _merged(lists, len(queries), k)

    def score(
        self, segments: Sequence[AnySegment], queries: Tokens, positions: Sequence[np.ndarray]
    ) -> list[np.ndarray]:
        """Return the exact score of each query with given rows."""
        layout = _Layout(segments)
        owners = [layout.owner(rows) for rows in positions]
        results = [np.empty(len(rows), np.float32) for rows in positions]
        coded = [np.isin(owner, layout.numbers) for owner in owners]
        if layout.coded:
            inside = [layout.inside(rows[here]) for rows, here in zip(positions, coded, strict=True)]
            search = self._coded(layout.coded, "cpu")
            for result, here, scores in zip(
                results, coded, search.score(queries.values, queries.offsets, inside), strict=True
            ):
                result[here] = scores
        for number, segment in enumerate(segments):
            if isinstance(segment, PlainSegment):
                for query, (rows, owner) in enumerate(zip(positions, owners, strict=True)):
                    here = owner == number
                    wanted = rows[here] - layout.firsts[number]
                    results[query][here] = self._scores(segment, queries.only(query), wanted)[0]
        return results

    def describe(self, segments: Sequence[AnySegment]) -> dict[str, Any]:
        """Return the calibrated settings of search, if there are any."""
        found = _calibration([segment for segment in segments if isinstance(segment, CodedSegment)])
        if found is None:
            return {}
        return {"nprobe": found.nprobe, "candidates": found.candidates, "calibrated_recall": found.recall}

    def _plain(
        self, first: int, segment: PlainSegment, mask: Mask | None, queries: Tokens, k: int, threads: int | None
    ) -> tuple[list[np.ndarray], list[np.ndarray]]:
        rows = None if mask is None else mask.rows
        positions = first + (np.arange(segment.rows) if rows is None else rows)
        found: tuple[list[np.ndarray], list[np.ndarray]] = ([], [])
        for _, block in query_blocks(queries, len(positions), self.memory):
            for scores in self._scores(segment, block, rows, threads):
                for results, part in zip(found, best(scores, positions, k), strict=True):
                    results.append(part)
        return found

    def _scores(
        self, segment: PlainSegment, queries: Tokens, rows: np.ndarray | None, threads: int | None = None
    ) -> np.ndarray:
        return maxsim(
            (queries.values, queries.offsets),
            (segment.values, segment.offsets),
            self.memory,
            rows=rows,
            threads=threads,
        )

    def _defaults(self, segments: Sequence[CodedSegment], k: int, options: SearchOptions) -> dict[str, int | None]:
        nprobe, candidates = options.nprobe, options.candidates
        calibration = _calibration(segments)
        if calibration is not None:
            documents = sum(segment.rows for segment in segments)
            usual = calibration.effort(documents, k)
            nprobe, candidates = nprobe or usual[0], candidates or usual[1]
        return {"nprobe": nprobe, "candidates": candidates}

    def _coded(self, segments: list[CodedSegment], device: str) -> CodedSearch:
        kept = self._prepared
        if kept is not None and kept[1] == device and [*map(id, kept[0])] == [*map(id, segments)]:
            return kept[2]
        if self.codec is None:
            raise ValueError("coded segments without a codec")
        search = prepared(self.codec, segments, device)
        self._prepared = (segments, device, search)
        return search


def prepared(codec: Codec, segments: Sequence[CodedSegment], device: str) -> CodedSearch:
    """Return the search for a device: the kernels' on a CPU, or that of NumPy and FAISS where numba is missing."""
    if device != "cpu":
        from .with_torch import TorchSearch

        try:
            import torch  # noqa: F401 - whether it is there
        except ImportError as error:
            raise InputError(f"device {device!r} needs torch, which cannot be imported ({error})") from error
        try:
            return TorchSearch(codec, segments, device)
        except (RuntimeError, AssertionError) as error:
            raise InputError(f"device {device!r} cannot be used: {error}") from error
    try:
        import numba  # noqa: F401 - whether it is there
    except ImportError:
        return FaissSearch(codec, segments)
    from .search import LateSearch

    return LateSearch(codec, segments)


def _calibration(segments: Sequence[CodedSegment]) -> Calibration | None:
    """Return the calibration of the largest segment that has one."""
    having = [segment for segment in segments if segment.calibration is not None]
    return max(having, key=lambda segment: segment.rows).calibration if having else None


class _Layout:
    """Where each segment's rows are among all rows, and among those of coded segments."""

    def __init__(self, segments: Sequence[AnySegment]) -> None:
        self.firsts = np.cumsum([0, *(segment.rows for segment in segments)])
        self.coded = [segment for segment in segments if isinstance(segment, CodedSegment)]
        self.numbers = np.array([i for i, part in enumerate(segments) if isinstance(part, CodedSegment)], np.int64)
        self._inner = np.cumsum([0, *(segment.rows for segment in self.coded)])

    def owner(self, positions: np.ndarray) -> np.ndarray:
        """Return the number of the segment of each position."""
        return np.searchsorted(self.firsts, positions, side="right") - 1

    def inside(self, positions: np.ndarray) -> np.ndarray:
        """Return positions, all in coded segments, as numbered among the rows of those."""
        owners = self.owner(positions)
        return positions - self.firsts[owners] + self._inner[np.searchsorted(self.numbers, owners)]

    def outside(self, inner: np.ndarray) -> np.ndarray:
        """Return the positions of rows numbered among those of coded segments."""
        owners = np.searchsorted(self._inner, inner, side="right") - 1
        return inner - self._inner[owners] + self.firsts[self.numbers[owners]]


def _merged(lists: Sequence[Found], queries: int, k: int) -> Found:
    """Merge ranked lists, each of all queries, into one of at most k."""
    if len(lists) == 1:
        return lists[0]
    scores: list[np.ndarray] = []
    positions: list[np.ndarray] = []
    nothing = (np.empty(0, np.float32), np.empty(0, np.int64))
    for query in range(queries):
        parts = [(found[0][query], found[1][query]) for found in lists] or [nothing]
        all_scores, all_positions = (np.concatenate(column) for column in zip(*parts, strict=True))
        for results, part in zip((scores, positions), best(all_scores, all_positions, k), strict=True):
            results.append(part)
    return scores, positions
