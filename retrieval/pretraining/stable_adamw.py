"""StableAdamW: AdamW whose steps shrink where the second moment lags behind the gradients.

Wortsman, Dettmers, Zettlemoyer, Morcos, Farhadi and Schmidt, "Stable and low-precision training for large-scale
vision-language models" (2023), arXiv 2304.13013, algorithm 2: AdamW with AdaFactor's update clipping, in place of a
clipped gradient. All tensors of a group go through torch's foreach kernels at once, and the host never waits for a
GPU.
"""

import math
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch.optim import Optimizer

MOMENTS = ("exp_avg", "exp_avg_sq")
"""Names of a parameter's state, which has its shape."""


class StableAdamW(Optimizer):
    """The optimiser.

    For each tensor, with gradient g in step t, β̂ = β (1 − βᵗ⁻¹) / (1 − βᵗ), v = β̂₁ v + (1 − β̂₁) g and
    u = β̂₂ u + (1 − β̂₂) g²: the rate is η = lr / max(1, RMS), with RMS = √mean(g² / max(u, ε²)), and
    θ = θ − η λ θ − η v / (√u + ε).

    Args:
        parameters: Tensors, or groups of them, of one floating type and device in a group.
        lr: Learning rate.
        betas: β of the first and the second moment.
        eps: ε.
        weight_decay: λ.
    """

    def __init__(
        self,
        parameters: Iterable[Any],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.98),
        eps: float = 1e-6,
        weight_decay: float = 0.01,
    ) -> None:
        defaults = {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay, "step": 0}
        super().__init__(parameters, defaults)

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """Change every parameter that has a gradient.

        Args:
            closure: Computes the loss and its gradients first.

        Returns:
            What the closure did.
        """
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            parameters = [parameter for parameter in group["params"] if parameter.grad is not None]
            if parameters:
                group["step"] += 1
                self._update(parameters, group)
        return loss

    def moments(self, parameter: torch.Tensor) -> dict[str, torch.Tensor]:
        """Return the state of a parameter by name, which is zeros before its first step."""
        state: dict[str, torch.Tensor] = self.state[parameter]
        if not state:
            state.update({name: torch.zeros_like(parameter) for name in MOMENTS})
        return state

    def _update(self, parameters: list[torch.Tensor], group: dict[str, Any]) -> None:
        first, second = (_debiased(beta, group["step"]) for beta in group["betas"])
        gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
        states = [self.moments(parameter) for parameter in parameters]
        averages, squares = ([state[name] for state in states] for name in MOMENTS)
        torch._foreach_lerp_(averages, gradients, 1 - first)
        torch._foreach_mul_(squares, second)
        torch._foreach_addcmul_(squares, gradients, gradients, 1 - second)
        roots = torch._foreach_sqrt(squares)
        rates = _rates(gradients, roots, group["lr"], group["eps"])
        torch._foreach_add_(roots, group["eps"])
        updates = torch._foreach_div(averages, roots)
        torch._foreach_add_(updates, parameters, alpha=group["weight_decay"])
        torch._foreach_mul_(updates, rates)
        torch._foreach_sub_(parameters, updates)


def _debiased(beta: float, step: int) -> float:
    return beta * (1 - beta ** (step - 1)) / (1 - beta**step)


def _rates(
    gradients: list[torch.Tensor], roots: Iterable[torch.Tensor], lr: float, eps: float
) -> tuple[torch.Tensor, ...]:
    """Return the learning rate of each tensor, a scalar each."""
    ratios = torch._foreach_div(gradients, torch._foreach_clamp_min(list(roots), eps))
    norms = torch._foreach_norm(ratios)
    means = torch._foreach_div(norms, [math.sqrt(gradient.numel()) for gradient in gradients])
    torch._foreach_clamp_min_(means, 1.0)
    torch._foreach_reciprocal_(means)
    torch._foreach_mul_(means, lr)
    return means
