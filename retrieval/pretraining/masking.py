"""Which tokens a masked language model has to predict, and what it sees in their place.

Each ordinary token is taken with the same probability, independently (BERT, Devlin et al. 2018, arXiv 1810.04805; at
30 % as Wettig et al. 2022, arXiv 2202.08005, recommend and ModernBERT has it). Special tokens are never taken.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

MASK_SHARE, RANDOM_SHARE = 0.8, 0.1
"""Of the tokens to predict, with 80-10-10: how many become [MASK], and how many another token."""


class Masked(NamedTuple):
    """Tokens with some hidden.

    Attributes:
        ids: (tokens,) int64, what the network sees.
        at: (predicted,) int64, the places to predict, in order.
        expected: (predicted,) int64, the tokens that stood there.
    """

    ids: np.ndarray
    at: np.ndarray
    expected: np.ndarray


@dataclass(frozen=True)
class Masking:
    """How to hide tokens.

    Attributes:
        ordinary: (vocabulary,) bool, whether a token is none of the special ones.
        mask: The token [MASK].
        share: Probability that an ordinary token is to be predicted.
        plain: Whether all of them become [MASK], in place of 80-10-10.
    """

    ordinary: np.ndarray
    mask: int
    share: float
    plain: bool

    @classmethod
    def of(cls, tokenizer: "PreTrainedTokenizerBase", share: float, plain: bool) -> "Masking":
        """Take the special tokens from a tokenizer that has [MASK]."""
        ordinary = np.ones(len(tokenizer), dtype=bool)
        ordinary[tokenizer.all_special_ids] = False
        return cls(ordinary, int(tokenizer.mask_token_id), share, plain)

    def apply(self, ids: np.ndarray, draw: np.random.Generator) -> Masked:
        """Hide tokens of (tokens,) ids of any integer type; the same generator hides the same."""
        at = np.flatnonzero(self.ordinary[ids] & (draw.random(len(ids)) < self.share))
        expected = ids[at].astype(np.int64)
        seen = np.full(len(at), self.mask, dtype=np.int64)
        if not self.plain:
            kind = draw.random(len(at))
            others = np.flatnonzero(self.ordinary)
            seen = np.where(kind < MASK_SHARE, seen, others[draw.integers(len(others), size=len(at))])
            seen = np.where(kind < MASK_SHARE + RANDOM_SHARE, seen, expected)
        hidden = ids.astype(np.int64)
        hidden[at] = seen
        return Masked(hidden, at, expected)
