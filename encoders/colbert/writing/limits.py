"""What a ColBERT may have and not every format of checkpoints can hold, as a table; nothing is dropped in silence."""

import string
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from ....errors import InputError
from ...checkpoint import SETTINGS, TASKS, read_optional
from ..modules import NORMALIZE
from ..reading import filler_id
from .modules import IDENTITY
from .source import Source

SENTENCE_TRANSFORMERS, PYLATE, STANFORD = "sentence-transformers", "pylate", "stanford"


@dataclass(frozen=True)
class Limit:
    """One thing.

    Attributes:
        found: Says what a checkpoint has of it, or None where there is nothing to hold.
        formats: Those that can hold it, besides the one that it is in.
    """

    found: Callable[[Source], str | None]
    formats: tuple[str, ...] = ()


def check_limits(source: Source, form: str) -> None:
    """Refuse what a format cannot hold.

    Raises:
        InputError: There is something; the message names the setting, and the formats that can hold it.
    """
    for limit in LIMITS:
        if form not in limit.formats and (found := limit.found(source)) is not None:
            others = " and ".join(limit.formats) or "only its own format"
            name = source.checkpoint.name
            raise InputError(f"{name}: has {found}, which the format {form} cannot hold; {others} can")


def skipped_ids(source: Source, words: tuple[str, ...]) -> set[int]:
    """Return the numbers of those words that are tokens."""
    return {number for word in words if (number := source.tokenizer.token_to_id(word)) is not None}


def projections(source: Source) -> Iterator[Mapping[str, Any]]:
    """Yield the configuration of each projection; that of a matrix among the network's weights is empty."""
    for name, folder in source.settings.steps:
        if name != NORMALIZE:
            yield read_optional(folder / "config.json") if name == "Dense" else {}


def _foreign(source: Source) -> str | None:
    foreign = source.settings.foreign
    return f"the module {foreign}" if foreign else None


def _default_prompt(source: Source) -> str | None:
    name = read_optional(source.checkpoint.folder / SETTINGS).get("default_prompt_name")
    return f"default_prompt_name {name!r}" if name else None


def _mean(source: Source) -> str | None:
    name = read_optional(source.checkpoint.folder / SETTINGS).get("similarity_fn_name")
    return f"similarity_fn_name {name!r}" if str(name).lower() == "meanmaxsim" else None


def _named_prompts(source: Source) -> str | None:
    name = next((name for name, text in source.checkpoint.prompts.items() if text and name not in TASKS), None)
    return f"a prompt named {name!r}" if name else None


def _processing(source: Source) -> str | None:
    return "processing_kwargs for its tokenizer" if source.checkpoint.reading.get("processing_kwargs") else None


def _lower_case(source: Source) -> str | None:
    return "do_lower_case in sentence_bert_config.json" if source.checkpoint.reading.get("do_lower_case") else None


def _token_pooling(source: Source) -> str | None:
    pooling = source.settings.pooling
    return f"token pooling of factor {pooling.factor:g}" if pooling else None


def _kept_ids(source: Source) -> str | None:
    return "keep_only_token_ids" if source.settings.kept_ids else None


def _skiplist_tasks(source: Source) -> str | None:
    tasks = source.settings.skiplist_tasks
    return f"skiplist_tasks {list(tasks)}" if source.settings.skiplist and tasks != ("document",) else None


def _minimum(source: Source) -> str | None:
    expansion = source.settings.expansion
    return "query_expansion of strategy 'min'" if expansion and not expansion.fixed else None


def _filler(source: Source) -> str | None:
    expansion = source.settings.expansion
    if expansion is None or expansion.token is None:
        return None
    usual = filler_id(source.checkpoint, source.tokenizer, replace(expansion, token=None))
    own = filler_id(source.checkpoint, source.tokenizer, expansion)
    return f"query_expansion with the token {expansion.token!r}" if own != usual else None


def _text_before(source: Source) -> str | None:
    for task in TASKS:
        prompt = source.settings.prompts.get(task, "")
        marker = source.markers.get(task)
        if marker.prompt.strip() if marker else prompt:
            return f"the {task} prompt {prompt!r}, which is more than one token"
    return None


def _unnormalised(source: Source) -> str | None:
    steps = [name for name, _ in source.settings.steps]
    return None if steps[-1:] == [NORMALIZE] else "token vectors that are not normalised"


def _normalised_before(source: Source) -> str | None:
    steps = [name for name, _ in source.settings.steps]
    return "a Normalize before the last module" if NORMALIZE in steps[:-1] else None


def _no_projection(source: Source) -> str | None:
    return None if list(projections(source)) else "no projection"


def _several(source: Source) -> str | None:
    count = len(list(projections(source)))
    return f"{count} projections" if count > 1 else None


def _more_than_matrix(source: Source) -> str | None:
    for config in projections(source):
        if config.get("bias"):
            return "a projection with a bias"
        if config.get("activation_function", IDENTITY) != IDENTITY:
            return f"a projection with activation_function {config['activation_function']}"
        if config.get("use_residual"):
            return "a projection with use_residual"
    return None


def _not_expanded(source: Source) -> str | None:
    return None if source.settings.expansion else "queries that are not expanded"


def _own_skiplist(source: Source) -> str | None:
    found = skipped_ids(source, source.settings.skiplist)
    return None if found in (set(), skipped_ids(source, tuple(string.punctuation))) else "a skiplist of its own"


def _no_marker(source: Source) -> str | None:
    task = next((task for task in TASKS if task not in source.markers), None)
    return f"no {task} marker" if task else None


def _gaps(source: Source) -> str | None:
    # PyLate cuts the embedding table down to as many rows as there are tokens
    numbers = list(source.tokenizer.get_vocab().values())
    return None if set(numbers) == set(range(len(numbers))) else "a tokenizer that leaves numbers out"


LIMITS = (
    *(Limit(found) for found in (_foreign, _default_prompt, _token_pooling, _normalised_before)),
    *(
        Limit(found, (SENTENCE_TRANSFORMERS,))
        for found in (
            *(_mean, _processing, _kept_ids, _skiplist_tasks, _minimum, _filler, _text_before, _unnormalised),
            _no_projection,
        )
    ),
    *(
        Limit(found, (SENTENCE_TRANSFORMERS, PYLATE))
        for found in (
            *(_named_prompts, _lower_case, _several, _more_than_matrix, _not_expanded, _own_skiplist, _no_marker),
        )
    ),
    Limit(_gaps, (SENTENCE_TRANSFORMERS, STANFORD)),
)
