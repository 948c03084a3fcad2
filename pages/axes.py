"""Axes of plots: a range with round ticks, logarithmic where the values differ greatly."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import product
from math import ceil, floor, log10

LOGARITHMIC_FROM = 8.0
"""Ratio of the largest to the smallest value from which a logarithmic scale is taken."""
MARGIN = 0.06
"""Share of the axis that is left free beyond the values, at either end."""
MOST_TICKS = 7
ABOVE_ONE = 0.1
"""Share of an axis of shares that is left free above 1, for labels."""
SHARE_STEPS = ((0.02, 0.005), (0.05, 0.01), (0.1, 0.02), (0.2, 0.05), (0.5, 0.1), (1.0, 0.2))
"""How far an axis of shares goes below 1, and the step of its ticks."""


@dataclass(frozen=True)
class Axis:
    """A range of values.

    Attributes:
        low: Value at its beginning.
        high: Value at its end.
        ticks: Values that are written beside it.
        logarithmic: Whether equal distances are equal ratios.
    """

    low: float
    high: float
    ticks: Sequence[float]
    logarithmic: bool = False

    def place(self, value: float) -> float:
        """Return where a value lies: 0 at the beginning, 1 at the end."""
        if self.logarithmic:
            return log10(value / self.low) / log10(self.high / self.low)
        return (value - self.low) / (self.high - self.low)


def axis_of(values: Iterable[float]) -> Axis:
    """Return an axis that holds these values, of which there is at least one."""
    found = list(values)
    least, most = min(found), max(found)
    if least > 0 and most / least >= LOGARITHMIC_FROM:
        room = (most / least) ** MARGIN
        low, high = least / room, most * room
        return Axis(low, high, _round_ratios(low, high), logarithmic=True)
    room = (most - least) * MARGIN or abs(most) * 0.1 or 1.0
    low, high = least - room, most + room
    return Axis(low, high, _round_steps(low, high))


def axis_of_shares(values: Iterable[float]) -> Axis:
    """Return an axis that ends a little above 1, and begins as far below as these shares ask for."""
    below = 1 - min(values)
    depth, step = next((pair for pair in SHARE_STEPS if pair[0] >= below * (1 + MARGIN)), SHARE_STEPS[-1])
    ticks = tuple(round(1 - count * step, 6) for count in range(round(depth / step) + 1))
    return Axis(1 - depth, 1 + depth * ABOVE_ONE, ticks)


def _round_ratios(low: float, high: float) -> tuple[float, ...]:
    """Return 1, 2 and 5 times powers of ten within a range, or only some of them where that were many."""
    powers = range(floor(log10(low)), ceil(log10(high)) + 1)
    for digits in ((1, 2, 5), (1, 3), (1,)):
        ticks = tuple(digit * 10.0**power for power, digit in product(powers, digits))
        within = tuple(tick for tick in ticks if low <= tick <= high)
        if len(within) <= MOST_TICKS:
            break
    return within


def _round_steps(low: float, high: float) -> tuple[float, ...]:
    power = floor(log10(high - low)) - 1
    steps = (digit * 10.0**exponent for exponent, digit in product(range(power, power + 3), (1, 2, 5)))
    step = next(one for one in steps if (high - low) / one < MOST_TICKS)
    return tuple(round(count * step, 10) for count in range(ceil(low / step), floor(high / step) + 1))
