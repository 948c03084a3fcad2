"""A new ModernBERT with random weights, as the models of sentence-transformers that training starts from."""

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from .presets import config_for

if TYPE_CHECKING:
    from sentence_transformers import MultiVectorEncoder, SentenceTransformer
    from sentence_transformers.base.modules import Transformer
    from transformers import PreTrainedTokenizerBase


def new_model(
    source: str | Path,
    tokenizer: "PreTrainedTokenizerBase",
    max_length: int,
    seed: int,
    embeddings_from: str | None = None,
) -> "SentenceTransformer":
    """Return a dense embedder (network, mean pooling, normalisation) with random float32 weights.

    Args:
        source: A preset or the path of a JSON configuration, see `config_for`.
        tokenizer: Saved with the model.
        max_length: Tokens that the model reads of a text.
        seed: The same seed gives the same weights.
        embeddings_from: Dense encoder, a folder or a name, whose vectors of the tokens' texts the embeddings begin
            with, see `embedding_table`; None draws them too.

    Raises:
        InputError: See `config_for` and `start_from_teacher`.
    """
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Normalize, Pooling

    reader = new_reader(source, tokenizer, max_length, seed, embeddings_from)
    return SentenceTransformer(modules=[reader, Pooling(reader.get_embedding_dimension(), "mean"), Normalize()])


def new_colbert(
    source: str | Path,
    tokenizer: "PreTrainedTokenizerBase",
    max_length: int,
    dim: int,
    seed: int,
    embeddings_from: str | None = None,
) -> "MultiVectorEncoder":
    """Return a late-interaction model with random float32 weights; see `as_colbert` and, for the rest, `new_model`."""
    return as_colbert(new_reader(source, tokenizer, max_length, seed, embeddings_from), dim, seed)


def as_colbert(reader: "Transformer", dim: int, seed: int) -> "MultiVectorEncoder":
    """Put a projection with random weights, the mask of what is scored, and normalisation behind a network.

    Args:
        reader: The network and its tokenizer.
        dim: Length of a token's vector.
        seed: The same seed gives the same projection.
    """
    import torch
    from sentence_transformers import MultiVectorEncoder
    from sentence_transformers.base.modules import Dense, Normalize
    from sentence_transformers.multi_vector_encoder.modules import MultiVectorMask

    on_tokens = {"module_input_name": "token_embeddings"}
    torch.manual_seed(seed)
    width = reader.get_embedding_dimension()
    projection = Dense(width, dim, bias=False, activation_function=torch.nn.Identity(), **on_tokens)
    return MultiVectorEncoder(modules=[reader, projection, MultiVectorMask(), Normalize(**on_tokens)])


def new_reader(
    source: str | Path,
    tokenizer: "PreTrainedTokenizerBase",
    max_length: int,
    seed: int,
    embeddings_from: str | None = None,
) -> "Transformer":
    """Return the module of a network with random float32 weights, and its tokenizer; see `new_model`."""
    import torch
    from sentence_transformers.base.modules import Transformer

    from ..embedding_table import start_from_teacher
    from .folder import save
    from .network import ModernBert

    config = config_for(source, tokenizer)
    tokenizer.model_max_length = min(max_length, config.positions)
    torch.manual_seed(seed)
    network = ModernBert(config)
    if embeddings_from is not None:
        start_from_teacher(network.embeddings.tok_embeddings.weight, tokenizer, embeddings_from)
    # the Transformer module only loads from a folder
    with tempfile.TemporaryDirectory() as parent:
        folder = Path(parent) / "network"
        save(network, folder)
        tokenizer.save_pretrained(folder)
        return Transformer(str(folder))
