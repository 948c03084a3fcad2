"""What a run begins with: a network with its prediction head, in float32, and its tokenizer."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import torch

from ...encoders.checkpoint import open_checkpoint
from ...encoders.embedding_table import start_from_teacher
from ...encoders.modernbert.folder import read_masked_language_model, save
from ...encoders.modernbert.network import MaskedLanguageModel
from ...encoders.modernbert.presets import config_for
from ...encoders.modernbert.tokenizer import load_tokenizer
from ...errors import InputError
from .growth import tile_network
from .settings import Pretraining

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


class Start(NamedTuple):
    """A network and the tokenizer that goes with it."""

    network: MaskedLanguageModel
    tokenizer: "PreTrainedTokenizerBase"

    def save_pretrained(self, folder: str) -> None:
        """Write a masked language model that transformers loads."""
        self.tokenizer.save_pretrained(folder)
        save(self.network, Path(folder))


def starting_point(settings: Pretraining) -> Start:
    """Return the model to train, with the context and the RoPE base of the settings.

    Raises:
        InputError: The model, size or tokenizer is unknown or unusable, or does not go with the settings.
    """
    start = _new(settings) if settings.init else read_start(_folder(settings.model or ""))
    network, tokenizer = start
    changes: dict[str, Any] = {"positions": settings.positions, "global_theta": settings.global_theta}
    config = replace(network.config, **{name: value for name, value in changes.items() if value is not None})
    if config.attention_dropout:
        raise InputError(f"attention_dropout is {config.attention_dropout}; set it to 0, attention weights stay whole")
    network.config = network.model.config = config
    tokenizer.model_max_length = config.positions
    return start


def read_start(folder: Path) -> Start:
    """Read a masked language model and its tokenizer.

    Raises:
        InputError: The network or the tokenizer is missing, damaged, or not one for masked-language modelling.
    """
    network = read_masked_language_model(folder, torch.float32)
    for parameter in network.parameters():
        parameter.data = parameter.data.clone()  # what is mapped from a file is not to be written to
    network.tie()
    tokenizer = _tokenizer(str(folder))
    if len(tokenizer) > network.config.vocabulary:
        found = f"{len(tokenizer)} tokens and {network.config.vocabulary} embeddings"
        raise InputError(f"{folder}: tokenizer and network do not belong together ({found})")
    return Start(network, tokenizer)


def _new(settings: Pretraining) -> Start:
    smaller = read_start(_folder(settings.tile_from)) if settings.tile_from else None
    tokenizer = smaller.tokenizer if smaller else _tokenizer(settings.tokenizer or "")
    config = config_for(settings.init or "", tokenizer)
    if smaller:
        config = replace(config, vocabulary=max(config.vocabulary, smaller.network.config.vocabulary))
    torch.manual_seed(settings.seed)
    network = MaskedLanguageModel(config)
    if smaller:
        tile_network(smaller.network, network)
    if settings.embeddings_from:
        start_from_teacher(network.model.embeddings.tok_embeddings.weight, tokenizer, settings.embeddings_from)
    return Start(network, tokenizer)


def _folder(name: str) -> Path:
    return open_checkpoint(name).network_folder


def _tokenizer(name: str) -> "PreTrainedTokenizerBase":
    tokenizer = load_tokenizer(name)
    if tokenizer.mask_token is None:
        raise InputError(f"{name}: the tokenizer has no mask token, which masked-language modelling needs")
    return tokenizer
