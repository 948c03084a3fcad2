"""Documents of all processes of a run, so that a query is told from those of its fellows too, with gradients.

The gradients of what came from another process go back to it. Each process takes the mean loss of its own queries; the
mean of these over processes, which is what joining gradients makes, is the loss of one process with the joined batch.
"""

import torch
from sentence_transformers.util import all_gather, all_gather_with_grad, get_rank, is_dist_initialized
from torch import Tensor
from torch.nn import functional as F

from .cached import Vectors


def first_row(rows: int) -> int:
    """Return where the rows of this process begin in what `gathered` returns of a tensor with so many."""
    return get_rank() * rows if is_dist_initialized() else 0


def gathered(values: Tensor) -> Tensor:
    """Return the rows of all processes, in their order; each has as many, of any kind. One process has its own."""
    if not is_dist_initialized():
        return values
    found: Tensor = all_gather_with_grad(values) if values.requires_grad else all_gather(values)
    return found


def gathered_vectors(vectors: Vectors) -> Vectors:
    """Return the texts of all processes, in their order; each has as many texts, of any lengths."""
    if not is_dist_initialized():
        return vectors
    lengths: Tensor = all_gather(vectors.lengths)
    totals = lengths.view(-1, len(vectors.lengths)).sum(1).tolist()
    longest = max(totals)
    padded = F.pad(vectors.values, (0, 0, 0, longest - len(vectors.values)))
    parts = gathered(padded).view(len(totals), longest, -1)
    return Vectors(torch.cat([part[:total] for part, total in zip(parts, totals, strict=True)]), lengths)
