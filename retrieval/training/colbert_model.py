"""The late-interaction model that a run starts from: a ColBERT, a network that gets a projection, or a new one."""

import re
import string
from typing import TYPE_CHECKING, Any

from ...encoders.checkpoint import Checkpoint, open_checkpoint
from ...encoders.colbert.formats import limited
from ...encoders.colbert.reading import ColbertReader
from ...encoders.formats import find_format
from ...encoders.modernbert.fresh import as_colbert, new_colbert
from ...errors import InputError
from .data import sample_texts
from .model import check_lengths, checked, load_model, loaded, new_tokenizer, positions_of
from .projection import start_from_states
from .settings import SIGNS, ColbertTraining, words_of_skiplist

if TYPE_CHECKING:
    from datasets import Dataset
    from sentence_transformers import MultiVectorEncoder
    from transformers import PreTrainedTokenizerBase

PROMPTS = {"query": "[Q] ", "document": "[D] "}
LENGTHS = {"query": 32, "document": 180}
DIM = 128
PROJECTION_EXAMPLES = 256
"""Of these the texts are read that a projection's directions are found in."""
SKIPLIST = "punctuation"
EXPANSION = "fixed"
"""What a model that is no ColBERT yet takes where the settings do not say it, as in PyLate."""
MARKER = re.compile(r"\[[^\[\]\s]+\] ?")
"""A prompt that is to be one token."""


def starting_colbert(settings: ColbertTraining, examples: "Dataset") -> "MultiVectorEncoder":
    """Return the model to train, float32, with the lengths, prompts, expansion and skiplist of the settings.

    Args:
        settings: See `ColbertTraining`.
        examples: A sample of them trains the tokenizer of a new model that is given none, or shows where the states
            of a network lie that gets a projection.

    Raises:
        InputError: The model, size or tokenizer is unknown or unusable, or a setting does not fit it.
    """
    if settings.init:
        model = _new(settings, examples)
    else:
        checkpoint = open_checkpoint(settings.model or "")
        late = _is_late(checkpoint)
        model = load_colbert(settings.model or "") if late else _projected(settings, checkpoint, examples)
    if settings.dim not in (None, model.get_embedding_dimension()):
        raise InputError(
            f"dim: {settings.model} has vectors of {model.get_embedding_dimension()} numbers; leave the setting out"
        )
    model.prompts |= {task: prompt for task, prompt in _prompts(settings).items() if prompt is not None}
    _mark(model, settings.seed)
    _set_reading(model, settings)
    _set_skiplist(model, settings.skipped)
    return model


def load_colbert(name: str) -> "MultiVectorEncoder":
    """Load a ColBERT of any format from a folder or a hub in float32; code that comes with it is never run.

    Raises:
        InputError: It cannot be loaded or is no ColBERT, its tokenizer lacks a token that it asks for, its lengths are
            more than the network has positions, or its weights, tokenizer and configuration do not belong together.
    """
    from sentence_transformers import MultiVectorEncoder

    checkpoint = open_checkpoint(name)
    read = find_format(checkpoint).settings
    if read is None:
        raise InputError(f"{name}: a dense (single-vector) checkpoint, where a multi-vector one was expected")
    settings = limited(read(checkpoint), checkpoint, None)
    if settings.foreign is None:
        for task in PROMPTS:
            ColbertReader(checkpoint, settings, task)
    model: MultiVectorEncoder = loaded(checked(checkpoint), MultiVectorEncoder)
    return model


def _is_late(checkpoint: Checkpoint) -> bool:
    return find_format(checkpoint).settings is not None


def _prompts(settings: ColbertTraining) -> dict[str, str | None]:
    return {"query": settings.query_prompt, "document": settings.document_prompt}


def _new(settings: ColbertTraining, examples: "Dataset") -> "MultiVectorEncoder":
    prompts = {task: PROMPTS[task] if given is None else given for task, given in _prompts(settings).items()}
    markers = [prompt for prompt in prompts.values() if MARKER.fullmatch(prompt)]
    tokenizer, longest = new_tokenizer(settings, examples, LENGTHS, markers)
    _add_tokens(tokenizer, prompts)  # to one that was loaded, before the network gets a row for each
    dim, teacher = settings.dim or DIM, settings.embeddings_from
    return _with_defaults(new_colbert(settings.init or "", tokenizer, longest, dim, settings.seed, teacher))


def _projected(settings: ColbertTraining, checkpoint: Checkpoint, examples: "Dataset") -> "MultiVectorEncoder":
    """Take the network of a dense checkpoint, or a bare one, and leave what follows it."""
    from sentence_transformers.base.modules import Transformer

    dense = load_model(settings.model or "")
    reader = dense[0]
    if not isinstance(reader, Transformer):
        raise InputError(
            f"{checkpoint.name}: begins with a {type(reader).__name__}, where a network for a projection was expected"
        )
    model = as_colbert(reader, settings.dim or DIM, settings.seed)
    start_from_states(model[1].linear.weight, dense, sample_texts(examples, PROJECTION_EXAMPLES))
    model.prompts |= {task: prompt for task, prompt in dense.prompts.items() if prompt}
    return _with_defaults(model)


def _with_defaults(model: "MultiVectorEncoder") -> "MultiVectorEncoder":
    model.prompts |= {task: prompt for task, prompt in PROMPTS.items() if not model.prompts.get(task)}
    reader: Any = model[0]
    reader.query_length = None
    reader.document_length = min(LENGTHS["document"], reader.max_seq_length or LENGTHS["document"])
    reader.query_expansion = {"strategy": EXPANSION, "attend": False, "length": LENGTHS["query"]}
    _set_skiplist(model, words_of_skiplist(SKIPLIST))
    return model


def _mark(model: "MultiVectorEncoder", seed: int) -> None:
    """Make each prompt in square brackets one token, with a row of its own in the table of embeddings.

    A row is drawn with the mean and the spread that the table's rows have. The mean alone, transformers' default, would
    give all markers nearly the same row, and a query's and a document's are to differ.
    """
    import torch

    tokenizer = model.tokenizer
    _add_tokens(tokenizer, model.prompts)
    network = model[0].auto_model
    known = network.get_input_embeddings().num_embeddings
    if len(tokenizer) <= known:
        return
    table = network.resize_token_embeddings(len(tokenizer), mean_resizing=False).weight.detach()
    drawn = torch.randn(table[known:].shape, generator=torch.Generator().manual_seed(seed)).to(table.device)
    table[known:] = table[:known].mean(0) + table[:known].std(0) * drawn


def _add_tokens(tokenizer: "PreTrainedTokenizerBase", prompts: dict[str, str]) -> None:
    from transformers import AddedToken

    markers = [prompt for prompt in prompts.values() if prompt and MARKER.fullmatch(prompt)]
    known = tokenizer.get_vocab()
    for marker in markers:
        bare = marker.rstrip()
        token = bare if bare in known else marker
        if tokenizer.tokenize(marker) not in ([marker], [bare]):
            tokenizer.add_tokens([AddedToken(token, special=True, normalized=False)], special_tokens=True)


def _set_reading(model: "MultiVectorEncoder", settings: ColbertTraining) -> None:
    reader: Any = model[0]
    if settings.document_length is not None:
        reader.document_length = settings.document_length
    before = reader.query_expansion or {}
    length = settings.query_length or before.get("length") or reader.query_length
    strategy = settings.expansion or before.get("strategy", "none")
    if strategy == "none":
        if settings.attend_to_expansion:
            raise InputError(f"attend_to_expansion: {settings.model} fills no queries up; set an expansion too")
        expansion, most = None, length
    else:
        length = length or LENGTHS["query"]
        attends = settings.attend_to_expansion
        attends = before.get("attend", False) if attends is None else attends
        expansion = before | {"strategy": strategy, "attend": attends, "length": length}
        most = reader.query_length if before and (reader.query_length or 0) >= length else None
    reader.query_expansion = None  # which must fit the length at any time
    reader.query_length = most
    reader.query_expansion = expansion
    lengths = {"query_length": length, "document_length": reader.document_length}
    check_lengths(lengths, positions_of(reader))
    longest = max(filter(None, lengths.values()), default=0)
    # what a length of its own does not hold for
    if longest and (reader.max_seq_length is None or reader.max_seq_length < longest):
        reader.max_seq_length = longest


def _set_skiplist(model: "MultiVectorEncoder", words: list[str] | None) -> None:
    from sentence_transformers.multi_vector_encoder.modules import MultiVectorMask

    if words is None:
        return
    mask = next((module for module in model if isinstance(module, MultiVectorMask)), None)
    if mask is None:
        raise InputError("skiplist: the model has no MultiVectorMask, which leaves tokens out; leave the setting out")
    mask.skiplist_words = _signs(model.tokenizer) if words == [SIGNS] else words
    mask.resolve_with_tokenizer(model.tokenizer)


def _signs(tokenizer: "PreTrainedTokenizerBase") -> list[str]:
    """Return the tokens that are ASCII punctuation alone; a byte-level BPE merges signs that often come together."""
    signs = set(string.punctuation)
    return sorted(token for token in tokenizer.get_vocab() if token and signs.issuperset(token))
