"""Tensors as the NumPy arrays that numba's kernels take."""

import numpy as np
import torch


def as_numpy(tensor: torch.Tensor) -> np.ndarray:
    """Return a view of a tensor's memory; bfloat16, which NumPy lacks, as uint16."""
    array: np.ndarray = (tensor.view(torch.uint16) if tensor.dtype == torch.bfloat16 else tensor).numpy()
    return array
