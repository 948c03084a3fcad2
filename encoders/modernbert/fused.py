"""All of a ModernBERT layer but its attention, cut where attention is, so that torch.compile can fuse what is between.

The region between two attentions (output projection, residual, norm, MLP, residual, norm, projection to queries, keys
and values, rotation) is one function of tensors, the same for all layers, so it is compiled once. Weights are
parameters, whose shapes torch.compile takes as fixed, so that a second network of another width gets its own code.
"""

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from .glu import gated
from .network import ModernBert
from .rope import Rotation, turned

States = tuple[torch.Tensor, torch.Tensor, torch.Tensor]
"""What goes through the layers (tokens, width), rotated queries and keys (tokens, 2, heads, head width), and the
projection (tokens, 3, heads, head width) that holds the values as its third part. Three buffers of their own: a view
that leaves a compiled region costs time on the host."""


@dataclass(frozen=True)
class LayerWeights:
    """The weights of one layer.

    Attributes:
        attention_norm: (width,), or None in the first layer.
        qkv: (3, heads, head width, width).
        out: (width, width).
        mlp_norm: (width,).
        up: (2 · inner, width).
        down: (width, inner).
    """

    attention_norm: nn.Parameter | None
    qkv: nn.Parameter
    out: nn.Parameter
    mlp_norm: nn.Parameter
    up: nn.Parameter
    down: nn.Parameter


@dataclass(frozen=True)
class Weights:
    """The weights of a network, in one type on one device.

    Attributes:
        table: (vocabulary, width) embeddings.
        embedding_norm: (width,).
        layers: Those of the layers.
        final_norm: (width,).
    """

    table: nn.Parameter
    embedding_norm: nn.Parameter
    layers: tuple[LayerWeights, ...]
    final_norm: nn.Parameter

    @classmethod
    def of(cls, network: ModernBert, device: torch.device, dtype: torch.dtype) -> "Weights":
        """Take the weights of a network; memory is shared where device and type are the same."""

        def get(name: str) -> nn.Parameter:
            weight = network.get_parameter(f"{name}.weight").detach()
            return nn.Parameter(weight.to(device, dtype), requires_grad=False)

        def layer(number: int) -> LayerWeights:
            prefix = f"layers.{number}"
            heads = (3, network.config.heads, network.config.head_width)
            return LayerWeights(
                attention_norm=get(f"{prefix}.attn_norm") if number else None,
                qkv=nn.Parameter(get(f"{prefix}.attn.Wqkv").unflatten(0, heads), requires_grad=False),
                out=get(f"{prefix}.attn.Wo"),
                mlp_norm=get(f"{prefix}.mlp_norm"),
                up=get(f"{prefix}.mlp.Wi"),
                down=get(f"{prefix}.mlp.Wo"),
            )

        layers = tuple(layer(number) for number in range(network.config.layers))
        return cls(get("embeddings.tok_embeddings"), get("embeddings.norm"), layers, get("final_norm"))


@dataclass(frozen=True)
class Regions:
    """The three regions of a network, compiled or not.

    Attributes:
        enter: From token ids (tokens,) to the first attention.
        between: From one attention to the next; what attention found is (tokens, width).
        leave: From the last attention to hidden states (tokens, width).
    """

    enter: Callable[..., States]
    between: Callable[..., States]
    leave: Callable[..., torch.Tensor]

    def compiled(self, compiler: str = "inductor") -> "Regions":
        """Return the same regions compiled, once for all numbers of tokens that `any_number` marked."""
        options: dict[str, Any] = {"fullgraph": True, "backend": compiler}
        if "isolate_recompiles" in inspect.signature(torch.compile).parameters:
            options["isolate_recompiles"] = True  # or all networks of a process share one limit on compiled versions
        return Regions(
            torch.compile(self.enter, **options),
            torch.compile(self.between, **options),
            torch.compile(self.leave, **options),
        )


def any_number(*states: torch.Tensor) -> None:
    """Tell torch.compile that the first dimension of these tensors may be any; nothing else of them varies."""
    for x in states:
        torch._dynamo.maybe_mark_dynamic(x, 0)


def regions(eps: float) -> Regions:
    """Return the regions of networks whose norms add `eps` to the variance."""

    def norm(x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        return F.layer_norm(x, weight.shape, weight, None, eps)

    def project(x: torch.Tensor, qkv: torch.Tensor, rotation: Rotation) -> tuple[torch.Tensor, torch.Tensor]:
        projected = F.linear(x, qkv.flatten(0, 2)).unflatten(1, qkv.shape[:3])
        return torch.cat(turned(projected[:, :2], *rotation), dim=-1).to(x.dtype), projected

    def finish(
        x: torch.Tensor,
        mixed: torch.Tensor,
        out: torch.Tensor,
        mlp_norm: torch.Tensor,
        up: torch.Tensor,
        down: torch.Tensor,
    ) -> torch.Tensor:
        x = x + F.linear(mixed, out)
        return x + F.linear(gated(F.linear(norm(x, mlp_norm), up)), down)

    def enter(
        ids: torch.Tensor, table: torch.Tensor, embedding_norm: torch.Tensor, qkv: torch.Tensor, rotation: Rotation
    ) -> States:
        x = norm(F.embedding(ids, table), embedding_norm)
        return x, *project(x, qkv, rotation)

    def between(
        x: torch.Tensor,
        mixed: torch.Tensor,
        out: torch.Tensor,
        mlp_norm: torch.Tensor,
        up: torch.Tensor,
        down: torch.Tensor,
        attention_norm: torch.Tensor,
        qkv: torch.Tensor,
        rotation: Rotation,
    ) -> States:
        x = finish(x, mixed, out, mlp_norm, up, down)
        return x, *project(norm(x, attention_norm), qkv, rotation)

    def leave(
        x: torch.Tensor,
        mixed: torch.Tensor,
        out: torch.Tensor,
        mlp_norm: torch.Tensor,
        up: torch.Tensor,
        down: torch.Tensor,
        final_norm: torch.Tensor,
    ) -> torch.Tensor:
        return norm(finish(x, mixed, out, mlp_norm, up, down), final_norm)

    return Regions(enter, between, leave)
