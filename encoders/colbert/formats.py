"""The formats of ColBERT checkpoints, each as a function from a checkpoint to `ColbertSettings`.

Missing settings are what the library that wrote the format takes for them.
"""

import string
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from ...errors import InputError
from ..checkpoint import READING, SETTINGS, STANFORD_SETTINGS, TASKS, Checkpoint
from ..fields import FieldReader
from .modules import NORMALIZE, ModulesRead, read_modules
from .settings import ColbertSettings, Expansion

PUNCTUATION = tuple(string.punctuation)
PYLATE_PREFIXES = {"query": "[Q] ", "document": "[D] "}
PYLATE_LENGTHS = {"query": 32, "document": 180}
STANFORD_MARKERS = {"query": ("query_token_id", "[unused0]"), "document": ("doc_token_id", "[unused1]")}
STANFORD_LENGTHS = {"query": ("query_maxlen", 32), "document": ("doc_maxlen", 220)}


def multi_vector_encoder_settings(checkpoint: Checkpoint) -> ColbertSettings:
    """Read a MultiVectorEncoder of sentence-transformers 6: its modules say everything.

    Raises:
        InputError: A setting makes no sense; the message names it and its file.
    """
    file = checkpoint.network_folder / READING
    modules = read_modules(checkpoint)
    expansion = _expansion(FieldReader(checkpoint.reading, file))
    query = checkpoint.length_of("query")
    if expansion is not None and expansion.fixed:
        query = expansion.length
    elif expansion is not None and checkpoint.own_length("query"):
        query = max(query, expansion.length)
    foreign = modules.foreign or (None if modules.mask is not None else "a pipeline without MultiVectorMask")
    read = FieldReader(modules.mask or {}, modules.mask_file)
    return ColbertSettings(
        source=file,
        prompts={task: checkpoint.prompt(task) for task in TASKS},
        markers={},
        lengths={"query": query, "document": checkpoint.length_of("document")},
        expansion=expansion,
        skiplist=_words(read, "skiplist_words", ()),
        skiplist_tasks=_words(read, "skiplist_tasks", ("document",)),
        kept_ids=_ids(read, "keep_only_token_ids"),
        steps=modules.steps,
        pooling=modules.pooling,
        foreign=foreign,
    )


def pylate_settings(checkpoint: Checkpoint) -> ColbertSettings:
    """Read a ColBERT of PyLate: modules for network and projection, and keys of its own for everything else.

    Raises:
        InputError: A setting makes no sense; the message names it and its file.
    """
    file = checkpoint.folder / SETTINGS
    read = FieldReader({name: value for name, value in checkpoint.late.items() if value is not None}, file)
    modules = read_modules(checkpoint)
    prefixes = {task: _text(read, f"{task}_prefix", PYLATE_PREFIXES[task]) for task in TASKS}
    lengths = {task: read.whole(f"{task}_length", PYLATE_LENGTHS[task]) for task in TASKS}
    attended = "attend_to_expansion_tokens" in read.fields and read.flag("attend_to_expansion_tokens")
    expands = read.flag("do_query_expansion")
    return ColbertSettings(
        source=file,
        # what was saved again by sentence-transformers has the prefix in the prompt too
        prompts={task: checkpoint.prompt(task).removeprefix(prefixes[task]) for task in TASKS},
        markers={task: prefix for task, prefix in prefixes.items() if prefix},
        lengths=lengths,
        expansion=Expansion(lengths["query"], fixed=True, attended=attended) if expands else None,
        skiplist=_words(read, "skiplist_words", PUNCTUATION),
        steps=_normalized(modules, checkpoint.folder),
        pooling=modules.pooling,
        foreign=modules.foreign,
    )


def stanford_settings(checkpoint: Checkpoint) -> ColbertSettings:
    """Read a ColBERT of Stanford's own code: `artifact.metadata`, and the projection among the network's weights.

    Raises:
        InputError: A setting makes no sense, or tokens are compared by distance; the message names it and its file.
    """
    file = checkpoint.folder / STANFORD_SETTINGS
    read = FieldReader({name: value for name, value in checkpoint.late.items() if value is not None}, file)
    read.only("similarity", "cosine", "cosine")
    lengths = {task: read.whole(*STANFORD_LENGTHS[task]) for task in TASKS}
    attended = "attend_to_mask_tokens" in read.fields and read.flag("attend_to_mask_tokens")
    return ColbertSettings(
        source=file,
        # that code tokenises ". text" and puts the marker in the dot's place, so that the blank is part of what is read
        prompts={task: f" {checkpoint.prompt(task)}" for task in TASKS},
        markers={task: _text(read, *STANFORD_MARKERS[task]) for task in TASKS},
        lengths=lengths,
        expansion=Expansion(lengths["query"], fixed=True, attended=attended),
        skiplist=PUNCTUATION if read.flag("mask_punctuation") else (),
        steps=(("Linear", checkpoint.network_folder), (NORMALIZE, checkpoint.folder)),
    )


def _normalized(modules: ModulesRead, folder: Path) -> tuple[tuple[str, Path], ...]:
    """Return the modules' steps with the normalisation that PyLate does without a module."""
    ends = bool(modules.steps) and modules.steps[-1][0] == NORMALIZE
    return modules.steps if ends else (*modules.steps, (NORMALIZE, folder))


def _expansion(read: FieldReader) -> Expansion | None:
    found = read.fields.get("query_expansion")
    if found is None:
        return None
    if not isinstance(found, dict) or found.get("strategy") not in ("fixed", "min"):
        raise read.error("query_expansion", found, "an object with a strategy, fixed or min, and a length")
    inner = FieldReader(found, f"{read.source}: query_expansion")
    attended = "attend" in found and inner.flag("attend")
    token = _text(inner, "token", "") if found.get("token") is not None else None
    return Expansion(inner.whole("length", 0), found["strategy"] == "fixed", attended, token)


def _text(read: FieldReader, name: str, default: str) -> str:
    value = read.fields.get(name, default)
    if not isinstance(value, str):
        raise read.error(name, value, "a text")
    return value


def _words(read: FieldReader, name: str, default: tuple[str, ...]) -> tuple[str, ...]:
    value = read.fields.get(name)
    if value is None:
        return default
    if isinstance(value, str):
        return (value,)
    if not isinstance(value, list) or not all(isinstance(word, str) for word in value):
        raise read.error(name, value, "a list of texts")
    return tuple(value)


def _ids(read: FieldReader, name: str) -> tuple[int, ...] | None:
    value = read.fields.get(name) or None
    if value is not None and not (isinstance(value, list) and all(type(number) is int for number in value)):
        raise read.error(name, value, "a list of numbers of tokens")
    return tuple(value) if value else None


def limited(settings: ColbertSettings, checkpoint: Checkpoint, document_length: int | None) -> ColbertSettings:
    """Put the caller's length of documents in place of the checkpoint's, and check that the network reads so much.

    Raises:
        InputError: A length is more than the network has positions.
    """
    lengths: Mapping[str, int] = settings.lengths
    if document_length is not None:
        lengths = {**lengths, "document": document_length}
    positions = checkpoint.config.get("max_position_embeddings")
    for task, length in lengths.items():
        if isinstance(positions, int) and 0 < positions < length:
            asked = task == "document" and document_length is not None
            raise InputError(
                f"{checkpoint.name}: a multi-vector model that is to read {length} tokens of a {task}, as "
                f"{'asked for' if asked else f'{settings.source} has it'}, but the network has {positions} positions; "
                f"set a {task}_length of at most {positions}"
            )
    return replace(settings, lengths=lengths)
