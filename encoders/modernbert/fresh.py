"""A new ModernBERT with random weights, as the sentence-transformers model that training starts from."""

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from .presets import config_for

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer
    from transformers import PreTrainedTokenizerBase


def new_model(
    source: str | Path, tokenizer: "PreTrainedTokenizerBase", max_length: int, seed: int
) -> "SentenceTransformer":
    """Return a dense embedder (network, mean pooling, normalisation) with random float32 weights.

    Args:
        source: A preset or the path of a JSON configuration, see `config_for`.
        tokenizer: Saved with the model.
        max_length: Tokens that the model reads of a text.
        seed: The same seed gives the same weights.

    Raises:
        InputError: See `config_for`.
    """
    import torch
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Normalize, Pooling, Transformer

    from .folder import save
    from .network import ModernBert

    config = config_for(source, tokenizer)
    tokenizer.model_max_length = min(max_length, config.positions)
    torch.manual_seed(seed)
    # the Transformer module only loads from a folder
    with tempfile.TemporaryDirectory() as parent:
        folder = Path(parent) / "network"
        save(ModernBert(config), folder)
        tokenizer.save_pretrained(folder)
        transformer = Transformer(str(folder))
    return SentenceTransformer(modules=[transformer, Pooling(config.width, "mean"), Normalize()])
