"""The sizes of ModernBERT as a table, and the configuration that a training run asks for by name or by file.

`base` and `large` are the paper's; `tiny` and `mini` are small enough to train on a CPU. A size says nothing of the
tokenizer: token numbers come from the tokenizer that the model is made with, and are never guessed from a name.
"""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...errors import InputError
from ...files import read_json
from .config import GLOBAL_EVERY, ModernBertConfig, one_global_in
from .tokenizer import SPECIAL_TOKENS, rounded_vocabulary

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

TOKEN_ROLES = {
    "pad_token_id": "pad",
    "cls_token_id": "cls",
    "bos_token_id": "cls",
    "sep_token_id": "sep",
    "eos_token_id": "sep",
}
"""Fields of the configuration that hold a token's number, and which of the tokenizer's special tokens it is."""


def _preset(vocabulary: int, layers: int, width: int, intermediate: int, heads: int) -> ModernBertConfig:
    config = ModernBertConfig(
        vocabulary=vocabulary,
        layers=layers,
        width=width,
        intermediate=intermediate,
        heads=heads,
        global_layers=one_global_in(GLOBAL_EVERY, layers),
    )
    return _numbered(config, lambda role: SPECIAL_TOKENS.index(f"[{role.upper()}]"))


def _numbered(config: ModernBertConfig, token: Callable[[str], int]) -> ModernBertConfig:
    tokens: dict[str, Any] = {field: token(role) for field, role in TOKEN_ROLES.items()}
    return replace(config, **tokens)


PRESETS = {
    "tiny": _preset(vocabulary=16_384, layers=2, width=256, intermediate=384, heads=4),
    "mini": _preset(vocabulary=32_768, layers=6, width=384, intermediate=576, heads=6),
    "base": _preset(vocabulary=50_368, layers=22, width=768, intermediate=1152, heads=12),
    "large": _preset(vocabulary=50_368, layers=28, width=1024, intermediate=2624, heads=16),
}
"""Sizes by name; without a tokenizer, tokens are numbered as `train_tokenizer` numbers them."""


def config_for(source: str | Path, tokenizer: "PreTrainedTokenizerBase | None" = None) -> ModernBertConfig:
    """Return the configuration of a preset, or the one in a JSON file.

    Args:
        source: A name in `PRESETS` or the path of a ModernBERT `config.json`.
        tokenizer: Gives the token numbers and, for a preset, the vocabulary.

    Raises:
        InputError: The preset is unknown, the file is no ModernBERT configuration that runs here, or the tokenizer has
            more tokens than the file's vocabulary.
    """
    preset = PRESETS.get(str(source))
    config = preset or _from_file(Path(source))
    if tokenizer is None:
        return config
    if preset:
        config = replace(config, vocabulary=rounded_vocabulary(len(tokenizer)))
    elif len(tokenizer) > config.vocabulary:
        raise InputError(f"{source}: vocab_size is {config.vocabulary}, but the tokenizer has {len(tokenizer)} tokens")
    return _numbered(config, lambda role: getattr(tokenizer, f"{role}_token_id"))


def _from_file(path: Path) -> ModernBertConfig:
    if path.suffix != ".json" and not path.is_file():
        raise InputError(f"no ModernBERT size {str(path)!r}; expected {', '.join(PRESETS)} or the path of a JSON file")
    fields = read_json(path)
    if isinstance(fields, dict):
        fields = dict.fromkeys(TOKEN_ROLES) | fields
    return ModernBertConfig.from_fields(fields, path)
