"""The gated linear unit of ModernBERT's MLP, with a backward pass that holds nothing but its input."""

from typing import Any

import torch
from torch.nn import functional as F


def gated(x: torch.Tensor) -> torch.Tensor:
    """Multiply GELU (exact) of the first half of (tokens, 2 · inner) with the second half.

    For the backward pass only the input is kept, and GELU computed again: a third less than plain autograd holds.
    """
    if torch.compiler.is_compiling():
        value, gate = x.chunk(2, dim=-1)
        return F.gelu(value) * gate
    result: torch.Tensor = _Gated.apply(x)
    return result


class _Gated(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: torch.Tensor) -> torch.Tensor:  # noqa: ANN401
        ctx.save_for_backward(x)
        value, gate = x.chunk(2, dim=-1)
        return F.gelu(value).mul_(gate)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: torch.Tensor) -> torch.Tensor:  # noqa: ANN401
        (x,) = ctx.saved_tensors
        value, gate = x.chunk(2, dim=-1)
        result = torch.empty_like(x)
        to_value, to_gate = result.chunk(2, dim=-1)
        torch.mul(gradient, F.gelu(value), out=to_gate)
        torch.ops.aten.gelu_backward.grad_input(gradient * gate, value, grad_input=to_value)
        return result
