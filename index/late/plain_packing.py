"""The choice of levels with NumPy alone, for where numba cannot be had: what `packing` does, with the same results."""

import numpy as np

LANES = 64
_HALF, _ONE, _TWO = np.float32(0.5), np.float32(1), np.float32(2)


def weigh_parallel(
    tokens: np.ndarray, rest: np.ndarray, levels: np.ndarray, steps: np.ndarray, top: np.float32, weight: np.float32
) -> None:
    """Move levels by one where that makes |error|² + weight · (error · token)² less: see `packing.weigh_parallel`."""
    along = _summed(rest, tokens)
    for place, step in enumerate(steps):
        token = tokens[:, place]
        slope = rest[:, place] + weight * token * along
        sign = np.where(slope > 0, -_ONE, _ONE)
        moved = levels[:, place] + sign
        pays = np.abs(slope) > _HALF * step * (_ONE + weight * token * token)
        sign *= pays & (moved >= 0) & (moved <= top)
        levels[:, place] += sign
        along += sign * step * token


def turn(
    tokens: np.ndarray, decoded: np.ndarray, levels: np.ndarray, steps: np.ndarray, top: np.float32, rounds: int
) -> None:
    """Move levels by one where that makes the angle to the token less: see `packing.turn`."""
    product, square = _summed(decoded, tokens), _summed(decoded, decoded)
    for place in [*range(len(steps))] * rounds:
        token, value = tokens[:, place], decoded[:, place].copy()
        change = np.where(token * square > product * value, steps[place], -steps[place])
        moved = levels[:, place] + np.sign(change)
        after = product + change * token
        longer = square + change * (_TWO * value + change)
        pays = (after > 0) & (after * after * square > product * product * longer) & (moved >= 0) & (moved <= top)
        levels[:, place] = np.where(pays, moved, levels[:, place])
        decoded[:, place] = np.where(pays, value + change, value)
        product = np.where(pays, after, product)
        square = np.where(pays, longer, square)


def _summed(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Return the products summed over the dimensions, in the order of the kernels."""
    total = np.zeros_like(one[:, 0])
    for place in range(one.shape[1]):
        total += one[:, place] * other[:, place]
    return total
