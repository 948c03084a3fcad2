"""Settings of search that reach a wanted recall, found on queries made of the documents themselves.

The queries are the first tokens of random documents: nothing of real queries is known when an index is built, and real
ones may fare a little better or worse.
"""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from ..arrays import read_arrays, write_arrays
from ..engine import Found
from .effort import default_candidates, default_nprobe
from .tokens import Tokens

QUERIES = 64
QUERY_TOKENS = 24
_RANKS = 10
_PROBES = (4, 8, 16, 32, 64, 128, 256)
_SPARE = 0.1  # share of the recall that may be missing, left to probing fewer centroids
_CANDIDATES = (64, 128, 256, 512, 1024, 2048, 4096, 8192)
TUNED = ".tuned"


@dataclass(frozen=True)
class Calibration:
    """Settings that were found.

    Attributes:
        nprobe: Centroids probed for each token.
        candidates: Documents scored exactly.
        documents: How many there were.
        recall: Recall at 10 against exact search that they reached.
    """

    nprobe: int
    candidates: int
    documents: int
    recall: float

    def effort(self, documents: int, k: int) -> tuple[int, int]:
        """Return nprobe and candidates for a search for k of so many documents, which may have become more since.

        What was found holds for the ten best; for more, it is never less than the defaults.
        """
        candidates = self.candidates * max(1.0, np.sqrt(documents / max(self.documents, 1)))
        if k <= _RANKS:
            return self.nprobe, round(candidates)
        wider = round(candidates * np.sqrt(k / _RANKS))
        return max(self.nprobe, default_nprobe(k)), max(wider, default_candidates(documents, k))

    def write(self, path: Path) -> None:
        """Write to a file, which appears whole or not at all."""
        write_arrays(path, {name: np.array([value], np.float64) for name, value in asdict(self).items()}, {})

    @classmethod
    def read(cls, path: Path) -> "Calibration":
        """Read what `write` wrote.

        Raises:
            ModernirError: The file is missing or damaged.
        """
        values = {name: float(value[0]) for name, value in read_arrays(path)[0].items()}
        recall = values.pop("recall")
        return cls(recall=recall, **{name: int(value) for name, value in values.items()})


def pseudo_queries(offsets: np.ndarray, decode: Callable[[slice], np.ndarray], seed: int) -> Tokens:
    """Return the first tokens of random documents as queries.

    Args:
        offsets: (documents + 1,) int64.
        decode: Gives tokens as (n, dim) float32.
        seed: Of the choice.
    """
    filled = np.flatnonzero(np.diff(offsets))
    rows = np.sort(np.random.default_rng(seed).permutation(filled)[:QUERIES])
    stops = np.minimum(offsets[rows + 1], offsets[rows] + QUERY_TOKENS)
    queries = [decode(slice(int(start), int(stop))) for start, stop in zip(offsets[rows], stops, strict=True)]
    return Tokens(np.concatenate(queries), np.cumsum([0, *(stops - offsets[rows])]))


def calibrated(target: float, documents: int, found: Callable[..., Found]) -> Calibration:
    """Return the cheapest settings that reach a recall, or the dearest tried where none does.

    Args:
        target: Recall at 10, averaged over the queries.
        documents: How many there are.
        found: Searches with the queries: keywords k, exact, nprobe, candidates.
    """
    truth = found(k=_RANKS, exact=True)[1]

    def recall(nprobe: int, candidates: int) -> float:
        hits = found(k=_RANKS, nprobe=nprobe, candidates=candidates)[1]
        shares = [np.isin(wanted, got).mean() for wanted, got in zip(truth, hits, strict=True) if len(wanted)]
        return float(np.mean(shares)) if shares else 1.0

    most = _PROBES[-1]
    dearest = Calibration(most, _CANDIDATES[-1], documents, 0.0)
    for candidates in _CANDIDATES:
        reached = recall(most, candidates)
        dearest = max(dearest, Calibration(most, candidates, documents, reached), key=lambda item: item.recall)
        if reached >= target + _SPARE * (1 - target) or candidates >= documents:
            break
    for nprobe in _PROBES[:-1]:
        reached = recall(nprobe, dearest.candidates)
        if reached >= target:
            return Calibration(nprobe, dearest.candidates, documents, reached)
    return dearest
