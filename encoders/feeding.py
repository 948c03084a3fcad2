"""Tokenised texts through a network of this package: batches of like length, one stream each, in and out of order."""

from collections.abc import Iterator

import numpy as np
import torch

from .batching import token_budget_batches
from .networks import Kind, Network, hidden_states
from .reading import Tokens
from .stream import Stream


def batches_of_states(
    network: Network, kind: Kind, tokens: Tokens
) -> Iterator[tuple[np.ndarray, Stream, torch.Tensor]]:
    """Run texts through a network.

    Args:
        network: Of that kind; it follows `Stream.attended` where the tokens have it.
        kind: Says how the network is fed.
        tokens: The texts; those without a token are left out.

    Yields:
        For each batch the numbers of its texts, (texts,) int64; the stream that holds them in this order; and its
        hidden states, (tokens, width) on the network's device.
    """
    lengths = tokens.lengths
    full = np.flatnonzero(lengths)
    budget = kind.budget(network.device)
    batches = [full[batch] for batch in token_budget_batches(lengths[full], budget, kind.padded)]
    place = torch.device("cpu") if kind.sends else network.device
    streams = [_stream(tokens, batch, place) for batch in batches]
    return zip(batches, streams, hidden_states(network, streams), strict=True)


def _stream(tokens: Tokens, batch: np.ndarray, place: torch.device) -> Stream:
    attended = None if tokens.attended is None else tokens.attended[batch].tolist()
    return Stream.of_ids(torch.from_numpy(tokens.of(batch)), tokens.lengths[batch].tolist(), place, attended)
