"""The class that a ModernBertModel of transformers has while it is accelerated: same parameters, another forward.

It bears the name of the class that it stands for, since checkpoints record it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import torch
from torch import nn
from transformers import ModernBertModel as Original
from transformers.modeling_outputs import BaseModelOutput

from .batching import token_budget_batches
from .modernbert.attention.choose import choose
from .modernbert.config import ModernBertConfig
from .modernbert.cpu import CpuNetwork
from .modernbert.load import has_engine
from .modernbert.network import ModernBert, hidden_states
from .networks import MODERNBERT_PACK, Network
from .networks import hidden_states as encode
from .stream import Stream

FLATTENED = ("cu_seq_lens_q", "cu_seq_lens_k", "max_length_q", "max_length_k", "seq_idx")
"""What comes with texts that sentence-transformers laid end to end itself."""
PRECISIONS = {torch.float32: "fp32", torch.bfloat16: "bf16"}
SAMPLES = 8
"""Numbers of each weight that are looked at for a change that torch does not count."""


@dataclass
class Packed:
    """An engine and the state of the weights that it was packed from; neither is copied nor pickled."""

    network: Network | None = None
    state: object = None

    def drop(self) -> None:
        """Let the engine go."""
        self.network = self.state = None

    def __deepcopy__(self, memo: object) -> "Packed":
        return Packed()

    def __reduce__(self) -> tuple[type, tuple[()]]:
        return Packed, ()


@dataclass(frozen=True)
class Settings:
    """How one model is accelerated; see `modernir.accelerate`."""

    config: ModernBertConfig
    attention: str | None
    precision: str | None
    packed: Packed = field(default_factory=Packed)

    def engine_precision(self, backbone: Any) -> str | None:  # noqa: ANN401 - a ModernBertModel
        """Return what the engine for CPUs computes in, or None where it is not to be used."""
        precision = self.precision or PRECISIONS.get(backbone.dtype)
        fits = precision is not None and has_engine(backbone.device, self.config, precision, self.attention)
        return precision if fits else None


@dataclass(frozen=True)
class Layout:
    """Texts of an input and the places in it that they were taken from.

    Attributes:
        ids: (tokens,) int64, texts end to end.
        lengths: Tokens of each text.
        shape: (rows, columns) of the input.
        places: (tokens,) int64, in the input laid flat; None where the tokens fill it.
        attended: How many of its first tokens each text attends to; None where to all. See `Stream`.
    """

    ids: torch.Tensor
    lengths: list[int]
    shape: tuple[int, int]
    places: torch.Tensor | None
    attended: list[int] | None = None

    def fill(self, hidden: torch.Tensor) -> torch.Tensor:
        """Put (tokens, width) where the tokens were: (rows, columns, width), zeros elsewhere."""
        if self.places is not None:
            rows, columns = self.shape
            hidden = hidden.new_zeros(rows * columns, hidden.shape[-1]).index_copy(0, self.places, hidden)
        return hidden.view(*self.shape, -1)


class ModernBertModel(Original):
    """An accelerated ModernBertModel."""

    modernir_settings: Settings

    def forward(
        self,
        input_ids: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        position_ids: torch.Tensor | None = None,
        inputs_embeds: torch.Tensor | None = None,
        **kwargs: Any,  # noqa: ANN401 - as transformers has it
    ) -> BaseModelOutput:
        """Return the last hidden states of (rows, columns) token ids, as transformers does, zeros on padding."""
        layout = None
        if inputs_embeds is None and input_ids is not None and input_ids.dim() == 2 and self._covers(kwargs):
            layout = _layout(input_ids, attention_mask, position_ids, kwargs, self.config.pad_token_id)
        if layout is None:
            given = {"attention_mask": attention_mask, "position_ids": position_ids, "inputs_embeds": inputs_embeds}
            before: BaseModelOutput = _as_before(self).forward(input_ids=input_ids, **given, **kwargs)
            return before
        engine = self._engine()
        hidden = self._stream(layout) if engine is None else _in_packs(engine, layout, self.dtype)
        return BaseModelOutput(last_hidden_state=layout.fill(hidden))

    def _covers(self, kwargs: Mapping[str, Any]) -> bool:
        asked = {name for name, value in kwargs.items() if value is not None and value is not False}
        settled = self.config.output_hidden_states or self.config.output_attentions or not self.config.return_dict
        drops_attention = self.training and self.modernir_settings.config.attention_dropout
        known = asked <= {*FLATTENED, "return_dict"} and kwargs.get("return_dict") is not False
        return known and not settled and not drops_attention and not torch.compiler.is_compiling()

    def _stream(self, layout: Layout) -> torch.Tensor:
        device = self.device
        autocast = torch.is_autocast_enabled(device.type)
        dtype = torch.get_autocast_dtype(device.type) if autocast else self.dtype
        backend = choose(device, dtype, self.modernir_settings.attention)
        stream = Stream.of_ids(layout.ids, layout.lengths, device, layout.attended)
        return hidden_states(self, stream, self.modernir_settings.config, backend)

    def _engine(self) -> Network | None:
        """Return the engine for encoding on a CPU, or None where the modules are to run."""
        settings = self.modernir_settings
        if self.training:
            settings.packed.drop()
        encoding = not (self.training or torch.is_grad_enabled() or torch.is_autocast_enabled("cpu"))
        precision = settings.engine_precision(self)
        if not encoding or precision is None or not _is_plain(self, settings.config):
            return None
        state = _state(self)
        if settings.packed.network is None or settings.packed.state != state:
            settings.packed.drop()  # before the next is made, which is as large
            settings.packed.network = CpuNetwork(self, settings.config, precision)
            settings.packed.state = state
        return settings.packed.network


def _as_before(model: ModernBertModel) -> Original:
    """Return the model as transformers has it, with the same state: which outputs it can record goes by class."""
    original: Original = Original.__new__(Original)
    object.__setattr__(original, "__dict__", model.__dict__)
    return original


def _layout(
    ids: torch.Tensor,
    mask: torch.Tensor | None,
    positions: torch.Tensor | None,
    kwargs: Mapping[str, Any],
    padding: int | None,
) -> Layout | None:
    """Find the texts in an input, or return None where they are not laid out as texts usually are."""
    rows, columns = ids.shape
    bounds = kwargs.get("cu_seq_lens_q")
    if bounds is not None:
        lengths = [length for length in bounds.diff().tolist() if length]
        whole = rows == 1 and mask is None and sum(lengths) == columns
        return Layout(ids[0], lengths, (1, columns), None) if whole else None
    if positions is not None or not columns:
        return None
    if mask is None:
        return Layout(ids.flatten(), [columns] * rows, (rows, columns), None)
    if not isinstance(mask, torch.Tensor) or mask.shape != ids.shape:
        return None
    seen = mask.bool()
    begins = seen[:, 0] + (seen[:, 1:] & ~seen[:, :-1]).sum(1)
    if bool((begins != 1).any()):
        return None
    read, attended = seen, None
    if padding is not None and bool((ids[~seen] != padding).any()):
        read, attended = seen | (ids != padding), seen.sum(1).tolist()
        if not (_from_first(seen) and _from_first(read)):
            return None  # tokens to be read but not to be seen that do not come after all others
    places = read.flatten().nonzero()[:, 0]
    return Layout(ids.flatten()[places], read.sum(1).tolist(), (rows, columns), places, attended)


def _from_first(mask: torch.Tensor) -> bool:
    """Say whether every row of (rows, columns) bool is true up to some column and false from there on."""
    return not bool((mask[:, 1:] & ~mask[:, :-1]).any())


def _in_packs(engine: Network, layout: Layout, dtype: torch.dtype) -> torch.Tensor:
    """Return the hidden states of all texts, (tokens, width), computed in packs of texts of like length."""
    hidden = torch.empty(len(layout.ids), engine.width, dtype=dtype)
    ids, places = layout.ids.split(layout.lengths), hidden.split(layout.lengths)
    batches = list(token_budget_batches(layout.lengths, MODERNBERT_PACK, padded=False))
    lengths = [[layout.lengths[text] for text in batch] for batch in batches]
    seen = [layout.attended and [layout.attended[text] for text in batch] for batch in batches]
    streams = [
        Stream.of_ids(torch.cat([ids[text] for text in batch]), sizes, engine.device, attended)
        for batch, sizes, attended in zip(batches, lengths, seen, strict=True)
    ]
    for batch, sizes, found in zip(batches, lengths, encode(engine, streams), strict=True):
        for text, states in zip(batch, found.split(sizes), strict=True):
            places[text].copy_(states)
    return hidden


def _is_plain(backbone: nn.Module, config: ModernBertConfig) -> bool:
    """Say whether the weights are all that decides what a backbone computes: no adapters, no hooks."""
    names, types = zip(*((name, type(weight)) for name, weight in backbone.named_parameters()), strict=True)
    hooked = any(module._forward_hooks or module._forward_pre_hooks for module in backbone.modules())
    return set(types) == {nn.Parameter} and names == _parameter_names(config) and not hooked


@lru_cache
def _parameter_names(config: ModernBertConfig) -> tuple[str, ...]:
    with torch.device("meta"):
        return tuple(name for name, _ in ModernBert(config).named_parameters())


def _state(backbone: nn.Module) -> list[tuple[object, ...]]:
    """Return what differs when a weight was replaced or written to."""
    return [
        (weight.data_ptr(), weight.dtype, None if weight.is_inference() else weight._version, _sample(weight))
        for weight in backbone.parameters()
    ]


def _sample(weight: torch.Tensor) -> bytes:
    # a write through `.data` is counted nowhere
    flat = weight.detach().reshape(-1)
    return flat[:: max(1, len(flat) // SAMPLES)].float().numpy().tobytes()
