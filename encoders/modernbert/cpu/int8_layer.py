"""One layer with int8 products for encoding on a CPU.

Weights are quantised once for each output channel, activations for each token by its largest magnitude as they come, so
that no calibration set is needed. Products are sums of integers, exact; the residual stream and all element-wise work
stay in float32.
"""

from functools import cache
from typing import Any

import numpy as np
import torch

from .float_layer import scaled_queries
from .kernels import add_products, quantise, quantise_geglu, quantise_normalised
from .views import as_numpy


@cache
def multiplies_exactly() -> bool:
    """Say whether int8 products are exact here; processors without VNNI add pairs in 16 bits, which overflow."""
    numbers = torch.full((16, 64), 127, dtype=torch.int8)
    numbers[::2] = -127
    products = torch._int_mm(numbers, numbers.t())
    return bool((products == numbers.int() @ numbers.int().t()).all())


class Int8Layer:
    """The quantised weights of one layer; see `ModernBert`.

    Args:
        layer: A module with the sub-modules of `network.Layer`.
        heads: Attention heads.
    """

    def __init__(self, layer: Any, heads: int) -> None:  # noqa: ANN401
        norm = layer.attn_norm
        self._norm = None if isinstance(norm, torch.nn.Identity) else _floats(norm.weight)
        self._mlp_norm = _floats(layer.mlp_norm.weight)
        self._eps = np.float32(layer.mlp_norm.eps)
        self._qkv = _Quantised(scaled_queries(layer.attn.Wqkv.weight, heads))
        self._attention_out = _Quantised(layer.attn.Wo.weight)
        self._mlp_in = _Quantised(layer.mlp.Wi.weight)
        self._mlp_out = _Quantised(layer.mlp.Wo.weight)

    def project(self, x: torch.Tensor) -> tuple[torch.Tensor, np.ndarray, np.ndarray]:
        """Normalise and project (n, width) float32 to int8 products, (n, 3 · width) int32, with both their scales."""
        inputs, scales = self._room(x)
        if self._norm is None:
            quantise(x.numpy(), inputs.numpy(), scales)
        else:
            quantise_normalised(x.numpy(), self._norm, self._eps, inputs.numpy(), scales)
        return self._qkv(inputs), scales, self._qkv.scales

    def finish(self, x: torch.Tensor, mixed: torch.Tensor) -> torch.Tensor:
        """Add what attention found and what the MLP makes of it to (n, width) float32, in place."""
        inputs, scales = self._room(mixed)
        quantise(as_numpy(mixed), inputs.numpy(), scales)
        add_products(self._attention_out(inputs).numpy(), scales, self._attention_out.scales, x.numpy())
        quantise_normalised(x.numpy(), self._mlp_norm, self._eps, inputs.numpy(), scales)
        products = self._mlp_in(inputs)
        inner = torch.empty(len(x), products.shape[1] // 2, dtype=torch.int8)
        inner_scales = np.empty(len(x), np.float32)
        quantise_geglu(products.numpy(), scales, self._mlp_in.scales, inner.numpy(), inner_scales)
        add_products(self._mlp_out(inner).numpy(), inner_scales, self._mlp_out.scales, x.numpy())
        return x

    @staticmethod
    def _room(x: torch.Tensor) -> tuple[torch.Tensor, np.ndarray]:
        return torch.empty(x.shape, dtype=torch.int8), np.empty(len(x), np.float32)


class _Quantised:
    """A weight (out, in) as int8 with a float32 scale for each output channel."""

    def __init__(self, weight: torch.Tensor) -> None:
        weight = weight.detach().float()
        scales = (weight.abs().amax(1) / 127).clamp_min(torch.finfo(torch.float32).tiny)
        # _int_mm is quick where its second factor is stored by columns
        self._columns = (weight / scales[:, None]).round().to(torch.int8).t()
        self.scales = scales.numpy()

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """Multiply (n, in) int8 to (n, out) int32."""
        return torch._int_mm(x, self._columns)


def _floats(weight: torch.Tensor) -> np.ndarray:
    floats: np.ndarray = weight.detach().to(torch.float32, copy=True).numpy()
    return floats
