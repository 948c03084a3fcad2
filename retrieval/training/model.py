"""The model that a run starts from: a checkpoint, or a new ModernBERT and, where none is named, a new tokenizer."""

import copy
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ...encoders.checkpoint import Checkpoint, open_checkpoint
from ...encoders.formats import find_format
from ...encoders.modernbert.fresh import new_model
from ...encoders.modernbert.presets import config_for
from ...encoders.modernbert.tokenizer import load_tokenizer, train_tokenizer
from ...errors import InputError
from .data import sample_texts
from .settings import DenseTraining, TrainingSettings

if TYPE_CHECKING:
    from datasets import Dataset
    from sentence_transformers import SentenceTransformer
    from transformers import PreTrainedTokenizerBase

NEW_MODEL_TOKENS = {"query": 512, "document": 512}
"""Lengths that a new model reads where the settings do not say them."""
TOKENIZER_EXAMPLES = 100_000


def starting_model(settings: DenseTraining, examples: "Dataset") -> "SentenceTransformer":
    """Return the model to train, float32, with the lengths and prompts of the settings.

    Args:
        settings: See `DenseTraining`.
        examples: A sample of them trains the tokenizer of a new model that is given none.

    Raises:
        InputError: The model, size or tokenizer is unknown or unusable, or a length is more than the network has
            positions.
    """
    model = _new(settings, examples) if settings.init else load_model(settings.model or "")
    if settings.two_towers and not _has_routes(model):
        model = two_towers(model)
    _set_lengths(model, settings)
    prompts = {"query": settings.query_prompt, "document": settings.document_prompt}
    model.prompts |= {name: prompt for name, prompt in prompts.items() if prompt is not None}
    return model


def two_towers(model: "SentenceTransformer") -> "SentenceTransformer":
    """Return a model whose queries and documents have an encoder each, both as the given one.

    Karpukhin, Oguz, Min, Lewis, Wu, Edunov, Chen and Yih, "Dense Passage Retrieval for Open-Domain Question Answering"
    (2020), arXiv 2004.04906. The document's encoder is the given model, the query's a copy; each is a route of
    sentence-transformers' Router.
    """
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.base.modules import Router

    document = list(model.children())
    router = Router.for_query_document(copy.deepcopy(document), document)
    return SentenceTransformer(
        modules=[router],
        prompts=model.prompts,
        similarity_fn_name=model.similarity_fn_name,
        truncate_dim=model.truncate_dim,
        device=str(model.device),
    )


def _has_routes(model: "SentenceTransformer") -> bool:
    from sentence_transformers.base.modules import Router

    return isinstance(model[0], Router)


def load_model(name: str) -> "SentenceTransformer":
    """Load a checkpoint from a folder or a hub in float32; code that comes with it is never run.

    Raises:
        InputError: It cannot be loaded or is a ColBERT, or its weights, tokenizer and configuration do not belong
            together.
    """
    from sentence_transformers import SentenceTransformer

    checkpoint = open_checkpoint(name)
    if find_format(checkpoint).settings is not None:
        raise InputError(f"{name}: a multi-vector (ColBERT) checkpoint; train it with modernir train-colbert")
    model: SentenceTransformer = loaded(checked(checkpoint), SentenceTransformer)
    return model


def checked(checkpoint: Checkpoint) -> Checkpoint:
    """Return a checkpoint whose weights, tokenizer and configuration belong together.

    Raises:
        InputError: They do not; transformers would fill what is missing with random weights.
    """
    from ...encoders.packed import check_checkpoint

    check_checkpoint(checkpoint)
    return checkpoint


def loaded(checkpoint: Checkpoint, kind: type) -> Any:  # noqa: ANN401 - of the kind
    """Load a checkpoint in float32 as a class of sentence-transformers; code that comes with it is never run.

    Raises:
        InputError: It cannot be loaded.
    """
    import torch

    arguments = {"dtype": torch.float32, "use_safetensors": True}
    try:
        # weights kept in 16 bits would swallow the small steps of an optimiser
        return kind(str(checkpoint.folder), trust_remote_code=False, model_kwargs=arguments)
    except Exception as error:  # the parsers each raise their own
        reason = str(error).strip().split("\n")[0]
        raise InputError(f"{checkpoint.name}: sentence-transformers cannot load it ({reason})") from error


def _new(settings: DenseTraining, examples: "Dataset") -> "SentenceTransformer":
    tokenizer, longest = new_tokenizer(settings, examples, NEW_MODEL_TOKENS)
    return new_model(settings.init or "", tokenizer, longest, settings.seed, settings.embeddings_from)


def new_tokenizer(
    settings: TrainingSettings, examples: "Dataset", lengths: Mapping[str, int], markers: Sequence[str] = ()
) -> tuple["PreTrainedTokenizerBase", int]:
    """Return the tokenizer of a new model, loaded or learnt, and the most tokens that the model is to read.

    Args:
        settings: Name the size and maybe a tokenizer and lengths.
        examples: A sample of them trains the tokenizer where the settings name none.
        lengths: By task, where the settings do not say them.
        markers: Special tokens of a tokenizer that is learnt.

    Raises:
        InputError: The size or the tokenizer is unknown or unusable, or a length is more than the network has
            positions.
    """
    config = config_for(settings.init or "")
    given = {"query": settings.query_length, "document": settings.document_length}
    check_lengths({f"{task}_length": length for task, length in given.items()}, config.positions)
    longest = max(given[task] or default for task, default in lengths.items())
    if settings.tokenizer:
        return load_tokenizer(settings.tokenizer), longest
    return train_tokenizer(sample_texts(examples, TOKENIZER_EXAMPLES), config.vocabulary, markers), longest


def check_lengths(lengths: Mapping[str, int | None], positions: object) -> None:
    """Refuse lengths that a network cannot read.

    Args:
        lengths: By the name of their setting; None is no length.
        positions: How many the network has; anything but a positive number is no limit.

    Raises:
        InputError: A length is more than that.
    """
    for name, length in lengths.items():
        if length is not None and isinstance(positions, int) and 0 < positions < length:
            raise InputError(f"{name}: {length} tokens are more than the {positions} positions of the network")


def positions_of(reader: Any) -> object:  # noqa: ANN401 - a module of sentence-transformers
    """Return how many positions the network of a reader has, or None where it has no such limit or is none."""
    return getattr(getattr(reader, "config", None), "max_position_embeddings", None)


def _set_lengths(model: "SentenceTransformer", settings: DenseTraining) -> None:
    lengths = {"query_length": settings.query_length, "document_length": settings.document_length}
    routes: Any = model[0].sub_modules.values() if _has_routes(model) else [model]
    readers = [route[0] for route in routes]
    for reader in readers:
        check_lengths(lengths, positions_of(reader))
    for name, length in lengths.items():
        for reader in readers:
            if length is not None and not hasattr(reader, name):
                raise InputError(f"{name}: {settings.model} has one length for all texts; leave the setting out")
            if length is not None:
                setattr(reader, name, length)
    known = [length for length in lengths.values() if length is not None]
    if len(known) == len(lengths):
        model.max_seq_length = max(known)  # what a reader that does not tell queries from documents goes by
