"""A structure that proposes rows, and the stored vectors that score them.

How hard it searches is calibrated for 10 rows; for more and for fewer it follows from that. Of a mask, structures that
take FAISS's selectors search among the allowed rows alone, and look further the fewer they are; of the others, more
proposals are asked for and the allowed ones kept. Where that is dearer than scoring all allowed rows, it says so.
"""

import math
from dataclasses import dataclass
from typing import Any

import faiss
import numpy as np

from ..masks import Mask
from .settings import Options
from .storage import scores_of
from .structures import parts

SCAN, LISTS, GRAPH = "scan", "lists", "graph"
USUAL_K = 10
MORE, FEWER = 0.8, 0.4
"""Proposals grow with k to the power of the first above 10 rows, and fall with the second below: measured, see the
benchmark; a recall of .98 on MiniLM's vectors takes 40, 100 and 600 proposals for 1, 10 and 100 rows."""
WIDER = 0.25
"""Lists to look into grow with the share of rows that is allowed to the power of minus this: what keeps the recall of
MiniLM's vectors at 16 and at 128 of 1,024 lists, down to a share of .003."""
PROPOSALS_AT_ONCE = 1 << 22
"""Proposals of a block of queries that are held at once."""
CACHED = 256

Rows = tuple[np.ndarray, np.ndarray]
"""Scores (n, k) float32 and rows (n, k) int64, best first; row -1 where there are fewer."""


@dataclass(frozen=True)
class Effort:
    """How hard a structure searches.

    Attributes:
        k_factor: Rows proposed for each of 10 that are asked for.
        nprobe: Lists looked into, of an inverted file.
        ef: Breadth in a graph.
    """

    k_factor: float
    nprobe: int | None = None
    ef: int | None = None


def kind_of(index: Any) -> str:  # noqa: ANN401 - FAISS's
    """Say how a structure searches: a scan of all rows, some lists, or along a graph."""
    for part in parts(index):
        if hasattr(part, "nprobe"):
            return LISTS
        if isinstance(part, faiss.IndexHNSW):
            return GRAPH
    return SCAN


def lists_in(index: Any) -> int:  # noqa: ANN401
    """Return the number of inverted lists, 1 where there are none."""
    return next((int(part.nlist) for part in parts(index) if hasattr(part, "nprobe")), 1)


class Structure:
    """An opened structure over stored vectors.

    Attributes:
        index: The structure, of FAISS.
        effort: What it was calibrated to.
        kind: How it searches: "scan", "lists" or "graph".
        lists: Inverted lists, 1 where there are none.
    """

    def __init__(self, index: Any, flat: Any, effort: Effort) -> None:  # noqa: ANN401
        self.index = index
        self.effort = effort
        self._flat = flat
        self._refined = faiss.IndexRefine(index, flat)
        self.kind = kind_of(index)
        self.lists = lists_in(index)
        self._cost = _scan_cost(index)
        self._known: dict[tuple[int, Options], Any] = {}
        self._selects: bool | None = None

    def search(self, queries: np.ndarray, k: int, options: Options) -> Rows:
        """Return rows for each query.

        Args:
            queries: (n, dim) float32.
            k: Rows a query, at most as many as there are.
            options: Of the search.
        """
        parameters = self._known.get((k, options))
        if parameters is None:
            if len(self._known) >= CACHED:
                self._known.clear()
            parameters = self._known[k, options] = self._parameters(k, self._asked(options, k), options, None)
        found: Rows = self._refined.search(queries, k, params=parameters)
        return found

    def search_allowed(self, queries: np.ndarray, k: int, options: Options, mask: Mask) -> Rows | None:
        """Return allowed rows for each query; None where it is cheaper to score all of them.

        Args:
            queries: (n, dim) float32.
            k: Rows a query, at most as many as are allowed.
            options: Of the search.
            mask: Rows that may be found.
        """
        share = mask.count / len(mask.allowed)
        effort = self._asked(options, k)
        proposals = self._proposals(k, effort, options)
        if self.takes_selectors():
            effort = self._widened(effort, share)
            if self.work(effort, proposals) >= mask.count:
                return None
            parameters = self._parameters(k, effort, options, faiss.IDSelectorBitmap(mask.bits))
            found: Rows = self._refined.search(queries, k, params=parameters)
            return found
        wanted = math.ceil(1.25 * proposals / share) + k
        if self.work(effort, wanted) >= mask.count:
            return None
        return self._sifted(queries, k, wanted, effort, mask)

    def takes_selectors(self) -> bool:
        """Say whether the structure searches among selected rows; found by trying."""
        if self._selects is None:
            selector = faiss.IDSelectorBitmap(np.full(-(-self.index.ntotal // 8), 255, np.uint8))
            try:
                origin = np.zeros((1, self.index.d), np.float32)
                self.index.search(origin, 1, params=self._base(Effort(1, 1, 1), selector))
                self._selects = True
            except RuntimeError:
                self._selects = False
        return self._selects

    def _asked(self, options: Options, k: int) -> Effort:
        """Return the effort that the options ask for, and for the rest the calibrated one, for k rows."""
        wider = max(1.0, k / USUAL_K) ** 0.25
        nprobe = options.nprobe or (None if self.effort.nprobe is None else math.ceil(self.effort.nprobe * wider))
        return Effort(options.k_factor or self.effort.k_factor, nprobe, options.ef or self.effort.ef)

    def _proposals(self, k: int, effort: Effort, options: Options) -> int:
        if options.k_factor is not None:
            wanted = k * effort.k_factor
        else:
            wanted = USUAL_K * effort.k_factor * (k / USUAL_K) ** (MORE if k > USUAL_K else FEWER)
        return min(max(math.ceil(wanted), k), self.index.ntotal)

    def _widened(self, effort: Effort, share: float) -> Effort:
        """Return what finds as large a part of the best allowed rows, when only a share of all is allowed."""
        nprobe, ef = effort.nprobe, effort.ef
        if nprobe is not None:
            nprobe = min(self.lists, math.ceil(nprobe / share**WIDER))
        return Effort(effort.k_factor, nprobe, None if ef is None else math.ceil(ef / share))

    def work(self, effort: Effort, proposals: int) -> float:
        """Return what a search for a query costs, in rows that could be scored exactly meanwhile, about."""
        scanned = float(self.index.ntotal)
        if self.kind == LISTS:
            scanned = self.lists + scanned * min(1.0, (effort.nprobe or 1) / self.lists)
        elif self.kind == GRAPH:
            scanned = min(scanned, 32.0 * (effort.ef or 16))
        return scanned * self._cost + proposals

    def _parameters(self, k: int, effort: Effort, options: Options, selector: Any) -> Any:  # noqa: ANN401
        return faiss.IndexRefineSearchParameters(
            k_factor=self._proposals(k, effort, options) / k, base_index_params=self._base(effort, selector)
        )

    def _base(self, effort: Effort, selector: Any) -> Any:  # noqa: ANN401
        limits: dict[str, Any] = {} if selector is None else {"sel": selector}
        if self.kind == LISTS:
            return faiss.SearchParametersIVF(nprobe=min(effort.nprobe or 1, self.lists), **limits)
        if self.kind == GRAPH:
            return faiss.SearchParametersHNSW(efSearch=effort.ef or 16, **limits)
        return faiss.SearchParameters(**limits) if limits else None

    def _sifted(self, queries: np.ndarray, k: int, wanted: int, effort: Effort, mask: Mask) -> Rows:
        """Propose so many rows, keep the allowed ones, score them and return the best."""
        wanted = min(wanted, self.index.ntotal)
        found = []
        step = max(1, PROPOSALS_AT_ONCE // wanted)
        for start in range(0, len(queries), step):
            block = queries[start : start + step]
            rows = self.index.search(block, wanted, params=self._base(effort, None))[1]
            rows[~mask.allowed[rows]] = -1  # -1 looks up the last row, and is -1 after it
            scores = scores_of(self._flat, block, rows)
            order = np.argsort(-scores, axis=1, kind="stable")[:, :k]
            found.append((np.take_along_axis(scores, order, axis=1), np.take_along_axis(rows, order, axis=1)))
        scores, rows = (np.concatenate(parts) for parts in zip(*found, strict=True))
        return scores, rows


def _scan_cost(index: Any) -> float:  # noqa: ANN401
    """Return the time to look at a row in a structure, over that to score it: measured with 384 dimensions."""
    names = [type(part).__name__ for part in parts(index)]
    if any("FastScan" in name for name in names):
        return 1 / 12 if kind_of(index) == LISTS else 1 / 30
    if any("RaBitQ" in name or "PQ" in name for name in names):
        return 1 / 5
    return 1 / 2
