"""The sizes of ModernBERT as a table, and the transformers configuration that each stands for.

`base` and `large` are the paper's; `tiny` and `mini` are small enough to train on a CPU. A size says nothing of the
tokenizer: token numbers come from the tokenizer that the model is made with, and are never guessed from a name.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...errors import InputError
from ...files import read_json
from .tokenizer import SPECIAL_TOKENS, rounded_vocabulary

if TYPE_CHECKING:
    from transformers import ModernBertConfig, PreTrainedTokenizerBase


@dataclass(frozen=True, slots=True)
class Preset:
    """One size.

    Attributes:
        layers: Number of layers.
        hidden: Width of a token's state.
        intermediate: Width of the gated MLP; its first matrix has twice as many rows.
        heads: Attention heads a layer.
        vocabulary: Tokens, when the model comes without a tokenizer of its own.
        positions: Longest input in tokens.
        global_every: One layer in so many attends to everything, the others to a window.
        window: Tokens that a local layer sees, half of them on either side.
        global_theta: RoPE base of the global layers.
        local_theta: RoPE base of the local layers.
    """

    layers: int
    hidden: int
    intermediate: int
    heads: int
    vocabulary: int
    positions: int = 8192
    global_every: int = 3
    window: int = 128
    global_theta: float = 160_000.0
    local_theta: float = 10_000.0


PRESETS = {
    "tiny": Preset(layers=2, hidden=256, intermediate=384, heads=4, vocabulary=16_384),
    "mini": Preset(layers=6, hidden=384, intermediate=576, heads=6, vocabulary=32_768),
    "base": Preset(layers=22, hidden=768, intermediate=1152, heads=12, vocabulary=50_368),
    "large": Preset(layers=28, hidden=1024, intermediate=2624, heads=16, vocabulary=50_368),
}
TOKEN_ROLES = {
    "pad_token_id": "pad",
    "cls_token_id": "cls",
    "bos_token_id": "cls",
    "sep_token_id": "sep",
    "eos_token_id": "sep",
}
"""Fields of the configuration that hold a token's number, and which of the tokenizer's special tokens it is."""


def config_for(source: str | Path, tokenizer: "PreTrainedTokenizerBase | None" = None) -> "ModernBertConfig":
    """Return the configuration of a preset, or the one in a JSON file.

    Args:
        source: A name in `PRESETS` or the path of a ModernBERT `config.json`.
        tokenizer: Gives the token numbers and, for a preset, the vocabulary; without one, a preset is numbered as
            `train_tokenizer` numbers its tokens.

    Raises:
        InputError: The preset is unknown, the file is no ModernBERT configuration, or the tokenizer has more tokens
            than the file's vocabulary.
    """
    preset = PRESETS.get(str(source))
    config = _from_preset(preset) if preset else _from_file(Path(source))
    if tokenizer is None:
        return config
    if preset:
        config.vocab_size = rounded_vocabulary(len(tokenizer))
    elif len(tokenizer) > config.vocab_size:
        raise InputError(f"{source}: vocab_size is {config.vocab_size}, but the tokenizer has {len(tokenizer)} tokens")
    for field, role in TOKEN_ROLES.items():
        setattr(config, field, getattr(tokenizer, f"{role}_token_id"))
    return config


def _from_preset(preset: Preset) -> "ModernBertConfig":
    from transformers import ModernBertConfig

    return ModernBertConfig(
        vocab_size=preset.vocabulary,
        hidden_size=preset.hidden,
        intermediate_size=preset.intermediate,
        num_hidden_layers=preset.layers,
        num_attention_heads=preset.heads,
        max_position_embeddings=preset.positions,
        global_attn_every_n_layers=preset.global_every,
        local_attention=preset.window,
        global_rope_theta=preset.global_theta,
        local_rope_theta=preset.local_theta,
        **{field: SPECIAL_TOKENS.index(f"[{role.upper()}]") for field, role in TOKEN_ROLES.items()},
    )


def _from_file(path: Path) -> "ModernBertConfig":
    from transformers import ModernBertConfig

    if path.suffix != ".json" and not path.is_file():
        raise InputError(f"no ModernBERT size {str(path)!r}; expected {', '.join(PRESETS)} or the path of a JSON file")
    fields: Any = read_json(path)
    kind = fields.get("model_type") if isinstance(fields, dict) else type(fields).__name__
    if kind != "modernbert":
        raise InputError(f'{path}: expected a ModernBERT configuration ("model_type": "modernbert"), found {kind!r}')
    try:
        return ModernBertConfig.from_dict(fields)
    except Exception as error:  # the library validates field by field, each with an exception of its own
        raise InputError(f"{path}: not a usable ModernBERT configuration ({_one_line(error)})") from error


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())
