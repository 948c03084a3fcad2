"""A new ModernBERT with random weights, as the sentence-transformers model that training starts from.

The network is transformers' own, so that what is saved loads in plain sentence-transformers.
"""

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
    from transformers import ModernBertModel

    config = config_for(source, tokenizer)
    tokenizer.model_max_length = min(max_length, config.max_position_embeddings)
    torch.manual_seed(seed)
    # the Transformer module only loads from a folder
    with tempfile.TemporaryDirectory() as folder:
        ModernBertModel(config).float().save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        transformer = Transformer(folder)
    return SentenceTransformer(modules=[transformer, Pooling(config.hidden_size, "mean"), Normalize()])
