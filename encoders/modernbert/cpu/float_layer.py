"""One layer in float32 or bfloat16 for encoding on a CPU: oneDNN products with what follows them fused in.

Weights are laid out once as oneDNN reads them. The residual sums, GELU and the gate of the MLP happen while a product
is still in cache, so that apart from attention and norms a layer is five products.
"""

from functools import cache
from typing import Any

import torch
from torch.nn import functional as F

CHUNK_ROWS = 512
"""Rows that go through the products of a layer at once, which the weights are laid out for: the largest intermediate of
base is 5 MB in float32."""


@cache
def has_fused_products(dtype: torch.dtype) -> bool:
    """Say whether this torch has oneDNN's products with fused operations, for this processor and type."""
    try:
        weight = _laid_out(torch.ones(16, 16), dtype)
        ones = torch.ones(16, 16, dtype=dtype)
        product = torch.ops.mkldnn._linear_pointwise.binary(ones, ones, weight, None, "add")
    except (AttributeError, RuntimeError):
        return False
    return bool((product == 17).all())


class FloatLayer:
    """The weights of one layer; see `ModernBert`.

    Args:
        layer: A module with the sub-modules of `network.Layer`.
        heads: Attention heads.
        dtype: float32 or bfloat16.
    """

    def __init__(self, layer: Any, heads: int, dtype: torch.dtype) -> None:  # noqa: ANN401
        norm = layer.attn_norm
        self._norm = None if isinstance(norm, torch.nn.Identity) else norm.weight.detach().to(dtype, copy=True)
        self._mlp_norm = layer.mlp_norm.weight.detach().to(dtype, copy=True)
        self._eps = layer.mlp_norm.eps
        value, gate = layer.mlp.Wi.weight.detach().chunk(2)
        self._qkv = _laid_out(scaled_queries(layer.attn.Wqkv.weight, heads), dtype)
        self._attention_out = _laid_out(layer.attn.Wo.weight, dtype)
        self._value, self._gate = _laid_out(value, dtype), _laid_out(gate, dtype)
        self._mlp_out = _laid_out(layer.mlp.Wo.weight, dtype)

    def project(self, x: torch.Tensor) -> tuple[torch.Tensor, None, None]:
        """Normalise and project (n, width) to queries, already scaled, keys and values, (n, 3 · width)."""
        if self._norm is not None:
            x = F.layer_norm(x, self._norm.shape, self._norm, None, self._eps)
        return torch.ops.mkldnn._linear_pointwise(x, self._qkv, None, "none", [], ""), None, None

    def finish(self, x: torch.Tensor, mixed: torch.Tensor) -> torch.Tensor:
        """Add what attention found and what the MLP makes of it to (n, width)."""
        product = torch.ops.mkldnn._linear_pointwise
        x = product.binary(mixed.to(x.dtype), x, self._attention_out, None, "add")
        normed = F.layer_norm(x, self._mlp_norm.shape, self._mlp_norm, None, self._eps)
        value = product(normed, self._value, None, "gelu", [], "none")
        inner = product.binary(normed, value, self._gate, None, "mul")
        result: torch.Tensor = product.binary(inner, x, self._mlp_out, None, "add")
        return result


def scaled_queries(weight: torch.Tensor, heads: int) -> torch.Tensor:
    """Return a Wqkv matrix in float32 whose queries come out multiplied by 1/√(head width)."""
    weight = weight.detach().float().clone()
    width = weight.shape[1]
    weight[:width] *= (width // heads) ** -0.5
    return weight


def _laid_out(weight: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    laid_out: torch.Tensor = torch.ops.mkldnn._reorder_linear_weight(weight.detach().to(dtype).contiguous(), CHUNK_ROWS)
    return laid_out
