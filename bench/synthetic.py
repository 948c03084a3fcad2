"""A ModernBERT of random weights to measure where no trained one is at hand: speed does not depend on the weights.

Its tokenizer knows a fixed list of words, so that a text of n words has n tokens and two special ones.

Accuracy does depend on the weights: layers that were never trained add little to the embeddings of the tokens, so that
cosines between precisions come out closer to 1 than with a trained model.
"""

from pathlib import Path
from typing import TYPE_CHECKING

from ..encoders.modernbert.config import ModernBertConfig
from ..encoders.modernbert.presets import PRESETS
from ..encoders.modernbert.tokenizer import SPECIAL_TOKENS, as_fast_tokenizer
from ..errors import InputError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast


def save_random_model(folder: Path, size: str = "base", seed: int = 0) -> None:
    """Save a dense embedder (network, mean pooling, normalisation) with random float32 weights in `folder`.

    Args:
        folder: Where to; made if need be.
        size: One of the presets: tiny, mini, base, large.
        seed: The same seed gives the same weights.

    Raises:
        InputError: The size is unknown.
    """
    from ..encoders.modernbert.fresh import new_model

    preset = _preset(size)
    new_model(size, _word_tokenizer(preset.vocabulary), preset.positions, seed).save(str(folder))


def save_random_colbert(folder: Path, size: str, dim: int, seed: int = 0) -> None:
    """Save a late-interaction model (network, projection to `dim`, normalisation); see `save_random_model`."""
    from ..encoders.modernbert.fresh import new_colbert

    preset = _preset(size)
    new_colbert(size, _word_tokenizer(preset.vocabulary), preset.positions, dim, seed).save_pretrained(str(folder))


def _preset(size: str) -> ModernBertConfig:
    from transformers.utils import logging

    if size not in PRESETS:
        raise InputError(f"no ModernBERT size {size!r}; expected {', '.join(PRESETS)}")
    logging.disable_progress_bar()
    return PRESETS[size]


def _word_tokenizer(vocabulary: int) -> "PreTrainedTokenizerFast":
    from tokenizers import Tokenizer, models, pre_tokenizers

    words = [f"w{number}" for number in range(vocabulary - len(SPECIAL_TOKENS))]
    numbers = {token: number for number, token in enumerate([*SPECIAL_TOKENS, *words])}
    tokenizer = Tokenizer(models.WordLevel(numbers, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return as_fast_tokenizer(tokenizer)
