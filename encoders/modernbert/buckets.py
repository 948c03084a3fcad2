"""Streams filled up to a few fixed shapes, so that a CUDA graph captured for one shape serves every short batch.

What a graph holds fixed are the numbers of tokens and of texts and the bound on the longest text. A batch goes into the
smallest bucket that holds it: tokens that nobody asked about fill it up, cut into texts of their own, and texts without
a token fill up the offsets. Everything here runs on any device.
"""

from dataclasses import dataclass

import torch

from ..stream import Stream

TOKENS = tuple(8 * round(16 * 2 ** (step / 2)) for step in range(13))
"""Sizes in tokens: powers of √2 from 128 to 8,192, so that on average a sixth of a batch is filling."""
LONGEST = (128, 512)
"""Bounds on the longest text; above, a batch keeps a GPU busy for longer than its kernels take to launch."""
TOKENS_PER_TEXT = 8
"""A bucket has room for one text in so many tokens; a batch of more goes into a larger one."""


@dataclass(frozen=True)
class Bucket:
    """A shape.

    Attributes:
        tokens: Tokens in all.
        longest: Bound on the tokens of a text.
    """

    tokens: int
    longest: int

    @property
    def texts(self) -> int:
        """Texts in all, those without a token counted."""
        return self.tokens // TOKENS_PER_TEXT

    @property
    def numbers(self) -> int:
        """How many integers `fill` makes."""
        return 2 * self.tokens + self.texts + 1


def bucket_of(lengths: tuple[int, ...]) -> Bucket | None:
    """Return the smallest bucket that holds texts of these lengths, or None where none does."""
    total = sum(lengths)
    longest = next((bound for bound in LONGEST if max(lengths) <= bound), None)
    if longest is None:
        return None
    for tokens in TOKENS:
        bucket = Bucket(tokens, longest)
        if tokens >= total and len(lengths) + len(filling(total, bucket)) <= bucket.texts:
            return bucket
    return None


def filling(tokens: int, bucket: Bucket) -> list[int]:
    """Return the lengths of the texts that fill up a bucket with so many tokens in it."""
    whole, rest = divmod(bucket.tokens - tokens, bucket.longest)
    return [bucket.longest] * whole + [rest] * bool(rest)


def fill(stream: Stream, bucket: Bucket) -> torch.Tensor:
    """Fill a stream up.

    Returns:
        (bucket.numbers,) int32 on the stream's device: token ids, positions and offsets end to end, which `laid_out`
        takes apart. The stream's own tokens come first.
    """
    tokens, texts = len(stream.ids), len(stream.lengths)
    dummies = filling(tokens, bucket)
    sizes = torch.tensor(dummies + [0] * (bucket.texts - texts - len(dummies)), dtype=torch.int32)
    ends = tokens + sizes.cumsum(0, dtype=torch.int32)
    zeros = stream.ids.new_zeros(bucket.tokens - tokens, dtype=torch.int32)
    device = stream.ids.device
    return torch.cat([stream.ids.int(), zeros, stream.positions.int(), zeros, stream.offsets, ends.to(device)])


def laid_out(numbers: torch.Tensor, bucket: Bucket) -> Stream:
    """View what `fill` made as a stream for back-ends that replay: its `lengths` tell their bound and no more."""
    ids, positions, offsets = numbers.split([bucket.tokens, bucket.tokens, bucket.texts + 1])
    return Stream(ids, positions, offsets, (bucket.longest,))
