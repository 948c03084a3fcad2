"""Keys of 64 bits looked up by bisection, with more of them coming all the time."""

import numpy as np


class SortedKeys:
    """A number for each key, in a few sorted runs of which each is more than twice as long as the next.

    Adding n keys one by one then sorts each of them log n times, and looking one up bisects log n runs. The memory is
    16 bytes a key, and as much again while runs are joined.
    """

    def __init__(self) -> None:
        self._runs: list[tuple[np.ndarray, np.ndarray]] = []

    def __len__(self) -> int:
        return sum(len(keys) for keys, _ in self._runs)

    def find(self, keys: np.ndarray) -> np.ndarray:
        """Return the numbers of (n,) uint64 keys, (n,) int64; −1 for one that is not here."""
        found = np.full(len(keys), -1, np.int64)
        for run, numbers in self._runs:
            places = np.minimum(np.searchsorted(run, keys), len(run) - 1)
            found = np.where(run[places] == keys, numbers[places], found)
        return found

    def add(self, keys: np.ndarray, numbers: np.ndarray) -> None:
        """Add (n,) uint64 keys with their numbers, (n,) int64 from 0; of a key that is here or repeated, the first."""
        run, first = np.unique(keys, return_index=True)
        fresh = self.find(run) < 0
        run, number = run[fresh], numbers[first[fresh]]
        while len(self._runs) and len(self._runs[-1][0]) <= 2 * len(run):
            other, others = self._runs.pop()
            run, number = np.concatenate([other, run]), np.concatenate([others, number])
            order = np.argsort(run, kind="stable")
            run, number = run[order], number[order]
        if len(run):
            self._runs.append((run, number))
