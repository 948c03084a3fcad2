"""What a ColBERT's projection begins with where the network behind it is trained: the directions that its states fill.

A random projection throws the geometry of the states away, and training has to find it again; the first principal
directions keep the most of it that so many numbers can.
"""

from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np

from .rotation import directions_of

if TYPE_CHECKING:
    import torch
    from sentence_transformers import SentenceTransformer

CHARACTERS = 1000
"""Of a text, as many as are read."""
TEXTS_AT_ONCE = 32


def start_from_states(weight: "torch.Tensor", model: "SentenceTransformer", texts: Iterable[str]) -> None:
    """Make the rows of a projection the principal directions of a network's token states, each of length one.

    See `principal_directions`. Rows beyond the width of the states stay as they are.

    Args:
        weight: (dim, width), changed in place.
        model: A dense model, whose token states before pooling are taken.
        texts: A sample of what is trained on.
    """
    import torch

    width = weight.shape[1]
    products = np.zeros((width, width))
    read = [text[:CHARACTERS] for text in texts]
    for begin in range(0, len(read), TEXTS_AT_ONCE):
        some = read[begin : begin + TEXTS_AT_ONCE]
        for states in model.encode(some, output_value="token_embeddings", show_progress_bar=False):
            rows = torch.nn.functional.normalize(states.double(), dim=1).cpu().numpy()
            products += rows.T @ rows
    found = torch.from_numpy(directions_of(products, min(weight.shape)))
    with torch.no_grad():
        weight[: found.shape[1]] = found.T.to(weight)
