"""How the learning rate and the batch change from step to step, as numbers that can be asked for any step.

The learning rate warms up, stays, and decays: "trapezoidal" (Zhai et al. 2022, arXiv 2106.04560) or WSD (Hu et al.
2024, arXiv 2404.06395), with the 1 − √ decay that Hägele et al. 2024 (arXiv 2405.18392) found best. A checkpoint from
the stable part can be trained on, with other data or a longer context, as if the run had never been meant to end.
"""

import math

import numpy as np


def rate_at(step: int, steps: int, warmup: float, decay: float) -> float:
    """Return the learning rate of a step as a share of the highest.

    Args:
        step: From 0.
        steps: Of the whole run.
        warmup: Share of them, the first, in which the rate rises linearly; it is never 0.
        decay: Share of them, the last, in which it falls as 1 − √(share of the decay that is over).
    """
    rising, falling = round(warmup * steps), round(decay * steps)
    if step < rising:
        return (step + 1) / (rising + 1)
    over = step - (steps - falling)
    return 1.0 if over < 0 else 1 - math.sqrt(over / falling)


def batch_sizes(steps: int, batch: int, first: int | None, warmup: float) -> np.ndarray:
    """Return the packs of each step, (steps,) int64, which rise linearly from `first` to `batch`.

    Args:
        steps: Of the whole run.
        batch: Packs of a step after the warm-up.
        first: Packs of the first step; None for `batch`.
        warmup: Share of the steps that the rise takes.
    """
    rising = round(warmup * steps)
    sizes = np.full(steps, batch, dtype=np.int64)
    if first is not None and rising:
        rise = first + (batch - first) * np.arange(min(rising, steps)) / rising
        sizes[:rising] = np.floor(rise).astype(np.int64)
    return sizes


def steps_of(packs: int, batch: int, first: int | None, warmup: float) -> int:
    """Return the most steps whose batches need no more than so many packs."""

    def needed(steps: int) -> int:
        return int(batch_sizes(steps, batch, first, warmup).sum())

    least, beyond = 0, packs // (first or batch) + 2  # a step takes at least `first` packs
    while beyond - least > 1:
        middle = (least + beyond) // 2
        least, beyond = (middle, beyond) if needed(middle) <= packs else (least, middle)
    return least
