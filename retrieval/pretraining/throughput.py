"""Tokens a second, and what share of the machine's measured peak of matrix products they are.

The peak is what the fastest kernel reaches on the network's own matrices, in the run's precision (`encoders.gemm`). The
operations are those that the formulas need: three times the forward pass, with the decoder on the masked tokens alone.
What is computed twice to save memory does not count.
"""

import time
from dataclasses import dataclass, field

import torch

from ...encoders.cost import Cost, cost_of
from ...encoders.gemm import measure_gemm
from ...encoders.modernbert.config import ModernBertConfig
from .packs import Example

FORWARD_AND_BACKWARD = 3


@dataclass
class Throughput:
    """Counts since the last reading.

    Attributes:
        cost: Of the encoder's layers.
        head: Operations for one masked token, forward.
        peak: Operations a second of the machine's matrix products, or None where nobody knows.
    """

    cost: Cost
    head: int
    peak: float | None
    _tokens: int = 0
    _operations: int = 0
    _seconds: float = 0.0
    _began: float = field(default_factory=time.perf_counter)

    @classmethod
    def measured(cls, config: ModernBertConfig, precision: str, device: torch.device) -> "Throughput":
        """Measure the peak; it takes a moment."""
        cost = cost_of(config.to_fields())
        if cost is None:
            raise ValueError("a ModernBERT's cost is known")
        with torch.random.fork_rng():  # the run's random state is not to know of it
            rate = measure_gemm(precision, cost.linears, str(device))
        head = 2 * config.width * (config.width + config.vocabulary)
        return cls(cost, head, rate * 1e9 if rate else None)

    def start(self) -> None:
        """Begin a step; the time between steps does not count."""
        self._began = time.perf_counter()

    def add(self, examples: list[Example]) -> None:
        """End the step of these packs, whose result the host has."""
        self._seconds += time.perf_counter() - self._began
        for example in examples:
            self._tokens += example.tokens
            forward = self.cost.flops(example.stream.lengths) + self.head * len(example.at)
            self._operations += FORWARD_AND_BACKWARD * forward

    def read(self) -> dict[str, float]:
        """Return tokens a second, and their share of the peak where it is known, and count from 0 again."""
        seconds = max(self._seconds, 1e-9)
        found = {"tokens_per_second": self._tokens / seconds}
        if self.peak:
            found["share_of_peak"] = self._operations / seconds / self.peak
        self._tokens, self._operations, self._seconds = 0, 0, 0.0
        return found
