"""ModernBERT on one stream of tokens, in plain torch: it encodes, trains, and predicts masked tokens.

Parameters bear the names that transformers gives them. The computation is a function of the modules and not a method
of them, so that it also runs on transformers' own `ModernBertModel`, wrapped or hooked as it may be; the modules here
only hold the weights.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from ...errors import InputError
from ..stream import Stream
from .attention.attended import prepare
from .attention.backend import Attend, Backend
from .config import ModernBertConfig
from .glu import gated
from .rope import Rotation, rotate, rotation_of

IGNORED = -100
"""Label of a token that is not to be predicted."""


def hidden_states(
    backbone: nn.Module, stream: Stream, config: ModernBertConfig, backend: Backend | None = None
) -> torch.Tensor:
    """Run a ModernBERT on a stream.

    Args:
        backbone: A `ModernBert` or any module with its sub-modules, such as transformers' `ModernBertModel`. Its
            drop-outs act in training, and its attribute `gradient_checkpointing` decides whether a layer keeps its
            inner states for the backward pass or computes them again.
        stream: The texts, on the backbone's device.
        config: The backbone's sizes.
        backend: How to attend; None chooses what is best for the device and precision.

    Returns:
        (tokens, width) in the dtype of the weights, or of autocast.

    Raises:
        InputError: Training asks for drop-out of attention weights, which no back-end does.
    """
    if backbone.training and config.attention_dropout:
        raise InputError(
            f"attention_dropout is {config.attention_dropout}, but attention weights are never dropped here; "
            "set it to 0 for training"
        )
    modules: Any = backbone
    table: torch.Tensor = modules.embeddings.tok_embeddings.weight
    if backend is None:
        from .attention.choose import choose

        backend = choose(table.device, _dtype(table))
    kinds = {kind: _prepare(stream, config, backend, is_global=kind) for kind in set(config.global_layers)}
    again = torch.is_grad_enabled() and backbone.training and getattr(backbone, "gradient_checkpointing", False)
    x = modules.embeddings.drop(modules.embeddings.norm(modules.embeddings.tok_embeddings(stream.ids)))
    for layer, is_global in zip(modules.layers, config.global_layers, strict=True):
        rotation, attend = kinds[is_global]
        if again:
            x = checkpoint(run_layer, layer, x, rotation, attend, config.heads, use_reentrant=False)
        else:
            x = run_layer(layer, x, rotation, attend, config.heads)
    states: torch.Tensor = modules.final_norm(x)
    return states


def _dtype(table: torch.Tensor) -> torch.dtype:
    kind = table.device.type
    return torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else table.dtype


def _prepare(stream: Stream, config: ModernBertConfig, backend: Backend, *, is_global: bool) -> tuple[Rotation, Attend]:
    theta = config.global_theta if is_global else config.local_theta
    attend = prepare(backend, stream, None if is_global else config.window)
    return rotation_of(stream, theta, config.head_width), attend


def run_layer(layer: Any, x: torch.Tensor, rotation: Rotation, attend: Attend, heads: int) -> torch.Tensor:  # noqa: ANN401
    """Run one layer: (tokens, width) to (tokens, width)."""
    query, key, value = before_attention(layer, x, rotation, heads)
    return after_attention(layer, x, attend(query, key, value))


def before_attention(
    layer: Any,  # noqa: ANN401 - any module with the sub-modules of `Layer`
    x: torch.Tensor,
    rotation: Rotation,
    heads: int,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Normalise, project and rotate (tokens, width) to queries, keys, values, each (tokens, heads, head width)."""
    projection = layer.attn.Wqkv
    projected = projection(layer.attn_norm(x))
    return rotate(projected if _is_alone(projection) else projected.clone(), rotation, heads)


def _is_alone(projection: nn.Module) -> bool:
    """Say whether nothing else holds what a projection returns: no adapter made it, and no hook saw it."""
    hooked = bool(projection._forward_hooks or projection._forward_pre_hooks)
    hooked = hooked or bool(projection._backward_hooks or projection._backward_pre_hooks)
    return isinstance(projection, nn.Linear) and type(projection).forward is nn.Linear.forward and not hooked


def after_attention(layer: Any, x: torch.Tensor, mixed: torch.Tensor) -> torch.Tensor:  # noqa: ANN401 - as above
    """Add what attention found and what the MLP makes of it.

    Args:
        layer: A module with the sub-modules of `Layer`.
        x: (tokens, width), what the layer was given.
        mixed: (tokens, heads, head width), from the attention.
    """
    x = x + layer.attn.out_drop(layer.attn.Wo(mixed.flatten(1)))
    inner = layer.mlp.drop(gated(layer.mlp.Wi(layer.mlp_norm(x))))
    result: torch.Tensor = x + layer.mlp.Wo(inner)
    return result


class _Linear(nn.Linear):
    """A matrix that is not drawn when it is made, since a network draws all its weights by role, or is given them."""

    def reset_parameters(self) -> None:
        pass


class _Embedding(nn.Embedding):
    """A table that is not drawn when it is made; see `_Linear`."""

    def reset_parameters(self) -> None:
        pass


class Embeddings(nn.Module):
    """The table of tokens and the norm after it."""

    def __init__(self, config: ModernBertConfig) -> None:
        super().__init__()
        self.tok_embeddings = _Embedding(config.vocabulary, config.width, padding_idx=config.pad_token_id)
        self.norm = _norm(config)
        self.drop = nn.Dropout(config.embedding_dropout)


class Attention(nn.Module):
    """The projections before and after attention."""

    def __init__(self, config: ModernBertConfig) -> None:
        super().__init__()
        self.Wqkv = _Linear(config.width, 3 * config.width, bias=False)
        self.Wo = _Linear(config.width, config.width, bias=False)
        self.out_drop = nn.Dropout(config.attention_dropout)


class GatedMlp(nn.Module):
    """The matrices of the gated MLP."""

    def __init__(self, config: ModernBertConfig) -> None:
        super().__init__()
        self.Wi = _Linear(config.width, 2 * config.intermediate, bias=False)
        self.drop = nn.Dropout(config.mlp_dropout)
        self.Wo = _Linear(config.intermediate, config.width, bias=False)


class Layer(nn.Module):
    """Attention and MLP with the norm before each; the first layer has none before attention."""

    def __init__(self, config: ModernBertConfig, number: int) -> None:
        super().__init__()
        self.attn_norm = _norm(config) if number else nn.Identity()
        self.attn = Attention(config)
        self.mlp_norm = _norm(config)
        self.mlp = GatedMlp(config)


class ModernBert(nn.Module):
    """The encoder, with new random weights distributed as transformers draws them.

    Args:
        config: Its sizes.

    Attributes:
        config: Its sizes.
        gradient_checkpointing: Whether training computes the inner states of layers twice instead of keeping them.
    """

    def __init__(self, config: ModernBertConfig) -> None:
        super().__init__()
        self.config = config
        self.gradient_checkpointing = False
        self.embeddings = Embeddings(config)
        self.layers = nn.ModuleList(Layer(config, number) for number in range(config.layers))
        self.final_norm = _norm(config)
        _draw([self.embeddings.tok_embeddings.weight], config.initializer_range, config)
        _draw(_matrices(self, "Wqkv", "Wi"), config.initializer_range, config)
        _draw(_matrices(self, "Wo"), _output_range(config), config)

    def forward(self, stream: Stream, backend: Backend | None = None) -> torch.Tensor:
        """Return hidden states (tokens, width); see `hidden_states`."""
        return hidden_states(self, stream, self.config, backend)


class PredictionHead(nn.Module):
    """What turns a hidden state into the embedding of the token that it predicts."""

    def __init__(self, config: ModernBertConfig) -> None:
        super().__init__()
        self.dense = _Linear(config.width, config.width, bias=False)
        self.norm = _norm(config)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map (tokens, width) to (tokens, width)."""
        result: torch.Tensor = self.norm(F.gelu(self.dense(x)))
        return result


@dataclass(frozen=True)
class Prediction:
    """What a masked language model says.

    Attributes:
        logits: (predicted, vocabulary), a row for each token that was asked for.
        loss: Mean cross-entropy of those rows that have a label, a float32 scalar that is 0 where none has, or None
            where no labels were given.
    """

    logits: torch.Tensor
    loss: torch.Tensor | None


class MaskedLanguageModel(nn.Module):
    """The encoder with the head that predicts masked tokens, for pre-training.

    Args:
        config: The sizes.
    """

    def __init__(self, config: ModernBertConfig) -> None:
        super().__init__()
        self.config = config
        self.model = ModernBert(config)
        self.head = PredictionHead(config)
        self.decoder = _Linear(config.width, config.vocabulary, bias=config.decoder_bias)
        _draw([self.head.dense.weight], _output_range(config), config)
        if not config.tied:
            _draw([self.decoder.weight], _output_range(config), config)
        if config.decoder_bias:
            nn.init.zeros_(self.decoder.bias)
        self.tie()

    def tie(self) -> None:
        """Make the decoder's matrix the embedding table again, where the configuration says so."""
        if self.config.tied:
            self.decoder.weight = self.model.embeddings.tok_embeddings.weight

    def forward(
        self,
        stream: Stream,
        labels: torch.Tensor | None = None,
        at: torch.Tensor | None = None,
        backend: Backend | None = None,
    ) -> Prediction:
        """Predict tokens, at no more places than asked for: logits are what costs most memory.

        Args:
            stream: The texts, with the masks in them.
            labels: (tokens,) int64, the token that belongs in each place, or -100 where none is to be predicted.
            at: (predicted,) int64, places in the stream to predict; None means those with a label, or all where
                there are no labels. Naming them spares a GPU the wait until they are counted.
            backend: See `hidden_states`.
        """
        states = self.model(stream, backend)
        if at is None and labels is not None:
            at = (labels != IGNORED).nonzero()[:, 0]
        logits = self.decoder(self.head(states if at is None else states.index_select(0, at)))
        if labels is None or at is None:
            return Prediction(logits, None)
        asked = labels[at]
        total = F.cross_entropy(logits.float(), asked, ignore_index=IGNORED, reduction="sum")
        return Prediction(logits, total / (asked != IGNORED).sum().clamp(min=1))


def _norm(config: ModernBertConfig) -> nn.LayerNorm:
    return nn.LayerNorm(config.width, eps=config.eps, bias=False)


def _matrices(network: nn.Module, *names: str) -> Iterator[torch.Tensor]:
    modules = ((name.rsplit(".", 1)[-1], module) for name, module in network.named_modules())
    return chain.from_iterable(module.parameters() for name, module in modules if name in names)


def _output_range(config: ModernBertConfig) -> float:
    return config.initializer_range / math.sqrt(2.0 * config.layers)


def _draw(weights: "Iterator[torch.Tensor] | list[torch.Tensor]", std: float, config: ModernBertConfig) -> None:
    cut = config.initializer_cutoff * std
    for weight in weights:
        if weight.is_meta:  # torch loads its compiler to draw nothing
            continue
        nn.init.trunc_normal_(weight, std=std, a=-cut, b=cut)
