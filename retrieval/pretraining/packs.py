"""The order in which a run sees its texts: numbered packs of whole texts, each the same whenever it is asked for.

Every pass packs the texts anew (`encoders.packing`) in an order of its own and takes the packs in another, so a pack is
known by its number alone, and a run that goes on needs to know no more than how many it has had.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import torch

from ...encoders.modernbert.network import IGNORED
from ...encoders.packing import Packs, fullness, pack
from ...encoders.stream import Stream
from .corpus import Corpus
from .masking import Masking

ORDER, MASKS, HELD_OUT = range(3)
"""What a number is drawn for, so that no two draws share a seed."""


@dataclass(frozen=True)
class Example:
    """One pack as the network takes it.

    Attributes:
        stream: Its texts with masks.
        labels: (tokens,) int64, the token that belongs where one is to be predicted, else -100.
        at: (predicted,) int64, where that is.
    """

    stream: Stream
    labels: torch.Tensor
    at: torch.Tensor

    @property
    def tokens(self) -> int:
        """Tokens in all."""
        return len(self.labels)


@dataclass
class Supply:
    """Packs of the texts to train on, and those of the held-out texts.

    Attributes:
        corpus: All texts.
        texts: (n,) int64, the numbers of those to train on.
        capacity: Most tokens of a pack.
        masking: What is hidden.
        seed: Of order and masks.
        device: Where the packs go.
        per_pass: Packs of a pass; the same for every pass.
        fullness: Share of the packs' places that hold a token.
    """

    corpus: Corpus
    texts: np.ndarray
    capacity: int
    masking: Masking
    seed: int
    device: torch.device
    per_pass: int = field(init=False)
    fullness: float = field(init=False)
    _pass: int = field(init=False, default=-1)
    _packs: Packs = field(init=False)
    _shuffled: np.ndarray = field(init=False)
    _order: np.ndarray = field(init=False)

    def __post_init__(self) -> None:
        self._begin(0)
        self.per_pass = len(self._packs)
        self.fullness = fullness(self._packs, self.corpus.lengths_of(self._shuffled), self.capacity)

    @property
    def tokens(self) -> int:
        """Tokens to train on."""
        return int(self.corpus.lengths_of(self.texts).sum())

    def texts_of(self, number: int) -> np.ndarray:
        """Return the numbers of the texts of a pack; packs are numbered through all passes."""
        if number // self.per_pass != self._pass:
            self._begin(number // self.per_pass)
        place = int(self._order[number % self.per_pass])
        start, end = self._packs.offsets[place : place + 2]
        return self._shuffled[self._packs.texts[start:end]]

    def example(self, number: int) -> Example:
        """Return a pack with masks that no other number has."""
        return self._masked(self.texts_of(number), (self.seed, MASKS, number))

    def held_out(self, texts: np.ndarray) -> Iterator[Example]:
        """Yield the packs of these texts, the same with the same masks every time."""
        for number, members in enumerate(pack(self.corpus.lengths_of(texts), self.capacity)):
            yield self._masked(texts[members], (self.seed, HELD_OUT, number))

    def _begin(self, number: int) -> None:
        draw = np.random.default_rng((self.seed, ORDER, number))
        self._shuffled = draw.permutation(self.texts)
        self._packs = pack(self.corpus.lengths_of(self._shuffled), self.capacity)
        self._order = draw.permutation(len(self._packs))
        self._pass = number

    def _masked(self, texts: np.ndarray, key: tuple[int, ...]) -> Example:
        masked = self.masking.apply(self.corpus.gather(texts), np.random.default_rng(key))
        labels = np.full(len(masked.ids), IGNORED, dtype=np.int64)
        labels[masked.at] = masked.expected
        stream = Stream.of_ids(torch.from_numpy(masked.ids), self.corpus.lengths_of(texts).tolist(), self.device)
        places, wanted = (torch.from_numpy(array).to(self.device) for array in (masked.at, labels))
        return Example(stream, wanted, places)


def split_held_out(texts: int, holdout: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the numbers of the texts to train on and of those kept out, each in order.

    Args:
        texts: How many there are.
        holdout: How many to keep out, or below 1 their share, at least one; 0 for none. Never more than half.
        seed: Draws them.
    """
    wanted = int(holdout) if holdout >= 1 else round(holdout * texts)
    kept = min(max(wanted, 1), texts // 2) if holdout else 0
    order = np.random.default_rng((seed, HELD_OUT)).permutation(texts)
    return np.sort(order[kept:]), np.sort(order[:kept])
