"""Texts of a batch laid end to end as one stream of tokens, which is what the networks of this package read.

Nothing is padded; whoever needs rows of equal length (a caller that hands over padded tensors, an attention kernel that
knows no other form) asks the stream for them.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch


@dataclass(frozen=True)
class Stream:
    """Token ids of several texts, none of them empty, end to end.

    Attributes:
        ids: (tokens,) int64.
        positions: (tokens,) int64, from 0 in each text.
        offsets: (texts + 1,) int32, where each text starts and the last one ends; the `cu_seqlens` of
            variable-length attention kernels.
        lengths: Tokens of each text, known to the host without waiting for the device.
        attended: How many of its first tokens each text attends to, at least one; None where to all. The tokens after
            them see those and are seen by none, themselves included, as ColBERT's masks after a query.
    """

    ids: torch.Tensor
    positions: torch.Tensor
    offsets: torch.Tensor
    lengths: tuple[int, ...]
    attended: tuple[int, ...] | None = None

    @classmethod
    def of(cls, texts: Sequence[Sequence[int]], device: torch.device) -> "Stream":
        """Lay lists of token ids end to end.

        Raises:
            ValueError: There is no text, or one has no token.
        """
        return cls.of_ids(torch.tensor([token for ids in texts for token in ids]), [len(ids) for ids in texts], device)

    @classmethod
    def of_ids(
        cls, ids: torch.Tensor, lengths: Sequence[int], device: torch.device, attended: Sequence[int] | None = None
    ) -> "Stream":
        """Cut (tokens,) int64 token ids into texts of these lengths.

        Raises:
            ValueError: There is no text, or one has no token.
        """
        if not lengths or min(lengths) < 1:
            raise ValueError("a stream holds at least one text, and each text at least one token")
        with torch.inference_mode(False):  # what inference mode makes, no later backward pass could hold
            ids = ids.clone() if ids.is_inference() else ids
            sizes = torch.tensor(lengths)
            offsets = torch.nn.functional.pad(sizes.cumsum(0), (1, 0))
            positions = torch.arange(len(ids)) - torch.repeat_interleave(offsets[:-1], sizes)
            seen = None if attended is None else tuple(attended)
            return cls(ids.to(device), positions.to(device), offsets.int().to(device), tuple(lengths), seen)

    @classmethod
    def of_padded(cls, ids: torch.Tensor, mask: torch.Tensor) -> "Stream":
        """Take the padding out of a batch.

        Args:
            ids: (texts, longest) int64.
            mask: (texts, longest), non-zero on tokens; padding may be on either side.

        Raises:
            ValueError: A text has no token.
        """
        return cls.of_ids(ids[mask.bool()], mask.bool().sum(1).tolist(), ids.device)

    @property
    def longest(self) -> int:
        """Tokens of the longest text."""
        return max(self.lengths)

    @cached_property
    def valid(self) -> torch.Tensor:
        """(texts, longest) bool, False on the padding that rows of equal length would need, on the right."""
        sizes = self.offsets.diff()
        return torch.arange(self.longest, device=sizes.device) < sizes[:, None]

    @cached_property
    def visible(self) -> torch.Tensor:
        """(texts, longest) bool, True on the tokens that their text attends to."""
        if self.attended is None:
            return self.valid
        seen = torch.tensor(self.attended, device=self.offsets.device)
        return torch.arange(self.longest, device=seen.device) < seen[:, None]

    @cached_property
    def rows(self) -> torch.Tensor:
        """(texts, longest) int64, where in the stream each text's tokens are; padding repeats the text's first."""
        columns = torch.arange(self.longest, device=self.ids.device)
        return self.offsets[:-1, None].long() + torch.where(self.valid, columns, 0)

    @cached_property
    def sizes(self) -> torch.Tensor:
        """(texts,) int64, the lengths on the stream's device."""
        return self.offsets.diff().long()
