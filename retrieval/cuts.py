"""Telling a user once of texts that were longer than the model reads; the encoder counts them."""

import sys

from .encoder import Encoder

COUNTERS = {"documents": "truncated", "queries": "truncated_queries"}
LENGTHS = {"documents": "document_length", "queries": "query_length"}
LOST = {"documents": "is not searched", "queries": "is not searched for"}


def cut_so_far(encoder: Encoder, kind: str) -> int:
    """Return how many "documents" or "queries" an encoder has cut; one of the caller's own need not count."""
    return getattr(encoder, COUNTERS[kind], 0)


def tell_of_cuts(encoder: Encoder, kind: str, before: int, texts: int) -> bool:
    """Write a line to stderr if texts were cut.

    Args:
        encoder: What encoded them.
        kind: "documents" or "queries".
        before: What `cut_so_far` was before them.
        texts: Their number.

    Returns:
        Whether there was something to tell.
    """
    cut = cut_so_far(encoder, kind) - before
    if cut > 0:
        length = getattr(encoder, LENGTHS[kind], encoder.max_length)
        sys.stderr.write(
            f"{cut:,} of {texts:,} {kind} were longer than the {length:,} tokens that the model reads; what comes "
            f"after {LOST[kind]}\n"
        )
    return cut > 0
