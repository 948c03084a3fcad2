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

from .fields import FieldReader
from .stream import Stream
from .weights import CONFIG, Weights, check_tensor

ACTIVATIONS = {"gelu": "none", "gelu_new": "tanh", "gelu_pytorch_tanh": "tanh"}
"""Config names of the activations that run here, with torch's name of GELU's approximation."""
VOCABULARY = 30_522
"""Rows of the embedding table where a config does not say it."""


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
        weights: Its tensors, with or without the `bert.` prefix; each is read once in full to see that it is finite.
        device: Where to run.
        dtype: What to compute in.

    Raises:
        InputError: A size in the config makes no sense, or a tensor is missing, of another shape or type than the
            config says, or not finite.
    """

    def __init__(
        self,
        config: Mapping[str, Any],
        weights: Weights,
        device: torch.device,
        dtype: torch.dtype,
    ) -> None:
        read = FieldReader(config, weights.folder / CONFIG)
        self.width, self.heads = read.whole("hidden_size", 768), read.whole("num_attention_heads", 12)
        if self.width % self.heads:
            raise read.error("hidden_size", self.width, f"a multiple of num_attention_heads, which is {self.heads}")
        self.approximate = ACTIVATIONS[config["hidden_act"]]
        self.device = device
        width, inner = self.width, read.whole("intermediate_size", 3072)
        eps = read.number("layer_norm_eps", 1e-12)

        def get(name: str, *shape: int) -> torch.Tensor:
            older = name.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta")
            spellings = [f"{prefix}{spelling}" for spelling in (name, older) for prefix in ("", "bert.")]
            found = next((spelling for spelling in spellings if spelling in weights.tensors), name)
            return check_tensor(weights, found, shape).to(device)

        def linear(size: int, out: int, *names: str) -> Linear:
            weight = torch.cat([get(f"{name}.weight", out, size) for name in names])
            return Linear(weight.to(dtype), torch.cat([get(f"{name}.bias", out) for name in names]).to(dtype))

        def norm(name: str) -> Norm:
            return Norm(get(f"{name}.weight", width).to(dtype), get(f"{name}.bias", width).to(dtype), eps)

        def layer(prefix: str) -> Layer:
            projections = [f"{prefix}.attention.self.{name}" for name in ("query", "key", "value")]
            return Layer(
                qkv=linear(width, width, *projections),
                attention_out=linear(width, width, f"{prefix}.attention.output.dense"),
                attention_norm=norm(f"{prefix}.attention.output.LayerNorm"),
                up=linear(width, inner, f"{prefix}.intermediate.dense"),
                down=linear(inner, width, f"{prefix}.output.dense"),
                output_norm=norm(f"{prefix}.output.LayerNorm"),
            )

        self.dtype = dtype
        # The table stays as it is stored, mapped from the file: a query reads a few rows of it.
        self.words = get("embeddings.word_embeddings.weight", read.whole("vocab_size", VOCABULARY), width)
        longest, kinds = read.whole("max_position_embeddings", 512), read.whole("type_vocab_size", 2)
        positions = get("embeddings.position_embeddings.weight", longest, width)
        segments = get("embeddings.token_type_embeddings.weight", kinds, width)
        self.places = positions.float() + segments[0].float()
        self.norm = norm("embeddings.LayerNorm")
        self.layers = [layer(f"encoder.layer.{number}") for number in range(read.whole("num_hidden_layers", 12))]

    def __call__(self, stream: Stream) -> torch.Tensor:
        """Return the last hidden states, (tokens, width) in the network's dtype."""
        x = self.norm((self.words[stream.ids].float() + self.places[stream.positions]).to(self.dtype))
        mask = None if bool(stream.visible.all()) else stream.visible[:, None, None, :]
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
        and str(config.get("hidden_act")) in ACTIVATIONS
        and config.get("position_embedding_type", "absolute") == "absolute"
        and not config.get("is_decoder", False)
    )
