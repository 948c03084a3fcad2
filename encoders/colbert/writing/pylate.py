"""A ColBERT as PyLate 1.6 saves it, on sentence-transformers 5.3."""

from pathlib import Path

from ....files import write_json
from ...checkpoint import READING, SETTINGS, TASKS
from ..modules import NORMALIZE
from .limits import skipped_ids
from .modules import ModuleList, residual, write_projection
from .network import write_network, write_tokenizer
from .source import Source

BASE_RELEASE = "5.3.0"
"""The sentence-transformers whose format is written."""
CLASSES = {"Transformer": "sentence_transformers.models.Transformer", "Dense": "pylate.models.Dense.Dense"}


def write_pylate(source: Source, folder: Path) -> None:
    """Write every file of a checkpoint into an empty folder; `check_limits` says whether it holds the settings.

    Markers become the prefixes that PyLate puts in as tokens, and tokens that the tokenizer has.

    Raises:
        InputError: The weights are damaged, or a marker cannot be added to the embedding table.
    """
    settings = source.settings
    known = {token.content for token in source.tokenizer.get_added_tokens_decoder().values()}
    write_network(source, folder)
    markers = {task: marker for task, marker in source.markers.items() if marker.token not in known}
    write_tokenizer(source, folder, markers)
    reading = {"max_seq_length": settings.lengths["document"]}
    write_json(folder / READING, reading | {"do_lower_case": bool(source.checkpoint.reading.get("do_lower_case"))})
    modules = ModuleList(folder, CLASSES)
    for name, place in settings.steps:
        if name != NORMALIZE:
            write_projection(name, place, modules.add("Dense"), {"use_residual": residual(place)})
    modules.write()
    expansion = settings.expansion
    own = {
        "model_type": "ColBERT",
        "__version__": {"sentence_transformers": BASE_RELEASE},
        "prompts": {**source.checkpoint.prompts, **dict.fromkeys(TASKS, "")},
        "default_prompt_name": None,
        "similarity_fn_name": "MaxSim",
        **{f"{task}_prefix": source.markers[task].token if task in source.markers else "" for task in TASKS},
        **{f"{task}_length": settings.lengths[task] for task in TASKS},
        "attend_to_expansion_tokens": expansion is not None and expansion.attended,
        # PyLate takes the unknown token for a word that is none, and would leave out every unknown word
        "skiplist_words": [word for word in settings.skiplist if skipped_ids(source, (word,))],
        "do_query_expansion": expansion is not None,
    }
    write_json(folder / SETTINGS, own)
