"""A `MultiVectorEncoder` as sentence-transformers 6 saves it."""

from pathlib import Path
from typing import Any

from ....files import write_json
from ...checkpoint import READING, SETTINGS, TASKS
from ..modules import NORMALIZE
from ..settings import Expansion
from .modules import ModuleList, residual, write_projection
from .network import write_network, write_tokenizer
from .source import Source

RELEASE = "6.2.0"
"""Whose format is written."""
CLASSES = {
    "Transformer": "sentence_transformers.base.modules.transformer.Transformer",
    "Dense": "sentence_transformers.base.modules.dense.Dense",
    "MultiVectorMask": "sentence_transformers.multi_vector_encoder.modules.multi_vector_mask.MultiVectorMask",
    "Normalize": "sentence_transformers.base.modules.normalize.Normalize",
}
ON_TOKENS: dict[str, Any] = {"module_input_name": "token_embeddings", "module_output_name": "token_embeddings"}


def write_multi_vector_encoder(source: Source, folder: Path) -> None:
    """Write every file of a checkpoint into an empty folder.

    A marker becomes the beginning of a prompt, and a token that the tokenizer finds in it.

    Raises:
        InputError: The weights are damaged.
    """
    settings = source.settings
    write_network(source, folder)
    write_tokenizer(source, folder, source.markers)
    write_json(folder / READING, _reading(source))
    modules = ModuleList(folder, CLASSES)
    for name, place in settings.steps:
        if name != NORMALIZE:
            others = {"use_residual": True} if residual(place) else {}
            write_projection(name, place, modules.add("Dense"), ON_TOKENS | others)
    mask = {"skiplist_words": list(settings.skiplist), "skiplist_tasks": list(settings.skiplist_tasks)}
    write_json(modules.add("MultiVectorMask") / "config.json", mask | {"keep_only_token_ids": None})
    write_json(modules.add(NORMALIZE) / "config.json", ON_TOKENS)
    modules.write()
    own = {
        "__version__": {"sentence_transformers": RELEASE},
        "default_prompt_name": None,
        "model_type": "MultiVectorEncoder",
        "prompts": {**source.checkpoint.prompts, **{task: source.prompt(task) for task in TASKS}},
        "similarity_fn_name": "maxsim",
    }
    write_json(folder / SETTINGS, own)


def _reading(source: Source) -> dict[str, Any]:
    expansion = source.settings.expansion
    reading: dict[str, Any] = {
        "transformer_task": "feature-extraction",
        "modality_config": {"text": {"method": "forward", "method_output_name": "last_hidden_state"}},
        "module_output_name": "token_embeddings",
        "document_length": source.settings.lengths["document"],
    }
    if source.checkpoint.reading.get("do_lower_case"):
        reading["do_lower_case"] = True
    if expansion is None:
        return reading | {"query_length": source.settings.lengths["query"]}
    return reading | {"query_expansion": _expansion(expansion)}


def _expansion(expansion: Expansion) -> dict[str, Any]:
    return {
        "strategy": "fixed" if expansion.fixed else "min",
        "attend": expansion.attended,
        "token": expansion.token,
        "length": expansion.length,
    }
