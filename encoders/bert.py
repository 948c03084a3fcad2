"""BERT on one stream of tokens, in plain torch, for encoding only.

Most dense checkpoints in use are BERTs (MiniLM, BGE, E5, GTE). Running them here instead of through transformers
answers a cold query in a quarter of the time (benchmarks/README.md), since nothing but torch is imported, and pads
nothing outside attention.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch.nn import functional as F

from ..errors import InputError
from .stream import Stream

ACTIVATIONS = {"gelu": "none", "gelu_new": "tanh", "gelu_pytorch_tanh": "tanh"}
"""Config names of the activations that run here, with torch's name of GELU's approximation."""


@dataclass(frozen=True)
class Linear:
    """A weight (out, in) and a bias (out,)."""

    weight: torch.Tensor
    bias: torch.Tensor

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """Map (tokens, in) to (tokens, out)."""
        return F.linear(x, self.weight, self.bias)


@dataclass(frozen=True)
class Norm:
    """A layer norm over the last dimension."""

    weight: torch.Tensor
    bias: torch.Tensor
    eps: float

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """Normalise (tokens, width)."""
        return F.layer_norm(x, self.weight.shape, self.weight, self.bias, self.eps)


@dataclass(frozen=True)
class Layer:
    """The weights of one transformer layer; query, key and value are one projection."""

    qkv: Linear
    attention_out: Linear
    attention_norm: Norm
    up: Linear
    down: Linear
    output_norm: Norm


class BertNetwork:
    """The encoder stack of a BERT checkpoint; calling it maps a stream to hidden states.

    Args:
        config: The checkpoint's `config.json`.
        weights: Its tensors, with or without the `bert.` prefix.
        device: Where to run.
        dtype: What to compute in.

    Raises:
        InputError: The config asks for something that is not BERT as published, or a tensor is missing.
    """

    def __init__(
        self,
        config: Mapping[str, Any],
        weights: Mapping[str, torch.Tensor],
        device: torch.device,
        dtype: torch.dtype,
    ) -> None:
        self.heads = int(config["num_attention_heads"])
        self.approximate = ACTIVATIONS[config["hidden_act"]]
        self.device = device
        eps = float(config.get("layer_norm_eps", 1e-12))

        def get(name: str) -> torch.Tensor:
            older = name.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta")
            spellings = [f"{prefix}{spelling}" for spelling in (name, older) for prefix in ("", "bert.")]
            tensor = next((weights[spelling] for spelling in spellings if spelling in weights), None)
            if tensor is None:
                raise InputError(f"the weights lack the tensor {name!r}; the checkpoint is incomplete")
            return tensor.to(device)

        def linear(*names: str) -> Linear:
            weight = torch.cat([get(f"{name}.weight") for name in names])
            return Linear(weight.to(dtype), torch.cat([get(f"{name}.bias") for name in names]).to(dtype))

        def norm(name: str) -> Norm:
            return Norm(get(f"{name}.weight").to(dtype), get(f"{name}.bias").to(dtype), eps)

        def layer(prefix: str) -> Layer:
            projections = [f"{prefix}.attention.self.{name}" for name in ("query", "key", "value")]
            return Layer(
                qkv=linear(*projections),
                attention_out=linear(f"{prefix}.attention.output.dense"),
                attention_norm=norm(f"{prefix}.attention.output.LayerNorm"),
                up=linear(f"{prefix}.intermediate.dense"),
                down=linear(f"{prefix}.output.dense"),
                output_norm=norm(f"{prefix}.output.LayerNorm"),
            )

        self.dtype = dtype
        # The table stays as it is stored, mapped from the file: a query reads a few rows of it.
        self.words = get("embeddings.word_embeddings.weight")
        positions, segments = (get(f"embeddings.{kind}_embeddings.weight") for kind in ("position", "token_type"))
        self.places = positions.float() + segments[0].float()
        self.norm = norm("embeddings.LayerNorm")
        self.layers = [layer(f"encoder.layer.{number}") for number in range(int(config["num_hidden_layers"]))]
        self.width = self.words.shape[1]

    def __call__(self, stream: Stream) -> torch.Tensor:
        """Return the last hidden states, (tokens, width) in the network's dtype."""
        x = self.norm((self.words[stream.ids].float() + self.places[stream.positions]).to(self.dtype))
        mask = None if bool(stream.valid.all()) else stream.valid[:, None, None, :]
        for layer in self.layers:
            x = layer.attention_norm(x + layer.attention_out(self._attend(layer.qkv(x), stream, mask)))
            x = layer.output_norm(x + layer.down(F.gelu(layer.up(x), approximate=self.approximate)))
        return x

    def _attend(self, qkv: torch.Tensor, stream: Stream, mask: torch.Tensor | None) -> torch.Tensor:
        texts, longest = stream.rows.shape
        padded = qkv[stream.rows.flatten()].view(texts, longest, 3, self.heads, self.width // self.heads)
        query, key, value = padded.permute(2, 0, 3, 1, 4)
        mixed = F.scaled_dot_product_attention(query, key, value, attn_mask=mask)
        return mixed.transpose(1, 2).reshape(texts, longest, self.width)[stream.valid]


def is_supported(config: Mapping[str, Any]) -> bool:
    """Say whether a config is a BERT that runs here: absolute positions, a GELU, encoder only."""
    return (
        config.get("model_type") == "bert"
        and config.get("hidden_act") in ACTIVATIONS
        and config.get("position_embedding_type", "absolute") == "absolute"
        and not config.get("is_decoder", False)
    )
