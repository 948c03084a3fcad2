"""The model that a run starts from: a checkpoint, or a new ModernBERT and, where none is named, a new tokenizer."""

from typing import TYPE_CHECKING

from ...encoders.checkpoint import open_checkpoint
from ...encoders.modernbert.fresh import new_model
from ...encoders.modernbert.presets import config_for
from ...encoders.modernbert.tokenizer import load_tokenizer, train_tokenizer
from ...errors import InputError
from .data import sample_texts
from .settings import TrainingSettings

if TYPE_CHECKING:
    from datasets import Dataset
    from sentence_transformers import SentenceTransformer

NEW_MODEL_TOKENS = 512
"""Length that a new model reads where the settings do not say it."""
TOKENIZER_EXAMPLES = 100_000


def starting_model(settings: TrainingSettings, examples: "Dataset") -> "SentenceTransformer":
    """Return the model to train, float32, with the lengths and prompts of the settings.

    Args:
        settings: See `TrainingSettings`.
        examples: A sample of them trains the tokenizer of a new model that is given none.

    Raises:
        InputError: The model, size or tokenizer is unknown or unusable.
    """
    model = _new(settings, examples) if settings.init else load_model(settings.model or "")
    _set_lengths(model, settings)
    prompts = {"query": settings.query_prompt, "document": settings.document_prompt}
    model.prompts |= {name: prompt for name, prompt in prompts.items() if prompt is not None}
    return model


def load_model(name: str) -> "SentenceTransformer":
    """Load a checkpoint from a folder or a hub in float32; code that comes with it is never run.

    Raises:
        InputError: It cannot be loaded, or its weights, tokenizer and configuration do not belong together.
    """
    import torch
    from sentence_transformers import SentenceTransformer

    from ...encoders.packed import check_checkpoint

    checkpoint = open_checkpoint(name)
    check_checkpoint(checkpoint)  # transformers fills what is missing with random weights
    folder = checkpoint.folder
    arguments = {"dtype": torch.float32, "use_safetensors": True}
    try:
        # weights kept in 16 bits would swallow the small steps of an optimiser
        return SentenceTransformer(str(folder), trust_remote_code=False, model_kwargs=arguments)
    except Exception as error:  # the parsers each raise their own
        reason = str(error).strip().split("\n")[0]
        raise InputError(f"{name}: sentence-transformers cannot load it ({reason})") from error


def _new(settings: TrainingSettings, examples: "Dataset") -> "SentenceTransformer":
    source = settings.init or ""
    vocabulary = config_for(source).vocabulary
    if settings.tokenizer:
        tokenizer = load_tokenizer(settings.tokenizer)
    else:
        tokenizer = train_tokenizer(sample_texts(examples, TOKENIZER_EXAMPLES), vocabulary)
    longest = max(settings.query_length or NEW_MODEL_TOKENS, settings.document_length or NEW_MODEL_TOKENS)
    return new_model(source, tokenizer, longest, settings.seed)


def _set_lengths(model: "SentenceTransformer", settings: TrainingSettings) -> None:
    lengths = {"query_length": settings.query_length, "document_length": settings.document_length}
    reader = model[0]
    for name, length in lengths.items():
        if length is None:
            continue
        if not hasattr(reader, name):
            raise InputError(f"{name}: {settings.model} has one length for all texts; leave the setting out")
        setattr(reader, name, length)
    known = [length for length in lengths.values() if length is not None]
    if len(known) == len(lengths):
        model.max_seq_length = max(known)  # what a reader that does not tell queries from documents goes by
