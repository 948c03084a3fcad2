"""What a model folder may hold, as a table that is walked in order; the first format that fits is taken."""

from collections.abc import Callable
from dataclasses import dataclass

from ..errors import InputError
from .checkpoint import Checkpoint
from .colbert.formats import multi_vector_encoder_settings, pylate_settings, stanford_settings
from .colbert.settings import ColbertSettings

PYLATE_MARKS = ("query_prefix", "document_prefix", "do_query_expansion", "attend_to_expansion_tokens")


@dataclass(frozen=True)
class Format:
    """One way to save an encoder.

    Attributes:
        name: What people call it.
        mark: What a folder of it has, for the message that lists what was tried.
        fits: Says whether a checkpoint is of it.
        settings: Reads how a multi-vector encoder encodes; None for single-vector ones.
    """

    name: str
    mark: str
    fits: Callable[[Checkpoint], bool]
    settings: Callable[[Checkpoint], ColbertSettings] | None = None


def _is_pylate(checkpoint: Checkpoint) -> bool:
    named = checkpoint.kind == "ColBERT" or any(name.startswith("pylate.") for name, _ in checkpoint.modules)
    return bool(checkpoint.modules) and (named or any(mark in checkpoint.late for mark in PYLATE_MARKS))


FORMATS = (
    Format(
        "PyLate",
        "modules.json with a class of pylate, or query_prefix in config_sentence_transformers.json",
        _is_pylate,
        pylate_settings,
    ),
    Format(
        "sentence-transformers MultiVectorEncoder",
        'model_type "MultiVectorEncoder" in config_sentence_transformers.json',
        lambda checkpoint: bool(checkpoint.modules) and checkpoint.kind == "MultiVectorEncoder",
        multi_vector_encoder_settings,
    ),
    Format(
        "Stanford ColBERT",
        'architectures ["HF_ColBERT"] in config.json',
        lambda checkpoint: checkpoint.is_stanford,
        stanford_settings,
    ),
    Format(
        "sentence-transformers SentenceTransformer",
        'modules.json, and no model_type but "SentenceTransformer"',
        lambda checkpoint: bool(checkpoint.modules) and checkpoint.kind == "SentenceTransformer",
    ),
    Format(
        "a network alone",
        "config.json, and no config_sentence_transformers.json of another kind of model",
        lambda checkpoint: not checkpoint.modules and checkpoint.kind == "SentenceTransformer",
    ),
)


def find_format(checkpoint: Checkpoint) -> Format:
    """Return the format of a checkpoint.

    Raises:
        InputError: It is of none; the message lists those that were tried and what each is known by.
    """
    for form in FORMATS:
        if form.fits(checkpoint):
            return form
    tried = "; ".join(f"{form.name} ({form.mark})" for form in FORMATS)
    raise InputError(f"{checkpoint.name}: a {checkpoint.kind}, which no format of encoders fits; tried: {tried}")
