"""How hard a structure has to search, found on queries that are not in it.

The queries are sums of three stored vectors, drawn with the seed. Rows of the segment themselves find their neighbours
far too easily: over a million of MiniLM's vectors, 8 of 1,024 lists hold all 10 neighbours of a row, .88 of those of a
question and .71 of those of such a sum; 128 lists reach .96 and .98. The best 10 by exact search are the truth.
"""

from dataclasses import replace
from typing import Any

import numpy as np

from . import exact
from .proposing import GRAPH, LISTS, USUAL_K, Effort, Structure
from .settings import PLAIN

QUERIES = 200
MIXED = 3
USUAL_TARGET = 0.99
"""The recall that is looked for where no target is set, at a price within bounds."""
ALIKE = 0.005
"""Recalls that differ by less than this count as the same where the target is out of reach."""
FACTORS = (2.0, 4.0, 6.0, 8.0, 10.0, 12.0, 16.0, 24.0, 32.0, 64.0, 128.0)
BREADTHS = (16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512, 768, 1024)
USUAL_BREADTH = 256
"""Without a target, a graph is not searched with more breadth than this."""
FEW_LISTS = 64
"""Without a target, no more lists than these are looked into, or an eighth of all if that is more."""


def calibrated(index: Any, flat: Any, target: float | None, seed: int) -> tuple[Effort, float]:  # noqa: ANN401 - FAISS's
    """Return the cheapest effort that reaches a recall at 10, or else nearly the best, and the recall that it reaches.

    Args:
        index: A filled structure.
        flat: The stored vectors.
        target: The recall; None for the usual one, at a price that stays within bounds.
        seed: Of the queries.
    """
    queries = _queries(flat, seed)
    truth = exact.search(flat, queries, USUAL_K, None)[1][:, :USUAL_K]
    structure = Structure(index, flat, Effort(1))
    wanted = USUAL_TARGET if target is None else target
    steps = _steps(structure, bounded=target is None)
    best, cheapest = (Effort(1), 0.0), np.inf
    for factor in FACTORS:
        efforts = [replace(step, k_factor=factor) for step in steps]
        effort, recall = _least(structure, queries, truth, efforts, wanted)
        if recall < wanted:
            best = (effort, recall) if recall > best[1] + ALIKE else best
            continue
        work = structure.work(effort, int(USUAL_K * factor))
        if work > cheapest:  # more proposals save less and less breadth
            break
        best, cheapest = (effort, recall), work
    return best


def _queries(flat: Any, seed: int) -> np.ndarray:  # noqa: ANN401
    rows = np.random.default_rng(seed).integers(flat.ntotal, size=(MIXED, QUERIES))
    return np.asarray(sum(flat.reconstruct_batch(part) for part in rows), dtype=np.float32)


def _steps(structure: Structure, bounded: bool) -> list[Effort]:
    """Return efforts of growing breadth; of one where there is none to choose."""
    if structure.kind == GRAPH:
        return [Effort(1, ef=breadth) for breadth in BREADTHS if not bounded or breadth <= USUAL_BREADTH]
    if structure.kind == LISTS:
        most = min(structure.lists, max(FEW_LISTS, structure.lists // 8)) if bounded else structure.lists
        steps = [1]
        while steps[-1] < most:
            steps.append(min(most, steps[-1] + max(1, steps[-1] // 4)))
        return [Effort(1, nprobe=nprobe) for nprobe in steps]
    return [Effort(1)]


def _least(
    structure: Structure, queries: np.ndarray, truth: np.ndarray, efforts: list[Effort], wanted: float
) -> tuple[Effort, float]:
    """Return the first effort that reaches a recall, by halving, or else the last, and its recall."""
    low, high = 0, len(efforts) - 1
    best = efforts[high], _recall(structure, queries, truth, efforts[high])
    while best[1] >= wanted and low < high:
        middle = (low + high) // 2
        recall = _recall(structure, queries, truth, efforts[middle])
        if recall >= wanted:
            best, high = (efforts[middle], recall), middle
        else:
            low = middle + 1
    return best


def _recall(structure: Structure, queries: np.ndarray, truth: np.ndarray, effort: Effort) -> float:
    options = replace(PLAIN, k_factor=effort.k_factor, nprobe=effort.nprobe, ef=effort.ef)
    rows = structure.search(queries, USUAL_K, options)[1]
    return float((rows[:, :, None] == truth[:, None, :]).any(axis=2).mean())
