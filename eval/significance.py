"""Paired tests of two systems on the same queries, and their correction for many comparisons.

Each set of queries is a stratum. What is tested is the mean over sets of each set's mean difference, as results tables
report it; with one set that is the plain mean over queries, and the tests are the usual ones.
"""

from collections.abc import Iterable, Sequence
from math import sqrt

import numpy as np

FLIPS = 100_000
EXACT_QUERIES = 16
"""With no more queries that differ, all 2^16 patterns of signs are looked at instead of random ones."""
SEED = 20_070_611
_ROUNDING = 1e-12
"""Share of the sum of all differences by which two sums of the same numbers may differ."""


def randomization_test(strata: Sequence[np.ndarray], flips: int = FLIPS, seed: int = SEED) -> float:
    """Return the two-sided p value of the paired randomization test (Smucker, Allan and Carterette 2007).

    If it made no difference which system a query's score comes from, the sign of every query's difference would be a
    coin's. p is the share of patterns of signs whose mean difference is at least as far from 0 as the one observed:
    of all patterns where at most `EXACT_QUERIES` queries differ, else of `flips` random ones, with the observed one
    counted among them (Phipson and Smyth 2010), so that p is never 0.

    Args:
        strata: For each set (n_queries,) float64, the difference of each query.
        flips: Number of random patterns.
        seed: Of the generator.
    """
    weighted = np.concatenate([differences / len(differences) for differences in strata])
    weighted = weighted[weighted != 0]  # a query without difference has no sign to flip
    if not len(weighted):
        return 1.0
    observed = abs(weighted.sum()) - _ROUNDING * np.abs(weighted).sum()
    table = _sums_of_bytes(weighted)
    if len(weighted) <= EXACT_QUERIES:
        every = np.indices((256,) * len(table), np.uint8).reshape(len(table), -1)
        return float(np.mean(np.abs(_flipped_sums(table, every)) >= observed))
    generator = np.random.default_rng(seed)
    drawn = (generator.integers(0, 256, flips, np.uint8) for _ in table)
    extreme = np.count_nonzero(np.abs(_flipped_sums(table, drawn)) >= observed)
    return float(extreme + 1) / (flips + 1)


def _sums_of_bytes(values: np.ndarray) -> np.ndarray:
    """Return for every eight values, and every byte as their signs, the sum: (n / 8, 256) float64."""
    eights = np.pad(values, (0, -len(values) % 8)).reshape(-1, 8)
    signs = 1.0 - 2.0 * np.unpackbits(np.arange(256, dtype=np.uint8)[:, None], axis=1)
    return eights @ signs.T


def _flipped_sums(table: np.ndarray, patterns: Iterable[np.ndarray]) -> np.ndarray:
    """Return the sum of all values under each pattern of signs; of each eight values come their (n_patterns,) bytes."""
    return sum(sums[signs] for sums, signs in zip(table, patterns, strict=True))


def paired_t_test(strata: Sequence[np.ndarray]) -> float:
    """Return the two-sided p value of the paired t test (Student 1908), over several sets as Welch (1947) has it.

    t = Σ_s d̄_s / sqrt(Σ_s v_s) with v_s = var_s / n_s, and (Σ v_s)² / Σ (v_s² / (n_s − 1)) degrees of freedom.

    Args:
        strata: For each of the S sets (n_queries,) float64, the difference of each query.

    Returns:
        The p value; 1 where all differences are zero or a set has fewer than two queries, which tell nothing.
    """
    if any(len(differences) < 2 for differences in strata):
        return 1.0
    total = sum(float(differences.mean()) for differences in strata)
    variances = [float(differences.var(ddof=1)) / len(differences) for differences in strata]
    if total == 0:
        return 1.0
    whole = sum(variances)
    if whole == 0:
        return 0.0
    shares = [variance / whole for variance in variances]
    freedom = 1 / sum(share**2 / (len(stratum) - 1) for share, stratum in zip(shares, strata, strict=True))
    from scipy.special import stdtr

    return float(2 * stdtr(freedom, -abs(total) / sqrt(whole)))


def holm(p_values: Sequence[float]) -> list[float]:
    """Return p values corrected for their number by Holm's step-down procedure (1979), in the order given.

    The i-th smallest of m becomes the largest of (m − j + 1) · p_j over j ≤ i, and at most 1; calling those below alpha
    significant keeps the chance of even one false call below alpha.
    """
    order = sorted(range(len(p_values)), key=p_values.__getitem__)
    corrected = [0.0] * len(p_values)
    largest = 0.0
    for rank, place in enumerate(order):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[place]))
        corrected[place] = largest
    return corrected
