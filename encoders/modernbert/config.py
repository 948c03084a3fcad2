"""The sizes and settings of a ModernBERT, read from a `config.json` and written as one.

The spellings of transformers 4.48 to 5.x all resolve here to what transformers makes of them, defaults included. What
this package does not run is refused by name when the file is read, so that no other module asks again.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ...errors import InputError
from ..fields import FieldReader

LAYER_KINDS = {"full_attention": True, "sliding_attention": False}
"""Entries of `layer_types`, and whether such a layer sees the whole text."""
SUPPORTED: dict[str, object] = {
    "hidden_activation": "gelu",
    "classifier_activation": "gelu",
    "norm_bias": False,
    "attention_bias": False,
    "mlp_bias": False,
    "classifier_bias": False,
}
"""Fields of which one value runs here; it is also what transformers takes where the field is absent."""
GLOBAL_EVERY = 3
GLOBAL_THETA = 160_000.0
LOCAL_THETA = 10_000.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ModernBertConfig:
    """What a ModernBERT network is made of.

    Attributes:
        vocabulary: Rows of the embedding table.
        width: Width of a token's state.
        intermediate: Width of the gated MLP; its first matrix has twice as many rows.
        layers: Number of layers.
        heads: Attention heads a layer.
        global_layers: For each layer, whether it sees the whole text or a window.
        positions: Longest text in tokens.
        window: Tokens that a local layer sees on either side of a token.
        global_theta: RoPE base of the global layers.
        local_theta: RoPE base of the local layers.
        eps: Added to the variance by every layer norm.
        embedding_dropout: Share of the embeddings dropped in training.
        attention_dropout: Share of the attention weights and of what attention adds dropped in training.
        mlp_dropout: Share of the MLP's inner states dropped in training.
        initializer_range: Standard deviation of new weights before the scaling by role.
        initializer_cutoff: Where that distribution is cut, in standard deviations.
        decoder_bias: Whether the decoder of the masked language model adds a bias.
        tied: Whether that decoder's matrix is the embedding table.
        pad_token_id: The padding token, or None.
        cls_token_id: The token put before a text, or None.
        sep_token_id: The token put after a text, or None.
        bos_token_id: Kept for transformers.
        eos_token_id: Kept for transformers.
    """

    vocabulary: int
    width: int
    intermediate: int
    layers: int
    heads: int
    global_layers: tuple[bool, ...]
    positions: int = 8192
    window: int = 64
    global_theta: float = GLOBAL_THETA
    local_theta: float = LOCAL_THETA
    eps: float = 1e-5
    embedding_dropout: float = 0.0
    attention_dropout: float = 0.0
    mlp_dropout: float = 0.0
    initializer_range: float = 0.02
    initializer_cutoff: float = 2.0
    decoder_bias: bool = True
    tied: bool = True
    pad_token_id: int | None = None
    cls_token_id: int | None = None
    sep_token_id: int | None = None
    bos_token_id: int | None = None
    eos_token_id: int | None = None

    @property
    def head_width(self) -> int:
        """Width of one attention head."""
        return self.width // self.heads

    @classmethod
    def from_fields(cls, fields: Mapping[str, Any], source: object) -> "ModernBertConfig":
        """Resolve the fields of a `config.json`.

        Args:
            fields: As parsed from JSON, or `to_dict()` of a configuration of transformers.
            source: What errors name, usually the file.

        Raises:
            InputError: It is no ModernBERT, a value makes no sense, or it asks for what does not run here.
        """
        if not isinstance(fields, Mapping):
            raise InputError(f"{source}: expected a JSON object with the fields of a configuration")
        read = FieldReader(fields, source)
        read.only("model_type", "modernbert", None)
        for name, value in SUPPORTED.items():
            read.only(name, value, value)
        vocabulary = read.whole("vocab_size", 50_368)
        width, heads = read.whole("hidden_size", 768), read.whole("num_attention_heads", 12)
        _check_heads(read, width, heads)
        layers = read.whole("num_hidden_layers", 22)
        global_theta, local_theta = _thetas(read)
        pad = read.token("pad_token_id", 50_283)
        if pad is not None and pad >= vocabulary:
            raise read.error("pad_token_id", pad, f"a token below vocab_size, which is {vocabulary}")
        return cls(
            vocabulary=vocabulary,
            width=width,
            intermediate=read.whole("intermediate_size", 1152),
            layers=layers,
            heads=heads,
            global_layers=_global_layers(read, layers),
            positions=read.whole("max_position_embeddings", 8192),
            window=_half_window(read),
            global_theta=global_theta,
            local_theta=local_theta,
            eps=read.number("norm_eps", 1e-5),
            embedding_dropout=read.share("embedding_dropout"),
            attention_dropout=read.share("attention_dropout"),
            mlp_dropout=read.share("mlp_dropout"),
            initializer_range=read.number("initializer_range", 0.02),
            initializer_cutoff=read.number("initializer_cutoff_factor", 2.0),
            decoder_bias=read.flag("decoder_bias"),
            tied=read.flag("tie_word_embeddings"),
            pad_token_id=pad,
            cls_token_id=read.token("cls_token_id", 50_281),
            sep_token_id=read.token("sep_token_id", 50_282),
            bos_token_id=read.token("bos_token_id", 50_281),
            eos_token_id=read.token("eos_token_id", 50_282),
        )

    def to_fields(self) -> dict[str, Any]:
        """Return the fields of a `config.json` that transformers 4.48 to 5.x read alike.

        Older releases know only "one global layer in n"; where `global_layers` is no such pattern, `layer_types` alone
        says it, which they do not read.
        """
        every = _every(self.global_layers)
        older = {} if every is None else {"global_attn_every_n_layers": every}
        kinds = {is_global: kind for kind, is_global in LAYER_KINDS.items()}
        thetas = {"full_attention": self.global_theta, "sliding_attention": self.local_theta}
        return {
            "model_type": "modernbert",
            **SUPPORTED,
            **older,
            "vocab_size": self.vocabulary,
            "hidden_size": self.width,
            "intermediate_size": self.intermediate,
            "num_hidden_layers": self.layers,
            "num_attention_heads": self.heads,
            "layer_types": [kinds[is_global] for is_global in self.global_layers],
            "max_position_embeddings": self.positions,
            "local_attention": 2 * self.window,
            "global_rope_theta": self.global_theta,
            "local_rope_theta": self.local_theta,
            "rope_parameters": {kind: {"rope_type": "default", "rope_theta": theta} for kind, theta in thetas.items()},
            "norm_eps": self.eps,
            "embedding_dropout": self.embedding_dropout,
            "attention_dropout": self.attention_dropout,
            "mlp_dropout": self.mlp_dropout,
            "initializer_range": self.initializer_range,
            "initializer_cutoff_factor": self.initializer_cutoff,
            "decoder_bias": self.decoder_bias,
            "tie_word_embeddings": self.tied,
            "pad_token_id": self.pad_token_id,
            "cls_token_id": self.cls_token_id,
            "sep_token_id": self.sep_token_id,
            "bos_token_id": self.bos_token_id,
            "eos_token_id": self.eos_token_id,
        }


def one_global_in(every: int, layers: int) -> tuple[bool, ...]:
    """Return `global_layers` where the first of every `every` layers is global."""
    return tuple(number % every == 0 for number in range(layers))


def _check_heads(read: FieldReader, width: int, heads: int) -> None:
    if width % heads:
        raise read.error("hidden_size", width, f"a multiple of num_attention_heads, which is {heads}")
    if (width // heads) % 2:
        raise read.error("hidden_size", width, f"an even number for each of {heads} heads, which RoPE turns in pairs")
    if read.fields.get("head_dim") not in (None, width // heads):
        raise read.error("head_dim", read.fields["head_dim"], f"hidden_size / num_attention_heads = {width // heads}")


def _global_layers(read: FieldReader, layers: int) -> tuple[bool, ...]:
    kinds = read.fields.get("layer_types")
    if kinds is None:
        return one_global_in(read.whole("global_attn_every_n_layers", GLOBAL_EVERY), layers)
    if not isinstance(kinds, list | tuple) or len(kinds) != layers:
        raise read.error("layer_types", kinds, f"a list of num_hidden_layers = {layers} kinds")
    unknown = [kind for kind in kinds if kind not in list(LAYER_KINDS)]
    if unknown:
        raise InputError(f"{read.source}: layer_types has {unknown[0]!r}; only {_names(LAYER_KINDS)} are supported")
    return tuple(LAYER_KINDS[kind] for kind in kinds)


def _half_window(read: FieldReader) -> int:
    if read.fields.get("sliding_window") is not None:  # transformers 5 lets it override `local_attention`
        return read.whole("sliding_window", 0)
    both_sides = read.whole("local_attention", 128)
    if both_sides == 1:
        raise read.error("local_attention", both_sides, "at least 2, one token on either side")
    return both_sides // 2


def _thetas(read: FieldReader) -> tuple[float, float]:
    if read.fields.get("rope_scaling") is not None:
        _check_rope(read, "rope_scaling", read.fields["rope_scaling"], ())
    ropes = read.fields.get("rope_parameters") or {}
    if not isinstance(ropes, Mapping) or not set(ropes) <= set(LAYER_KINDS):
        raise read.error("rope_parameters", ropes, f"an entry for each of {_names(LAYER_KINDS)}")
    global_theta = _theta(read, "full_attention", read.fields.get("global_rope_theta", GLOBAL_THETA))
    local_theta = read.fields.get("local_rope_theta", LOCAL_THETA)
    return global_theta, _theta(read, "sliding_attention", global_theta if local_theta is None else local_theta)


def _theta(read: FieldReader, kind: str, older: object) -> float:
    rope = (read.fields.get("rope_parameters") or {}).get(kind)
    name = f"rope_parameters.{kind}"
    if rope is not None:
        _check_rope(read, name, rope, ("rope_theta",))
        if "rope_theta" in rope:
            return read.positive(f"{name}.rope_theta", rope["rope_theta"])
    return read.positive("global_rope_theta" if LAYER_KINDS[kind] else "local_rope_theta", older)


def _check_rope(read: FieldReader, name: str, rope: object, others: tuple[str, ...]) -> None:
    plain = isinstance(rope, Mapping) and all(
        value == "default" if key in ("rope_type", "type") else key in others for key, value in rope.items()
    )
    if not plain:
        raise InputError(f"{read.source}: {name} is {rope!r}; only rope_type 'default' is supported")


def _every(global_layers: tuple[bool, ...]) -> int | None:
    candidates = (GLOBAL_EVERY, *range(1, len(global_layers) + 1))
    fitting = (every for every in candidates if one_global_in(every, len(global_layers)) == global_layers)
    return next(fitting, None)


def _names(names: Mapping[str, object]) -> str:
    return " and ".join(map(repr, names))
